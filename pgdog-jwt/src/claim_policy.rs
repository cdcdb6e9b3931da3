//! Claims that say what a session may do, enforced here or by the host: read-only, which databases, a permission level,
//! how many connections.

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::config::{ClaimPolicy, Level};
use crate::deny::DenyReason;

/// What the claims say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Says {
    pub(crate) read_only: bool,
    /// The role in place of the subject's own.
    pub(crate) role: Option<String>,
    pub(crate) pool_mode: Option<String>,
    pub(crate) max_connections: Option<usize>,
}

/// Reads the claims that the policy names.
pub(crate) fn read(policy: &ClaimPolicy, claims: &Claims, database: &str) -> Result<Says, DenyReason> {
    let mut says = Says::default();
    if let Some(path) = &policy.read_only {
        says.read_only = flag(claims, path)?;
    }
    if let Some(path) = &policy.database {
        check_database(claims, path, database)?;
    }
    if let Some(path) = &policy.permission_level {
        match policy.levels.get(level(claims, path)?) {
            None | Some(Level::Refuse) => return Err(DenyReason::PermissionDenied),
            Some(Level::ReadOnly) => says.read_only = true,
            Some(Level::ReadWrite) => {}
            Some(Level::Role(role)) => says.role = Some(role.clone()),
        }
    }
    if let Some(path) = &policy.pool_mode {
        says.pool_mode = text(claims, path)?.map(str::to_owned);
        let is_allowed = says.pool_mode.as_ref().is_none_or(|mode| policy.pool_modes.contains(mode));
        if !is_allowed {
            return Err(invalid(path, "it is no mode that \"pool_modes\" allows"));
        }
    }
    says.max_connections = policy.max_connections_ceiling;
    if let Some(path) = &policy.max_connections
        && let Some(asked) = number(claims, path)?
    {
        says.max_connections = Some(policy.max_connections_ceiling.map_or(asked, |ceiling| ceiling.min(asked)));
    }
    Ok(says)
}

fn present<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    claims::find(claims, path).filter(|value| !value.is_null())
}

fn invalid(path: &str, why: &'static str) -> DenyReason {
    DenyReason::InvalidClaim(path.to_owned(), why)
}

fn flag(claims: &Claims, path: &str) -> Result<bool, DenyReason> {
    present(claims, path)
        .map_or(Ok(false), |value| value.as_bool().ok_or_else(|| invalid(path, "it must be true or false")))
}

fn text<'a>(claims: &'a Claims, path: &str) -> Result<Option<&'a str>, DenyReason> {
    present(claims, path).map(|value| value.as_str().ok_or_else(|| invalid(path, "it must be a string"))).transpose()
}

fn number(claims: &Claims, path: &str) -> Result<Option<usize>, DenyReason> {
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    present(claims, path)
        .map(|value| number(value).ok_or_else(|| invalid(path, "it must be a whole number from 0 on")))
        .transpose()
}

/// Whoever has no level has the lowest one.
fn level(claims: &Claims, path: &str) -> Result<usize, DenyReason> {
    Ok(number(claims, path)?.unwrap_or(0))
}

/// One database or several; without the claim, any.
fn check_database(claims: &Claims, path: &str, database: &str) -> Result<(), DenyReason> {
    let is_allowed = match present(claims, path) {
        None => true,
        Some(Value::String(only)) => only == database,
        Some(Value::Array(list)) => {
            let mut found = false;
            for entry in list {
                found |= entry.as_str().ok_or_else(|| invalid(path, "it must be a string or a list of strings"))?
                    == database;
            }
            found
        }
        Some(_) => return Err(invalid(path, "it must be a string or a list of strings")),
    };
    if is_allowed { Ok(()) } else { Err(DenyReason::DatabaseDenied) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_object;

    fn policy() -> ClaimPolicy {
        let path = |text: &str| Some(text.to_owned());
        ClaimPolicy {
            read_only: path("read_only"),
            database: path("database"),
            permission_level: path("level"),
            levels: vec![Level::Refuse, Level::ReadOnly, Level::ReadWrite, Level::Role("owner".to_owned())],
            pool_mode: path("pool_mode"),
            pool_modes: vec!["transaction".to_owned()],
            max_connections: path("max"),
            max_connections_ceiling: Some(10),
        }
    }

    fn says(claims: &str) -> Result<Says, DenyReason> {
        read(&policy(), &parse_object(claims.as_bytes()).unwrap(), "app")
    }

    #[test]
    fn a_level_is_enforced_and_nothing_is_the_lowest() {
        for claims in ["{}", r#"{"level":0}"#, r#"{"level":null}"#, r#"{"level":4}"#, r#"{"level":4000000000}"#] {
            assert_eq!(says(claims), Err(DenyReason::PermissionDenied), "{claims}");
        }
        assert!(says(r#"{"level":1}"#).unwrap().read_only);
        assert!(!says(r#"{"level":2}"#).unwrap().read_only);
        assert_eq!(says(r#"{"level":3}"#).unwrap().role.as_deref(), Some("owner"));
        for claims in [r#"{"level":"2"}"#, r#"{"level":-1}"#, r#"{"level":1.5}"#, r#"{"level":true}"#] {
            assert_eq!(says(claims), Err(invalid("level", "it must be a whole number from 0 on")), "{claims}");
        }
    }

    #[test]
    fn read_only_wins_over_every_level() {
        let both = says(r#"{"level":3,"read_only":true}"#).unwrap();
        assert!(both.read_only && both.role.is_some());
        assert!(says(r#"{"level":2,"read_only":"true"}"#).is_err());
    }

    #[test]
    fn a_token_for_one_database_opens_no_other() {
        for claims in [r#""database":"app""#, r#""database":["x","app"]"#, r#""x":1"#] {
            assert!(says(&format!("{{\"level\":2,{claims}}}")).is_ok(), "{claims}");
        }
        for claims in [r#""database":"APP""#, r#""database":[]"#, r#""database":"""#] {
            assert_eq!(says(&format!("{{\"level\":2,{claims}}}")), Err(DenyReason::DatabaseDenied), "{claims}");
        }
        assert!(says(r#"{"level":2,"database":["app",1]}"#).is_err());
        assert!(says(r#"{"level":2,"database":7}"#).is_err());
    }

    #[test]
    fn limits_stay_below_their_ceiling() {
        assert_eq!(says(r#"{"level":2,"max":3}"#).unwrap().max_connections, Some(3));
        assert_eq!(says(r#"{"level":2,"max":300}"#).unwrap().max_connections, Some(10));
        assert_eq!(says(r#"{"level":2}"#).unwrap().max_connections, Some(10));
        assert!(says(r#"{"level":2,"max":"3"}"#).is_err());
        assert!(says(r#"{"level":2,"pool_mode":"session"}"#).is_err());
        assert_eq!(says(r#"{"level":2,"pool_mode":"transaction"}"#).unwrap().pool_mode.as_deref(), Some("transaction"));
    }
}
