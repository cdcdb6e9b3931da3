//! The groups that a token, or a userinfo answer, puts its subject in.

use std::time::SystemTime;

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::config::GroupSource;
use crate::decision::Groups;
use crate::deny::DenyReason;

/// What the token says. `None`: nobody wants to know, or it says nothing and the userinfo endpoint has to be asked.
pub(crate) fn said(claims: &Claims, source: Option<&GroupSource>) -> Result<Option<Groups>, DenyReason> {
    let Some(source) = source else {
        return Ok(None);
    };
    let names = match named(claims, &source.claim)? {
        Some(names) => names,
        None if source.userinfo.is_some() => return Ok(None),
        None => Vec::new(),
    };
    let as_of = claims::date(claims, "iat")?.and_then(|date| SystemTime::UNIX_EPOCH.checked_add(date));
    Ok(Some(Groups { names, as_of }))
}

/// The names in a claim: one string is one group, which may have any character in it. Anything else than strings is
/// refused as a whole: what is not understood must not count as less than it says, nor as more.
pub(crate) fn named(claims: &Claims, path: &str) -> Result<Option<Vec<String>>, DenyReason> {
    let invalid = || DenyReason::InvalidClaim(path.to_owned(), "it must be a string or a list of strings");
    match claims::find(claims, path) {
        None => Ok(None),
        Some(Value::String(name)) => Ok(Some(vec![name.clone()])),
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned).ok_or_else(invalid))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(invalid()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::UserinfoSource;
    use crate::json::parse_object;

    fn groups(text: &str, source: &GroupSource) -> Result<Option<Vec<String>>, &'static str> {
        let claims = parse_object(text.as_bytes()).unwrap();
        said(&claims, Some(source)).map(|groups| groups.map(|groups| groups.names)).map_err(|reason| reason.code())
    }

    #[test]
    fn groups_are_a_string_or_a_list_of_strings_by_path() {
        let source = GroupSource::new("realm.groups");
        assert_eq!(groups(r#"{"realm":{"groups":["a","b c"]}}"#, &source), Ok(Some(vec!["a".into(), "b c".into()])));
        assert_eq!(groups(r#"{"realm":{"groups":"a b"}}"#, &source), Ok(Some(vec!["a b".into()])));
        assert_eq!(groups(r#"{"realm":{"groups":[]}}"#, &source), Ok(Some(vec![])));
        for odd in ["1", "null", "true", "{}", "[1]", "[[\"a\"]]", "[\"a\", null]"] {
            assert_eq!(groups(&format!(r#"{{"realm.groups":{odd}}}"#), &source), Err("invalid_claim"), "{odd}");
        }
    }

    #[test]
    fn a_token_without_the_claim_has_no_groups_unless_somebody_else_can_say() {
        let mut source = GroupSource::new("groups");
        assert_eq!(groups("{}", &source), Ok(Some(vec![])));
        source.userinfo = Some(UserinfoSource::new("https://issuer.example/userinfo"));
        assert_eq!(groups("{}", &source), Ok(None));
        assert_eq!(groups(r#"{"groups":[]}"#, &source), Ok(Some(vec![])));
    }

    #[test]
    fn nobody_is_asked_for_what_nobody_wants_to_know() {
        let claims = parse_object(br#"{"groups":7}"#).unwrap();
        assert_eq!(said(&claims, None), Ok(None));
    }
}
