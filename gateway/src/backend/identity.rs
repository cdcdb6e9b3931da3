//! Who a server connection is. A connection comes out of its pool [`Unconfirmed`]: it has no method that takes a client's
//! bytes. [`Unconfirmed::confirm`] makes it the wanted identity, waits until PostgreSQL has said yes, and gives a
//! [`Server`], which has (S1). There is no other way to get one, and no fallback when PostgreSQL says no (S2).

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use pgdog_jwt::proof;

use super::connection::Connection;
use super::conversation::{Answer, ConversationError, PLAINLY};
use super::held::Held;
use super::identity_sql::{CLEAN, question, statement, write_variables};
use super::pool::Pool;
use super::proven::{Process, Proven};
use super::server::Server;
use super::settings::Settings;
use super::slot::Slot;
use crate::app::worker;
use crate::wire::ErrorFields;

/// What every server connection of a session must be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// `current_user`; `None`: whoever logged in.
    pub(crate) role: Option<String>,
    /// `session_user`, where that must be the subject itself.
    pub(crate) login: Option<String>,
    /// Whether a role with SUPERUSER or BYPASSRLS may be used (S13).
    pub(crate) allow_privileged: bool,
    /// Never on a primary (S10).
    pub(crate) read_only: bool,
    /// The guard watches over its statements, so the server must read them as the guard does.
    pub(crate) watched: bool,
    /// Settings that say who the session is, by name.
    pub(crate) variables: Variables,
    /// Whose it is, where several subjects share one account: what one of them leaves never serves another.
    pub(crate) subject: Option<Subject>,
    /// Claims that it proves to the database.
    pub(crate) proven: Option<Proven>,
}

/// The subject of a token: `sub` means something for its issuer alone, and may be less than the user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) issuer: Option<String>,
    pub(crate) subject: String,
    pub(crate) user: String,
}

/// Names and values.
pub(crate) type Variables = Arc<[(String, String)]>;

impl Identity {
    /// Whoever logs in with an account of the configuration.
    pub(super) fn of_an_account() -> Self {
        Self { allow_privileged: true, ..Self::default() }
    }

    /// The subject's role, whichever way it came to it; `None`: an account that no token speaks of.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.role.as_deref().or(self.login.as_deref())
    }
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
    #[error("the database cannot verify claims, see \"pgdog-jwt setup sql\": {}", .0.message)]
    NoProof(ErrorFields),
    #[error("the server reads strings otherwise than the guard")]
    HidesQuotes,
    #[error("the session's encoding has no room for the values of its variables")]
    Encoding,
    /// A setting that the session asked for; its identity is right.
    #[error("{}", .0.message)]
    Setting(ErrorFields),
    #[error(transparent)]
    Lost(ConversationError),
}

impl From<ConversationError> for IdentityError {
    fn from(error: ConversationError) -> Self {
        match error {
            // A server that ends has said nothing of the identity.
            ConversationError::Refused(fields) if !fields.is_fatal() => Self::Refused(fields),
            other => Self::Lost(other),
        }
    }
}

/// A server connection that may be anyone.
pub(crate) struct Unconfirmed {
    pub(crate) connection: Connection,
    /// The identity that it is known to have: shared with the pool, so that comparing pointers is enough.
    pub(crate) known: Option<Arc<Identity>>,
    /// The identity that may have left something behind; `None`: nobody.
    pub(crate) holder: Option<Arc<Identity>>,
    /// Who logged in, as PostgreSQL says (`session_user`).
    pub(crate) login: Box<str>,
    /// When that was, by the changes of the server's role: see [`super::role::Observed::epoch`].
    pub(crate) epoch: u32,
    pub(crate) applied: Arc<Settings>,
    pub(crate) held: Held,
    pub(crate) unnamed: u64,
    /// A session may have left something behind: settings, statements, temporary tables.
    pub(super) dirty: bool,
    pub(crate) slot: Slot,
    /// The server process, once it was asked for.
    process: Option<Process>,
    /// Until when the proof counts that it has.
    proven_until: Option<SystemTime>,
    /// The process that answers is the one that logged in: there is nothing in between that could answer in its place.
    pub(super) is_direct: bool,
}

/// What PostgreSQL says of a connection.
pub(super) struct Who<'a> {
    pub(super) role: &'a str,
    pub(super) login: &'a str,
    pub(super) is_privileged: bool,
    /// `t` or `f`; empty: it says nothing.
    pub(super) in_recovery: &'a str,
}

impl<'a> Who<'a> {
    /// An answer to [`WHO`].
    fn of(answer: &'a Answer) -> Self {
        let is_privileged = answer.value(2) != "f";
        Self { role: answer.value(0), login: answer.value(1), is_privileged, in_recovery: answer.value(3) }
    }
}

impl Unconfirmed {
    /// Takes over a connection that has just logged in and asks PostgreSQL who it is.
    pub(crate) async fn first(
        connection: Connection,
        slot: Slot,
        identity: &Arc<Identity>,
        held: Held,
    ) -> Result<Box<Self>, IdentityError> {
        let applied = Arc::new(Settings::default());
        let epoch = slot.pool().node.observed.epoch();
        let login = Box::default();
        let (known, holder, process, proven_until) = (None, None, None, None);
        let (unnamed, is_direct) = (0, false);
        #[rustfmt::skip]
        let server = Self {
            connection, known, holder, login, epoch, applied, held, unnamed, dirty: false, slot, process, proven_until,
            is_direct,
        };
        let mut server = Box::new(server);
        let answer = server.connection.query_unhurried(&question()).await?;
        server.login = answer.value(1).into();
        server.is_direct = answer.value(4).parse() == Ok(server.connection.process);
        server.confirm_answer(identity, &Who::of(&answer))?;
        server.known = Some(identity.clone());
        Ok(server)
    }

    /// Moves the socket to the reactor of the worker that runs this.
    #[inline]
    pub(super) fn adopt(self: Box<Self>) -> Option<Box<Self>> {
        if self.connection.worker() == worker::current() {
            return Some(self);
        }
        let connection = self.connection.adopt().ok()?;
        Some(Box::new(Self { connection, ..*self }))
    }

    /// Makes the connection the wanted identity with the wanted settings, in one round trip, in none when it is already.
    pub(crate) async fn confirm(
        mut self: Box<Self>,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Server, IdentityError> {
        self.fits(identity)?;
        if !is_same(self.known.as_ref(), identity) || self.is_outdated(identity) {
            self.known = None;
            let takes_over = self.slot.pool().spec.shared && !is_same(self.holder.as_ref(), identity);
            let outcome = match takes_over {
                true => self.take_over(identity, settings).await,
                false => self.establish(identity, "", "").await,
            };
            match outcome {
                Err(IdentityError::Refused(fields)) if takes_over && self.may_ask_another(identity, &fields) => {
                    return self.ask_another(fields, identity, settings).await;
                }
                Err(IdentityError::Refused(fields)) if self.may_return() => {
                    // As it was before, for whoever it will be confirmed for next.
                    Pool::check_in(self);
                    return Err(IdentityError::Refused(fields));
                }
                outcome => outcome?,
            }
            self.holder = Some(identity.clone());
            self.known = Some(identity.clone());
        }
        if *self.applied != **settings {
            self.apply(settings).await?;
        }
        self.fits(identity)?;
        Ok(Server::new(self))
    }

    /// What is left on the connection is nobody's: whoever is next takes it over.
    pub(super) fn leave_unclean(&mut self) {
        self.known = None;
        self.holder = Some(NOBODY.clone());
    }

    /// Whether others may use the connection though PostgreSQL would not make it what one of them is.
    fn may_return(&self) -> bool {
        self.slot.pool().spec.shared && self.connection.status == b'I'
    }

    /// Makes the connection of one identity another's: whatever the last one left behind is gone, also what its statements
    /// did not show, such as a setting that a function made.
    async fn take_over(&mut self, identity: &Identity, settings: &Arc<Settings>) -> Result<(), IdentityError> {
        let clean = if self.holder.is_some() { CLEAN.as_str() } else { "" };
        // DEALLOCATE takes effect even when what comes behind it fails.
        self.held.clear();
        let mut sql = String::new();
        // A role that the session has taken by itself is one of its settings, and comes when the identity is confirmed.
        if settings.get("role").is_none() {
            Settings::default().write_difference(settings, &mut sql);
        }
        let applied = match self.establish(identity, clean, &sql).await {
            Err(IdentityError::Refused(_)) if !sql.is_empty() => {
                // By itself it shows whether the identity is refused, or one of the settings.
                self.establish(identity, clean, "").await?;
                Arc::default()
            }
            outcome => outcome.map(|()| if sql.is_empty() { Arc::default() } else { settings.clone() })?,
        };
        self.applied = applied;
        // Notifications for the last identity.
        drop(self.connection.take_asides());
        Ok(())
    }

    /// What the server has reported by itself must allow the identity: it may have been promoted since.
    #[inline]
    pub(super) fn fits(&self, identity: &Identity) -> Result<(), IdentityError> {
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
    pub(crate) fn confirm_now(
        self: Box<Self>,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Server, Box<Self>> {
        let known = self.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, identity));
        let applied = Arc::ptr_eq(&self.applied, settings) || *self.applied == **settings;
        let certain = known && applied && !self.is_outdated(identity) && self.fits(identity).is_ok();
        if certain { Ok(Server::new(self)) } else { Err(self) }
    }

    /// Takes on the identity and asks for it, all in one transaction: PostgreSQL does the whole of it, or nothing.
    /// `before` and `after` are SQL that goes with it.
    async fn establish(&mut self, identity: &Identity, before: &str, after: &str) -> Result<(), IdentityError> {
        self.unnamed = 0;
        let proof = self.prove(identity).await?;
        let sql = statement(identity, proof.as_deref(), before, after);
        self.make_ascii_safe(&sql).await?;
        let epoch = self.slot.pool().node.observed.epoch();
        let answer = self.connection.query_unhurried(&sql).await?;
        self.confirm_answer(identity, &Who::of(&answer))?;
        self.epoch = epoch;
        Ok(())
    }

    /// Gives the variables that say who the session is their values again: RESET ALL in an open transaction has taken them.
    pub(crate) async fn keep_variables(&mut self, identity: &Identity) -> Result<(), IdentityError> {
        let proof = self.prove(identity).await?;
        let mut sql = String::new();
        write_variables(identity, proof.as_deref(), &mut sql);
        if sql.is_empty() {
            return Ok(());
        }
        if !sql.is_ascii() && self.connection.parameter("client_encoding").is_some_and(|encoding| encoding != "UTF8") {
            // The server would read other characters.
            return Err(IdentityError::Encoding);
        }
        self.connection.query_aside(&sql).await?;
        Ok(())
    }

    /// A proof of the identity's claims, where it proves them.
    async fn prove(&mut self, identity: &Identity) -> Result<Option<String>, IdentityError> {
        self.proven_until = None;
        let Some(proven) = &identity.proven else { return Ok(None) };
        let process = self.process().await?;
        let role = identity.role.as_deref().unwrap_or(&self.login);
        let (proof, until) = proven.prove(role, &self.slot.pool().spec.database, process);
        self.proven_until = Some(until);
        Ok(Some(proof))
    }

    /// The server process, for proofs: asked once.
    async fn process(&mut self) -> Result<Process, IdentityError> {
        if let Some(process) = self.process {
            return Ok(process);
        }
        let answer = self.connection.query_unhurried(proof::BACKEND_QUERY).await.map_err(|error| match error {
            ConversationError::Refused(fields) if !fields.is_fatal() => IdentityError::NoProof(fields),
            other => IdentityError::Lost(other),
        })?;
        let (pid, start) = (answer.value(0).parse(), answer.value(1).parse());
        let (Ok(pid), Ok(start)) = (pid, start) else {
            let (wanted, actual) = ("a server process".to_owned(), answer.value(1).to_owned());
            return Err(IdentityError::Mismatch { wanted, actual });
        };
        let process = Process { pid, start };
        self.process = Some(process);
        Ok(process)
    }

    /// Whether the server may have changed its role since the connection was verified for an identity that depends on it,
    /// or a proof that it has counts no more.
    #[inline]
    pub(super) fn is_outdated(&self, identity: &Identity) -> bool {
        (identity.read_only && self.epoch != self.slot.pool().node.observed.epoch())
            || identity.proven.as_ref().is_some_and(|proven| self.proven_until.is_some_and(|at| proven.is_spent(at)))
    }

    /// Learns what PostgreSQL's answer says of the server, and compares it with what the connection must be.
    pub(super) fn confirm_answer(&self, identity: &Identity, who: &Who<'_>) -> Result<(), IdentityError> {
        match who.in_recovery {
            // Nothing, when the role does not exist any more.
            "" => {}
            in_recovery => self.slot.pool().node.observe_at_login(in_recovery == "t"),
        }
        let Who { role: actual, login, .. } = *who;
        let wanted = identity.role.as_deref().unwrap_or(login);
        if actual != wanted || actual.is_empty() {
            return Err(IdentityError::Mismatch { wanted: wanted.to_owned(), actual: actual.to_owned() });
        }
        // An account must be what the rule says, and a subject itself, whatever stands between.
        let account = identity.subject.as_ref().map(|_| self.slot.pool().spec.user.as_str());
        if let Some(wanted) = account.or(identity.login.as_deref()).filter(|wanted| *wanted != login) {
            return Err(IdentityError::Mismatch { wanted: wanted.to_owned(), actual: login.to_owned() });
        }
        if login != &*self.login {
            return Err(IdentityError::Mismatch { wanted: self.login.to_string(), actual: login.to_owned() });
        }
        if who.is_privileged && !identity.allow_privileged {
            return Err(IdentityError::Privileged(actual.to_owned()));
        }
        if identity.read_only && who.in_recovery != "t" {
            return Err(IdentityError::NotReplica);
        }
        Ok(())
    }

    async fn apply(&mut self, settings: &Arc<Settings>) -> Result<(), IdentityError> {
        let mut sql = String::new();
        self.applied.write_difference(settings, &mut sql);
        if !sql.is_empty() {
            if self.applied.get("default_transaction_isolation").is_some() {
                sql.insert_str(0, PLAINLY);
            }
            self.unnamed = 0;
            self.make_ascii_safe(&sql).await?;
            self.connection.query_unhurried(&sql).await.map_err(|error| match error {
                ConversationError::Refused(fields) if !fields.is_fatal() => IdentityError::Setting(fields),
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

/// Equal to no identity: no account has such a name.
static NOBODY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Arc::new(Identity { login: Some(String::new()), ..Identity::default() }));

/// Asks PostgreSQL who it takes the connection for. Every name is qualified: the subject chooses its `search_path`.
pub(super) const WHO: &str = "SELECT current_user, session_user, r.rolsuper OR r.rolbypassrls, pg_catalog.pg_is_in_recovery() \
                   FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user";

pub(super) fn is_same(known: Option<&Arc<Identity>>, identity: &Identity) -> bool {
    known.is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), identity) || **known == *identity)
}
