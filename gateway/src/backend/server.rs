//! A server connection in the hands of a session: its identity is confirmed, so the client's bytes may go there; or PostgreSQL
//! confirms it before it looks at the first of them (see [`super::pipelined`]).

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::cleaning::Traces;
use super::connection::Connection;
use super::conversation::{Answer, ConversationError};
use super::held::Held;
use super::identity::{Identity, IdentityError, Unconfirmed, answered};
use super::identity_sql::{again, assertion, variables, who};
use super::inquiry;
use super::nonce::Nonce;
use super::pipelined::{Pipelined, Unsent};
use super::pool::Pool;
use super::role_settings::{self, LeftOut, RoleSettings};
use super::settings::{Settings, quote_identifier};
use super::sql::Sql;
use crate::net::buffer::Chunk;

/// Statements of SQL `PREPARE` that are left on a server for those who prepared them to come back to.
const MAX_SQL_STATEMENTS: usize = 1000;

/// No SQL, so that a transaction fails.
const FAILS: &str = "failed by pgdog-jwt";

/// A checked-out server connection.
pub(crate) struct Server {
    inner: Box<Unconfirmed>,
    /// The take-over that goes in front of the first request, until PostgreSQL has said that it is done.
    pipelined: Option<Box<Pipelined>>,
}

impl Server {
    pub(super) fn new(inner: Box<Unconfirmed>) -> Self {
        Self { inner, pipelined: None }
    }

    /// Of a connection that becomes the client's with the client's first request.
    pub(super) fn unproven(inner: Box<Unconfirmed>, pipelined: Box<Pipelined>) -> Self {
        Self { inner, pipelined: Some(pipelined) }
    }

    #[inline]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.connection.poll_readable(cx)
    }

    /// Reads what is for the client: with an empty `chunk`, bytes may have come of which nothing is.
    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<io::Result<usize>> {
        let poll = self.inner.connection.poll_read(cx, chunk);
        if self.pipelined.is_some() && matches!(poll, Poll::Ready(Ok(1..))) {
            self.read_proof(chunk)?;
        }
        poll
    }

    #[inline(never)]
    fn read_proof(&mut self, chunk: &mut Chunk) -> io::Result<()> {
        if let Some(pipelined) = &mut self.pipelined
            && pipelined.read(&mut self.inner, chunk)?
            && let Some(pipelined) = self.pipelined.take()
        {
            pipelined.settle(&mut self.inner);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.pipelined {
            // Whoever asks has overlooked something (S1).
            None if self.inner.known.is_none() => Poll::Ready(Err(io::Error::other("its identity is not known"))),
            None => self.inner.connection.poll_write(cx, bytes),
            Some(pipelined) => pipelined.poll_write(&mut self.inner.connection, cx, bytes),
        }
    }

    /// Whether PostgreSQL has not yet said who it is.
    #[inline]
    pub(crate) fn is_unproven(&self) -> bool {
        self.pipelined.is_some()
    }

    /// Whether it refused to be the identity, and has run nothing.
    pub(crate) fn has_refused(&self) -> bool {
        self.pipelined.as_ref().is_some_and(|pipelined| pipelined.is_refused())
    }

    /// Why it is not the identity, where it has said so.
    pub(crate) fn mismatch(&mut self) -> Option<IdentityError> {
        self.pipelined.as_mut()?.mismatch()
    }

    /// Gives a connection back that has refused to be the identity, and the requests that it has not carried out. An error:
    /// that is not certain.
    pub(crate) async fn into_unsent(mut self) -> Result<Unsent, ConversationError> {
        let mut pipelined = self.pipelined.take().ok_or(ConversationError::Closed)?;
        let unsent = pipelined.unsent(&mut self.inner);
        if pipelined.has_ended() {
            return Ok(unsent);
        }
        pipelined.end(&mut self.inner.connection).await?;
        self.inner.leave_unclean();
        Pool::check_in(self.inner);
        Ok(unsent)
    }

    /// Makes sure that the server holds what `unsent` counts on, and gives its requests.
    pub(crate) async fn take_on(&mut self, unsent: Unsent) -> Result<Vec<u8>, ConversationError> {
        if !self.inner.held.is_empty() {
            self.inner.connection.query_fresh("DEALLOCATE ALL").await?;
        }
        self.inner.held.become_as(unsent.held);
        self.inner.unnamed = unsent.unnamed;
        self.inner.dirty |= unsent.dirty;
        self.inner.traces.foreign |= unsent.foreign;
        Ok(unsent.requests)
    }

    /// For conversations of the gateway's own.
    fn own(&mut self) -> Result<&mut Unconfirmed, ConversationError> {
        match self.pipelined {
            None => Ok(&mut self.inner),
            Some(_) => Err(ConversationError::Closed),
        }
    }

    /// Statements that the server holds.
    pub(crate) fn held(&mut self) -> &mut Held {
        &mut self.inner.held
    }

    /// Which client's unnamed statement the server holds.
    pub(crate) fn unnamed(&mut self) -> &mut u64 {
        &mut self.inner.unnamed
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.inner.slot.pool()
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.inner.connection
    }

    /// Notifications that arrived while the gateway asked something of its own.
    pub(crate) fn take_asides(&mut self) -> Vec<u8> {
        self.inner.connection.take_asides()
    }

    pub(crate) fn note_parameter(&mut self, body: &[u8]) {
        self.inner.connection.note_parameter(body);
    }

    pub(crate) fn set_status(&mut self, status: u8) {
        self.inner.connection.status = status;
    }

    pub(crate) fn status(&self) -> u8 {
        self.inner.connection.status
    }

    /// The session did what must be undone before another session comes.
    pub(crate) fn mark_dirty(&mut self) {
        self.inner.dirty = true;
    }

    /// It serves no other session: it is closed when it is given back.
    pub(crate) fn retire(&mut self) {
        self.inner.dirty = true;
        if let Some(seat) = &self.inner.connection.seat {
            seat.card.retire();
        }
    }

    /// Code may run on it that is not PostgreSQL's own.
    #[inline]
    pub(crate) fn note_foreign(&mut self) {
        self.inner.traces.note_foreign();
    }

    /// Whether that is so already.
    #[inline]
    pub(crate) fn is_foreign(&self) -> bool {
        self.inner.traces.foreign
    }

    /// Whether the server has exactly these settings.
    pub(crate) fn has_settings(&self, settings: &Settings) -> bool {
        *self.inner.applied == *settings
    }

    /// The settings that the session has changed, as they are now.
    pub(crate) async fn settings_now(&mut self, named: &[String]) -> Result<Settings, ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        let mut settings = inquiry::settings(&mut own.connection, named).await?;
        // PostgreSQL lists those that an extension has declared.
        for (name, _) in self.inner.holder.iter().flat_map(|identity| identity.variables.iter()) {
            settings.remove(name);
        }
        self.inner.applied = Arc::new(settings.clone());
        Ok(settings)
    }

    /// How far the server has written; `None`: it does not tell.
    pub(crate) async fn written(&mut self) -> Result<Option<u64>, ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        match inquiry::written(&mut own.connection).await {
            Err(ConversationError::Refused(_)) => Ok(None),
            other => other,
        }
    }

    /// The settings that the owner attached to the role, less those that are guarded or cannot be made.
    pub(crate) async fn settings_of_role(
        &mut self,
        is_guarded: impl Fn(&str, &str) -> bool,
    ) -> Result<RoleSettings, ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        role_settings::ask(&mut own.connection, is_guarded).await
    }

    /// Which of these settings PostgreSQL does not take now.
    pub(crate) async fn refused(&mut self, settings: &Settings) -> Result<Vec<LeftOut>, ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        role_settings::refused(&mut own.connection, settings).await
    }

    /// Opens the transaction that the client asked for, and fails it where it `has_failed` for the client.
    pub(crate) async fn begin(&mut self, sql: &str, has_failed: bool) -> Result<(), ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        own.connection.query(sql).await?;
        if !has_failed {
            return Ok(());
        }
        match own.connection.query(FAILS).await {
            Err(ConversationError::Refused(_)) if own.connection.status == b'E' => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ConversationError::Closed),
        }
    }

    /// Runs a statement of the gateway's own with parameters; `None` only describes it.
    pub(crate) async fn ask(&mut self, sql: &str, values: Option<&[&str]>) -> Result<Answer, ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        own.connection.ask(sql, values).await
    }

    /// Gives settings that have no value of the session's own the values of `startup`.
    pub(crate) async fn reset_to(&mut self, startup: &Settings) -> Result<(), ConversationError> {
        inquiry::reset_to(&mut self.own()?.connection, startup).await
    }

    /// Whether the session left something that cannot follow it.
    pub(crate) async fn is_held(&mut self) -> Result<bool, ConversationError> {
        let own = self.own()?;
        own.unnamed = 0;
        let followed = own.held.sql().into_iter().flatten();
        inquiry::is_held(&mut own.connection, followed.map(|(name, _)| &**name)).await
    }

    /// Makes statements of SQL `PREPARE` what they should be: for each name the text, or none.
    pub(crate) async fn agree_on_names(&mut self, due: &[(String, Option<Arc<str>>)]) -> Result<(), ConversationError> {
        self.own()?.unnamed = 0;
        if self.inner.held.sql().is_none() {
            for name in inquiry::sql_statements(&mut self.inner.connection).await? {
                self.deallocate(&name).await?;
            }
            self.inner.held.clear_sql();
        }
        for (name, wanted) in due {
            let held = self.inner.held.sql().and_then(|sql| sql.get(name.as_str())).cloned();
            if held == *wanted {
                continue;
            }
            if held.is_some() {
                self.deallocate(name).await?;
            }
            if let Some(text) = wanted {
                self.inner.connection.query(text).await?;
                self.inner.held.add_sql(name, text.clone());
            }
        }
        let is_due = |name: &str| due.iter().any(|(other, _)| other == name);
        while let Some(sql) = self.inner.held.sql().filter(|sql| sql.len() > MAX_SQL_STATEMENTS) {
            let Some(name) = sql.keys().find(|name| !is_due(name)).cloned() else { break };
            self.deallocate(&name).await?;
        }
        Ok(())
    }

    async fn deallocate(&mut self, name: &str) -> Result<(), ConversationError> {
        self.inner.connection.query(&format!("DEALLOCATE {}", quote_identifier(name))).await?;
        self.inner.held.remove_sql(name);
        Ok(())
    }

    /// The session did what may have changed the identity: it must be confirmed before the next byte (S1).
    pub(crate) fn doubt_identity(&mut self) {
        self.inner.known = None;
        self.inner.applied = Arc::new(Settings::default());
        self.inner.held.clear();
        self.inner.unnamed = 0;
    }

    /// The session ran code that nobody has read: the role must be confirmed before the next byte.
    pub(crate) fn doubt_role(&mut self) {
        self.inner.known = None;
    }

    /// Resets all settings, and gives the variables that say who the session is their values again: together, so that an end
    /// of the transaction undoes both or neither. The client's unnamed statement stays.
    pub(crate) async fn reset_all(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let own = self.own()?;
        let proof = own.prove(identity).await?;
        let nonce = Nonce::new()?;
        // It leads back to UTF-8 as well, in which the rest is read.
        let mut statements = vec![Sql::of("RESET ALL")];
        statements.extend(variables(identity, proof.as_deref()));
        statements.push(nonce.question());
        let answer = own.connection.query_aside(&statements).await?;
        if nonce.is_repeated(answer.value(0)) { Ok(()) } else { Err(ConversationError::Stale.into()) }
    }

    /// Discards all that the session has left, outside of a transaction. Who the connection is must be made sure of then.
    pub(crate) async fn discard_all(&mut self) -> Result<(), IdentityError> {
        self.own()?.connection.query_fresh("DISCARD ALL").await?;
        self.doubt_identity();
        Ok(())
    }

    /// Makes the connection the identity again in the middle of a transaction, and makes sure of it.
    pub(crate) async fn confirm_in_transaction(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let own = self.own()?;
        let proof = own.prove(identity).await?;
        let nonce = Nonce::new()?;
        let statements = [again(identity, proof.as_deref()), who(&nonce)];
        let answer = own.connection.query_aside_in_utf8(statements.into()).await?;
        own.confirm_answer(identity, &answered(&answer, &nonce)?)
    }

    /// A statement that fails unless the connection is the identity, whatever encoding it is in by then.
    pub(crate) fn assertion<'a>(&'a self, identity: &'a Identity) -> Sql<'a> {
        assertion(identity, &self.inner.login)
    }

    /// Whether the identity is certain, as the server's role is now.
    #[inline]
    pub(crate) fn identity_known(&self) -> bool {
        self.inner.known.as_ref().is_some_and(|identity| !self.inner.is_outdated(identity))
    }

    /// Whether the connection can go back to its pool as it is.
    #[inline]
    pub(crate) fn is_clean(&self) -> bool {
        !self.inner.dirty && self.status() == b'I' && self.pipelined.is_none()
    }

    /// Gives the connection back, which must be clean.
    pub(crate) fn check_in(self) {
        self.check_in_at(Instant::now());
    }

    /// The same, at this moment.
    #[inline]
    pub(crate) fn check_in_at(self, now: Instant) {
        debug_assert!(self.is_clean());
        Pool::check_in_at(self.inner, now);
    }

    /// Ends a transaction that was left open and undoes what the session left behind, then gives the connection back. One
    /// that does not answer in time, or says no, is closed (S4).
    pub(crate) async fn clean(mut self, limit: Duration) {
        match tokio::time::timeout(limit, self.reset()).await {
            Ok(Ok(())) => Pool::check_in(self.inner),
            Ok(Err(error)) => tracing::warn!(%error, "server closed: it could not be reset"),
            Err(_) => tracing::warn!("server closed: it did not answer in time when it was reset"),
        }
    }

    async fn reset(&mut self) -> Result<(), ResetError> {
        self.own()?.unnamed = 0;
        if self.status() != b'I' {
            self.inner.connection.query_fresh("ROLLBACK").await?;
        }
        if self.inner.dirty {
            // Role, settings, statements, cursors, temporary tables, locks, notifications: all back to what they were
            // after login (PostgreSQL documentation, DISCARD). The identity is established again at the next check-out.
            self.inner.connection.query_fresh("DISCARD ALL").await?;
            self.doubt_identity();
            self.inner.holder = None;
            self.inner.traces = Traces::default();
            self.inner.dirty = false;
        }
        drop(self.take_asides());
        if self.status() == b'I' { Ok(()) } else { Err(ResetError::StillInTransaction) }
    }

    /// Its session has another identity from now on and is the same session: what it left here stays.
    pub(crate) fn stay_with(&mut self, identity: &Arc<Identity>) {
        self.inner.holder = Some(identity.clone());
    }

    /// Confirms the identity again, in the same hands.
    pub(crate) async fn confirm_again(
        self,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Self, IdentityError> {
        if self.pipelined.is_some() {
            return Err(IdentityError::Lost(ConversationError::Closed));
        }
        self.inner.confirm_again(identity, settings).await
    }
}

#[derive(Debug, thiserror::Error)]
enum ResetError {
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error("the server stayed in its transaction")]
    StillInTransaction,
}
