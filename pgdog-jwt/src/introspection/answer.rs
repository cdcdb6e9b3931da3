//! What an issuer's answer about a token says (RFC 7662 section 2.2), read strictly: whatever is not plainly "active, an
//! access token that its bearer may use" is not.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::deny::DenyReason;
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

/// Whether the token is one that whoever bears it may use. Issuers answer about refresh tokens as well, whatever
/// `token_type_hint` says; a token with `cnf` or of another type asks for a proof that this login has no place for.
pub(crate) fn check_use(claims: &Claims) -> Result<(), DenyReason> {
    let is_one_of = |name: &str, accepted: &[&str]| match claims::optional_string(claims, name)? {
        Some(word) if !accepted.iter().any(|accepted| word.eq_ignore_ascii_case(accepted)) => {
            Err(DenyReason::InvalidClaim(name.to_owned()))
        }
        _ => Ok(()),
    };
    is_one_of("token_type", &["Bearer", "access_token"])?;
    is_one_of("token_use", &["access", "access_token"])?;
    // Keycloak's word for the kind of token.
    is_one_of("typ", &["Bearer", "JWT", "at+jwt", "application/at+jwt"])?;
    match claims.contains_key("cnf") {
        true => Err(DenyReason::InvalidClaim("cnf".to_owned())),
        false => Ok(()),
    }
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

    #[test]
    fn only_access_tokens_for_their_bearer_are_used() {
        let verdict = |text: &str| check_use(&parse_object(text.as_bytes()).unwrap());
        for good in [
            "{}",
            r#"{"token_type":"bearer"}"#,
            r#"{"token_type":"Bearer","typ":"Bearer"}"#,
            r#"{"token_use":"access_token"}"#,
        ] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
        for bad in [
            r#"{"token_type":"DPoP"}"#,
            r#"{"token_type":"refresh_token"}"#,
            r#"{"token_type":7}"#,
            r#"{"token_use":"refresh_token"}"#,
            r#"{"token_use":"id"}"#,
            r#"{"typ":"Refresh"}"#,
            r#"{"typ":"ID"}"#,
            r#"{"cnf":{"jkt":"x"}}"#,
        ] {
            assert!(matches!(verdict(bad), Err(DenyReason::InvalidClaim(_))), "{bad}");
        }
    }
}
