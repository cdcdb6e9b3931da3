//! Getting a server for the next request.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use pgdog_jwt_guard::Access;
use tokio::time::Sleep;
use tracing::{debug, warn};

use super::expiry::Due;
use super::forgetting::Forgetting;
use super::{End, Rules, Session};
use crate::backend::checkout_error::CheckoutError;
use crate::backend::choose::Need;
use crate::backend::cluster::{Membership, NoServer, PoolSet};
use crate::backend::pool::Wish;
use crate::backend::server::Server;
use crate::frontend::deadline::token_expired;
use crate::frontend::sessions::Signal;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, message};

/// The SQLSTATE of `query_canceled`.
const CANCELED: &str = "57014";

/// Servers that are tried when one turns out to be gone at the moment it is needed.
const ATTEMPTS: usize = 3;

/// What may happen while a session waits.
enum Meanwhile {
    Signal(Signal),
    Expiry(Due),
    /// It is time to tell the client that it waits.
    Notice,
    ClientLeft,
}

impl Session {
    /// A free server that is the client's already, or becomes it with the request: no wait, no round trip.
    #[inline]
    pub(super) fn try_acquire(&mut self, access: Access) -> bool {
        let now = Instant::now();
        let need = self.need(access);
        let Some(server) = self.pools.try_check_out(need, &self.pools.wish, now) else { return false };
        let (identity, settings) = (self.pools.identity(), &self.settings);
        let confirmed = server.confirm_now(identity, settings);
        let confirmed = match confirmed {
            Err(server) if need.may_pipeline => server.confirm_with_request(identity, settings),
            confirmed => confirmed,
        };
        match confirmed {
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
            Err(error) if self.begun.is_some() && error.code == CANCELED => self.fail_begun(&error),
            Err(error) => self.fail_request(&error),
        }
    }

    /// A server for a statement of this kind; the inner error is what the client hears when there is none.
    pub(super) async fn find_server(&mut self, access: Access) -> Result<Result<Server, PgError>, End> {
        let mut attempt = 1;
        let mut notice = self.wait_notice();
        loop {
            let pools = self.pools.clone();
            let settings = self.settings.clone();
            let (need, wish) = (self.need(access), self.pools.wish.clone());
            let checkout = pin!(check_out(&pools, need, &wish, &settings));
            let Some(found) = self.wait(checkout, &mut notice).await? else {
                self.registration.take_cancel();
                return Ok(Err(canceled()));
            };
            match found {
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
        let reads = self.audited.is_some() || self.person.is_some();
        let rules = |pools: &Membership| Rules::new(&generation, &self.who, pools).reading(reads);
        match pools.map(|pools| (rules(&pools), pools)).filter(|(rules, _)| self.may_follow(rules)) {
            Some((rules, pools)) => {
                self.pools = pools;
                self.generation = generation;
                if rules != self.rules {
                    self.follow(rules);
                }
                Ok(())
            }
            None => Err(End::Fatal(PgError::fatal(
                "57P01",
                "terminating connection because the configuration of its user or database has changed",
            ))),
        }
    }

    /// Whether the session may go on under these rules. Read-only, under another guard, it would be another session.
    fn may_follow(&self, rules: &Rules) -> bool {
        let has_unnamed = self.unnamed.is_some() && !self.replaces_unnamed();
        let has_sql = self.sql.as_ref().is_some_and(|sql| !sql.is_empty());
        let has_statements = self.names.len() > 0 || has_unnamed || has_sql;
        let has_more = self.begun.is_some() || !self.conversation.is_idle() || self.pins.is_pinned();
        *rules == self.rules || (!has_more && self.rules.may_become(rules, has_statements))
    }

    /// Whether the request that is next in the input ends the unnamed statement, or puts another in its place.
    fn replaces_unnamed(&self) -> bool {
        let next = Header::parse(self.input.bytes()).ok().flatten();
        let name = self.input.bytes().get(HEADER_SIZE);
        next.is_some_and(|next| next.tag == b'Q' || (next.tag == b'P' && name == Some(&0)))
    }

    /// Goes on under them.
    fn follow(&mut self, rules: Rules) {
        if rules.follows_statements != self.rules.follows_statements {
            self.forget_unnamed();
        }
        if rules.follows_sql != self.rules.follows_sql {
            self.sql = rules.follows_sql.then(Box::default);
            self.reads_tags |= rules.follows_sql;
        }
        self.rules = rules;
        self.pipelines = self.may_pipeline();
    }

    /// Waits for something; meanwhile the client gets what it is owed. A cancel request is for what the client has sent and the
    /// session has not dealt with.
    pub(super) async fn while_waiting<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        loop {
            match self.wait(work.as_mut(), &mut None).await? {
                Some(done) => return Ok(done),
                None => {
                    let askers = self.registration.take_cancel();
                    self.cancel_in_time(askers);
                }
            }
        }
    }

    /// The same; `None` when a cancel request comes. With `notice`, the client is told that it waits.
    async fn wait<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = T>>,
        notice: &mut Option<Pin<Box<Sleep>>>,
    ) -> Result<Option<T>, End> {
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
                if notice.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                    return Poll::Ready(Err(Meanwhile::Notice));
                }
                self.poll_expiry(cx).map(|due| Err(Meanwhile::Expiry(due)))
            })
            .await;
            match event {
                Ok(done) => return Ok(Some(done)),
                Err(Meanwhile::Signal(signal)) => {
                    self.signal(Signal { cancel: false, ..signal })?;
                    if signal.cancel {
                        return Ok(None);
                    }
                }
                Err(Meanwhile::Expiry(due)) => {
                    self.note_expiry(due)?;
                    if self.is_over() {
                        // What it waits for would not be used.
                        return Err(End::Fatal(token_expired()));
                    }
                }
                Err(Meanwhile::Notice) => {
                    *notice = None;
                    self.say_that_it_waits();
                }
                Err(Meanwhile::ClientLeft) => return Err(End::Left),
            }
        }
    }

    /// Answers the next request with an error; of a batch, everything up to its Sync.
    pub(super) fn fail_request(&mut self, error: &PgError) -> Result<(), End> {
        let Some(header) = Header::parse(self.input.bytes())? else { return Ok(()) };
        if header.tag == b'Q' {
            self.record_answered(header, Some(&error.code));
        }
        self.say(error);
        self.forgetting = Forgetting::default();
        self.begun = None;
        self.transaction_since = None;
        self.end_failed(header, b'I');
        Ok(())
    }

    /// What follows the error of a request that has no server. Of a batch, everything up to its Sync is dropped.
    pub(super) fn end_failed(&mut self, header: Header, status: u8) {
        match header.tag {
            b'Q' | b'F' => message::ready_for_query(&mut self.out, status),
            _ => self.refused = true,
        }
        self.discard(header.size);
    }
}

/// What a client hears whose statement was cancelled before a server had it.
pub(super) fn canceled() -> PgError {
    PgError::error(CANCELED, "canceling statement due to user request")
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
