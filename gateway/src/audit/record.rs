//! One event with its fields. As JSON, every value is escaped: nothing that a client sends can end a line or begin a
//! field.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tracing::{info, warn};

use super::Event;
use super::sink::{self, Unwritten};
use super::statement::Statement;
use crate::cli::{logging, time};
use crate::stats::Card;

/// See the module. Fields without a value are left out; their meaning is in `docs/audit.md`.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Record<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u32>,
    #[serde(flatten)]
    pub(crate) who: Who<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
    #[serde(flatten)]
    statement: Option<&'a Statement>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

/// Whom an event is about, as far as it is known.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Who<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls_cipher: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) application_name: Option<&'a str>,
}

impl<'a> Who<'a> {
    /// Who a session is.
    pub(crate) fn of(card: &'a Card) -> Self {
        let about = &card.about;
        let token = about.token.as_ref();
        // Of what a token says, only this may change when a session is given another one.
        let token_id = card.token().and_then(|token| token.token_id.clone()).map(Cow::Owned);
        let encryption = about.encryption.as_deref();
        let tls_session = encryption.and_then(|encryption| encryption.session.as_ref());
        Self {
            user: Some(&about.user),
            role: token.and_then(|token| token.role.as_deref()),
            account: token.and_then(|token| token.account.as_deref()),
            subject: token.map(|token| token.subject.as_str()),
            issuer: token.and_then(|token| token.issuer.as_deref()),
            token_id,
            tenant: about.tenant.as_deref(),
            database: Some(&about.database),
            pool: about.pool.as_deref(),
            client: Some(about.client().into()),
            tls: Some(encryption.is_some()),
            tls_version: tls_session.map(|session| session.version),
            tls_cipher: tls_session.map(|session| session.cipher.as_str()),
            certificate: encryption.and_then(|encryption| encryption.certificate.as_deref()),
            application_name: Some(&*about.application_name).filter(|name| !name.is_empty()),
        }
    }
}

impl<'a> Record<'a> {
    pub(crate) fn new(event: Event, who: Who<'a>) -> Self {
        Self { event: event.name(), who, ..Self::default() }
    }

    /// About a session, by the number that `SHOW CLIENTS` shows.
    pub(crate) fn of_session(event: Event, number: u32, card: &'a Card) -> Self {
        Self { session: Some(number), ..Self::new(event, Who::of(card)) }
    }

    /// For what is not the session's own doing.
    pub(crate) fn about_session(self, number: Option<u32>) -> Self {
        Self { session: number, ..self }
    }

    pub(crate) fn accepted(self) -> Self {
        Self { decision: Some("accepted"), ..self }
    }

    /// For a reason of the documented list.
    pub(crate) fn refused(self, reason: &'static str) -> Self {
        Self { decision: Some("refused"), ..self }.because(reason)
    }

    /// A word of the documented list.
    pub(crate) fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// More about the reason, for people.
    pub(crate) fn detail(self, detail: Option<&'a str>) -> Self {
        Self { detail, ..self }
    }

    /// What the client heard.
    pub(crate) fn sqlstate(self, code: Option<&'a str>) -> Self {
        Self { sqlstate: code, ..self }
    }

    /// The administrator who did it.
    pub(crate) fn by(self, administrator: &'a str) -> Self {
        Self { by: Some(administrator), ..self }
    }

    pub(crate) fn took(self, time: Duration) -> Self {
        Self { duration_us: Some(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)), ..self }
    }

    pub(crate) fn statement(self, statement: Option<&'a Statement>) -> Self {
        Self { statement, ..self }
    }

    /// So many events of this kind are not recorded one by one.
    pub(crate) fn and_more(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    /// Events that are missing.
    pub(super) fn lost(count: u64) -> Self {
        Self { event: Event::Lost.name(), lost: Some(count), ..Self::default() }
    }

    /// Records the event without waiting for it.
    pub(crate) fn send(&self) {
        if sink::is_log() { self.log() } else { sink::send(self.kind(), self.line()) }
    }

    /// Records the event, and waits until it is written.
    ///
    /// # Errors
    /// It is not, and the configuration says that it has to be.
    pub(crate) async fn write(&self) -> Result<(), Unwritten> {
        if sink::is_log() {
            self.log();
            logging::write_gathered();
            return Ok(());
        }
        sink::write(self.kind(), self.line()).await
    }

    fn kind(&self) -> Event {
        Event::ALL.into_iter().find(|event| event.name() == self.event).unwrap_or(Event::Lost)
    }

    /// The event as one line of JSON.
    pub(super) fn line(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Line<'r> {
            time: String,
            #[serde(flatten)]
            record: &'r Record<'r>,
        }
        let line = Line { time: time::timestamp(SystemTime::now()), record: self };
        // Only maps with keys that are not strings cannot be written, and there are none.
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// The event as a line of the log.
    fn log(&self) {
        macro_rules! log {
            ($level:ident) => {{
                let (who, statement) = (&self.who, self.statement);
                $level!(
                    event = self.event,
                    decision = self.decision,
                    reason = self.reason,
                    detail = self.detail,
                    sqlstate = self.sqlstate,
                    by = self.by,
                    session = self.session,
                    user = who.user,
                    role = who.role,
                    account = who.account,
                    subject = who.subject,
                    issuer = who.issuer,
                    token_id = who.token_id.as_deref(),
                    tenant = who.tenant,
                    database = who.database,
                    pool = who.pool,
                    client = who.client.as_deref(),
                    tls = who.tls,
                    tls_version = who.tls_version,
                    tls_cipher = who.tls_cipher,
                    certificate = who.certificate,
                    application_name = who.application_name,
                    duration_us = self.duration_us,
                    count = self.count,
                    statement = statement.and_then(|it| it.statement.as_deref()),
                    fingerprint = statement.and_then(|it| it.fingerprint.as_deref()),
                    parameters = statement.and_then(Statement::parameters_as_json),
                    incomplete = statement.and_then(|it| it.incomplete),
                    command = statement.and_then(|it| it.command.as_deref()),
                    rows = statement.and_then(|it| it.rows),
                    "{}",
                    self.event
                )
            }};
        }
        match self.decision {
            Some("refused") => log!(warn),
            _ => log!(info),
        }
    }
}
