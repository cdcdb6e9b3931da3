//! Getting a server for the next request, and giving it back when nothing holds the session to it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::expiry::Due;
use super::{Barrier, Batch, End, Rules, Session};
use crate::backend::checkout_error::CheckoutError;
use crate::backend::choose::Need;
use crate::backend::cluster::{Membership, NoServer, PoolSet};
use crate::backend::connect;
use crate::backend::held;
use crate::backend::pool::Wish;
use crate::backend::server::Server;
use crate::config::PoolerMode;
use crate::frontend::deadline::token_expired;
use crate::frontend::sessions::Signal;
use crate::router::{Access, Class};
use crate::wire::{Header, PgError, message};

/// Servers that are tried when one turns out to be gone at the moment it is needed.
const ATTEMPTS: usize = 3;

/// Limit for passing a cancel request on.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// What may happen while a session waits.
enum Meanwhile {
    Signal(Signal),
    Expiry(Due),
    ClientLeft,
}

impl Session {
    /// A free server that is the client's already, or becomes it with the request: no wait, no round trip.
    #[inline]
    pub(super) fn try_acquire(&mut self, access: Access) -> bool {
        let now = Instant::now();
        let Some(server) = self.pools.try_check_out(self.need(access), &self.pools.wish, now) else { return false };
        let (identity, settings) = (self.pools.identity(), &self.settings);
        let confirmed = server.confirm_now(identity, settings);
        match confirmed.or_else(|server| server.confirm_with_request(identity, settings)) {
            Ok(server) => {
                self.hold(server);
                self.registration.meter.asked_at(now);
                true
            }
            Err(server) => {
                crate::backend::pool::Pool::check_in(server);
                false
            }
        }
    }

    pub(super) fn hold(&mut self, server: Server) {
        debug_assert!(self.server.is_none() && self.carry.is_empty() && self.replying == 0);
        let seat = server.connection().seat_id();
        self.registration.meter.hold(seat);
        self.pools.wish.last = seat;
        self.server = Some(server);
        self.carry.clear();
        self.replying = 0;
        self.copy_in = false;
        // Of one that is the client's only with the first request, that is known when the request is answered.
        self.is_untold = self.server.as_ref().is_some_and(Server::is_unproven);
        if !self.is_untold {
            self.tell_parameters();
        }
    }

    /// Gets a server for the request that is next in the input, or answers that request with the reason why not.
    pub(super) async fn acquire(&mut self, access: Access) -> Result<(), End> {
        match self.find_server(access).await? {
            Ok(server) => {
                self.hold(server);
                Ok(())
            }
            Err(error) => self.fail_request(&error),
        }
    }

    /// A server for a statement of this kind; the inner error is what the client hears when there is none.
    pub(super) async fn find_server(&mut self, access: Access) -> Result<Result<Server, PgError>, End> {
        let mut attempt = 1;
        loop {
            let pools = self.pools.clone();
            let settings = self.settings().clone();
            let (need, wish) = (self.need(access), self.pools.wish.clone());
            let checkout = pin!(check_out(&pools, need, &wish, &settings));
            match self.while_waiting(checkout).await? {
                Ok(server) => return Ok(Ok(server)),
                Err(NoServer::Checkout(CheckoutError::Closed)) if attempt < ATTEMPTS => self.find_pools_again()?,
                Err(error) if error.is_gone() && attempt < ATTEMPTS => debug!(%error, "a free server was gone"),
                Err(NoServer::Checkout(CheckoutError::TokenExpired)) => return Err(End::Fatal(token_expired())),
                Err(error) if error.is_setting() && attempt < ATTEMPTS && self.forgo_refused(need).await? => {}
                Err(error) => {
                    warn!(
                        event = "checkout",
                        user = self.who.user(),
                        database = self.pools.key.database,
                        reason = %error,
                        "no server for a client"
                    );
                    return Ok(Err(error.for_client()));
                }
            }
            attempt += 1;
        }
    }

    /// The configuration has changed under the session: its pools are others now.
    fn find_pools_again(&mut self) -> Result<(), End> {
        let generation = self.app.state();
        let database = &self.pools.key.database;
        let pools = self.who.pools(&generation.registry, database).ok();
        // Under other rules (read-only, another mode, another guard) it would be another session.
        let reads = self.audited.is_some() || self.person.is_some();
        let same = |pools: &Membership| Rules::new(&generation, &self.who, pools).reading(reads) == self.rules;
        match pools.filter(same) {
            Some(pools) => {
                self.pools = pools;
                self.generation = generation;
                Ok(())
            }
            None => Err(End::Fatal(PgError::fatal(
                "57P01",
                "terminating connection because the configuration of its user or database has changed",
            ))),
        }
    }

    /// Waits for a server; meanwhile the client gets what it is owed.
    pub(super) async fn while_waiting<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        loop {
            let event = poll_fn(|cx| {
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(Ok(done));
                }
                if let Some(signal) = self.registration.poll_signal(cx) {
                    return Poll::Ready(Err(Meanwhile::Signal(signal)));
                }
                if let Poll::Ready(Err(_)) = self.poll_client_write(cx) {
                    return Poll::Ready(Err(Meanwhile::ClientLeft));
                }
                self.poll_expiry(cx).map(|due| Err(Meanwhile::Expiry(due)))
            })
            .await;
            match event {
                Ok(done) => return Ok(done),
                Err(Meanwhile::Signal(signal)) => self.signal(signal)?,
                Err(Meanwhile::Expiry(due)) => {
                    self.note_expiry(due)?;
                    if self.is_over() {
                        // What it waits for would not be used.
                        return Err(End::Fatal(token_expired()));
                    }
                }
                Err(Meanwhile::ClientLeft) => return Err(End::Left),
            }
        }
    }

    /// Answers the next request with an error; of a batch, everything up to its Sync.
    pub(super) fn fail_request(&mut self, error: &PgError) -> Result<(), End> {
        let Some(header) = Header::parse(self.input.bytes())? else { return Ok(()) };
        if header.tag == b'Q' {
            self.record_answered(header, Class::UNKNOWN, Some(&error.code));
        }
        self.say(error);
        self.barrier = Barrier::None;
        self.begun = None;
        match header.tag {
            b'Q' | b'F' => message::ready_for_query(&mut self.out, b'I'),
            _ => self.batch = Batch::Refused,
        }
        self.discard(header.size);
        Ok(())
    }

    /// When the server owes nothing: confirms its identity where that is in doubt, gives it back where nothing keeps the
    /// session on it. `true`: it owes nothing.
    #[inline]
    pub(super) async fn settle(&mut self) -> Result<bool, End> {
        match self.settle_at_once() {
            Some(settled) => Ok(settled),
            // Boxed, as all that is rare: a session takes as much room as the most that it may wait for.
            None => Box::pin(self.settle_after_all()).await,
        }
    }

    /// The ordinary cases: nothing has to be asked of the server or done to it. `None`: there is more to it.
    #[inline]
    fn settle_at_once(&mut self) -> Option<bool> {
        let Some(server) = &self.server else { return Some(true) };
        // A request of which the server has only a part binds the session to it as an unanswered one does.
        if !self.is_quiet() || self.is_moving() {
            return Some(false);
        }
        if server.is_unproven() {
            return None;
        }
        let (idle, pinned) = (server.status() == b'I', self.pins.is_pinned());
        let stays = !idle || pinned || self.rules.mode == PoolerMode::Session;
        let is_settled = match (idle, stays) {
            (false, _) => self.rules.mode != PoolerMode::Statement,
            (true, true) => self.is_confirmed(server),
            (true, false) => server.is_clean() && server.identity_known() && !self.own_writes.are_due(),
        };
        let is_as_it_was =
            self.barrier == Barrier::None && !self.variables_reset && !self.changes_schema && !self.inquiries.are_due();
        let doubts_role = self.rules.verifies && idle;
        if !is_settled || !is_as_it_was || doubts_role {
            return None;
        }
        self.forget_requests();
        self.ran = false;
        let now = Instant::now();
        let seat = self.server.as_ref().and_then(|server| server.connection().seat.as_ref());
        self.registration.meter.quiet(now, seat, !idle, pinned);
        if !stays {
            self.release(now);
        }
        Some(true)
    }

    /// What is known of requests that are answered.
    #[inline]
    fn forget_requests(&mut self) {
        self.asked_at = None;
        self.names.settle();
        self.provided.clear();
    }

    /// The same when the server owes nothing, whatever there is to be done.
    async fn settle_after_all(&mut self) -> Result<bool, End> {
        if self.server.take_if(|server| server.is_unproven()).is_some() {
            // Nothing was asked of it, so it has not become the client's: nobody's, then (S4).
            self.registration.meter.lost();
            return Ok(true);
        }
        self.forget_requests();
        if self.changes_schema {
            // For the session itself at once, for others when it is committed.
            held::schema_changed();
            self.changes_schema = self.server.as_ref().is_some_and(|server| server.status() != b'I');
        }
        let idle = self.server.as_ref().is_some_and(|server| server.status() == b'I');
        if self.barrier == Barrier::Sent && idle && self.barrier_discards {
            // DISCARD ALL took the client's statements with it, and whatever pinned the session.
            self.names.clear();
            if let Some(sql) = &mut self.sql {
                sql.clear();
            }
            self.barrier_names.clear();
            self.own = None;
            self.unnamed = None;
            self.pins.unpin();
            self.settings = self.startup.clone();
            self.inquiries = super::Inquiries::default();
        }
        self.barrier = Barrier::None;
        if std::mem::take(&mut self.variables_reset) {
            self.keep_variables().await?;
        }
        if std::mem::take(&mut self.ran)
            && self.rules.verifies
            && idle
            && let Some(server) = &mut self.server
        {
            server.doubt_role();
        }
        if self.server.as_ref().is_some_and(Server::identity_known) {
            self.reset_to_startup().await?;
        }
        if idle {
            // Also of a server whose role is in doubt: what it has must be known before another client gets it.
            self.inquire().await?;
        }
        if self.rules.mode == PoolerMode::Statement && !idle {
            let text = "transaction blocks are not allowed when pooler_mode is \"statement\"";
            return Err(End::Fatal(PgError::fatal("0A000", text)));
        }
        let seat = self.server.as_ref().and_then(|server| server.connection().seat.as_ref());
        self.registration.meter.quiet(Instant::now(), seat, !idle, self.pins.is_pinned());
        if idle && self.rules.mode != PoolerMode::Session && !self.pins.is_pinned() {
            self.ask_position().await?;
            self.release(Instant::now());
        } else if idle && self.server.as_ref().is_some_and(|server| !self.is_confirmed(server)) {
            self.confirm_again().await?;
            // Where a barrier was what has reset them.
            self.reset_to_startup().await?;
        }
        Ok(true)
    }

    /// Whether a held server is still what the session needs.
    #[inline]
    fn is_confirmed(&self, server: &Server) -> bool {
        server.identity_known() && (self.rules.mode == PoolerMode::Session || server.has_settings(&self.settings))
    }

    pub(super) async fn confirm_again(&mut self) -> Result<(), End> {
        self.note_parameters();
        let Some(server) = self.server.take() else { return Ok(()) };
        let identity = self.pools.identity().clone();
        let settings = self.settings().clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let confirm = Box::pin(tokio::time::timeout(limit, server.confirm_again(&identity, &settings)));
        let confirmed = match self.while_waiting(confirm).await? {
            Ok(confirmed) => confirmed.map_err(CheckoutError::from),
            Err(_) => Err(CheckoutError::ConnectTimeout(limit)),
        };
        match confirmed {
            Ok(mut server) => {
                self.tell_asides(&mut server);
                self.server = Some(server);
                self.tell_parameters();
                Ok(())
            }
            Err(error) => {
                warn!(event = "identity", user = self.who.user(), reason = %error, "identity could not be confirmed");
                Err(End::Fatal(NoServer::Checkout(error).for_client()))
            }
        }
    }

    /// Gives the server back: as it is, or by way of a cleaning that nobody waits for.
    #[inline]
    fn release(&mut self, now: Instant) {
        self.note_parameters();
        let Some(server) = self.server.take() else { return };
        self.registration.meter.release();
        self.expected.shrink();
        match self.cancelling.take() {
            None if server.is_clean() => server.check_in_at(now),
            cancelling => self.clean(server, cancelling),
        }
    }

    pub(super) fn clean(&self, mut server: Server, cancelling: Option<tokio::task::JoinHandle<()>>) {
        let limit = self.generation.config.general.rollback_timeout;
        tokio::spawn(async move {
            if let Some(cancelling) = cancelling {
                // The server must not be another client's while a cancel request for it is on its way (S11).
                let _ = cancelling.await;
                server.mark_dirty();
            }
            server.clean(limit).await;
        });
    }

    /// Does what another task asked of this session.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), End> {
        // Nothing more is done for a token that was revoked.
        if signal.cancel || signal.revoked {
            self.cancel();
        }
        if signal.terminate {
            return Err(End::Fatal(signal.last_words()));
        }
        if signal.drain {
            self.registration.drain();
        }
        if self.registration.is_draining() && self.may_leave() {
            return Err(self.shut_down());
        }
        Ok(())
    }

    pub(super) fn shut_down(&self) -> End {
        End::Fatal(PgError::fatal("57P01", "terminating connection because the gateway shuts down"))
    }

    /// Whether the client would lose nothing by being cut off.
    pub(super) fn may_leave(&self) -> bool {
        let in_transaction = self.server.as_ref().is_some_and(|server| server.status() != b'I');
        self.is_quiet() && !in_transaction && self.input.is_empty()
    }

    /// Passes a cancel request on, if something of this session runs (S11).
    pub(super) fn cancel(&mut self) {
        let Some(server) = self.server.as_ref().filter(|_| !self.expected.is_empty()) else { return };
        let connection = server.connection();
        let (process, key) = (connection.process, connection.key.clone());
        let node = server.pool().node.clone();
        let earlier = self.cancelling.take();
        self.cancelling = Some(tokio::spawn(async move {
            if let Some(earlier) = earlier {
                let _ = earlier.await;
            }
            let tls = node.tls.load_full();
            let cancel = connect::cancel(&node.address, &tls, process, &key);
            match tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => warn!(%error, "a cancel request could not be passed on"),
                Err(_) => warn!("a cancel request took too long"),
            }
        }));
    }
}

/// Checks a server out and makes it the client's.
pub(super) async fn check_out(
    pools: &PoolSet,
    need: Need,
    wish: &Wish,
    settings: &std::sync::Arc<crate::backend::settings::Settings>,
) -> Result<Server, NoServer> {
    let mut server = match pools.check_out(need, wish).await?.confirm_now(&wish.identity, settings) {
        Ok(server) => return Ok(server),
        Err(server) => server,
    };
    if need.may_pipeline {
        server = match server.confirm_with_request(&wish.identity, settings) {
            Ok(server) => return Ok(server),
            Err(server) => server,
        };
    }
    let limit = server.slot.pool().spec.limits.connect_timeout;
    match tokio::time::timeout(limit, server.confirm(&wish.identity, settings)).await {
        Ok(Ok(server)) => Ok(server),
        Ok(Err(error)) => Err(NoServer::Checkout(error.into())),
        Err(_) => Err(NoServer::Checkout(CheckoutError::ConnectTimeout(limit))),
    }
}
