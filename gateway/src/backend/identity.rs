//! Who a server connection is. A connection comes out of its pool [`Unconfirmed`]: it has no method that takes a client's
//! bytes. [`Unconfirmed::confirm`] makes it the wanted identity, waits until PostgreSQL has said yes, and gives a
//! [`Server`], which has (S1). There is no other way to get one, and no fallback when PostgreSQL says no (S2).

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::proof;
use pgdog_jwt::server::{Mistaken, Who};

use super::cleaning::Traces;
use super::connection::Connection;
use super::conversation::{Answer, ConversationError};
use super::held::Held;
use super::identity_sql::{TAKES_ROLES, steps, who, who_at_login};
use super::nonce::Nonce;
use super::own_requests::OwnRequests;
use super::pool::Pool;
use super::proven::{Process, Proven};
use super::server::Server;
use super::settings::Settings;
use super::slot::Slot;
use super::sql::READABLE;
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
    /// Whose it is, where several subjects share one account or role: what one of them leaves never serves another.
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

impl Subject {
    pub(crate) fn of(grant: &AuthGrant) -> Self {
        Self { issuer: grant.issuer.clone(), subject: grant.subject.clone(), user: grant.user.clone() }
    }
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
    /// Of code that is not PostgreSQL's own.
    pub(super) traces: Traces,
    /// Who logged in can take another role.
    pub(super) takes_roles: bool,
    /// Nothing but the role may be another than that of the holder.
    pub(super) role_is_due: bool,
    pub(crate) slot: Slot,
    /// The server process, once it was asked for.
    process: Option<Process>,
    /// Until when the proof counts that it has.
    proven_until: Option<SystemTime>,
    /// The process that answers is the one that logged in: there is nothing in between that could answer in its place.
    pub(super) is_direct: bool,
}

/// What PostgreSQL says of a connection: an answer to [`who`], asked with this nonce. A role that does not exist any more has
/// no answer.
pub(super) fn answered<'a>(answer: &'a Answer, nonce: &Nonce) -> Result<Who<'a>, IdentityError> {
    let row: Vec<Option<&str>> = answer.rows.last().into_iter().flatten().map(Option::as_deref).collect();
    Ok(Who::of(&row, nonce.of_the_core())?)
}

impl From<Mistaken> for IdentityError {
    fn from(mistaken: Mistaken) -> Self {
        match mistaken {
            Mistaken::Stale => Self::Lost(ConversationError::Stale),
            Mistaken::Other { wanted, actual } => Self::Mismatch { wanted, actual },
            Mistaken::Privileged(role) => Self::Privileged(role),
            Mistaken::NotReplica => Self::NotReplica,
            // Not asked here: settings are made with the identity.
            Mistaken::Setting(name) => Self::Mismatch { wanted: name, actual: String::new() },
        }
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
            connection, known, holder, login, epoch, applied, held, unnamed, dirty: false, traces: Traces::default(),
            takes_roles: true, role_is_due: false, slot, process, proven_until, is_direct,
        };
        let mut server = Box::new(server);
        let nonce = Nonce::new()?;
        let mut own = OwnRequests::default();
        own.begin();
        own.ask_sql(&who_at_login(&nonce));
        own.commit();
        let answer = server.connection.transact(&own).await?;
        let who = answered(&answer, &nonce)?;
        server.takes_roles = answer.value(TAKES_ROLES) != "f";
        server.login = who.login.into();
        server.is_direct = who.process == Some(server.connection.process);
        server.confirm_answer(identity, &who)?;
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
        self: Box<Self>,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Server, IdentityError> {
        self.confirm_with(identity, settings, OwnRequests::default).await
    }

    /// The same in the hands of a session, whose unnamed statement stays.
    pub(super) async fn confirm_again(
        self: Box<Self>,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Server, IdentityError> {
        self.confirm_with(identity, settings, OwnRequests::aside).await
    }

    async fn confirm_with(
        mut self: Box<Self>,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
        requests: fn() -> OwnRequests,
    ) -> Result<Server, IdentityError> {
        self.fits(identity)?;
        if !is_same(self.known.as_ref(), identity) || self.is_outdated(identity) {
            self.known = None;
            let takes_over = self.may_be_taken_over() && !is_same(self.holder.as_ref(), identity);
            let outcome = match takes_over {
                true => self.take_over(identity, settings).await,
                false => self.establish(identity, false, &Settings::default(), requests()).await,
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
            self.role_is_due = false;
            self.holder = Some(identity.clone());
            self.known = Some(identity.clone());
        }
        if *self.applied != **settings {
            self.apply(settings, requests()).await?;
        }
        self.fits(identity)?;
        Ok(Server::new(self))
    }

    /// What is left on the connection is nobody's: whoever is next takes it over.
    pub(super) fn leave_unclean(&mut self) {
        self.role_is_due = false;
        self.known = None;
        self.holder = Some(NOBODY.clone());
    }

    /// Whether what is left on the connection may be another's.
    #[inline]
    pub(super) fn may_be_taken_over(&self) -> bool {
        self.slot.pool().spec.shared || self.holder.as_ref().is_some_and(|holder| Arc::ptr_eq(holder, &NOBODY))
    }

    /// Whether others may use the connection though PostgreSQL would not make it what one of them is.
    fn may_return(&self) -> bool {
        self.slot.pool().spec.shared && self.connection.status == b'I'
    }

    /// Makes the connection of one identity another's: whatever the last one left behind is gone, also what its statements
    /// did not show, such as a setting that a function made.
    async fn take_over(&mut self, identity: &Identity, settings: &Arc<Settings>) -> Result<(), IdentityError> {
        let cleans = self.holder.is_some();
        // DEALLOCATE takes effect even when what comes behind it fails.
        self.held.clear();
        // A role that the session has taken by itself is one of its settings, and comes when the identity is confirmed. So does an
        // encoding, in which the answer would be given.
        let is_utf8 = settings.get("client_encoding").is_none_or(|encoding| encoding.eq_ignore_ascii_case("UTF8"));
        let are_plain = settings.get("role").is_none() && is_utf8;
        let wanted = if are_plain { settings.clone() } else { Arc::default() };
        self.applied = match self.establish(identity, cleans, &wanted, OwnRequests::default()).await {
            Err(IdentityError::Refused(_)) if !wanted.is_empty() => {
                // By itself it shows whether the identity is refused, or one of the settings.
                self.establish(identity, cleans, &Settings::default(), OwnRequests::default()).await?;
                Arc::default()
            }
            outcome => outcome.map(|()| wanted)?,
        };
        self.traces.clear();
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

    /// Takes on the identity and asks for it, all in one transaction: PostgreSQL does the whole of it, or nothing. What the
    /// last one left may be taken away in it, and settings be made.
    async fn establish(
        &mut self,
        identity: &Identity,
        cleans: bool,
        settings: &Settings,
        mut own: OwnRequests,
    ) -> Result<(), IdentityError> {
        self.unnamed = 0;
        let proof = self.prove(identity).await?;
        let nonce = Nonce::new()?;
        let steps = steps(identity, proof.as_deref(), cleans, settings);
        own.begin();
        if self.connection.misreads(&steps) {
            own.run_text(READABLE);
        }
        steps.iter().for_each(|sql| own.run(sql));
        own.ask_sql(&who(&nonce));
        own.commit();
        let epoch = self.slot.pool().node.observed.epoch();
        let answer = self.connection.transact(&own).await?;
        self.confirm_answer(identity, &answered(&answer, &nonce)?)?;
        self.epoch = epoch;
        Ok(())
    }

    /// A proof of the identity's claims, where it proves them.
    pub(super) async fn prove(&mut self, identity: &Identity) -> Result<Option<String>, IdentityError> {
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
        let answer =
            self.connection.query_fresh_unhurried(proof::BACKEND_QUERY).await.map_err(|error| match error {
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
        // It says nothing when the role does not exist any more.
        if let Some(in_recovery) = who.in_recovery {
            self.slot.pool().node.observe_at_login(in_recovery);
        }
        // An account must be what the rule says, and a subject itself, whatever stands between.
        let account = identity.subject.as_ref().map(|_| self.slot.pool().spec.user.as_str());
        who.must_be(identity.role.as_deref(), account.or(identity.login.as_deref()))?;
        who.must_be(identity.role.as_deref(), Some(&self.login))?;
        Ok(who.must_be_allowed(identity.allow_privileged, identity.read_only)?)
    }

    async fn apply(&mut self, settings: &Arc<Settings>, mut own: OwnRequests) -> Result<(), IdentityError> {
        let difference = self.applied.difference(settings);
        if !difference.is_empty() {
            let is_level_its_own = self.applied.get("default_transaction_isolation").is_some();
            let misreads = self.connection.misreads(&difference);
            if is_level_its_own || misreads {
                own.begin();
            }
            if misreads {
                own.run_text(READABLE);
            }
            difference.iter().for_each(|sql| own.run(sql));
            if is_level_its_own || misreads {
                own.commit()
            } else {
                own.sync()
            }
            self.unnamed = 0;
            self.connection.transact(&own).await.map_err(|error| match error {
                ConversationError::Refused(fields) if !fields.is_fatal() => IdentityError::Setting(fields),
                other => IdentityError::Lost(other),
            })?;
        }
        self.applied = settings.clone();
        Ok(())
    }
}

/// Equal to no identity: no account has such a name.
static NOBODY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Arc::new(Identity { login: Some(String::new()), ..Identity::default() }));

pub(super) fn is_same(known: Option<&Arc<Identity>>, identity: &Identity) -> bool {
    known.is_some_and(|known| std::ptr::eq(Arc::as_ptr(known), identity) || **known == *identity)
}
