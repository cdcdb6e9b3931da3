//! `[[resolvers]]`: queries that derive variables of a session from others when it begins; `[resolver_account]`: who runs
//! them.

use std::collections::HashSet;
use std::time::Duration;

use pgdog_jwt::config::Secret;
use pgdog_jwt::reader::{Choice, Env, Report, Section, Spot, nearest};
use pgdog_jwt::session::is_name;

use super::keys::{resolver_account as account_keys, resolvers as keys};
use super::model::{Database, Jwt};
use super::tenants::{Tenants, is_claimed};
use crate::resolvers::plan;

/// Most resolvers (S9).
const MAX_RESOLVERS: usize = 32;
/// Most variables of one resolver, and most parameters.
const MAX_INJECTED: usize = 32;
const MAX_PARAMS: usize = 32;

/// One query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolver {
    pub(crate) name: String,
    pub(crate) query: String,
    /// `$1`, `$2`, …
    pub(crate) params: Vec<Param>,
    /// Variable and column.
    pub(crate) inject: Vec<(String, String)>,
    /// Without a result, the login ends.
    pub(crate) required: bool,
    pub(crate) depends_on: Vec<String>,
    /// How long a result is used again; zero: not at all.
    pub(crate) cache_ttl: Duration,
    pub(crate) on_null: OnNull,
    /// The databases whose sessions it is for; `None`: all.
    pub(crate) databases: Option<Vec<String>>,
}

/// Where the value of a parameter comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Param {
    /// A claim of the token.
    Claim(String),
    /// A variable of the session.
    Variable(String),
    /// Who logged in.
    User,
    Database,
}

/// What becomes of NULL, as a parameter or as a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnNull {
    /// The variable is empty.
    #[default]
    Unset,
    /// The login ends.
    Refuse,
}

impl Choice for OnNull {
    const ALL: &'static [(&'static str, Self)] = &[("unset", Self::Unset), ("refuse", Self::Refuse)];
}

/// Who runs the queries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResolverAccount {
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
}

impl Resolver {
    /// Whether it is for sessions of this database.
    pub(crate) fn serves(&self, database: &str) -> bool {
        self.databases.as_ref().is_none_or(|names| names.iter().any(|name| name == database))
    }
}

/// Reads one resolver. `None` when it lacks what it needs, which is reported.
pub(super) fn resolver(section: &Section<'_>) -> Option<Resolver> {
    let (name, query) = (section.given(&keys::NAME), section.given(&keys::QUERY));
    for (key, value) in [("name", &name), ("query", &query)] {
        if value.is_none() {
            section.report.error(section.spot(key), format!("[[resolvers]] needs a \"{key}\""));
        }
    }
    let resolver = Resolver {
        name: name.clone().unwrap_or_default(),
        query: query.clone().unwrap_or_default(),
        params: params(section),
        inject: inject(section),
        required: section.value(&keys::REQUIRED),
        depends_on: section.given(&keys::DEPENDS_ON).unwrap_or_default(),
        cache_ttl: section.value(&keys::CACHE_TTL),
        on_null: section.value(&keys::ON_NULL),
        databases: section.given(&keys::DATABASES),
    };
    (name.is_some() && query.is_some()).then_some(resolver)
}

fn params(section: &Section<'_>) -> Vec<Param> {
    let words = section.given(&keys::PARAMS).unwrap_or_default();
    let param = |word: &String| match (word.as_str(), word.split_once(':')) {
        ("user", _) => Some(Param::User),
        ("database", _) => Some(Param::Database),
        (_, Some(("claim", path))) if !path.is_empty() => Some(Param::Claim(path.to_owned())),
        (_, Some(("var", name))) if is_name(name) => Some(Param::Variable(name.to_owned())),
        _ => None,
    };
    if let Some(word) = words.iter().find(|word| param(word).is_none()) {
        let known = "\"claim:<claim>\", \"var:<variable>\", \"user\" or \"database\"";
        section.report.error(section.spot("params"), format!("\"params\" must hold {known}, not {word:?}"));
    }
    if words.len() > MAX_PARAMS {
        section.report.error(section.spot("params"), format!("\"params\" may have {MAX_PARAMS} entries"));
    }
    words.iter().filter_map(param).collect()
}

fn inject(section: &Section<'_>) -> Vec<(String, String)> {
    let table = section.table("inject", "[resolvers.inject]");
    let mut inject = Vec::new();
    for (name, item, spot) in table.entries() {
        match item.as_str() {
            Some(column) if is_name(name) && !column.is_empty() => inject.push((name.to_owned(), column.to_owned())),
            _ => {
                let form = "a variable such as \"app.org_id\" (lower case, with a dot) and a column";
                table.report.error(spot, format!("\"{name}\" in [resolvers.inject] must be {form}"));
            }
        }
    }
    if inject.len() > MAX_INJECTED {
        section.report.error(section.spot("inject"), format!("\"inject\" may have {MAX_INJECTED} entries"));
    }
    inject
}

/// Reads the account.
pub(super) fn account(section: &Section<'_>, env: Env<'_>) -> Option<ResolverAccount> {
    let user = section.given(&account_keys::USER);
    let password = section.secret(&account_keys::PASSWORD, env);
    if user.is_none() && section.has_secret(&account_keys::PASSWORD) {
        section.report.error(section.spot("user"), "[resolver_account] needs a \"user\"");
    }
    user.map(|user| ResolverAccount { user, password })
}

/// What resolvers must agree with.
pub(super) struct Around<'a> {
    pub(super) account: Option<&'a ResolverAccount>,
    pub(super) tenants: Option<&'a Tenants>,
    pub(super) tenants_spot: Spot,
    pub(super) jwt: Option<&'a Jwt>,
    pub(super) databases: &'a [Database],
}

/// Names that are unknown or taken twice, and circles.
pub(super) fn check(resolvers: &[(Resolver, Spot)], around: &Around<'_>, report: &Report) {
    let say =
        |spot: &Spot, name: &str, reason: String| report.error(spot.clone(), format!("resolver \"{name}\": {reason}"));
    if let (Some((first, spot)), None) = (resolvers.first(), around.account) {
        say(spot, &first.name, "needs an account to run as; set \"user\" in [resolver_account]".to_owned());
    }
    if let Some((resolver, spot)) = resolvers.get(MAX_RESOLVERS) {
        say(spot, &resolver.name, format!("there may be {MAX_RESOLVERS} resolvers"));
    }
    let mut taken: HashSet<&str> =
        around.tenants.iter().flat_map(|tenants| &tenants.variables).map(String::as_str).collect();
    for (at, (resolver, spot)) in resolvers.iter().enumerate() {
        let say = |reason: String| say(spot, &resolver.name, reason);
        if resolvers.iter().take(at).any(|(other, _)| other.name == resolver.name) {
            say("is there twice".to_owned());
        }
        for (name, _) in &resolver.inject {
            if !taken.insert(name) || is_claimed(around.jwt, name) {
                say(format!("\"{name}\" has a value from elsewhere"));
            }
        }
        check_dependencies(resolver, resolvers, &say);
        let mut unknown = resolver.databases.iter().flatten();
        if let Some(name) = unknown.find(|name| !around.databases.iter().any(|known| known.name == **name)) {
            say(format!("unknown database \"{name}\""));
        }
    }
    for (resolver, spot) in resolvers {
        let mut names = resolver.params.iter().filter_map(|param| match param {
            Param::Variable(name) => Some(name),
            _ => None,
        });
        if let Some(name) = names.find(|name| !taken.contains(name.as_str()) && !is_claimed(around.jwt, name)) {
            say(
                spot,
                &resolver.name,
                format!("no session has a variable \"{name}\"{}", nearest(name, taken.iter().copied())),
            );
        }
    }
    let list: Vec<_> = resolvers.iter().map(|(resolver, _)| resolver.clone()).collect();
    if let Err(plan::Circle(at)) = plan::waves(&list, |_| true)
        && let Some((resolver, spot)) = resolvers.get(at)
    {
        say(spot, &resolver.name, "its dependencies lead in a circle".to_owned());
    }
    check_decider(resolvers, around, report);
}

fn check_dependencies(resolver: &Resolver, resolvers: &[(Resolver, Spot)], say: &impl Fn(String)) {
    for name in &resolver.depends_on {
        let Some((other, _)) = resolvers.iter().find(|(other, _)| other.name == *name) else {
            let hint = nearest(name, resolvers.iter().map(|(other, _)| other.name.as_str()));
            say(format!("depends on \"{name}\", which does not exist{hint}"));
            continue;
        };
        let runs_there = match (&resolver.databases, &other.databases) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(mine), Some(theirs)) => mine.iter().all(|name| theirs.contains(name)),
        };
        if !runs_there {
            say(format!("depends on \"{name}\", which is not for all of its databases"));
        }
    }
}

/// The resolver that says who may open which tenant must say so of everybody, and must look at the tenant.
fn check_decider(resolvers: &[(Resolver, Spot)], around: &Around<'_>, report: &Report) {
    let Some((tenants, name)) = around.tenants.and_then(|tenants| Some((tenants, tenants.resolver.as_ref()?))) else {
        return;
    };
    let looks_at = |resolver: &Resolver, name: &String| resolver.params.contains(&Param::Variable(name.clone()));
    let reason = match resolvers.iter().find(|(resolver, _)| resolver.name == *name) {
        None => "does not exist",
        Some((resolver, _)) if !resolver.required => "must be required",
        Some((resolver, _)) if resolver.databases.is_some() => "must be for all databases",
        Some((resolver, _)) if !tenants.variables.iter().all(|name| looks_at(resolver, name)) => {
            "must have every variable of [tenants] among its params"
        }
        Some(_) => return,
    };
    report.error(around.tenants_spot.clone(), format!("\"resolver\" in [tenants]: the resolver \"{name}\" {reason}"));
}
