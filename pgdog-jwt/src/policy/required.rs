//! What an issuer's entry asks of tokens beyond RFC 7519: to whom they were issued, for what, and with which claims.

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::config::{RequiredClaim, Wanted};
use crate::deny::DenyReason;

/// The claims that name the client that a token was issued to.
const CLIENT_CLAIMS: [&str; 2] = ["azp", "client_id"];
/// The claims that hold scopes: the standard's, and the one that some issuers use in its place.
const SCOPE_CLAIMS: [&str; 2] = ["scope", "scp"];

/// Each claim that names a client must name one of these, and one of them must be there.
pub(crate) fn check_client(claims: &Claims, accepted: &[String]) -> Result<(), DenyReason> {
    if accepted.is_empty() {
        return Ok(());
    }
    let mut found = false;
    for name in CLIENT_CLAIMS {
        if let Some(client) = claims::optional_string(claims, name)? {
            if !accepted.iter().any(|accepted| accepted == client) {
                return Err(DenyReason::ClientDenied);
            }
            found = true;
        }
    }
    if found { Ok(()) } else { Err(DenyReason::MissingClaim(CLIENT_CLAIMS[0].to_owned())) }
}

/// All of them must be there.
pub(crate) fn check_scopes(claims: &Claims, required: &[String]) -> Result<(), DenyReason> {
    if required.is_empty() {
        return Ok(());
    }
    let scopes: Vec<&str> = SCOPE_CLAIMS.iter().flat_map(|name| claims::strings(claims, name)).collect();
    match required.iter().find(|scope| !scopes.contains(&scope.as_str())) {
        None => Ok(()),
        Some(missing) => Err(DenyReason::MissingScope(missing.clone())),
    }
}

/// All of them must be as they are wanted.
pub(crate) fn check_claims(claims: &Claims, required: &[RequiredClaim]) -> Result<(), DenyReason> {
    for RequiredClaim { claim, wanted } in required {
        let value = claims::find(claims, claim).filter(|value| !value.is_null());
        let value = value.ok_or_else(|| DenyReason::MissingClaim(claim.clone()))?;
        let fits = match wanted {
            Wanted::Present => true,
            Wanted::OneOf(values) => values.contains(value),
            Wanted::Contains(values) => holds(value, values),
        };
        if !fits {
            return Err(DenyReason::ClaimMismatch(claim.clone()));
        }
    }
    Ok(())
}

/// Whether it is a list that holds one of these values.
pub(super) fn holds(value: &Value, wanted: &[Value]) -> bool {
    value.as_array().is_some_and(|list| list.iter().any(|entry| wanted.contains(entry)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::json::parse_object;

    fn claims(text: &str) -> Claims {
        parse_object(text.as_bytes()).unwrap()
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn every_client_that_a_token_names_must_be_known() {
        let accepted = strings(&["app", "tool"]);
        for good in [r#"{"azp":"app"}"#, r#"{"client_id":"tool"}"#, r#"{"azp":"app","client_id":"tool"}"#] {
            assert_eq!(check_client(&claims(good), &accepted), Ok(()), "{good}");
        }
        for bad in [r#"{"azp":"other"}"#, r#"{"azp":"app","client_id":"other"}"#, r#"{"azp":"APP"}"#, r#"{"azp":""}"#] {
            assert_eq!(check_client(&claims(bad), &accepted), Err(DenyReason::ClientDenied), "{bad}");
        }
        assert_eq!(check_client(&claims("{}"), &accepted).unwrap_err().code(), "missing_claim");
        assert_eq!(check_client(&claims(r#"{"azp":["app"]}"#), &accepted).unwrap_err().code(), "invalid_claim");
        assert_eq!(check_client(&claims("{}"), &[]), Ok(()));
    }

    #[test]
    fn all_scopes_must_be_there_in_either_claim() {
        let required = strings(&["db", "db.read"]);
        for good in [
            r#"{"scope":"openid db db.read"}"#,
            r#"{"scp":["db.read","db"]}"#,
            r#"{"scp":"db db.read"}"#,
            r#"{"scope":"db","scp":["db.read"]}"#,
        ] {
            assert_eq!(check_scopes(&claims(good), &required), Ok(()), "{good}");
        }
        for bad in
            [r#"{"scope":"db"}"#, r#"{"scope":"db db.reader"}"#, r#"{"scope":"DB DB.READ"}"#, r#"{"scope":7}"#, "{}"]
        {
            assert_eq!(check_scopes(&claims(bad), &required).unwrap_err().code(), "missing_scope", "{bad}");
        }
    }

    #[test]
    fn a_required_claim_is_compared_with_its_type() {
        let check = |text: &str, claim: &str, wanted: Wanted| {
            check_claims(&claims(text), &[RequiredClaim { claim: claim.to_owned(), wanted }]).map_err(|e| e.code())
        };
        let is = |values: &[Value]| Wanted::OneOf(values.to_vec());
        assert_eq!(check(r#"{"email_verified":true}"#, "email_verified", is(&[json!(true)])), Ok(()));
        for no in [r#"{"email_verified":"true"}"#, r#"{"email_verified":1}"#, r#"{"email_verified":false}"#] {
            assert_eq!(check(no, "email_verified", is(&[json!(true)])), Err("claim_mismatch"), "{no}");
        }
        assert_eq!(check(r#"{"hd":"b"}"#, "hd", is(&[json!("a"), json!("b")])), Ok(()));
        assert_eq!(check(r#"{"hd":["b"]}"#, "hd", is(&[json!("b")])), Err("claim_mismatch"));
        assert_eq!(check(r#"{"a":{"b":7}}"#, "a.b", is(&[json!(7)])), Ok(()));
        assert_eq!(check(r#"{"a":null}"#, "a", Wanted::Present), Err("missing_claim"));
        assert_eq!(check(r#"{"a":""}"#, "a", Wanted::Present), Ok(()));
        let holds = |values: &[Value]| Wanted::Contains(values.to_vec());
        assert_eq!(check(r#"{"groups":["x","db"]}"#, "groups", holds(&[json!("db")])), Ok(()));
        for no in [r#"{"groups":"db"}"#, r#"{"groups":["dba"]}"#, r#"{"groups":[["db"]]}"#, r#"{"groups":{"db":1}}"#] {
            assert_eq!(check(no, "groups", holds(&[json!("db")])), Err("claim_mismatch"), "{no}");
        }
    }
}
