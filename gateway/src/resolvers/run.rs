//! Running resolvers for one login, and what comes of it.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pgdog_jwt::session::DEFAULT_MAX_LENGTH;
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use super::cache::{Cache, Key, Row};
use super::{COUNTS, Failure, count, plan};
use crate::backend::cluster::{Membership, NoServer, PoolSet};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::config::{OnNull, Param, Resolver};

/// The login that resolvers run for.
pub(crate) struct Asking<'a> {
    pub(crate) user: &'a str,
    pub(crate) database: &'a str,
    /// Of the token, if it came with one.
    pub(crate) claims: Option<&'a BTreeMap<String, Value>>,
    /// What is known of the session so far.
    pub(crate) variables: BTreeMap<&'a str, &'a str>,
}

/// Runs the resolvers of a database; gives a value for each of their variables, the empty one where there is none.
///
/// # Errors
/// The name of the resolver for whose lack of values the login ends.
pub(crate) async fn resolve<'r>(
    resolvers: &'r [Resolver],
    asking: &Asking<'_>,
    pools: &Arc<PoolSet>,
    cache: &Cache,
    limit: Duration,
) -> Result<Vec<(String, String)>, (&'r str, Failure)> {
    let deadline = Instant::now() + limit;
    let mut found: BTreeMap<&str, String> = BTreeMap::new();
    // A configuration with a circle is refused. Should one come this far, nobody goes on without what it would have given.
    let waves = plan::waves(resolvers, |resolver| resolver.serves(asking.database)).map_err(|plan::Circle(at)| {
        let name = resolvers.get(at).map_or("", |resolver| &resolver.name);
        (name, Failure::Circle)
    })?;
    for wave in waves {
        let wave: Vec<_> = wave.into_iter().filter_map(|at| resolvers.get(at)).collect();
        let runs = wave.iter().map(|resolver| {
            let inputs = inputs(resolver, asking, &found);
            Box::pin(async move {
                let run = one(resolver, inputs, asking, pools, cache);
                tokio::time::timeout_at(deadline, run).await.unwrap_or(Err(Failure::Timeout))
            })
        });
        for (resolver, outcome) in wave.iter().zip(together(runs).await) {
            match outcome {
                Ok(row) => {
                    let values = resolver.inject.iter().zip(row.iter());
                    found.extend(values.map(|((name, _), value)| (name.as_str(), value.clone().unwrap_or_default())));
                }
                Err(failure) => {
                    count(&COUNTS.failures);
                    if resolver.required || (failure.is_null() && resolver.on_null == OnNull::Refuse) {
                        return Err((&resolver.name, failure));
                    }
                    if !matches!(failure, Failure::NoRow | Failure::NullInput(_)) {
                        warn!(event = "resolver", resolver = resolver.name, database = asking.database, reason = %failure, "resolver failed");
                    }
                    found.extend(resolver.inject.iter().map(|(name, _)| (name.as_str(), String::new())));
                }
            }
        }
    }
    Ok(found.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Waits for all of them, side by side.
async fn together<T>(futures: impl Iterator<Item = Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|future| (future, None)).collect();
    poll_fn(|cx| {
        for (future, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *done = Some(value);
            }
        }
        if running.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

/// The values of the parameters. An empty one is NULL: that is how a session says that it has none.
fn inputs(resolver: &Resolver, asking: &Asking<'_>, found: &BTreeMap<&str, String>) -> Result<Vec<String>, Failure> {
    let value = |param: &Param| match param {
        Param::User => Some(asking.user.to_owned()),
        Param::Database => Some(asking.database.to_owned()),
        Param::Variable(name) => {
            let known = asking.variables.get(name.as_str()).copied();
            known.or_else(|| found.get(name.as_str()).map(String::as_str)).map(str::to_owned)
        }
        Param::Claim(path) => asking.claims.and_then(|claims| claims.get(path)).and_then(text),
    };
    let is_given = |value: &String| !value.is_empty() && !value.contains('\0');
    let inputs = resolver.params.iter().enumerate();
    inputs.map(|(at, param)| value(param).filter(is_given).ok_or(Failure::NullInput(at + 1))).collect()
}

/// A claim as text: lists and objects as JSON.
fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The values of one resolver, in the order of its `inject`.
async fn one(
    resolver: &Resolver,
    inputs: Result<Vec<String>, Failure>,
    asking: &Asking<'_>,
    pools: &Arc<PoolSet>,
    cache: &Cache,
) -> Result<Row, Failure> {
    let inputs = inputs?;
    let ask = ask(resolver, &inputs, pools);
    let row = if resolver.cache_ttl.is_zero() {
        ask.await?
    } else {
        let whose = [resolver.name.as_str(), &resolver.query, asking.database, asking.user];
        let key = Key::of(whose.into_iter().chain(inputs.iter().map(String::as_str)));
        cache.get(key, resolver.cache_ttl, ask).await?
    };
    let null = resolver.inject.iter().zip(row.iter()).find(|(_, value)| value.is_none());
    match null {
        Some(((_, column), _)) if resolver.on_null == OnNull::Refuse => Err(Failure::NullResult(column.clone())),
        _ => Ok(row),
    }
}

/// Runs the query. Where it is not answered to the end, the connection is closed (S4).
async fn ask(resolver: &Resolver, inputs: &[String], pools: &Arc<PoolSet>) -> Result<Row, Failure> {
    let mut server = check_out(pools).await?;
    count(&COUNTS.executions);
    let values: Vec<_> = inputs.iter().map(String::as_str).collect();
    let answer = server.ask(&resolver.query, Some(&values)).await;
    if server.is_clean() {
        server.check_in();
    }
    let answer = answer?;
    let row = answer.rows.first().ok_or(Failure::NoRow)?;
    let value = |column: &String| {
        let at = answer.columns().iter().position(|name| name == column);
        let value = at.and_then(|at| row.get(at)).ok_or_else(|| Failure::NoColumn(column.clone()))?;
        // What is not UTF-8 was made so with this character, and two such values would be one.
        let is_usable = |text: &String| text.len() <= DEFAULT_MAX_LENGTH && !text.contains(char::REPLACEMENT_CHARACTER);
        if value.as_ref().is_none_or(is_usable) { Ok(value.clone()) } else { Err(Failure::Unusable(column.clone())) }
    };
    resolver.inject.iter().map(|(_, column)| value(column)).collect()
}

/// A server of the resolvers' own.
pub(super) async fn check_out(pools: &Arc<PoolSet>) -> Result<Server, NoServer> {
    let membership = Membership::new(pools.clone());
    let server = pools.check_out_any(&membership.wish).await?;
    let confirmed = server.confirm(membership.identity(), &Arc::new(Settings::default())).await;
    confirmed.map_err(|error| NoServer::Checkout(error.into()))
}
