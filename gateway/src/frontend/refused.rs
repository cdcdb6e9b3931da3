//! A login that ends without a session: why, what is noted of it, and what the client hears, when.

use std::time::Instant;

use tokio::io::AsyncWriteExt;
use tracing::debug;

use super::audit::Attempt;
use super::client_flow;
use super::login_limits;
use super::methods::{MethodError, oauthbearer};
use super::refusal_delay;
use super::tenant;
use crate::config::Config;
use crate::net::read::Incoming;
use crate::wire::{PgError, Severity};

/// Refusals that are nobody's attempt to get in, are not the client's fault, or were no look at its credential.
const NO_FAILURES: [&str; 4] = [client_flow::DISCOVERY, "keys_unavailable", "groups_unavailable", LIMITED];

/// The reason of a refusal without a look at the credential.
pub(super) const LIMITED: &str = "too_many_failures";

/// Why a login ended. The client hears `error`, the audit log `reason`.
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) detail: Option<String>,
    pub(super) error: Option<PgError>,
    /// What the client hears before, where it is in the middle of an exchange that has a word for it.
    challenge: Option<Vec<u8>>,
    /// The client must not learn why: not by the words, and not by the time.
    is_uniform: bool,
    /// When it hears of it.
    due: Option<Instant>,
}

impl Refused {
    pub(super) fn new(reason: &'static str, error: PgError) -> Self {
        Self { error: Some(error.with_severity(Severity::Fatal)), ..Self::silent(reason) }
    }

    /// Of which the client hears the reason, and the log has it in the same words.
    pub(super) fn told(reason: &'static str, error: PgError) -> Self {
        let detail = error.message.to_string();
        Self::new(reason, error).detail(detail)
    }

    /// Of which the client hears nothing.
    fn silent(reason: &'static str) -> Self {
        Self { reason, detail: None, error: None, challenge: None, is_uniform: false, due: None }
    }

    /// Whether the client has failed.
    pub(super) fn is_failure(&self) -> bool {
        self.is_uniform && !NO_FAILURES.contains(&self.reason)
    }

    /// An exchange that went wrong, of which the client may hear or not.
    pub(super) fn exchange(error: &MethodError) -> Self {
        Self { detail: Some(error.to_string()), error: error.client_error(), ..Self::silent("protocol") }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Every refused credential looks the same to the client (S6): `code` says which kind was asked for, no more.
    pub(super) fn credential(reason: &'static str, code: &'static str, user: &str) -> Self {
        let error = PgError::fatal(code, format!("authentication failed for user \"{user}\""));
        Self { is_uniform: true, ..Self::new(reason, error) }
    }

    /// As for a refused credential: a token whose identity cannot be had.
    pub(super) fn identity(reason: &'static str, user: &str) -> Self {
        Self::credential(reason, "28000", user)
    }

    /// Ends the client's exchange as if the token itself had been refused, so that its end tells nothing (S6).
    pub(super) fn challenged(mut self, challenge: Option<Vec<u8>>) -> Self {
        if self.error.as_ref().is_some_and(|error| error.code == "28000") {
            self.challenge = challenge;
        }
        self
    }
}

pub(super) fn gone() -> Refused {
    Refused::silent("left")
}

pub(super) fn left(_: std::io::Error) -> Refused {
    gone()
}

/// Notes a refused login and tells the client.
pub(super) async fn turn_away(stream: &mut Incoming, attempt: &Attempt, mut refused: Refused, config: &Config) {
    note(attempt, &mut refused, None, config);
    tell(stream, refused).await;
}

pub(super) fn note(attempt: &Attempt, refused: &mut Refused, grant: Option<&pgdog_jwt::AuthGrant>, config: &Config) {
    if refused.is_failure() {
        login_limits::failed(&config.general, attempt.address(), tenant::split(config, attempt.user()).user);
    }
    if refused.is_uniform {
        refused.due = refusal_delay::due(config.general.login_refusal_delay);
    }
    match refused.reason {
        // psql asks whether a password is needed by trying without one.
        "left" => debug!(client = attempt.client(), "left when asked for its password"),
        client_flow::DISCOVERY => debug!(client = attempt.client(), "was told where to get a token"),
        reason => attempt.refused(reason, refused.detail.as_deref(), grant),
    }
}

pub(super) async fn tell(stream: &mut Incoming, refused: Refused) {
    if let Some(due) = refused.due {
        refusal_delay::wait(due).await;
    }
    if let Some(challenge) = &refused.challenge
        && oauthbearer::dismiss(stream, challenge).await.is_err()
    {
        return;
    }
    if let Some(error) = refused.error {
        let mut out = Vec::new();
        error.write(&mut out);
        let _ = stream.write_all(&out).await;
        let _ = stream.shutdown().await;
    }
}
