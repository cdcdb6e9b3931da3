//! What is looked at when a login is decided, one by one, and what was found.

use crate::deny::DenyReason;

/// What a step looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Check {
    /// Whether the credential is a token.
    Form,
    /// Whether the issuer is known.
    Issuer,
    /// Whether the issuer may use the algorithm.
    Algorithm,
    /// Whether the issuer's tokens are of this type.
    TokenType,
    /// Whether the issuer has the key.
    Key,
    /// Whether the key made the signature.
    Signature,
    /// Whether the claims are those of an access token that its bearer may use.
    Kind,
    /// Whether the token is for this service.
    Audience,
    /// `exp`, `nbf` and `iat`.
    Times,
    /// To whom it was issued.
    Client,
    /// What it is good for.
    Scopes,
    /// Further claims that its issuer's entry wants.
    RequiredClaims,
    /// Whether the token was taken back.
    Revocation,
    /// Who the token is for, by a claim or a user mapping.
    User,
    /// Whether that is the user whose name was typed.
    UserName,
    /// Whether its issuer's tokens open the database.
    Database,
    /// Claims that say what the session may do.
    Claims,
    /// The role mapping, where tokens lead to accounts.
    Account,
    /// Whether the role may be had, and is not on the deny list.
    Role,
    /// `sub`.
    Subject,
    /// `jti`, by which a token is named.
    TokenId,
    /// One session variable; those that do not work out end the login.
    Variable,
    /// What the issuer says of the token, where it is asked.
    Introspection,
    /// The groups, where somebody wants to know them.
    Groups,
}

impl Check {
    /// Two or three words for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Form => "token",
            Self::Issuer => "issuer",
            Self::Algorithm => "algorithm",
            Self::TokenType => "token type",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Kind => "kind of token",
            Self::Audience => "audience",
            Self::Times => "times",
            Self::Client => "client",
            Self::Scopes => "scopes",
            Self::RequiredClaims => "required claims",
            Self::Revocation => "revocation",
            Self::User => "user",
            Self::UserName => "user name",
            Self::Database => "database",
            Self::Claims => "claims policy",
            Self::Account => "role mapping",
            Self::Role => "role",
            Self::Subject => "subject",
            Self::TokenId => "token ID",
            Self::Variable => "variable",
            Self::Introspection => "introspection",
            Self::Groups => "groups",
        }
    }
}

/// One check and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What was looked at.
    pub check: Check,
    /// What was found. It repeats what the token says, to be made printable before it is shown.
    pub outcome: Result<String, DenyReason>,
}

/// Steps as they are taken.
pub(super) struct Steps {
    pub(super) taken: Vec<Step>,
    /// Whether a check that fails is followed by those that do not need what it would have found.
    thorough: bool,
}

impl Steps {
    pub(super) fn new(thorough: bool) -> Self {
        Self { taken: Vec::new(), thorough }
    }

    /// Adds a step that others build upon. `None`: it failed.
    pub(super) fn add<T>(
        &mut self,
        check: Check,
        outcome: Result<T, DenyReason>,
        found: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let step = |outcome| Step { check, outcome };
        match outcome {
            Ok(value) => {
                self.taken.push(step(Ok(found(&value))));
                Some(value)
            }
            Err(reason) => {
                self.taken.push(step(Err(reason)));
                None
            }
        }
    }

    /// Adds a step that no other one builds upon. `None`: it is the last.
    pub(super) fn check(
        &mut self,
        check: Check,
        outcome: Result<(), DenyReason>,
        found: impl FnOnce() -> String,
    ) -> Option<()> {
        self.add(check, outcome, |()| found()).or_else(|| self.after_failure())
    }

    /// Whether more is looked at after a check that failed.
    pub(super) fn after_failure(&self) -> Option<()> {
        self.thorough.then_some(())
    }

    pub(super) fn has_failed(&self) -> bool {
        self.taken.iter().any(|step| step.outcome.is_err())
    }
}
