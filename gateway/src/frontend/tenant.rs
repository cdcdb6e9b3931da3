//! Tenants in the user name: `app_user.acme` is the user `app_user`, who authenticates, and the tenant `acme`, which the
//! user must be allowed to open. What was typed never decides it: a claim, the user's entry or a resolver does.

use std::collections::BTreeMap;
use std::sync::Arc;

use pgdog_jwt::session::DEFAULT_MAX_LENGTH;
use serde_json::Value;

use super::grant::{Scoped, Who};
use super::limits::{self, Full, Key, Limits, Seat};
use super::refused::Refused;
use crate::app::state::Generation;
use crate::config::{Config, Scope, Tenants};
use crate::resolvers::{self, Asking, Failure};
use crate::wire::PgError;

/// A user name as it was typed, in its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) typed: &'a str,
    /// Who authenticates.
    pub(super) user: &'a str,
    /// What follows the first separator.
    pub(super) tenant: Option<&'a str>,
}

/// Takes a name apart.
pub(super) fn split<'a>(config: &Config, typed: &'a str) -> Name<'a> {
    let tenants = config.tenants.as_ref().filter(|_| !config.is_bypass_user(typed));
    match tenants.and_then(|tenants| typed.split_once(tenants.separator.as_str())) {
        Some((user, tenant)) => Name { typed, user, tenant: Some(tenant) },
        None => Name { typed, user: typed, tenant: None },
    }
}

/// Why a login does not get what it asked for.
struct No(&'static str, String);

/// Gives an authenticated client its tenant, the variables of the resolvers, and its place among the tenant's sessions.
pub(super) async fn open(
    who: Who,
    name: Name<'_>,
    database: &str,
    generation: &Arc<Generation>,
) -> Result<(Who, Option<Seat>), (Refused, Who)> {
    let who = reopen(who, name, database, generation).await?;
    let seat = match (&generation.config.tenants, who.tenant()) {
        (Some(tenants), Some(tenant)) => take_seat(tenants, database, tenant).map(Some),
        _ => Ok(None),
    };
    match seat {
        Ok(seat) => Ok((who, seat)),
        Err(reason) => Err((full(reason), who)),
    }
}

/// The same for a session that has its place already and shows a new token.
pub(super) async fn reopen(
    who: Who,
    name: Name<'_>,
    database: &str,
    generation: &Arc<Generation>,
) -> Result<Who, (Refused, Who)> {
    match admit(&who, name, database, generation).await {
        Ok(None) => Ok(who),
        Ok(Some(Admitted { variables, tenant })) => {
            let who = match who {
                Who::Token(mut grant) => {
                    Arc::make_mut(&mut grant).settings.extend(variables.iter().cloned());
                    Who::Token(grant)
                }
                other => other,
            };
            let config = generation.config.clone();
            Ok(Who::Scoped(Box::new(Scoped { who, variables: variables.into(), tenant, config })))
        }
        Err(refused) => Err((refused, who)),
    }
}

struct Admitted {
    variables: Vec<(String, String)>,
    tenant: Option<String>,
}

async fn admit(
    who: &Who,
    name: Name<'_>,
    database: &str,
    generation: &Generation,
) -> Result<Option<Admitted>, Refused> {
    // As a wrong password or token would be refused (S6).
    let refuse = |No(reason, detail): No| {
        let code = if who.grant().is_some() { "28000" } else { "28P01" };
        Refused::credential(reason, code, name.user).detail(detail)
    };
    let config = &generation.config;
    let Some(scope) = config.scope(who.user(), database) else {
        return match name.tenant {
            Some(_) => Err(refuse(No("tenant_denied", "the user opens no tenant".to_owned()))),
            None => Ok(None),
        };
    };
    let mut variables = Vec::new();
    if let Some(tenants) = scope.tenants {
        let values = values(tenants, name.tenant, who).map_err(refuse)?;
        check(tenants, &scope, &values, who).map_err(refuse)?;
        variables.extend(tenants.variables.iter().cloned().zip(values));
    }
    let tenant = variables.first().map(|(_, value)| value.clone());
    let resolved = match Box::pin(resolve(&scope, who, database, &variables, generation)).await {
        Ok(resolved) => resolved,
        Err((_, Failure::NoServer(error))) => {
            return Err(Refused::new("no_server", error.for_client()).detail(error.to_string()));
        }
        Err((resolver, failure)) => {
            return Err(refuse(No(failure.reason(), format!("resolver \"{resolver}\": {failure}"))));
        }
    };
    variables.extend(resolved);
    Ok(Some(Admitted { variables, tenant }))
}

/// The value of each variable: what was typed, or else what the token says if that is only one thing.
fn values(tenants: &Tenants, typed: Option<&str>, who: &Who) -> Result<Vec<String>, No> {
    let Some(typed) = typed else {
        let only = |claim: &String| match claim_values(who, claim).as_deref() {
            Some([only]) => Some(only.clone()),
            _ => None,
        };
        let values: Option<Vec<_>> = tenants.claims.iter().map(only).collect();
        return values
            .filter(|values| !values.is_empty() && values.iter().all(|value| is_usable(value)))
            .ok_or_else(|| No("tenant_missing", "the user name holds no tenant".to_owned()));
    };
    let malformed = |detail: &str| No("tenant_malformed", detail.to_owned());
    if typed.is_empty() {
        return Err(malformed("the tenant is empty"));
    }
    let values = tenants.values(typed).ok_or_else(|| malformed("the user name holds too many values, or too few"))?;
    if !tenants.allow_empty && values.contains(&"") {
        return Err(malformed("a value is empty"));
    }
    Ok(values.into_iter().map(str::to_owned).collect())
}

fn is_usable(value: &str) -> bool {
    !value.is_empty() && value.len() <= DEFAULT_MAX_LENGTH && !value.contains('\0')
}

/// Whether the user may open the tenant. Every source that is there must say so, and there must be one.
fn check(tenants: &Tenants, scope: &Scope<'_>, values: &[String], who: &Who) -> Result<(), No> {
    let denied = |detail: &str| Err(No("tenant_denied", detail.to_owned()));
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    if !tenants.admits(&values) {
        return denied("the lists in [tenants] do not admit it");
    }
    // A resolver is required: without its row, the login ends when it runs.
    let mut is_said = tenants.resolver.is_some();
    if let Some(listed) = scope.listed {
        if !listed.iter().any(|entry| tenants.permits(entry, &values)) {
            return denied("the user's entry does not list it");
        }
        is_said = true;
    }
    if who.grant().is_some() && !tenants.claims.is_empty() {
        let holds = |(claim, value): (&String, &&str)| {
            claim_values(who, claim).is_some_and(|held| held.iter().any(|held| held == value))
        };
        if !tenants.claims.iter().zip(&values).all(holds) {
            return denied("the token does not hold it");
        }
        is_said = true;
    }
    if is_said { Ok(()) } else { denied("nothing says that the user may open it") }
}

/// The tenants that a claim holds: one, or a list. A claim of another kind holds none.
fn claim_values(who: &Who, claim: &str) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_i64().map(|number| number.to_string()),
        _ => None,
    };
    match who.grant()?.kept_claims.get(claim)? {
        Value::Array(list) => list.iter().map(text).collect(),
        one => text(one).map(|one| vec![one]),
    }
}

async fn resolve<'g>(
    scope: &Scope<'g>,
    who: &Who,
    database: &str,
    variables: &[(String, String)],
    generation: &'g Generation,
) -> Result<Vec<(String, String)>, (&'g str, Failure)> {
    let config = &generation.config;
    let Some(first) = scope.resolvers.first() else { return Ok(Vec::new()) };
    let pools = match generation.registry.for_resolvers(database) {
        Some(pools) => pools,
        // The login ends where it looks for its own pools, in the words for that.
        None if generation.registry.cluster(database).is_none() => return Ok(Vec::new()),
        None => return Err((&first.name, Failure::NoAccount)),
    };
    let mut known: BTreeMap<&str, &str> = BTreeMap::new();
    let claimed = who.grant().map(|grant| grant.settings.as_slice()).unwrap_or_default();
    known.extend(claimed.iter().chain(variables).map(|(name, value)| (name.as_str(), value.as_str())));
    let claims = who.grant().map(|grant| &grant.kept_claims);
    let asking = Asking { user: who.user(), database, claims, variables: known };
    let limit = config.general.connect_timeout;
    resolvers::resolve(&config.resolvers, &asking, pools, &generation.resolved, limit).await
}

fn take_seat(tenants: &Tenants, database: &str, tenant: &str) -> Result<Seat, Full> {
    let limits = Limits { sessions: tenants.max_connections, rate: tenants.connection_rate, place: None };
    limits::take(Key::Tenant { database: database.into(), tenant: tenant.into() }, limits)
}

fn full(full: Full) -> Refused {
    match full {
        Full::Sessions | Full::Elsewhere | Full::Table => {
            Refused::new("tenant_connections", PgError::fatal("53300", "too many connections for this tenant"))
        }
        Full::Rate => Refused::new(
            "tenant_rate",
            PgError::fatal("53300", "too many new connections for this tenant").hint("Try again in a second."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Text;

    fn config(tenants: &str) -> Config {
        let text = format!("[tenants]\n{tenants}\n[[databases]]\nname = \"a\"\nhost = \"b\"\n");
        let (pgdog, users) = (Text { name: "", text: &text }, Text { name: "", text: "" });
        Config::from_texts(pgdog, users, &|_| None).expect("a configuration").config
    }

    fn parts<'a>(config: &Config, typed: &'a str) -> (&'a str, Option<&'a str>) {
        let name = split(config, typed);
        (name.user, name.tenant)
    }

    #[test]
    fn a_name_is_split_at_the_first_separator() {
        let dots = config("separator = \".\"");
        assert_eq!(parts(&dots, "app_user.a.b"), ("app_user", Some("a.b")));
        assert_eq!(parts(&dots, "app_user"), ("app_user", None));
        assert_eq!(parts(&dots, "app_user."), ("app_user", Some("")));
        assert_eq!(parts(&dots, "postgres"), ("postgres", None));
        assert_eq!(parts(&dots, "postgres.acme"), ("postgres", Some("acme")));
        let words = config("separator = \"--\"\nbypass_users = [\"a--b\"]");
        assert_eq!(parts(&words, "my-role--acme--x"), ("my-role", Some("acme--x")));
        assert_eq!(parts(&words, "a--b"), ("a--b", None));
    }

    #[test]
    fn values_are_as_many_as_variables() {
        let two = config("variables = [\"app.list\", \"app.user\"]");
        let tenants = two.tenants.as_ref().expect("tenants");
        assert_eq!(tenants.values("list1:user2"), Some(vec!["list1", "user2"]));
        assert_eq!(tenants.values(":"), Some(vec!["", ""]));
        assert_eq!((tenants.values("a"), tenants.values("a:b:c")), (None, None));
        assert!(tenants.permits("list*:user2", &["list1", "user2"]));
        assert!(!tenants.permits("list*:user2", &["list1", "user3"]));
    }

    #[test]
    fn lists_are_for_the_value_of_one_variable() {
        let two = config(
            "variables = [\"app.tenant\", \"app.user\"]\nallow = { \"app.tenant\" = [\"a*\"] }\n\
             deny = { \"app.tenant\" = [\"acme\"] }",
        );
        let tenants = two.tenants.as_ref().expect("tenants");
        assert!(tenants.admits(&["ab", "acme"]) && tenants.admits(&["acme2", "x"]));
        assert!(!tenants.admits(&["acme", "u1"]) && !tenants.admits(&["b", "u1"]));
    }
}
