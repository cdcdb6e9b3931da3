//! Who a server connection is. A connection comes out of its pool [`Unconfirmed`]: it has no method that takes a client's
//! bytes. [`Unconfirmed::confirm`] makes it the wanted identity, waits until PostgreSQL has said yes, and gives a
//! [`Server`], which has (S1). There is no other way to get one, and no fallback when PostgreSQL says no (S2).

use std::fmt::Write;
use std::sync::Arc;

use super::connection::{Answer, Connection, ConversationError};
use super::pool::Slot;
use super::server::Server;
use super::settings::{Settings, quote_identifier};
use super::statements::Held;
use crate::wire::ErrorFields;

/// What every server connection of a session must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// `current_user`; `None`: whoever logged in.
    pub(crate) role: Option<String>,
    /// Whether a role with SUPERUSER or BYPASSRLS may be used (S13).
    pub(crate) allow_privileged: bool,
    /// Never on a primary (S10).
    pub(crate) read_only: bool,
    /// The guard watches over its statements, so the server must read them as the guard does.
    pub(crate) watched: bool,
}

/// Why a server connection cannot be the wanted identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The role does not exist, or the login may not assume it.
    #[error("{}", .0.message)]
    Refused(ErrorFields),
    #[error("the server connection is {actual:?}, not {wanted:?}")]
    Mismatch { wanted: String, actual: String },
    #[error("role {0:?} is a superuser or bypasses row-level security")]
    Privileged(String),
    #[error("the server of a read-only identity is not a replica")]
    NotReplica,
    #[error("the server reads strings otherwise than the guard")]
    HidesQuotes,
    /// A setting that the session asked for; its identity is right.
    #[error("{}", .0.message)]
    Setting(ErrorFields),
    #[error(transparent)]
    Lost(ConversationError),
}

impl From<ConversationError> for IdentityError {
    fn from(error: ConversationError) -> Self {
        match error {
            ConversationError::Refused(fields) => Self::Refused(fields),
            other => Self::Lost(other),
        }
    }
}

/// A server connection that may be anyone.
pub(crate) struct Unconfirmed {
    pub(crate) connection: Connection,
    /// The identity that it is known to have: shared with the pool, so that comparing pointers is enough.
    pub(crate) known: Option<Arc<Identity>>,
    /// When that was, by the changes of the server's role: see [`super::role::Observed::epoch`].
    pub(crate) epoch: u32,
    pub(crate) applied: Arc<Settings>,
    pub(crate) held: Held,
    pub(crate) unnamed: u64,
    pub(crate) slot: Slot,
}

impl Unconfirmed {
    /// Takes over a connection that has just logged in and asks PostgreSQL who it is.
    pub(crate) async fn first(
        connection: Connection,
        slot: Slot,
        identity: &Arc<Identity>,
        held: Held,
    ) -> Result<Self, IdentityError> {
        let applied = Arc::new(Settings::default());
        let epoch = slot.pool().node.observed.epoch();
        let mut server = Self { connection, known: None, epoch, applied, held, unnamed: 0, slot };
        let answer = server.connection.query(WHO).await?;
        server.learn(&answer);
        check(identity, &answer)?;
        server.known = Some(identity.clone());
        Ok(server)
    }

    /// Makes the connection the wanted identity with the wanted settings, in one round trip, in none when it is already.
    pub(crate) async fn confirm(
        mut self,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Server, IdentityError> {
        self.fits(identity)?;
        let known = self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, identity) || known == identity);
        if !known || self.is_outdated(identity) {
            self.known = None;
            self.establish(identity).await?;
            self.known = Some(identity.clone());
        }
        if *self.applied != **settings {
            self.apply(settings).await?;
        }
        self.fits(identity)?;
        Ok(Server::new(self))
    }

    /// What the server has reported by itself must allow the identity: it may have been promoted since.
    #[inline]
    fn fits(&self, identity: &Identity) -> Result<(), IdentityError> {
        if identity.read_only && self.connection.is_primary() {
            self.slot.pool().node.observe_at_login(false);
            return Err(IdentityError::NotReplica);
        }
        if identity.watched && self.connection.hides_quotes() {
            return Err(IdentityError::HidesQuotes);
        }
        Ok(())
    }

    /// `confirm` without waiting, when nothing has to change.
    #[inline]
    pub(crate) fn confirm_now(self, identity: &Arc<Identity>, settings: &Arc<Settings>) -> Result<Server, Box<Self>> {
        let known = self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, identity));
        let applied = Arc::ptr_eq(&self.applied, settings) || *self.applied == **settings;
        let certain = known && applied && !self.is_outdated(identity) && self.fits(identity).is_ok();
        if certain { Ok(Server::new(self)) } else { Err(Box::new(self)) }
    }

    async fn establish(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let mut sql = String::new();
        match &identity.role {
            Some(role) => {
                let _ = write!(sql, "SET ROLE {}", quote_identifier(role));
            }
            None => sql.push_str("SET SESSION AUTHORIZATION DEFAULT; RESET ROLE"),
        }
        sql.push(';');
        sql.push_str(WHO);
        self.make_ascii_safe(&sql).await?;
        let epoch = self.slot.pool().node.observed.epoch();
        let answer = self.connection.query(&sql).await?;
        self.learn(&answer);
        check(identity, &answer)?;
        self.epoch = epoch;
        Ok(())
    }

    /// Whether the server may have changed its role since the connection was verified for an identity that depends on it.
    #[inline]
    pub(super) fn is_outdated(&self, identity: &Identity) -> bool {
        identity.read_only && self.epoch != self.slot.pool().node.observed.epoch()
    }

    /// What an answer to [`WHO`] says of the server itself.
    fn learn(&self, answer: &Answer) {
        // Nothing, when the role does not exist any more.
        match answer.value(3) {
            "" => {}
            in_recovery => self.slot.pool().node.observe_at_login(in_recovery == "t"),
        }
    }

    async fn apply(&mut self, settings: &Arc<Settings>) -> Result<(), IdentityError> {
        let mut sql = String::new();
        self.applied.write_difference(settings, &mut sql);
        if !sql.is_empty() {
            self.make_ascii_safe(&sql).await?;
            self.connection.query(&sql).await.map_err(|error| match error {
                ConversationError::Refused(fields) => IdentityError::Setting(fields),
                other => IdentityError::Lost(other),
            })?;
        }
        self.applied = settings.clone();
        Ok(())
    }

    /// The gateway's own SQL is UTF-8. Where a session left another encoding, that goes first, on its own: the server
    /// reads the whole of a query in the encoding that holds when it arrives.
    async fn make_ascii_safe(&mut self, sql: &str) -> Result<(), IdentityError> {
        let encoding = self.connection.parameter("client_encoding");
        if sql.is_ascii() || matches!(encoding, None | Some("UTF8")) {
            return Ok(());
        }
        self.connection.query("SET client_encoding TO 'UTF8'").await?;
        let mut settings = (*self.applied).clone();
        settings.set("client_encoding", "UTF8");
        self.applied = Arc::new(settings);
        Ok(())
    }
}

/// Asks PostgreSQL who it takes the connection for. Every name is qualified: the subject chooses its `search_path`.
const WHO: &str = "SELECT current_user, session_user, r.rolsuper OR r.rolbypassrls, pg_catalog.pg_is_in_recovery() \
                   FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user";

/// Compares PostgreSQL's answer to [`WHO`] with what the connection must be.
fn check(identity: &Identity, answer: &Answer) -> Result<(), IdentityError> {
    let (actual, login) = (answer.value(0), answer.value(1));
    let wanted = identity.role.as_deref().unwrap_or(login);
    if actual != wanted || actual.is_empty() {
        return Err(IdentityError::Mismatch { wanted: wanted.to_owned(), actual: actual.to_owned() });
    }
    if answer.value(2) != "f" && !identity.allow_privileged {
        return Err(IdentityError::Privileged(actual.to_owned()));
    }
    if identity.read_only && answer.value(3) != "t" {
        return Err(IdentityError::NotReplica);
    }
    Ok(())
}
