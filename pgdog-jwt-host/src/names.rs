//! What a start-up packet may say.

use pgdog_jwt_guard::{Policy, is_setting_name};

use crate::identity::Identity;

/// The bytes of a start-up packet, where a host took each for a character of its own (ISO 8859-1), as the text that they are.
/// `None`: they are no UTF-8.
pub fn decoded(latin: &str) -> Option<String> {
    let bytes = latin.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

/// Why a client's start-up parameter is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadParameter {
    /// It belongs to the session's identity, or to the guard.
    #[error("start-up parameter {0:?} is not the client's to choose")]
    Reserved(String),
    /// It is no name of a setting.
    #[error("start-up parameter {0:?} is not a valid name")]
    Name(String),
}

/// Judges a client's start-up parameters, those in `options` among them, besides user and database.
///
/// # Errors
/// The first that cannot be taken.
pub fn check_parameters<'p>(
    parameters: impl Iterator<Item = (&'p str, &'p str)>,
    identity: &Identity,
    policy: &Policy,
) -> Result<(), BadParameter> {
    for (name, value) in parameters {
        if !is_setting_name(name) {
            return Err(BadParameter::Name(name.to_owned()));
        }
        let is_reserved = name.eq_ignore_ascii_case("replication")
            || (identity.is_read_only() && name.eq_ignore_ascii_case("pgdog.role"))
            || identity.has_parameter(name)
            || policy.refused_startup_parameter(name, value).is_some();
        if is_reserved {
            return Err(BadParameter::Reserved(name.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use pgdog_jwt::AuthGrant;
    use pgdog_jwt_guard::{Account, GuardMode};

    use super::*;
    use crate::config::policy;
    use crate::tests::grant;

    #[test]
    fn bytes_are_read_as_the_text_that_they_are() {
        assert_eq!(decoded("alice").as_deref(), Some("alice"));
        assert_eq!(decoded("j\u{c3}\u{bc}rgen").as_deref(), Some("jürgen"));
        assert_eq!(decoded("\u{ff}"), None);
        assert_eq!(decoded("ü\u{100}"), None);
    }

    #[test]
    fn parameters_of_the_identity_are_refused() {
        let policy = policy(GuardMode::Strict, Account::Own, &["app.tenant".to_owned()], true);
        let settings = vec![("app.user".to_owned(), "x".to_owned())];
        let identity = Identity::new(&AuthGrant { settings, ..grant("alice") }, "gate", false, false);
        let check = |name, value| check_parameters([(name, value)].into_iter(), &identity, &policy).is_ok();
        assert!(check("application_name", "psql") && check("search_path", "x") && check("client_encoding", "UTF8"));
        for name in ["role", "ROLE", "session_authorization", "app.user", "app.tenant", "replication"] {
            assert!(!check(name, "x"), "{name}");
        }
        assert!(!check("standard_conforming_strings", "off") && !check("default_transaction_read_only", "off"));
        assert!(!check("x\" to 1; reset role; --", "1"));
    }
}
