//! Reading single claims: by name or path, with the type that the claim must have.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use crate::deny::DenyReason;

/// The claims of one token.
pub(crate) type Claims = Map<String, Value>;

/// The last second of the year 9999. A later date is a mistake (milliseconds, for instance), and a token that lives
/// until then was never meant to expire.
pub(crate) const LAST_DATE: Duration = Duration::from_secs(253_402_300_799);

/// Finds a claim by `path`: the exact name first, so that names with dots or slashes can be written as they are; then
/// the longest beginning, up to a dot, that names an object, and the rest inside it.
pub(crate) fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    path.rmatch_indices('.').find_map(|(dot, _)| match claims.get(&path[..dot]) {
        Some(Value::Object(inner)) => find(inner, &path[dot + 1..]),
        _ => None,
    })
}

/// A claim that must be a non-empty string.
pub(crate) fn required_string<'a>(claims: &'a Claims, path: &str) -> Result<&'a str, DenyReason> {
    match find(claims, path) {
        None => Err(DenyReason::MissingClaim(path.to_owned())),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) => Err(DenyReason::InvalidClaim(path.to_owned(), "it is an empty string")),
        Some(_) => Err(DenyReason::InvalidClaim(path.to_owned(), "it must be a string")),
    }
}

/// A claim that may be missing and else must be a string.
pub(crate) fn optional_string<'a>(claims: &'a Claims, name: &str) -> Result<Option<&'a str>, DenyReason> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(DenyReason::InvalidClaim(name.to_owned(), "it must be a string")),
    }
}

/// The strings that a claim holds: itself, those of a list, or the words of a `scope` (RFC 8693 section 4.2; `scp` is
/// Microsoft's name for it). Whatever is no string is nothing.
pub(crate) fn strings<'a>(claims: &'a Claims, path: &str) -> Vec<&'a str> {
    let is_scope = matches!(path.rsplit('.').next(), Some("scope" | "scp"));
    match find(claims, path) {
        Some(Value::String(text)) if is_scope => text.split(' ').filter(|word| !word.is_empty()).collect(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A NumericDate (RFC 7519 section 2): seconds since 1970, fractions allowed.
pub(crate) fn date(claims: &Claims, name: &str) -> Result<Option<Duration>, DenyReason> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let date = match value.as_u64() {
        Some(seconds) => Some(Duration::from_secs(seconds)),
        None => value.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
    };
    let problem = match date {
        Some(date) if date <= LAST_DATE => return Ok(Some(date)),
        Some(_) => "it is beyond the year 9999; dates are seconds since 1970, not milliseconds",
        None if value.is_string() => "it is text, and a date is a number of seconds",
        None => "it is no number of seconds since 1970",
    };
    Err(DenyReason::InvalidClaim(name.to_owned(), problem))
}

/// The same, as a moment.
pub(crate) fn moment(claims: &Claims, name: &str) -> Result<Option<SystemTime>, DenyReason> {
    Ok(date(claims, name)?.and_then(|date| UNIX_EPOCH.checked_add(date)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse_object;

    fn claims(text: &str) -> Claims {
        parse_object(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_exact_name_comes_before_a_path() {
        let both = claims(r#"{"a.b":"exact","a":{"b":"nested"}}"#);
        assert_eq!(required_string(&both, "a.b").unwrap(), "exact");
    }

    #[test]
    fn a_path_walks_into_objects() {
        let claims = claims(
            r#"{"realm_access":{"user":"alice","x.y":{"z":"deep"}},
                "https://example.com/user":"bob","https://example.com/claims":{"user":"carol"}}"#,
        );
        assert_eq!(required_string(&claims, "realm_access.user").unwrap(), "alice");
        assert_eq!(required_string(&claims, "realm_access.x.y.z").unwrap(), "deep");
        assert_eq!(required_string(&claims, "https://example.com/user").unwrap(), "bob");
        assert_eq!(required_string(&claims, "https://example.com/claims.user").unwrap(), "carol");
    }

    #[test]
    fn a_user_must_be_a_string_with_something_in_it() {
        let claims = claims(r#"{"a":"","b":1,"c":["x"],"d":null,"e":{"f":true}}"#);
        for path in ["a", "b", "c", "d", "e", "e.f"] {
            let why = if path == "a" { "it is an empty string" } else { "it must be a string" };
            assert_eq!(required_string(&claims, path), Err(DenyReason::InvalidClaim(path.to_owned(), why)));
        }
        for path in ["z", "e.z", "a.b", ".", "..", "e."] {
            assert_eq!(required_string(&claims, path), Err(DenyReason::MissingClaim(path.to_owned())));
        }
    }

    #[test]
    fn a_claim_may_hold_one_string_or_several() {
        let claims = claims(
            r#"{"one":"a b","many":["a",1,null,["x"],{"y":"z"},"b c"],"scope":"a  b ","in":{"scp":"c d"},
                "https://example.com/roles":["e"],"none":7,"object":{"a":"b"}}"#,
        );
        assert_eq!(strings(&claims, "one"), ["a b"]);
        assert_eq!(strings(&claims, "many"), ["a", "b c"]);
        assert_eq!(strings(&claims, "scope"), ["a", "b"]);
        assert_eq!(strings(&claims, "in.scp"), ["c", "d"]);
        assert_eq!(strings(&claims, "https://example.com/roles"), ["e"]);
        for path in ["none", "object", "missing", ""] {
            assert!(strings(&claims, path).is_empty(), "{path}");
        }
    }

    #[test]
    fn dates_may_have_fractions() {
        let claims = claims(r#"{"a":1700000000,"b":1700000000.25,"c":1.7e9,"d":0}"#);
        assert_eq!(date(&claims, "a").unwrap(), Some(Duration::from_secs(1_700_000_000)));
        assert_eq!(date(&claims, "b").unwrap(), Some(Duration::new(1_700_000_000, 250_000_000)));
        assert_eq!(date(&claims, "c").unwrap(), Some(Duration::from_secs(1_700_000_000)));
        assert_eq!(date(&claims, "d").unwrap(), Some(Duration::ZERO));
        assert_eq!(date(&claims, "z").unwrap(), None);
    }

    #[test]
    fn absurd_dates_are_refused() {
        for value in [
            "-1",
            "-0.5",
            "1700000000000",
            "18446744073709551615",
            "18446744073709551616",
            "1e300",
            "\"1700000000\"",
            "null",
            "true",
            "[1]",
        ] {
            let claims = claims(&format!("{{\"exp\":{value}}}"));
            let refused = date(&claims, "exp").unwrap_err();
            assert!(matches!(&refused, DenyReason::InvalidClaim(name, _) if name == "exp"), "{value}: {refused}");
            assert_eq!(refused.code(), "invalid_claim");
        }
    }

    #[test]
    fn a_date_that_is_none_says_why() {
        for (value, why) in [("1700000000000", "milliseconds"), ("\"1700000000\"", "text"), ("null", "no number")] {
            let refused = date(&claims(&format!("{{\"exp\":{value}}}")), "exp").unwrap_err();
            assert!(refused.to_string().contains(why), "{refused}");
        }
    }
}
