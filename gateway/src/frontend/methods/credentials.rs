//! What is known of a user's passwords. Nothing here shows them (S5).

use std::fmt;
use std::sync::{LazyLock, OnceLock};

use aws_lc_rs::hmac;

use super::Method;
use super::verifier::Verifier;

/// A password or a token. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Vec<u8>);

impl Secret {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// One password, as it is stored.
pub(super) enum Stored {
    Plain(Secret),
    /// 32 lower-case hexadecimal digits: MD5 of password and user name.
    Md5(String),
    Scram(Verifier),
}

/// The passwords that one user may log in with; several while one replaces another.
///
/// Belongs to one user name: what SCRAM derives from plain passwords is kept here, because it takes milliseconds.
#[derive(Default)]
pub(crate) struct Candidates {
    stored: Vec<Stored>,
    scram: OnceLock<Vec<Verifier>>,
}

/// A stored hash that is neither `md5…` nor `SCRAM-SHA-256$…`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a password hash of PostgreSQL (SCRAM-SHA-256$… or md5…)")]
pub(crate) struct HashError;

impl Candidates {
    /// Nobody's passwords: for users who do not exist.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// Adds a password. Text that looks like a hash is a password here.
    #[must_use]
    pub(crate) fn with_password(mut self, password: &str) -> Self {
        self.stored.push(Stored::Plain(Secret::new(password)));
        self.scram = OnceLock::new();
        self
    }

    /// Adds a hash as `pg_authid` has it.
    pub(crate) fn with_hash(mut self, hash: &str) -> Result<Self, HashError> {
        let stored = match hash.strip_prefix("md5") {
            Some(digits) if digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Stored::Md5(digits.to_ascii_lowercase())
            }
            _ => Stored::Scram(Verifier::parse(hash).ok_or(HashError)?),
        };
        self.stored.push(stored);
        self.scram = OnceLock::new();
        Ok(self)
    }

    /// What looks like these to a client and lets nobody in, whatever it knows.
    pub(in crate::frontend) fn barred(&self, method: Method, user: &str) -> Self {
        if method != Method::Scram && !(method == Method::Md5 && self.only_scram()) {
            return Self::none();
        }
        let model = self.scram(user).first();
        Self { stored: model.map(|model| Stored::Scram(model.of_nobody())).into_iter().collect(), ..Self::default() }
    }

    pub(super) fn stored(&self) -> &[Stored] {
        &self.stored
    }

    pub(in crate::frontend) fn only_scram(&self) -> bool {
        let mut stored = self.stored.iter();
        !self.stored.is_empty() && stored.all(|stored| matches!(stored, Stored::Scram(_)))
    }

    /// What a SCRAM exchange is compared with: never empty, and all of one salt and iteration count, because the
    /// exchange has room for one of each. A stored verifier decides which; plain passwords follow it, and further
    /// verifiers with another salt cannot be used. When nothing can be, a verifier that nothing satisfies stands in.
    pub(super) fn scram(&self, user: &str) -> &[Verifier] {
        self.scram.get_or_init(|| {
            let leader = self.stored.iter().find_map(|stored| match stored {
                Stored::Scram(verifier) => Some(verifier.clone()),
                _ => None,
            });
            let model = leader.unwrap_or_else(|| Verifier::unsatisfiable(salt(user)));
            let mut verifiers: Vec<_> = self
                .stored
                .iter()
                .filter_map(|stored| match stored {
                    Stored::Plain(password) => Some(model.derive_alike(password.as_bytes())),
                    Stored::Scram(verifier) if verifier.is_alike(&model) => Some(verifier.clone()),
                    Stored::Scram(_) | Stored::Md5(_) => None,
                })
                .collect();
            if verifiers.is_empty() {
                verifiers.push(model);
            }
            verifiers
        })
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Candidates({})", self.stored.len())
    }
}

/// The salt of a user without a stored one, made from the name by a key that lives as long as the process. Users with a
/// plain password and users who do not exist get theirs alike, so the salt does not tell who exists.
fn salt(user: &str) -> Vec<u8> {
    static KEY: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()));
    let tag = hmac::sign(&KEY, user.as_bytes());
    tag.as_ref().iter().copied().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_prints_a_password() {
        let candidates = Candidates::none().with_password("hunter2");
        let text = format!("{candidates:?} {:?}", Secret::new("hunter2"));
        assert_eq!(text, "Candidates(1) Secret(..)");
    }

    #[test]
    fn hashes_are_told_from_nonsense() {
        let none = Candidates::none;
        assert!(none().with_hash("md5c9d5b5fd1d4e0e8b2c4bb0b9c4d9d3a1").is_ok());
        assert!(none().with_hash("md5short").is_err());
        assert!(none().with_hash("SCRAM-SHA-256$4096:x").is_err());
        assert!(none().with_hash("hunter2").is_err());
    }

    #[test]
    fn a_salt_does_not_tell_who_exists() {
        let known = Candidates::none().with_password("hunter2");
        let unknown = Candidates::none();
        assert!(known.scram("alice")[0].is_alike(&unknown.scram("alice")[0]));
        assert!(!known.scram("alice")[0].is_alike(&Candidates::none().scram("bob")[0]));
    }

    #[test]
    fn barred_candidates_look_like_the_real_ones_and_are_nobodys() {
        let verifier = Verifier::unsatisfiable(b"stored salt".to_vec()).derive_alike(b"hunter2");
        let stored = Candidates::none().with_hash(&verifier.to_string()).unwrap();
        for method in [Method::Scram, Method::Md5] {
            let barred = stored.barred(method, "alice");
            assert!(barred.only_scram() && barred.scram("alice")[0].is_alike(&verifier));
            assert!(!bool::from(barred.scram("alice")[0].is_of(b"hunter2")));
        }
        let plain = Candidates::none().with_password("hunter2");
        assert!(plain.barred(Method::Scram, "alice").scram("alice")[0].is_alike(&plain.scram("alice")[0]));
        for method in [Method::Md5, Method::Plain] {
            let barred = plain.barred(method, "alice");
            assert!(barred.stored().is_empty() && !barred.only_scram());
        }
    }

    #[test]
    fn a_stored_verifier_lends_its_salt_to_plain_passwords() {
        let verifier = Verifier::unsatisfiable(b"stored salt".to_vec());
        let mixed = Candidates::none().with_password("hunter2").with_hash(&verifier.to_string()).unwrap();
        let verifiers = mixed.scram("alice");
        assert_eq!(verifiers.len(), 2);
        assert!(verifiers.iter().all(|other| other.is_alike(&verifier)));
    }
}
