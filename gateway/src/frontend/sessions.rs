//! Live sessions: who they are, their cancel keys, and the signals that reach them: cancel, drain, terminate. A cancel
//! request only wakes the session it names; the session, which alone knows what it runs and where, passes it on (S11).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Context;

use atomic_waker::AtomicWaker;
use aws_lc_rs::error::Unspecified;
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::limits::Seat;
use super::login_limits::Prefix;
use crate::audit::{Event, Record};
use crate::stats::{About, Card, Meter, Sums, Token, Totals, all_totals, events};
use crate::wire::PgError;
use crate::wire::startup::Version;

const CANCEL: u8 = 1;
const DRAIN: u8 = 2;
const TERMINATE: u8 = 4;
/// Beside `TERMINATE`: why.
const REVOKED: u8 = 8;

/// Length of a cancel key where the protocol allows more than four bytes (protocol 3.2, PostgreSQL 18 uses the same).
const LONG_KEY: usize = 32;

/// Wrong keys from which on a session is not woken from where too many come, though it has come from there itself.
const MOST_GUESSES: u32 = 100;

static SESSIONS: LazyLock<Mutex<HashMap<u32, Entry>>> = LazyLock::new(Mutex::default);

struct Entry {
    card: Arc<Card>,
    mailbox: Arc<Mailbox>,
}

/// How others reach a session.
struct Mailbox {
    flags: AtomicU8,
    waker: AtomicWaker,
    /// Of cancel requests.
    key: Box<[u8]>,
    /// Cancel requests with another key.
    guesses: AtomicU32,
    /// Of the cancel requests that the session has not taken yet.
    askers: Mutex<Askers>,
    /// It takes none.
    ignores_cancel: AtomicBool,
}

/// Connections that brought a cancel request, and stay open until it has done all that it will do. They hear so when this is
/// dropped.
pub(super) type Askers = Vec<oneshot::Sender<()>>;

/// Why a cancel request has reached no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CancelError {
    NoSession,
    WrongKey,
    /// Nobody looked at its key.
    Unseen,
}

/// What other tasks asked of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signal {
    /// Cancel what runs.
    pub(crate) cancel: bool,
    /// End at the next moment at which nothing is lost.
    pub(crate) drain: bool,
    /// End now.
    pub(crate) terminate: bool,
    /// The reason for that is that the session's token was revoked.
    pub(crate) revoked: bool,
}

/// What a session hears whose token was revoked.
pub(super) const TOKEN_REVOKED: &str = "terminating connection because its token was revoked";

impl Signal {
    /// What a session hears that ends now.
    pub(crate) fn last_words(self) -> PgError {
        let why = if self.revoked { TOKEN_REVOKED } else { "terminating connection due to administrator command" };
        PgError::fatal("57P01", why)
    }
}

/// What a session hears that ends because the gateway does.
pub(crate) fn shutting_down() -> PgError {
    PgError::fatal("57P01", "terminating connection because the gateway shuts down")
}

/// A session's entry; dropping it takes the key out of use.
pub(crate) struct Registration {
    process: u32,
    mailbox: Arc<Mailbox>,
    draining: bool,
    /// What the session counts.
    pub(crate) meter: Meter,
    /// Its places where sessions are counted.
    seats: Box<[Seat]>,
}

/// Registers a new session under an unguessable key.
pub(crate) fn register(version: Version, about: About) -> Result<Registration, Unspecified> {
    let meter = Meter::new(about);
    let size = if version >= Version::V3_2 { LONG_KEY } else { 4 };
    let mut random = [0; 4 + LONG_KEY];
    let (random, _) = random.split_at_mut(4 + size);
    aws_lc_rs::rand::fill(random)?;
    let mut sessions = SESSIONS.lock();
    let process = loop {
        let (number, _) = random.split_first_chunk().ok_or(Unspecified)?;
        // Clients show it as a process id: positive, as PostgreSQL's are.
        let process = u32::from_be_bytes(*number) & 0x7fff_ffff;
        if process != 0 && !sessions.contains_key(&process) {
            break process;
        }
        aws_lc_rs::rand::fill(random)?;
    };
    let key = random.get(4..).unwrap_or_default().into();
    let mailbox = Arc::new(Mailbox {
        flags: AtomicU8::new(0),
        waker: AtomicWaker::new(),
        key,
        guesses: AtomicU32::new(0),
        askers: Mutex::default(),
        ignores_cancel: AtomicBool::new(false),
    });
    sessions.insert(process, Entry { card: meter.card().clone(), mailbox: mailbox.clone() });
    Ok(Registration { process, mailbox, draining: false, meter, seats: Box::default() })
}

/// Wakes the session with this key. From somewhere that has guessed too often (`has_room` is false), only a session that
/// has come from there itself is woken, so that strangers keep nobody from it; and not where others there guess at it. What is
/// returned ends when the request can cancel nothing any more.
pub(super) fn cancel(
    process: u32,
    key: &[u8],
    address: Option<SocketAddr>,
    has_room: bool,
) -> Result<oneshot::Receiver<()>, CancelError> {
    let place = |address: Option<SocketAddr>| address.map(Prefix::of);
    let sessions = SESSIONS.lock();
    let entry = sessions.get(&process);
    let looks = has_room
        || entry.is_some_and(|entry| {
            place(entry.card.about.address) == place(address)
                && entry.mailbox.guesses.load(Ordering::Relaxed) < MOST_GUESSES
        });
    match entry {
        _ if !looks => Err(CancelError::Unseen),
        None => Err(CancelError::NoSession),
        Some(entry) if bool::from(entry.mailbox.key.ct_eq(key)) => Ok(entry.mailbox.post_cancel()),
        Some(entry) => {
            // Under the lock: no other changes it meanwhile.
            let guesses = entry.mailbox.guesses.load(Ordering::Relaxed);
            entry.mailbox.guesses.store(guesses.saturating_add(1), Ordering::Relaxed);
            Err(CancelError::WrongKey)
        }
    }
}

/// Asks every session to end when it can, or now.
pub(crate) fn end_all(now: bool) {
    for entry in SESSIONS.lock().values() {
        entry.mailbox.post(if now { TERMINATE } else { DRAIN });
    }
}

/// Ends the sessions that are meant, now; how many there were.
pub(crate) fn end(is_meant: impl Fn(u32, &Card) -> bool) -> usize {
    let sessions = SESSIONS.lock();
    let meant = sessions.iter().filter(|(process, entry)| is_meant(**process, &entry.card));
    let mut ended = 0;
    for (_, entry) in meant {
        entry.mailbox.post(TERMINATE);
        ended += 1;
    }
    ended
}

/// Ends the sessions whose tokens are revoked, now; how many there were.
pub(crate) fn end_revoked(is_revoked: impl Fn(&Token) -> bool) -> usize {
    let sessions = SESSIONS.lock();
    let is_meant = |entry: &Entry| entry.card.token().is_some_and(|token| is_revoked(&token));
    let mut ended = 0;
    for (process, entry) in sessions.iter().filter(|(_, entry)| is_meant(entry)) {
        if entry.mailbox.post(TERMINATE | REVOKED) & REVOKED == 0 {
            Record::of_session(Event::Revocation, *process, &entry.card).because("revoked").send();
        }
        ended += 1;
    }
    events::revoked_sessions(ended);
    ended
}

/// All sessions with their process ids, the oldest first.
pub(crate) fn all() -> Vec<(u32, Arc<Card>)> {
    let mut all: Vec<_> = SESSIONS.lock().iter().map(|(process, entry)| (*process, entry.card.clone())).collect();
    all.sort_by_key(|(process, card)| (card.connected_at, *process));
    all
}

/// What the sessions of each database have done, those of the past included. No number ever becomes smaller: a session
/// leaves the list and leaves its numbers behind in one step.
pub(crate) fn sums() -> Vec<(Arc<Totals>, Sums)> {
    let sessions = SESSIONS.lock();
    let mut sums: Vec<_> = all_totals().into_iter().map(|totals| (totals.retired.read(), totals)).collect();
    for entry in sessions.values() {
        let at = sums.binary_search_by(|(_, totals)| totals.database.cmp(&entry.card.totals.database));
        if let Some((sum, _)) = at.ok().and_then(|at| sums.get_mut(at)) {
            *sum += entry.card.done.read();
        }
    }
    drop(sessions);
    sums.into_iter().map(|(sums, totals)| (totals, sums)).collect()
}

/// Whether there is such a session.
pub(crate) fn any(is_meant: impl Fn(&Card) -> bool) -> bool {
    SESSIONS.lock().values().any(|entry| is_meant(&entry.card))
}

/// Sessions that are alive.
pub(crate) fn count() -> usize {
    SESSIONS.lock().len()
}

impl Mailbox {
    /// The flags that were there before.
    fn post(&self, flag: u8) -> u8 {
        let before = self.flags.fetch_or(flag, Ordering::Release);
        self.waker.wake();
        before
    }

    fn post_cancel(&self) -> oneshot::Receiver<()> {
        let (asker, done) = oneshot::channel();
        // The lock keeps what is set here together, for `take_cancel` and `ignore_cancel`.
        let mut askers = self.askers.lock();
        if self.ignores_cancel.load(Ordering::Relaxed) {
            return done;
        }
        askers.push(asker);
        self.post(CANCEL);
        done
    }
}

impl Registration {
    /// The session holds these seats as long as it lasts.
    pub(crate) fn seated(mut self, seats: Vec<Seat>) -> Self {
        self.seats = seats.into();
        self
    }

    /// Gives up the place among the sessions of one token for one among those of another.
    pub(crate) fn change_token(&mut self, seat: Option<Seat>) {
        let others = std::mem::take(&mut self.seats).into_iter().filter(|seat| !seat.is_of_token());
        self.seats = others.chain(seat).collect();
    }

    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.mailbox.key
    }

    /// Takes what was asked since the last time; otherwise the task is woken when something is.
    #[inline]
    pub(crate) fn poll_signal(&self, cx: &mut Context<'_>) -> Option<Signal> {
        self.mailbox.waker.register(cx.waker());
        if self.mailbox.flags.load(Ordering::Acquire) == 0 {
            return None;
        }
        let flags = self.mailbox.flags.swap(0, Ordering::AcqRel);
        let has = |flag: u8| flags & flag != 0;
        Some(Signal { cancel: has(CANCEL), drain: has(DRAIN), terminate: has(TERMINATE), revoked: has(REVOKED) })
    }

    /// Takes the cancel requests that have come so far. They are dealt with as one.
    pub(super) fn take_cancel(&self) -> Askers {
        let mut askers = self.mailbox.askers.lock();
        self.mailbox.flags.fetch_and(!CANCEL, Ordering::AcqRel);
        std::mem::take(&mut *askers)
    }

    /// Takes no cancel request any more: there is nothing to cancel, or nobody to hear of it.
    pub(super) fn ignore_cancel(&self) {
        let mut askers = self.mailbox.askers.lock();
        self.mailbox.ignores_cancel.store(true, Ordering::Relaxed);
        askers.clear();
    }

    pub(crate) fn drain(&mut self) {
        self.draining = true;
    }

    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut sessions = SESSIONS.lock();
        if let Some(entry) = sessions.remove(&self.process) {
            entry.card.retire();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outlive_their_session() {
        let sent = || {
            let sums = sums();
            sums.iter().find(|(totals, _)| totals.database == "sums").map_or(0, |(_, sums)| sums.sent)
        };
        let session = register(Version::V3_0, About::of("sums")).unwrap();
        session.meter.sent(5);
        assert_eq!(sent(), 5);
        drop(session);
        assert_eq!(sent(), 5);
    }

    #[test]
    fn only_the_sessions_that_are_meant_are_ended() {
        let session = register(Version::V3_0, About::of("kill")).unwrap();
        let other = register(Version::V3_0, About::of("spare")).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(end(|_, card| card.about.database == "kill"), 1);
        assert!(session.poll_signal(&mut cx).is_some_and(|signal| signal.terminate));
        assert!(other.poll_signal(&mut cx).is_none());
    }

    #[test]
    fn only_the_whole_key_reaches_a_session() {
        let session = register(Version::V3_0, About::of("keys")).unwrap();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(cancel(session.process(), &[0; 5], None, true).map(drop), Err(CancelError::WrongKey));
        assert_eq!(cancel(session.process(), &session.key()[..3], None, true).map(drop), Err(CancelError::WrongKey));
        assert!(session.poll_signal(&mut cx).is_none());
        assert_eq!(cancel(session.process(), session.key(), None, true).map(drop), Ok(()));
        assert!(session.poll_signal(&mut cx).is_some_and(|signal| signal.cancel && !signal.terminate));
        assert!(session.poll_signal(&mut cx).is_none());
    }

    #[test]
    fn a_key_ends_with_its_session() {
        let session = register(Version::V3_2, About::of("keys")).unwrap();
        let (process, key) = (session.process(), session.key().to_vec());
        assert_eq!(key.len(), LONG_KEY);
        drop(session);
        assert_eq!(cancel(process, &key, None, true).map(drop), Err(CancelError::NoSession));
    }

    #[test]
    fn from_where_too_many_come_only_sessions_from_there_are_woken() {
        let (here, elsewhere) = ("192.0.2.1:5".parse().ok(), "192.0.2.2:5".parse().ok());
        let about = |address| About { address, ..About::of("keys") };
        let session = register(Version::V3_0, about(here)).unwrap();
        let (process, key) = (session.process(), session.key());
        assert_eq!(cancel(process, key, elsewhere, false).map(drop), Err(CancelError::Unseen));
        assert_eq!(cancel(process, key, elsewhere, true).map(drop), Ok(()));
        assert_eq!(cancel(process, key, here, false).map(drop), Ok(()));
        assert_eq!(
            cancel(process ^ 1, key, here, false).map(drop),
            Err(CancelError::Unseen),
            "nobody is told who is there"
        );

        for _ in 0..MOST_GUESSES {
            assert_eq!(cancel(process, &[0; 5], here, false).map(drop), Err(CancelError::WrongKey));
        }
        assert_eq!(
            cancel(process, &[0; 5], here, false).map(drop),
            Err(CancelError::Unseen),
            "so many guesses and no more"
        );
        assert_eq!(cancel(process, key, here, true).map(drop), Ok(()));
    }
}
