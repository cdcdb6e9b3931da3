//! Getting a server for the next request.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tracing::{debug, warn};

use super::expiry::Due;
use super::{Barrier, Batch, End, Rules, Session};
use crate::backend::checkout_error::CheckoutError;
use crate::backend::choose::Need;
use crate::backend::cluster::{Membership, NoServer, PoolSet};
use crate::backend::pool::Wish;
use crate::backend::server::Server;
use crate::frontend::deadline::token_expired;
use crate::frontend::sessions::Signal;
use crate::router::{Access, Class};
use crate::wire::{Header, PgError, message};

/// Servers that are tried when one turns out to be gone at the moment it is needed.
const ATTEMPTS: usize = 3;

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
            let settings = self.settings.clone();
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
