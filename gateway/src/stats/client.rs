//! What is known of one client while it is there: who it is, which never changes, and what it does, which its session
//! alone writes.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use pgdog_jwt::revocation::TokenIdentity;

use super::totals::{self, Tallies, Totals};
use super::{Seat, Tally, clock, clock_at, events};
use crate::config::PoolerMode;
use crate::net::stream::TlsSession;
use crate::wire::ErrorFields;

/// What a client is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Idle,
    /// A server owes it an answer.
    Active,
    /// It waits for a server.
    Waiting,
    /// Its transaction is open and nothing runs.
    IdleInTransaction,
    /// Idle, and bound to its server by what it left there.
    Pinned,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::Idle, Self::Active, Self::Waiting, Self::IdleInTransaction, Self::Pinned];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::IdleInTransaction => "idle in transaction",
            Self::Pinned => "pinned",
        }
    }
}

/// Who a client is: its account, and what is its own.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) account: Arc<Account>,
    /// As the start-up packet gave it.
    pub(crate) application_name: Box<str>,
    /// `None`: through the Unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// `None`: it is not encrypted.
    pub(crate) encryption: Option<Box<Encryption>>,
}

/// What is known of a client's TLS connection.
#[derive(Debug)]
pub(crate) struct Encryption {
    pub(crate) session: Option<TlsSession>,
    /// Who the client's certificate says it is.
    pub(crate) certificate: Option<String>,
}

/// What clients that log in alike have in common.
#[derive(Debug, PartialEq)]
pub(crate) struct Account {
    pub(crate) user: String,
    /// Of a session that was opened for one.
    pub(crate) tenant: Option<String>,
    pub(crate) database: String,
    /// The user of its pool. `None` in the admin database.
    pub(crate) pool: Option<String>,
    /// `None` in the admin database.
    pub(crate) mode: Option<PoolerMode>,
    /// Of a client that came with a token: what that one said. See [`Card::token`].
    pub(crate) token: Option<Arc<Token>>,
}

impl About {
    /// The address as text; `unix`.
    pub(crate) fn client(&self) -> String {
        self.address.map_or_else(|| "unix".to_owned(), |address| address.to_string())
    }
}

impl Deref for About {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

#[cfg(test)]
impl About {
    /// Somebody, in this database.
    pub(crate) fn of(database: &str) -> Self {
        let (user, database) = ("alice".to_owned(), database.to_owned());
        let account = Account { user, tenant: None, database, pool: None, mode: None, token: None };
        Self { account: Arc::new(account), application_name: Box::default(), address: None, encryption: None }
    }
}

/// What the token said.
#[derive(Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) subject: String,
    pub(crate) issuer: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) issued_at: Option<SystemTime>,
    pub(crate) role: Option<String>,
    /// The account that a role mapping led to.
    pub(crate) account: Option<String>,
    pub(crate) read_only: bool,
    pub(crate) expires_at: SystemTime,
}

impl Token {
    /// What revocations are compared with.
    pub(crate) fn identity(&self) -> TokenIdentity<'_> {
        TokenIdentity {
            issuer: self.issuer.as_deref(),
            subject: &self.subject,
            token_id: self.token_id.as_deref(),
            issued_at: self.issued_at,
        }
    }
}

/// See the module. Its worker writes it, and those beside it in memory are the same worker's: each thread allocates from
/// pages of its own.
#[derive(Debug)]
pub(crate) struct Card {
    state: AtomicU8,
    /// The number of the server connection that it holds; 0: none.
    pub(crate) server: Tally,
    /// When the client last asked for something, and when it began to wait, by [`clock`].
    pub(crate) last_request: Tally,
    pub(crate) waiting_since: Tally,
    pub(crate) done: Tallies,
    pub(crate) about: About,
    pub(crate) connected_at: SystemTime,
    pub(crate) totals: Arc<Totals>,
    /// What the token said that renewed the session last.
    renewed: ArcSwapOption<Token>,
}

impl Card {
    pub(crate) fn state(&self) -> State {
        let state = self.state.load(Ordering::Relaxed);
        State::ALL.into_iter().find(|known| *known as u8 == state).unwrap_or(State::Idle)
    }

    fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// What its token says: the one that it has now.
    pub(crate) fn token(&self) -> Option<Arc<Token>> {
        self.renewed.load_full().or_else(|| self.about.token.clone())
    }

    /// The session has a new token.
    pub(crate) fn renew(&self, token: Token) {
        self.renewed.store(Some(Arc::new(token)));
    }

    /// How long the client has been waiting for a server.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        let since = self.waiting_since.get();
        (self.state() == State::Waiting && since != 0).then(|| Duration::from_nanos(clock().saturating_sub(since)))
    }

    /// Leaves the client's numbers to its database. Under the lock of the registry, once.
    pub(crate) fn retire(&self) {
        self.totals.retired.add(&self.done.read());
    }
}

/// The session's end of its card: the only writer.
#[derive(Debug)]
pub(crate) struct Meter {
    card: Arc<Card>,
    /// Since when a server owes an answer, and since when the transaction runs; 0: not.
    busy_since: u64,
    begun: u64,
    pinned: bool,
    /// Queries and transactions that servers were credited with.
    credited: (u64, u64),
}

impl Meter {
    pub(crate) fn new(about: About) -> Self {
        let card = Card {
            state: AtomicU8::new(State::Idle as u8),
            server: Tally::default(),
            last_request: Tally::default(),
            waiting_since: Tally::default(),
            done: Tallies::default(),
            totals: totals::of(&about.database),
            about,
            connected_at: SystemTime::now(),
            renewed: ArcSwapOption::empty(),
        };
        Self { card: Arc::new(card), busy_since: 0, begun: 0, pinned: false, credited: (0, 0) }
    }

    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// A statement was sent to be run.
    #[inline]
    pub(crate) fn query(&self) {
        self.card.done.queries.add(1);
    }

    /// A server was asked for something.
    #[inline]
    pub(crate) fn asked(&mut self) {
        if self.busy_since == 0 {
            self.asked_now();
        }
    }

    #[inline(never)]
    fn asked_now(&mut self) {
        self.asked_at(Instant::now());
    }

    /// The same, at this moment, after the server owed nothing.
    #[inline]
    pub(crate) fn asked_at(&mut self, now: Instant) {
        self.busy_since = clock_at(now);
        if self.begun == 0 {
            self.begun = self.busy_since;
        }
        self.card.last_request.set(self.busy_since);
        self.card.set_state(State::Active);
    }

    /// The client is in.
    pub(crate) fn logged_in(&self) {
        self.card.done.logins.add(1);
        events::login(None);
    }

    /// The client prepared a statement that follows it.
    #[inline]
    pub(crate) fn client_parse(&self) {
        self.card.done.client_parses.add(1);
    }

    /// Such a statement is prepared on a server.
    #[inline]
    pub(crate) fn server_parse(&self) {
        self.card.done.server_parses.add(1);
    }

    /// The client has bound such a statement.
    #[inline]
    pub(crate) fn bind(&self) {
        self.card.done.binds.add(1);
    }

    /// The server is ready for the next request.
    #[inline]
    pub(crate) fn ready(&self, status: u8) {
        self.card.done.transactions.add(u64::from(status == b'I'));
    }

    /// The server owes nothing at this moment.
    #[inline]
    pub(crate) fn quiet(&mut self, now: Instant, seat: Option<&Seat>, in_transaction: bool, pinned: bool) {
        if self.busy_since == 0 {
            return;
        }
        let now = clock_at(now);
        let done = &self.card.done;
        done.query_nanos.add(now.saturating_sub(self.busy_since));
        self.busy_since = 0;
        if !in_transaction {
            done.transaction_nanos.add(now.saturating_sub(self.begun));
            self.begun = 0;
        }
        if pinned && !self.pinned {
            done.pins.add(1);
        }
        self.pinned = pinned;
        let (queries, transactions) = (done.queries.get(), done.transactions.get());
        if let Some(seat) = seat {
            seat.credit(queries - self.credited.0, transactions - self.credited.1, now);
        }
        self.credited = (queries, transactions);
        self.card.set_state(match (in_transaction, pinned) {
            (true, _) => State::IdleInTransaction,
            (false, true) => State::Pinned,
            (false, false) => State::Idle,
        });
    }

    /// The client holds this server from now on.
    #[inline]
    pub(crate) fn hold(&self, server: u64) {
        self.card.server.set(server);
        self.card.done.checkouts.add(1);
    }

    /// The client holds no server any more.
    #[inline]
    pub(crate) fn release(&self) {
        self.card.server.set(0);
    }

    /// The server was lost.
    pub(crate) fn lost(&mut self) {
        self.quiet(Instant::now(), None, false, false);
        self.begun = 0;
        self.release();
    }

    /// No server is free: the client begins to wait.
    pub(crate) fn waits(&self) {
        self.card.waiting_since.set(clock());
        self.card.set_state(State::Waiting);
    }

    /// The wait is over, for better or worse.
    pub(crate) fn waited(&self) {
        let wait = clock().saturating_sub(self.card.waiting_since.get());
        self.card.done.wait_nanos.add(wait);
        self.card.totals.waits.observe(Duration::from_nanos(wait));
        self.card.set_state(State::Idle);
    }

    #[inline]
    pub(crate) fn received(&self, bytes: usize) {
        self.card.done.received.add(bytes as u64);
    }

    #[inline]
    pub(crate) fn sent(&self, bytes: usize) {
        self.card.done.sent.add(bytes as u64);
    }

    /// The client hears an error of PostgreSQL's: the body of its message.
    pub(crate) fn server_error(&self, body: &[u8]) {
        self.card.done.errors.add(1);
        events::error(events::Origin::Server, ErrorFields::code(body).unwrap_or_default());
    }

    /// The client hears an error of the gateway's own.
    pub(crate) fn own_error(&self, code: &str) {
        self.card.done.errors.add(1);
        events::error(events::Origin::Gateway, code.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counts of an `Arc`, a block of 256 bytes. There is one for each client.
    #[test]
    fn a_card_is_small() {
        let size = size_of::<Card>();
        assert!(size <= 240, "{size} bytes");
    }

    #[test]
    fn a_request_is_seen_from_its_start_to_its_end() {
        let mut meter = Meter::new(About::of("stats-request"));
        let card = meter.card().clone();
        assert_eq!(card.state(), State::Idle);
        meter.query();
        meter.asked();
        assert_eq!(card.state(), State::Active);
        meter.ready(b'T');
        meter.quiet(Instant::now(), None, true, false);
        assert_eq!(card.state(), State::IdleInTransaction);
        meter.asked();
        meter.ready(b'I');
        meter.quiet(Instant::now(), None, false, true);
        assert_eq!(card.state(), State::Pinned);
        let done = card.done.read();
        assert_eq!((done.queries, done.transactions, done.pins), (1, 1, 1));
        assert!(done.transaction_nanos >= done.query_nanos && done.query_nanos > 0);
    }

    #[test]
    fn what_a_client_did_stays_with_its_database() {
        let meter = Meter::new(About::of("stats-retire"));
        meter.query();
        meter.sent(7);
        meter.card().retire();
        let sums = totals::of("stats-retire").retired.read();
        assert_eq!((sums.queries, sums.sent), (1, 7));
    }

    #[test]
    fn a_wait_is_counted_however_it_ends() {
        let meter = Meter::new(About::of("stats-wait"));
        meter.waits();
        assert_eq!(meter.card().state(), State::Waiting);
        assert!(meter.card().waiting().is_some());
        meter.waited();
        assert!(meter.card().waiting().is_none());
        assert_eq!(meter.card().totals.waits.cumulative().last(), Some(&(None, 1)));
    }
}
