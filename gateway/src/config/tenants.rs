//! `[tenants]`: tenants in the user name, `app_user.acme`. What the client typed is a wish; who may open which tenant is
//! said by a claim, by the user's entry in `users.toml`, or by a resolver.

use std::collections::BTreeMap;
use std::time::Duration;

use pgdog_jwt::reader::{Section, Spot};
use pgdog_jwt::session::is_name;

use super::keys::tenants as keys;
use super::model::{Jwt, User};

/// Most variables in a user name (S9).
const MAX_VARIABLES: usize = 16;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tenants {
    pub(crate) separator: String,
    pub(crate) value_separator: String,
    /// Never empty; the first one is the tenant that limits count.
    pub(crate) variables: Vec<String>,
    pub(crate) allow_empty: bool,
    /// For each variable the claim that must hold its value; empty: no claim is asked.
    pub(crate) claims: Vec<String>,
    /// The resolver without whose row nobody opens a tenant.
    pub(crate) resolver: Option<String>,
    pub(crate) bypass_users: Vec<String>,
    /// By variable: values, or beginnings followed by `*`.
    pub(crate) allow: BTreeMap<String, Vec<String>>,
    pub(crate) deny: BTreeMap<String, Vec<String>>,
    pub(crate) max_connections: Option<usize>,
    /// New connections per second.
    pub(crate) connection_rate: Option<usize>,
    /// [`Duration::MAX`]: as everybody's.
    pub(crate) query_timeout: Duration,
}

/// Reads the section; `None` while it sets nothing.
pub(super) fn tenants(section: &Section<'_>) -> Option<Tenants> {
    let is_on = !section.entries().is_empty();
    let tenants = Tenants {
        separator: section.value(&keys::SEPARATOR),
        value_separator: section.value(&keys::VALUE_SEPARATOR),
        variables: section.value(&keys::VARIABLES),
        allow_empty: section.value(&keys::ALLOW_EMPTY),
        claims: section.given(&keys::CLAIM).unwrap_or_default(),
        resolver: section.given(&keys::RESOLVER),
        bypass_users: section.value(&keys::BYPASS_USERS),
        allow: values(section, "allow", "[tenants.allow]"),
        deny: values(section, "deny", "[tenants.deny]"),
        max_connections: section.given(&keys::MAX_CONNECTIONS).filter(|most| *most != usize::MAX),
        connection_rate: section.given(&keys::CONNECTION_RATE),
        query_timeout: section.given(&keys::QUERY_TIMEOUT).unwrap_or(Duration::MAX),
    };
    if is_on {
        check(section, &tenants);
    }
    is_on.then_some(tenants)
}

/// Lists of values by variable.
fn values(section: &Section<'_>, key: &'static str, label: &'static str) -> BTreeMap<String, Vec<String>> {
    let table = section.table(key, label);
    let mut lists = BTreeMap::new();
    for (name, item, spot) in table.entries() {
        let words = item.as_array().map(|array| array.iter().map(|value| value.as_str().map(str::to_owned)));
        match words.and_then(|words| words.collect::<Option<Vec<_>>>()) {
            Some(words) => drop(lists.insert(name.to_owned(), words)),
            None => table.report.error(spot, format!("\"{name}\" in {label} must be a list of strings")),
        }
    }
    lists
}

fn check(section: &Section<'_>, tenants: &Tenants) {
    let wrong = |key: &str, reason: String| section.report.error(section.spot(key), reason);
    let variables = &tenants.variables;
    if variables.is_empty() || variables.len() > MAX_VARIABLES {
        wrong("variables", format!("\"variables\" in [tenants] must name from 1 to {MAX_VARIABLES} variables"));
    }
    for (at, name) in variables.iter().enumerate() {
        if !is_name(name) {
            let form = "a name such as \"app.tenant_id\": lower case, with a dot, at most 63 bytes";
            wrong("variables", format!("\"{name}\" in \"variables\" of [tenants] must be {form}"));
        } else if variables.iter().take(at).any(|other| other == name) {
            wrong("variables", format!("\"{name}\" is twice in \"variables\" of [tenants]"));
        }
    }
    if !tenants.claims.is_empty() && tenants.claims.len() != variables.len() {
        let reason = "must name one claim for each variable: what a claim does not say, only the client would";
        wrong("claim", format!("\"claim\" in [tenants] {reason}"));
    }
    for (key, lists) in [("allow", &tenants.allow), ("deny", &tenants.deny)] {
        if let Some(name) = lists.keys().find(|name| !variables.contains(name)) {
            wrong(key, format!("\"{name}\" in [tenants.{key}] is not one of the \"variables\""));
        }
    }
}

impl Tenants {
    /// The values in what came behind the separator, one for each variable; `None` when they are not as many.
    pub(crate) fn values<'p>(&self, payload: &'p str) -> Option<Vec<&'p str>> {
        let values: Vec<_> = match self.variables.len() {
            1 => vec![payload],
            _ => payload.split(self.value_separator.as_str()).collect(),
        };
        (values.len() == self.variables.len()).then_some(values)
    }

    /// Whether an entry of a user's `tenants`, such as `acme` or `list*:user2`, is for these values.
    pub(crate) fn permits(&self, entry: &str, values: &[&str]) -> bool {
        let patterns = self.values(entry);
        patterns.is_some_and(|patterns| patterns.iter().zip(values).all(|(pattern, value)| matches(pattern, value)))
    }

    /// Whether the lists for all users have nothing against these values.
    pub(crate) fn admits(&self, values: &[&str]) -> bool {
        let is_in = |list: &Vec<String>, value: &str| list.iter().any(|pattern| matches(pattern, value));
        self.variables.iter().zip(values).all(|(name, value)| {
            let allowed = self.allow.get(name).is_none_or(|list| is_in(list, value));
            allowed && !self.deny.get(name).is_some_and(|list| is_in(list, value))
        })
    }
}

/// `name` is that value; `name*` is every value that begins so. Byte for byte.
fn matches(pattern: &str, value: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => value.starts_with(prefix),
        None => value == pattern,
    }
}

/// Entries of users must fit the variables, and somebody should be able to open something.
pub(super) fn check_users(tenants: Option<&Tenants>, users: &[(User, Spot)], section: &Section<'_>) {
    let report = section.report;
    let is_said = |tenants: &Tenants| !tenants.claims.is_empty() || tenants.resolver.is_some();
    if tenants.is_some_and(|tenants| !is_said(tenants)) && users.iter().all(|(user, _)| user.tenants.is_none()) {
        let hint = "set \"claim\" or \"resolver\" here, or \"tenants\" of a user in users.toml";
        report.warn(section.place(), format!("[tenants]: nobody may open a tenant; {hint}"));
    }
    for (user, spot) in users {
        let Some(entries) = &user.tenants else { continue };
        let said = |reason: String| format!("user \"{}\": {reason}", user.name);
        let Some(tenants) = tenants else {
            report.warn(spot.clone(), said("\"tenants\" is not used without [tenants] in pgdog.toml".to_owned()));
            continue;
        };
        if let Some(entry) = entries.iter().find(|entry| tenants.values(entry).is_none()) {
            let (count, separator) = (tenants.variables.len(), &tenants.value_separator);
            let reason =
                format!("\"{entry}\" in \"tenants\" must have {count} values, with \"{separator}\" between them");
            report.error(spot.clone(), said(reason));
        }
    }
}

/// A variable has one source. `others`: names from elsewhere, and the place of each.
pub(super) fn check_names(tenants: Option<&Tenants>, jwt: Option<&Jwt>, section: &Section<'_>) {
    let Some(tenants) = tenants else { return };
    for name in &tenants.variables {
        if is_claimed(jwt, name) {
            let reason = format!("\"{name}\" is both in \"variables\" of [tenants] and in [jwt.session]");
            section.report.error(section.spot("variables"), reason);
        }
    }
}

/// Whether a variable is one that claims give a value.
pub(super) fn is_claimed(jwt: Option<&Jwt>, name: &str) -> bool {
    let mut patterns = jwt.into_iter().flat_map(|jwt| &jwt.core.variables).map(|variable| variable.pattern());
    patterns.any(|pattern| matches(&pattern, name))
}
