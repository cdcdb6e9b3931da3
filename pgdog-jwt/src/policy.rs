//! Whether a token whose signature is good is good *here* and *now*: issuer, kind, audience and times (RFC 7519 section 4.1),
//! the client that it was issued to, its scopes, and whatever else its issuer's entry asks for.

pub(crate) mod kind;
pub(crate) mod required;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::claims::{self, Claims};
use crate::config::Issuer;
use crate::deny::DenyReason;

/// Checks the claims against what the issuer's entry asks for. Returns the moment that `exp` names.
pub(crate) fn check(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<SystemTime, DenyReason> {
    check_issuer(claims, issuer)?;
    kind::check_claims(claims, issuer)?;
    check_audience(claims, &issuer.audiences)?;
    let expires_at = check_times(claims, issuer, now)?;
    required::check_client(claims, &issuer.clients)?;
    required::check_scopes(claims, &issuer.required_scopes)?;
    required::check_claims(claims, &issuer.required_claims)?;
    Ok(expires_at)
}

/// `iss` compared byte for byte: a trailing slash is a difference.
pub(crate) fn check_issuer(claims: &Claims, issuer: &Issuer) -> Result<(), DenyReason> {
    match (&issuer.issuer, claims::optional_string(claims, "iss")?) {
        (None, _) => Ok(()),
        (Some(expected), Some(actual)) if expected == actual => Ok(()),
        _ => Err(DenyReason::WrongIssuer),
    }
}

pub(crate) fn check_audience(claims: &Claims, accepted: &[String]) -> Result<(), DenyReason> {
    if accepted.is_empty() {
        return Ok(());
    }
    let invalid = || DenyReason::InvalidClaim("aud".to_owned(), "it must be a string or a list of strings");
    let names = match claims.get("aud") {
        None => return Err(DenyReason::MissingClaim("aud".to_owned())),
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => {
            names.iter().map(|name| name.as_str().ok_or_else(invalid)).collect::<Result<Vec<_>, _>>()?
        }
        Some(_) => return Err(invalid()),
    };
    if names.iter().any(|name| accepted.iter().any(|accepted| accepted == name)) {
        return Ok(());
    }
    let wanted: Vec<&str> = accepted.iter().map(String::as_str).collect();
    Err(DenyReason::WrongAudience { has: shown(&names, "and"), wanted: shown(&wanted, "or") })
}

/// Most names of a list that the log repeats, and most characters of each.
const SHOWN: usize = 3;
const LONGEST_SHOWN: usize = 80;

/// Names for the log: in quotes, escaped, shortened.
fn shown(names: &[&str], and: &str) -> String {
    let one = |name: &&str| {
        let start: String = name.chars().take(LONGEST_SHOWN).collect();
        if start.len() < name.len() { format!("{start:?}...") } else { format!("{start:?}") }
    };
    let listed: Vec<String> = names.iter().take(SHOWN).map(one).collect();
    match names.len().saturating_sub(SHOWN) {
        _ if names.is_empty() => "nobody".to_owned(),
        0 => listed.join(&format!(" {and} ")),
        more => format!("{} {and} {more} more", listed.join(", ")),
    }
}

/// All that is said of time. Returns the moment that `exp` names.
pub(crate) fn check_times(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<SystemTime, DenyReason> {
    let expiry = check_expiry(claims, issuer, now)?;
    check_not_before(claims, issuer, now)?;
    check_issued_at(claims, issuer, now)?;
    Ok(expiry)
}

/// What [`check_times`] says, and would say next if that were right.
pub(crate) fn wrong_times(claims: &Claims, issuer: &Issuer, now: SystemTime) -> impl Iterator<Item = DenyReason> {
    let reasons = [
        check_expiry(claims, issuer, now).err(),
        check_not_before(claims, issuer, now).err(),
        check_issued_at(claims, issuer, now).err(),
    ];
    reasons.into_iter().flatten()
}

/// The moment of expiry is already too late (RFC 7519 section 4.1.4: "on or after which").
fn check_expiry(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<SystemTime, DenyReason> {
    let expiry = claims::date(claims, "exp")?.ok_or_else(|| DenyReason::MissingClaim("exp".to_owned()))?;
    if since_1970(now) >= expiry.saturating_add(issuer.leeway) {
        return Err(DenyReason::Expired);
    }
    UNIX_EPOCH
        .checked_add(expiry)
        .ok_or_else(|| DenyReason::InvalidClaim("exp".to_owned(), "it is beyond what this machine can tell"))
}

fn check_not_before(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<(), DenyReason> {
    match claims::date(claims, "nbf")? {
        Some(date) if date > since_1970(now).saturating_add(issuer.earliness()) => Err(DenyReason::NotYetValid),
        _ => Ok(()),
    }
}

fn check_issued_at(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<(), DenyReason> {
    let now = since_1970(now);
    let issued = claims::date(claims, "iat")?;
    if issued.is_some_and(|date| date > now.saturating_add(issuer.earliness())) {
        return Err(DenyReason::IssuedInFuture);
    }
    if let Some(age) = issuer.max_token_age {
        let issued = issued.ok_or_else(|| DenyReason::MissingClaim("iat".to_owned()))?;
        if now > issued.saturating_add(age).saturating_add(issuer.leeway) {
            return Err(DenyReason::TooOld);
        }
    }
    Ok(())
}

/// A clock before 1970 shows 1970.
fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod clock_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KeySource;
    use crate::json::parse_object;

    const NOW: u64 = 1_700_000_000;

    fn issuer(change: impl FnOnce(&mut Issuer)) -> Issuer {
        let mut issuer = Issuer::new(KeySource::PemFiles(Vec::new()));
        change(&mut issuer);
        issuer
    }

    fn verdict(claims: &str, issuer: &Issuer) -> Result<SystemTime, DenyReason> {
        check(&parse_object(claims.as_bytes()).unwrap(), issuer, UNIX_EPOCH + Duration::from_secs(NOW))
    }

    fn with_exp(claims: &str) -> String {
        format!("{{\"exp\":{},{claims}}}", NOW + 60)
    }

    #[test]
    fn the_second_of_expiry_is_too_late() {
        let issuer = issuer(|_| {});
        assert_eq!(verdict(&format!("{{\"exp\":{NOW}}}"), &issuer), Err(DenyReason::Expired));
        assert!(verdict(&format!("{{\"exp\":{NOW}.001}}"), &issuer).is_ok());
        assert_eq!(
            verdict(&format!("{{\"exp\":{}}}", NOW + 1), &issuer),
            Ok(UNIX_EPOCH + Duration::from_secs(NOW + 1))
        );
        assert_eq!(verdict("{}", &issuer), Err(DenyReason::MissingClaim("exp".to_owned())));
        assert_eq!(verdict("{\"exp\":null}", &issuer).unwrap_err().code(), "invalid_claim");
    }

    #[test]
    fn the_future_is_refused() {
        let issuer = issuer(|i| i.early_leeway = Duration::ZERO);
        assert_eq!(verdict(&with_exp(&format!("\"nbf\":{}", NOW + 1)), &issuer), Err(DenyReason::NotYetValid));
        assert_eq!(verdict(&with_exp(&format!("\"iat\":{}", NOW + 1)), &issuer), Err(DenyReason::IssuedInFuture));
        assert!(verdict(&with_exp(&format!("\"nbf\":{NOW},\"iat\":{NOW}")), &issuer).is_ok());
        for odd in ["\"nbf\":\"x\"", "\"iat\":-1"] {
            assert_eq!(verdict(&with_exp(odd), &issuer).unwrap_err().code(), "invalid_claim", "{odd}");
        }
    }

    /// Issuers round up, write fractions, and have clocks that are ahead.
    #[test]
    fn a_token_may_be_a_little_younger_than_now_and_no_older_than_its_end() {
        let usual = issuer(|_| {});
        for claim in ["iat", "nbf"] {
            for good in [format!("{}", NOW + 1), format!("{}.3", NOW), format!("{}", NOW + 5)] {
                assert!(verdict(&with_exp(&format!("\"{claim}\":{good}")), &usual).is_ok(), "{claim} {good}");
            }
            let beyond = verdict(&with_exp(&format!("\"{claim}\":{}.001", NOW + 5)), &usual).unwrap_err();
            assert!(beyond.to_string().contains("early_leeway"), "{beyond}");
        }
        assert_eq!(verdict(&format!("{{\"exp\":{NOW},\"iat\":{}}}", NOW + 5), &usual), Err(DenyReason::Expired));
        let wide = issuer(|i| (i.leeway, i.early_leeway) = (Duration::from_secs(10), Duration::ZERO));
        assert!(verdict(&with_exp(&format!("\"iat\":{}", NOW + 10)), &wide).is_ok());
    }

    #[test]
    fn the_greatest_age_counts_from_the_moment_of_issue() {
        let strict = issuer(|i| i.max_token_age = Some(Duration::from_secs(60)));
        assert!(verdict(&with_exp(&format!("\"iat\":{}", NOW - 60)), &strict).is_ok());
        assert_eq!(verdict(&with_exp(&format!("\"iat\":{}", NOW - 61)), &strict), Err(DenyReason::TooOld));
    }

    #[test]
    fn leeway_widens_every_time_and_cannot_overflow() {
        let generous = issuer(|i| i.leeway = Duration::from_secs(10));
        assert!(verdict(&format!("{{\"exp\":{}}}", NOW - 9), &generous).is_ok());
        assert_eq!(verdict(&format!("{{\"exp\":{}}}", NOW - 10), &generous), Err(DenyReason::Expired));
        assert!(verdict(&with_exp(&format!("\"nbf\":{0},\"iat\":{0}", NOW + 10)), &generous).is_ok());
        assert!(verdict(&with_exp("\"nbf\":1"), &issuer(|i| i.leeway = Duration::MAX)).is_ok());
    }

    #[test]
    fn an_old_token_is_refused_however_long_it_lives() {
        let issuer = issuer(|i| (i.max_token_age, i.leeway) = (Some(Duration::from_secs(60)), Duration::from_secs(5)));
        assert!(verdict(&with_exp(&format!("\"iat\":{}", NOW - 65)), &issuer).is_ok());
        assert_eq!(verdict(&with_exp(&format!("\"iat\":{}", NOW - 66)), &issuer), Err(DenyReason::TooOld));
        assert_eq!(verdict(&with_exp("\"x\":1"), &issuer), Err(DenyReason::MissingClaim("iat".to_owned())));
    }

    #[test]
    fn one_audience_of_several_is_enough() {
        let issuer = issuer(|i| i.audiences = vec!["db".to_owned(), "pg".to_owned()]);
        for good in [r#""aud":"db""#, r#""aud":["x","pg"]"#] {
            assert!(verdict(&with_exp(good), &issuer).is_ok(), "{good}");
        }
        for wrong in [r#""aud":"DB""#, r#""aud":"db ""#, r#""aud":[]"#, r#""aud":["x"]"#, r#""aud":"""#] {
            assert_eq!(verdict(&with_exp(wrong), &issuer).unwrap_err().code(), "wrong_audience", "{wrong}");
        }
        for odd in [r#""aud":1"#, r#""aud":["db",1]"#, r#""aud":{"db":"db"}"#, r#""aud":[["db"]]"#, r#""aud":null"#] {
            let refused = verdict(&with_exp(odd), &issuer).unwrap_err();
            assert_eq!(refused.code(), "invalid_claim", "{odd}");
            assert!(refused.to_string().ends_with("\"aud\" is not usable: it must be a string or a list of strings"));
        }
        assert_eq!(verdict(&with_exp("\"x\":1"), &issuer), Err(DenyReason::MissingClaim("aud".to_owned())));
    }

    #[test]
    fn a_wrong_audience_is_named_beside_the_right_one() {
        let issuer = issuer(|i| i.audiences = vec!["db".to_owned(), "pg".to_owned()]);
        let long = "x".repeat(200);
        for (audience, has) in [
            (r#""other""#.to_owned(), r#""other""#.to_owned()),
            (r#"["a","b"]"#.to_owned(), r#""a" and "b""#.to_owned()),
            (r#"["a","b","c","d","e"]"#.to_owned(), r#""a", "b", "c" and 2 more"#.to_owned()),
            ("[]".to_owned(), "nobody".to_owned()),
            (r#""a\nb\u001b[0m\"""#.to_owned(), r#""a\nb\u{1b}[0m\"""#.to_owned()),
            (format!("\"{long}\""), format!("\"{}\"...", "x".repeat(80))),
        ] {
            let refused = verdict(&with_exp(&format!("\"aud\":{audience}")), &issuer).unwrap_err().to_string();
            let expected =
                format!(r#"the token is for another audience: it is for {has}, and must be for "db" or "pg""#);
            assert_eq!(refused, expected);
        }
    }

    #[test]
    fn the_issuer_is_compared_byte_for_byte() {
        let issuer = issuer(|i| i.issuer = Some("https://id.example/".to_owned()));
        assert!(verdict(&with_exp(r#""iss":"https://id.example/""#), &issuer).is_ok());
        for wrong in [r#""iss":"https://id.example""#, r#""iss":"HTTPS://id.example/""#, r#""x":1"#] {
            assert_eq!(verdict(&with_exp(wrong), &issuer), Err(DenyReason::WrongIssuer), "{wrong}");
        }
    }
}
