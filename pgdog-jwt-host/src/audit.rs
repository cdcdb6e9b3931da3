//! Logins and ends of sessions in the host's log: one event each, with fields. No token, no claim that is not named here.

use std::net::SocketAddr;
use std::time::Duration;

use pgdog_jwt::AuthGrant;
use tracing::{info, warn};

use crate::life::End;

/// A login as far as it is known.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// As the client wrote it.
    pub user: &'a str,
    /// As the client wrote it.
    pub database: &'a str,
    /// Where the client is, as far as the host says.
    pub client: Option<SocketAddr>,
    /// The connection is encrypted.
    pub tls: bool,
    /// How long it took.
    pub took: Duration,
}

/// A client came in.
pub fn accepted(attempt: &Attempt<'_>, grant: &AuthGrant, pool: &str) {
    info!(
        event = "login",
        decision = "accepted",
        user = attempt.user,
        role = grant.server_role.as_deref(),
        account = account(grant),
        subject = grant.subject,
        issuer = grant.issuer.as_deref(),
        token_id = grant.token_id.as_deref(),
        database = attempt.database,
        pool,
        client = attempt.client.map(display),
        tls = attempt.tls,
        duration_us = micros(attempt.took),
        "login"
    );
}

/// A client did not. `reason` is a word of a fixed list, `detail` says more. `grant` is what its token said, if it was believed.
pub fn refused(attempt: &Attempt<'_>, reason: &str, detail: Option<&str>, grant: Option<&AuthGrant>) {
    warn!(
        event = "login",
        decision = "refused",
        reason,
        detail,
        user = attempt.user,
        role = grant.and_then(|grant| grant.server_role.as_deref()),
        account = grant.and_then(account),
        subject = grant.map(|grant| grant.subject.as_str()),
        issuer = grant.and_then(|grant| grant.issuer.as_deref()),
        token_id = grant.and_then(|grant| grant.token_id.as_deref()),
        database = attempt.database,
        client = attempt.client.map(display),
        tls = attempt.tls,
        duration_us = micros(attempt.took),
        "login"
    );
}

/// A token ends, and its session with it as soon as it may.
pub fn ended(end: End, subject: &str, client: SocketAddr) {
    let (event, reason) = match end {
        End::Expired => ("expiry", "expired"),
        End::Revoked => ("disconnect", "revoked"),
        End::Superseded => ("disconnect", "superseded"),
    };
    info!(event, reason, subject, client = %client, "{event}");
}

/// A server connection was not who it had to be, and is closed.
pub fn mismatch(role: &str, problem: &str) {
    warn!(event = "identity", decision = "refused", role, detail = problem, "identity");
}

fn account(grant: &AuthGrant) -> Option<&str> {
    grant.account.as_ref().map(|account| account.rule().server_user.as_str())
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}
