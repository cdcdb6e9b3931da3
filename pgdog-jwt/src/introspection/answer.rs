//! What an issuer's answer about a token says (RFC 7662 section 2.2), read strictly: whatever is not plainly
//! "active" is not. Which kind of token it is, `policy::kind` judges.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::claims::Claims;
use crate::json::parse_object;

/// The claims of an active token; `None`: it is not active. An error is an answer that is none.
pub(super) fn read(body: &[u8]) -> Result<Option<Claims>, &'static str> {
    let mut said = parse_object(body).ok_or("the answer is not a JSON object")?;
    match said.remove("active") {
        Some(Value::Bool(true)) => Ok(Some(said)),
        Some(Value::Bool(false)) => Ok(None),
        _ => Err("\"active\" in the answer is neither true nor false"),
    }
}

/// The answer as the claims of a token of this issuer. An issuer that does not repeat its name has said it by answering;
/// one that gives no `exp` leaves that to the configuration, and without it the token is refused for the missing `exp`.
pub(super) fn complete(mut said: Claims, issuer: Option<&str>, max_age: Option<Duration>, now: SystemTime) -> Claims {
    if let (Some(name), false) = (issuer, said.contains_key("iss")) {
        said.insert("iss".to_owned(), Value::from(name));
    }
    if let (Some(max_age), false) = (max_age, said.contains_key("exp")) {
        let end = now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(max_age);
        said.insert("exp".to_owned(), Value::from(end.as_secs()));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn active_must_be_true_and_nothing_like_it() {
        assert!(matches!(read(br#"{"active":true,"sub":"alice"}"#), Ok(Some(claims)) if claims["sub"] == "alice"));
        assert!(matches!(read(br#"{"active":false,"sub":"alice"}"#), Ok(None)));
        for lie in [
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"active":[true]}"#,
            r#"{"sub":"alice"}"#,
            r#"{"active":false,"active":true}"#,
            r#"[{"active":true}]"#,
            "true",
            "",
        ] {
            assert!(read(lie.as_bytes()).is_err(), "{lie}");
        }
    }

    #[test]
    fn what_the_issuer_leaves_out_is_its_name_and_the_life_that_was_configured() {
        let issuer = Some("https://id.example");
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let said = |text: &str, max_age| {
            Value::Object(complete(parse_object(text.as_bytes()).unwrap(), issuer, max_age, now)).to_string()
        };
        assert_eq!(said("{}", None), r#"{"iss":"https://id.example"}"#);
        let minute = Some(Duration::from_secs(60));
        assert_eq!(said("{}", minute), r#"{"exp":1060,"iss":"https://id.example"}"#);
        let own = r#"{"exp":"x","iss":"https://other.example"}"#;
        assert_eq!(said(own, minute), own);
    }
}
