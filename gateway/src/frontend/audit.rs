//! One event for every login, accepted or refused. It names everything but the token (S5).

use std::net::SocketAddr;
use std::time::Instant;

use pgdog_jwt::AuthGrant;
use tracing::{info, warn};

use crate::stats::events;

/// A login attempt, as far as it is known.
pub(crate) struct Attempt {
    started: Instant,
    client: Option<SocketAddr>,
    tls: bool,
    /// Who the client's certificate says it is.
    certificate: Option<String>,
    user: String,
    database: String,
}

impl Attempt {
    pub(crate) fn new(started: Instant, client: Option<SocketAddr>) -> Self {
        Self { started, client, tls: false, certificate: None, user: String::new(), database: String::new() }
    }

    /// What the start-up packet and the certificate said.
    pub(crate) fn identify(&mut self, tls: bool, certificate: Option<String>, user: &str, database: &str) {
        self.tls = tls;
        self.certificate = certificate;
        user.clone_into(&mut self.user);
        database.clone_into(&mut self.database);
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.client
    }

    pub(crate) fn client(&self) -> String {
        self.client.map_or_else(|| "unix".to_owned(), |address| address.to_string())
    }

    fn micros(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    pub(crate) fn accepted(&self, grant: Option<&AuthGrant>, role: Option<&str>, tenant: Option<&str>) {
        info!(
            event = "login",
            decision = "accepted",
            client = self.client(),
            tls = self.tls,
            certificate = self.certificate,
            user = self.user,
            database = self.database,
            subject = grant.map(|grant| grant.subject.as_str()),
            issuer = grant.and_then(|grant| grant.issuer.as_deref()),
            token_id = grant.and_then(|grant| grant.token_id.as_deref()),
            role = role,
            account = account(grant),
            tenant = tenant,
            duration_us = self.micros(),
            "login"
        );
    }

    /// `reason` is a word of a fixed list, `detail` says more.
    pub(crate) fn refused(&self, reason: &'static str, detail: Option<&str>, grant: Option<&AuthGrant>) {
        events::login(Some(reason));
        warn!(
            event = "login",
            decision = "refused",
            reason = reason,
            detail = detail,
            client = self.client(),
            tls = self.tls,
            certificate = self.certificate,
            user = self.user,
            database = self.database,
            subject = grant.map(|grant| grant.subject.as_str()),
            issuer = grant.and_then(|grant| grant.issuer.as_deref()),
            token_id = grant.and_then(|grant| grant.token_id.as_deref()),
            role = grant.and_then(|grant| grant.server_role.as_deref()),
            account = account(grant),
            duration_us = self.micros(),
            "login"
        );
    }
}

/// The account of PostgreSQL that the token's roles led to.
fn account(grant: Option<&AuthGrant>) -> Option<&str> {
    grant.and_then(|grant| grant.account.as_ref()).map(|account| account.rule().server_user.as_str())
}
