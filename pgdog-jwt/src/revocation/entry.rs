//! What can be revoked, and what a token shows of itself to be compared with that.

use std::time::SystemTime;

use crate::claims;

/// Whose tokens are meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// One token, by its `jti`.
    Token(String),
    /// Every token of a subject: `sub`, or the username claim where there is none.
    Subject(String),
    /// Every token, of one issuer or issued before a moment.
    All,
}

/// One entry of the list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Revocation {
    target: Target,
    issuer: Option<String>,
    issued_before: Option<SystemTime>,
    expires_at: Option<SystemTime>,
}

/// Why something cannot be an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// It would be every token for ever.
    #[error("it names no token, no subject, no issuer and no moment of issue")]
    Everything,
    /// A token was issued once.
    #[error("a token id and a moment of issue do not go together")]
    TokenIssuedBefore,
    /// A name without a letter.
    #[error("a token id, a subject or an issuer is empty")]
    EmptyName,
    /// Not to be written down.
    #[error("a moment is before 1970 or beyond the year 9999")]
    Moment,
}

impl Revocation {
    /// Revokes `target`: only of `issuer` (the value of `iss`), only what was issued before a moment, and only until
    /// `expires_at`, after which all such tokens have expired.
    ///
    /// # Errors
    /// What does not go together.
    pub fn new(
        target: Target,
        issuer: Option<String>,
        issued_before: Option<SystemTime>,
        expires_at: Option<SystemTime>,
    ) -> Result<Self, RevocationError> {
        let is_empty = |name: &String| name.is_empty();
        match &target {
            Target::Token(id) | Target::Subject(id) if is_empty(id) => return Err(RevocationError::EmptyName),
            Target::Token(_) if issued_before.is_some() => return Err(RevocationError::TokenIssuedBefore),
            Target::All if issuer.is_none() && issued_before.is_none() => return Err(RevocationError::Everything),
            _ => {}
        }
        if issuer.as_ref().is_some_and(is_empty) {
            return Err(RevocationError::EmptyName);
        }
        let is_known = |moment: &SystemTime| {
            let since = moment.duration_since(SystemTime::UNIX_EPOCH);
            since.is_ok_and(|since| since <= claims::LAST_DATE)
        };
        if !issued_before.iter().chain(&expires_at).all(is_known) {
            return Err(RevocationError::Moment);
        }
        Ok(Self { target, issuer, issued_before, expires_at })
    }

    /// Whose tokens are meant.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Only tokens with this `iss`; `None`: whoever issued them.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Only tokens whose `iat` is earlier, or missing.
    pub fn issued_before(&self) -> Option<SystemTime> {
        self.issued_before
    }

    /// No such token expires later; `None`: the entry holds until it is withdrawn. It holds for the
    /// [leeway](super::Revocations::leeway) longer, as long as such a token may be taken.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Whether both are about the same tokens.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.target == other.target && self.issuer == other.issuer && self.issued_before == other.issued_before
    }

    /// The same, whenever it ends.
    pub(super) fn without_end(&self) -> Self {
        Self { expires_at: None, ..self.clone() }
    }

    /// Whether it does not end before the other.
    pub(super) fn lasts_as_long_as(&self, other: &Self) -> bool {
        match (self.expires_at, other.expires_at) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own >= other,
        }
    }

    /// As long as the one of the two that holds longer.
    pub(super) fn prolong(&mut self, other: &Self) {
        self.expires_at = match (self.expires_at, other.expires_at) {
            (Some(own), Some(other)) => Some(own.max(other)),
            _ => None,
        };
    }

    /// Whether it ended at this moment or before.
    pub(super) fn has_ended(&self, moment: SystemTime) -> bool {
        self.expires_at.is_some_and(|end| end <= moment)
    }
}

/// What a verified token says of itself.
#[derive(Debug, Clone, Copy)]
pub struct TokenIdentity<'a> {
    /// `iss`.
    pub issuer: Option<&'a str>,
    /// `sub`, or the username claim where there is none.
    pub subject: &'a str,
    /// `jti`.
    pub token_id: Option<&'a str>,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
}

/// Where an entry is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// In the file: it survives a restart.
    File,
    /// In this process.
    Memory,
    /// In this process. It was in the file, which has lost it and does not say why.
    Lost,
}

/// An entry as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number in this process.
    pub number: u64,
    /// What is revoked.
    pub revocation: Revocation,
    /// Since when, where that is known.
    pub since: Option<SystemTime>,
    /// Whether it survives a restart.
    pub kept: Kept,
}
