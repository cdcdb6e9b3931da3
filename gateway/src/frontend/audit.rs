//! The events of a client's life: its login, and its end.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use pgdog_jwt::AuthGrant;

use super::audit_flood::Flood;
use super::certificate;
use super::deadline::TOKEN_EXPIRED;
use super::refused::Refused;
use super::sessions::{Registration, TOKEN_REVOKED};
use crate::audit::{Event, Record, Statement, Unwritten, Who};
use crate::net::stream::{Stream, TlsSession};
use crate::stats::events;
use crate::wire::PgError;

/// A login attempt, as far as it is known.
pub(crate) struct Attempt {
    started: Instant,
    address: Option<SocketAddr>,
    tls: bool,
    tls_session: Option<TlsSession>,
    /// Who the client's certificate says it is.
    certificate: Option<String>,
    user: String,
    database: String,
    application_name: String,
}

impl Attempt {
    pub(crate) fn new(started: Instant, address: Option<SocketAddr>) -> Self {
        let (tls, tls_session, certificate) = (false, None, None);
        let (user, database, application_name) = Default::default();
        Self { started, address, tls, tls_session, certificate, user, database, application_name }
    }

    /// What the handshake and the start-up packet said.
    pub(crate) fn identify(&mut self, stream: &Stream, user: &str, database: &str, application_name: Option<&str>) {
        self.tls = stream.is_tls();
        self.tls_session = stream.tls_session();
        self.certificate = certificate::identity(stream);
        user.clone_into(&mut self.user);
        database.clone_into(&mut self.database);
        application_name.unwrap_or_default().clone_into(&mut self.application_name);
    }

    /// As it was typed.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Its address, as it is written.
    pub(crate) fn client(&self) -> String {
        client_name(self.address)
    }

    /// The login is recorded, or refused.
    pub(super) async fn accepted(&self, registration: &Registration) -> Result<(), Refused> {
        let card = registration.meter.card();
        let record = Record::of_session(Event::Login, registration.process(), card).accepted();
        record.took(self.started.elapsed()).write().await.map_err(|Unwritten| {
            let error = PgError::fatal("58030", "the login could not be recorded")
                .hint("The administrator of the gateway must see to the audit log.");
            Refused::new("audit_unavailable", error)
        })
    }

    /// `reason` is a word of a fixed list, `detail` says more.
    pub(crate) fn refused(&self, reason: &'static str, detail: Option<&str>, grant: Option<&AuthGrant>) {
        events::login(Some(reason));
        if !Flood::Logins.is_written(reason, self.address) {
            return;
        }
        let who = Who {
            user: Some(&self.user),
            role: grant.and_then(|grant| grant.server_role.as_deref()),
            account: account(grant),
            subject: grant.map(|grant| grant.subject.as_str()),
            issuer: grant.and_then(|grant| grant.issuer.as_deref()),
            token_id: grant.and_then(|grant| grant.token_id.as_deref()).map(Cow::Borrowed),
            database: Some(&self.database),
            client: Some(Cow::Owned(self.client())),
            tls: Some(self.tls),
            tls_version: self.tls_session.as_ref().map(|session| session.version),
            tls_cipher: self.tls_session.as_ref().map(|session| session.cipher.as_str()),
            certificate: self.certificate.as_deref(),
            application_name: Some(self.application_name.as_str()).filter(|name| !name.is_empty()),
            ..Who::default()
        };
        Record::new(Event::Login, who).refused(reason).detail(detail).took(self.started.elapsed()).send();
    }
}

/// A client's address, as it is written.
pub(super) fn client_name(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
}

/// The account of PostgreSQL that the token's roles led to.
fn account(grant: Option<&AuthGrant>) -> Option<&str> {
    grant.and_then(|grant| grant.account.as_ref()).map(|account| account.rule().server_user.as_str())
}

/// The token of a session has ended.
pub(super) fn expired(registration: &Registration) {
    Record::of_session(Event::Expiry, registration.process(), registration.meter.card()).because("expired").send();
}

/// A session has another token, or would have liked to.
pub(super) fn renewed(registration: &Registration, outcome: Result<(), &Refused>) {
    let record = Record::of_session(Event::Renewal, registration.process(), registration.meter.card());
    match outcome {
        Ok(()) => record.accepted().send(),
        Err(refused) => record.refused(refused.reason).detail(refused.detail.as_deref()).send(),
    }
}

/// A cancel request reached nobody. `session` is the one that it was for, where there is one.
pub(super) fn cancel_refused(reason: &'static str, address: Option<SocketAddr>, session: Option<u32>) {
    if Flood::Cancels.is_written(reason, address) {
        let who = Who { client: Some(Cow::Owned(client_name(address))), ..Who::default() };
        Record::new(Event::Cancel, who).refused(reason).about_session(session).send();
    }
}

/// A session has ended, for this reason if it was not the client's own wish.
pub(super) fn disconnected(registration: &Registration, error: Option<&PgError>) {
    let card = registration.meter.card();
    let reason = match error.map(|error| &*error.code) {
        None => "client_left",
        Some("57P01") if error.is_some_and(|error| error.message == TOKEN_EXPIRED) => "expired",
        Some("57P01") if error.is_some_and(|error| error.message == TOKEN_REVOKED) => "revoked",
        Some("57P01") => "terminated",
        Some("57P05") => "idle_timeout",
        Some("25P04") => "transaction_timeout",
        Some("25P03") => "idle_in_transaction_timeout",
        Some("08006" | "57P02") => "server_lost",
        Some("08P01") => "protocol",
        Some(_) => "failed",
    };
    let lasted = SystemTime::now().duration_since(card.connected_at).unwrap_or_default();
    let about = |event| Record::of_session(event, registration.process(), card).because(reason).took(lasted);
    let detail = error.map(|error| &*error.message);
    about(Event::Disconnect).detail(detail).sqlstate(error.map(|error| &*error.code)).send();
}

/// The guard refused a statement, which is part of the event where statements are recorded.
pub(super) fn statement_refused(registration: &Registration, sqlstate: &str, why: &str, statement: Option<&Statement>) {
    let card = registration.meter.card();
    let record = Record::of_session(Event::Guard, registration.process(), card).refused("statement_refused");
    record.sqlstate(Some(sqlstate)).detail(Some(why)).statement(statement).send();
}
