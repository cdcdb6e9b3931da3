//! Which kind of token it is. An issuer signs ID tokens, refresh tokens, logout tokens, events and answers with one key; only
//! an access token that its bearer may use logs in (RFC 8725 sections 3.11 and 3.12). What a token says of its kind is
//! judged here, whether it stands in a JWT or in an issuer's answer about a token. One that does not say is told apart by
//! its audience.

use serde_json::Value;

use super::required;
use crate::claims::Claims;
use crate::config::{BoundTokens, Issuer, Wanted};
use crate::deny::DenyReason;

/// Values of `typ` in the header that access tokens have, unless `token_types` says otherwise: any JWT (RFC 7519 section
/// 5.1), any compact JWS (RFC 7515 section 4.1.9), an access token (RFC 9068 section 2.1).
const TYPES: [&str; 3] = ["JWT", "JOSE", "at+jwt"];

/// The claims in which issuers name the kind: Keycloak's word, that of Cognito and Hydra, and that of RFC 7662 section 2.2.
const KIND_CLAIMS: [&str; 3] = ["typ", "token_use", "token_type"];

/// What stands in them for an access token that its bearer may use.
const ACCESS_WORDS: [&str; 8] = [
    "Bearer",
    "access",
    "access_token",
    "JWT",
    "at+jwt",
    "application/at+jwt",
    "urn:ietf:params:oauth:token-type:access_token",
    "urn:ietf:params:oauth:token-type:jwt",
];

/// What stands in them for an access token that is bound to a key (RFC 9449 section 5; RFC 6749 section 7.1 has MAC, which
/// never came).
const BOUND_WORDS: [&str; 3] = ["DPoP", "PoP", "MAC"];

/// The claim of a security event token (RFC 8417 section 2.2), of which a logout token is one.
const EVENTS: &str = "events";

/// The claim with the key that the bearer has to show (RFC 7800 section 3.1), as in RFC 8705 and RFC 9449.
const CONFIRMATION: &str = "cnf";

/// Whether `typ` of the header is one that the issuer's access tokens have. It is a media type, which may be written with or
/// without its first part, in any case (RFC 7515 section 4.1.9).
pub(crate) fn check_type(typ: Option<&str>, issuer: &Issuer) -> Result<(), DenyReason> {
    let accepted = &issuer.token_types;
    let is_accepted = match typ {
        None => accepted.is_empty(),
        Some(typ) if accepted.is_empty() => TYPES.into_iter().any(|known| is_same_type(known, typ)),
        Some(typ) => accepted.iter().any(|accepted| is_same_type(accepted, typ)),
    };
    if is_accepted { Ok(()) } else { Err(DenyReason::TokenTypeDenied) }
}

fn is_same_type(one: &str, other: &str) -> bool {
    const APPLICATION: &str = "application/";
    fn bare(typ: &str) -> &str {
        match typ.split_at_checked(APPLICATION.len()) {
            Some((first, rest)) if first.eq_ignore_ascii_case(APPLICATION) => rest,
            _ => typ,
        }
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

/// Whether the claims are those of an access token that whoever bears it may use, as far as they say. A value that the
/// issuer's entry asks for in `required_claims` is one that it takes.
pub(crate) fn check_claims(claims: &Claims, issuer: &Issuer) -> Result<(), DenyReason> {
    let as_bearer = issuer.bound_tokens == BoundTokens::AsBearer;
    if is_bound(claims) && !as_bearer {
        return Err(DenyReason::BoundToken);
    }
    for name in KIND_CLAIMS {
        let Some(value) = claims.get(name).filter(|value| !is_asked_for(name, value, issuer)) else { continue };
        match value.as_str() {
            Some(word) if is_one_of(word, &ACCESS_WORDS) => {}
            Some(word) if is_one_of(word, &BOUND_WORDS) && as_bearer => {}
            Some(word) if is_one_of(word, &BOUND_WORDS) => return Err(DenyReason::BoundToken),
            _ => return Err(DenyReason::NotAccessToken(name)),
        }
    }
    match claims.get(EVENTS) {
        Some(value) if !is_asked_for(EVENTS, value, issuer) => Err(DenyReason::NotAccessToken(EVENTS)),
        _ => Ok(()),
    }
}

/// Whether the token is bound to a key.
pub(crate) fn is_bound(claims: &Claims) -> bool {
    claims.contains_key(CONFIRMATION)
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// Whether the issuer's entry names this very value.
fn is_asked_for(name: &str, value: &Value, issuer: &Issuer) -> bool {
    issuer.required_claims.iter().filter(|required| required.claim == name).any(|required| match &required.wanted {
        Wanted::OneOf(values) => values.contains(value),
        Wanted::Contains(values) => required::holds(value, values),
        Wanted::Present => false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::{KeySource, RequiredClaim};

    fn issuer(change: impl FnOnce(&mut Issuer)) -> Issuer {
        let mut issuer = Issuer::new(KeySource::None);
        change(&mut issuer);
        issuer
    }

    fn verdict(claims: Value, issuer: &Issuer) -> Result<(), &'static str> {
        check_claims(claims.as_object().unwrap(), issuer).map_err(|reason| reason.code())
    }

    #[test]
    fn a_type_is_a_media_type_in_any_spelling() {
        let accepted = issuer(|issuer| issuer.token_types = vec!["at+jwt".to_owned()]);
        for good in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/at+JWT"] {
            assert_eq!(check_type(Some(good), &accepted), Ok(()), "{good}");
        }
        for bad in [Some("JWT"), Some(""), Some("at+jwt "), Some("text/at+jwt"), Some("applicatioñ/x"), None] {
            assert_eq!(check_type(bad, &accepted), Err(DenyReason::TokenTypeDenied), "{bad:?}");
        }
        assert_eq!(check_type(None, &issuer(|_| {})), Ok(()));
        let spelled = issuer(|issuer| issuer.token_types = vec!["application/JWT".to_owned()]);
        assert_eq!(check_type(Some("jwt"), &spelled), Ok(()));
    }

    #[test]
    fn an_issuer_that_binds_everything_can_have_its_tokens_taken_and_only_those() {
        let as_bearer = issuer(|issuer| issuer.bound_tokens = BoundTokens::AsBearer);
        for bound in [
            json!({"cnf": {"jkt": "x"}}),
            json!({"cnf": {"x5t#S256": "x"}, "token_type": "Bearer"}),
            json!({"cnf": {"jkt": "x"}, "typ": "DPoP"}),
            json!({"token_type": "DPoP"}),
        ] {
            assert_eq!(verdict(bound.clone(), &as_bearer), Ok(()), "{bound}");
            assert_eq!(verdict(bound.clone(), &issuer(|_| {})), Err("bound_token"), "{bound}");
        }
        for other in [json!({"cnf": {}, "typ": "Refresh"}), json!({"events": {}}), json!({"token_use": "id"})] {
            assert!(verdict(other.clone(), &as_bearer).is_err(), "{other}");
        }
        assert_eq!(check_type(Some("dpop+jwt"), &as_bearer), Err(DenyReason::TokenTypeDenied), "the proof is no token");
    }

    #[test]
    fn what_the_entry_asks_for_by_its_value_is_taken() {
        let asking = |claim: &str, wanted: Wanted| {
            issuer(|issuer| issuer.required_claims = vec![RequiredClaim { claim: claim.to_owned(), wanted }])
        };
        let ids = asking("token_use", Wanted::OneOf(vec![json!("id")]));
        assert_eq!(verdict(json!({"token_use": "id"}), &ids), Ok(()));
        assert_eq!(verdict(json!({"token_use": "ID"}), &ids), Err("not_an_access_token"));
        assert_eq!(verdict(json!({"typ": "id"}), &ids), Err("not_an_access_token"));
        let lists = asking("events", Wanted::Contains(vec![json!("deploy")]));
        assert_eq!(verdict(json!({"events": ["deploy"]}), &lists), Ok(()));
        assert_eq!(verdict(json!({"events": {"deploy": {}}}), &lists), Err("not_an_access_token"));
        let any = asking("typ", Wanted::Present);
        assert_eq!(verdict(json!({"typ": "Refresh"}), &any), Err("not_an_access_token"));
        let bound = asking("cnf", Wanted::OneOf(vec![json!({"jkt": "x"})]));
        assert_eq!(verdict(json!({"cnf": {"jkt": "x"}}), &bound), Err("bound_token"));
    }
}
