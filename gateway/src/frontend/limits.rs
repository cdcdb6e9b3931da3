//! How many sessions there may be of one kind, and how fast new ones may come: one table for users whose token limits
//! them, for tenants, for subjects and for tokens. Counted after authentication: nobody else can use up a share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::digest::{self, Context};
use parking_lot::Mutex;
use pgdog_jwt::AuthGrant;

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// Entries from which on those that say nothing any more are looked for.
const SWEEP_AT: usize = 256;
/// Most tokens, which may be remembered though no session has them (S9): some 50 MB.
const MAX_TOKENS: usize = 250_000;
/// In this time a rate that was used up is whole again.
const WINDOW: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Everybody.
    Clients,
    /// Everybody on a database.
    ClientsOn { database: Box<str> },
    /// A user, on whatever database.
    ClientsAs { user: Box<str> },
    /// A user of a database whose token says how many.
    User { database: Box<str>, user: Box<str> },
    /// A tenant of a database.
    Tenant { database: Box<str>, tenant: Box<str> },
    /// A subject, in whatever database.
    Subject { issuer: Box<str>, subject: Box<str> },
    /// A token, by a hash of its issuer and `jti`, or of itself.
    Token([u8; 32]),
}

impl Key {
    pub(super) fn subject(grant: &AuthGrant) -> Self {
        let issuer = grant.issuer.as_deref().unwrap_or_default().into();
        Self::Subject { issuer, subject: grant.subject.as_str().into() }
    }

    /// `None`: nothing tells the token from others.
    pub(super) fn token(grant: &AuthGrant) -> Option<Self> {
        if let Some(fingerprint) = grant.fingerprint {
            return Some(Self::Token(fingerprint));
        }
        let issuer = grant.issuer.as_deref().unwrap_or_default();
        let mut context = Context::new(&digest::SHA256);
        context.update(&issuer.len().to_be_bytes());
        context.update(issuer.as_bytes());
        context.update(grant.token_id.as_ref()?.as_bytes());
        context.finish().as_ref().try_into().ok().map(Self::Token)
    }
}

/// What there may be; `None`: as much as anybody likes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) sessions: Option<usize>,
    /// New sessions in a second.
    pub(super) rate: Option<usize>,
    pub(super) place: Option<Place>,
}

/// The one place that sessions may come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// `None`: the Unix socket.
    pub(super) address: Option<IpAddr>,
    /// How long it is remembered.
    pub(super) until: SystemTime,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Sessions,
    Rate,
    /// The first session came from somewhere else.
    Elsewhere,
    /// Too many tokens are remembered.
    Table,
}

/// A session that is counted, as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat(Key);

impl Seat {
    /// Whether it is counted as one of a token.
    pub(super) fn is_of_token(&self) -> bool {
        matches!(self.0, Key::Token(_))
    }
}

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Share>,
    /// Those of them that are tokens.
    tokens: usize,
    sweep_at: usize,
    swept: Option<Instant>,
}

struct Share {
    sessions: usize,
    /// New sessions that may come at once.
    room: f64,
    /// When that was so.
    at: Instant,
    /// Whether a rate is kept.
    paced: bool,
    place: Option<Place>,
}

/// Counts a session. One that comes too soon takes nothing of the rate.
pub(super) fn take(key: Key, limits: Limits) -> Result<Seat, Full> {
    TABLE.lock().take(&key, limits, Instant::now(), SystemTime::now())?;
    Ok(Seat(key))
}

/// Tokens that the table knows.
pub(crate) fn tokens() -> usize {
    TABLE.lock().tokens
}

impl Table {
    fn take(&mut self, key: &Key, limits: Limits, now: Instant, today: SystemTime) -> Result<(), Full> {
        self.sweep(now, today);
        // The others are no more than there are sessions.
        if let (Key::Token(_), false) = (key, self.entries.contains_key(key)) {
            if self.tokens >= MAX_TOKENS {
                return Err(Full::Table);
            }
            self.tokens += 1;
        }
        let rate = limits.rate.map_or(0.0, |rate| rate as f64);
        let new = || Share { sessions: 0, room: rate, at: now, paced: limits.rate.is_some(), place: limits.place };
        let share = self.entries.entry(key.clone()).or_insert_with(new);
        share.place = share.place.or(limits.place);
        if let (Some(wanted), Some(first)) = (limits.place, share.place)
            && wanted.address != first.address
        {
            return Err(Full::Elsewhere);
        }
        if limits.sessions.is_some_and(|most| share.sessions >= most) {
            return Err(Full::Sessions);
        }
        if limits.rate.is_some() {
            let grown = now.saturating_duration_since(share.at).as_secs_f64() * rate;
            let room = (share.room + grown).min(rate);
            if room < 1.0 {
                return Err(Full::Rate);
            }
            share.room = room - 1.0;
        }
        share.at = now;
        share.paced = limits.rate.is_some();
        share.sessions += 1;
        Ok(())
    }

    fn leave(&mut self, key: Key) {
        if let Entry::Occupied(mut entry) = self.entries.entry(key) {
            let share = entry.get_mut();
            share.sessions = share.sessions.saturating_sub(1);
            if share.sessions == 0 && !share.paced && share.place.is_none() {
                self.tokens -= usize::from(matches!(entry.key(), Key::Token(_)));
                entry.remove();
            }
        }
    }

    /// What is not in use, has not been for a while, and is not to be remembered says nothing.
    fn sweep(&mut self, now: Instant, today: SystemTime) {
        // A table that is full of what is still to be remembered is not looked through at every login.
        let is_early = self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < WINDOW);
        if is_early || self.entries.len() < self.sweep_at.clamp(SWEEP_AT, MAX_TOKENS) {
            return;
        }
        self.swept = Some(now);
        self.entries.retain(|_, share| {
            share.sessions > 0
                || (share.paced && now.saturating_duration_since(share.at) < WINDOW)
                || share.place.is_some_and(|place| place.until > today)
        });
        self.tokens = self.entries.keys().filter(|key| matches!(key, Key::Token(_))).count();
        self.sweep_at = self.entries.len() * 2;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let key = std::mem::replace(&mut self.0, Key::Token([0; 32]));
        TABLE.lock().leave(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> Key {
        Key::User { database: "limits".into(), user: name.into() }
    }

    fn tenant(database: &str, name: &str) -> Key {
        Key::Tenant { database: database.into(), tenant: name.into() }
    }

    fn sessions(most: usize) -> Limits {
        Limits { sessions: Some(most), ..Limits::default() }
    }

    fn from(address: [u8; 4], until: SystemTime) -> Limits {
        Limits { place: Some(Place { address: Some(address.into()), until }), ..Limits::default() }
    }

    #[test]
    fn a_seat_is_free_again_when_its_session_ends() {
        let first = take(user("limited"), sessions(1)).expect("the first");
        assert_eq!(take(user("limited"), sessions(1)).err(), Some(Full::Sessions));
        assert!(take(user("somebody"), sessions(1)).is_ok());
        drop(first);
        assert!(take(user("limited"), sessions(1)).is_ok());
    }

    #[test]
    fn each_kind_and_each_database_has_its_own_share() {
        let two = sessions(2);
        let first = take(tenant("limits", "acme"), two).expect("the first");
        let _second = take(tenant("limits", "acme"), two).expect("the second");
        assert_eq!(take(tenant("limits", "acme"), two).err(), Some(Full::Sessions));
        assert!(take(tenant("limits", "other"), two).is_ok() && take(tenant("elsewhere", "acme"), two).is_ok());
        assert!(take(user("acme"), two).is_ok());
        drop(first);
        assert!(take(tenant("limits", "acme"), two).is_ok());
    }

    #[test]
    fn a_rate_is_used_up_by_those_who_come_in() {
        let rate = Limits { rate: Some(3), ..Limits::default() };
        let taken = (0..20).filter(|_| take(tenant("rates", "acme"), rate).is_ok()).count();
        assert!((3..20).contains(&taken), "{taken}");
        assert!(take(tenant("rates", "other"), rate).is_ok());
    }

    #[test]
    fn a_token_stays_with_the_address_that_used_it_first() {
        let until = SystemTime::now() + Duration::from_secs(60);
        let token = Key::Token([7; 32]);
        drop(take(token.clone(), from([10, 0, 0, 1], until)).expect("the first"));
        assert_eq!(take(token.clone(), from([10, 0, 0, 2], until)).err(), Some(Full::Elsewhere));
        assert!(take(token, from([10, 0, 0, 1], until)).is_ok());
    }

    #[test]
    fn nothing_is_remembered_for_ever() {
        let mut table = Table::default();
        let (past, today) = (Instant::now(), SystemTime::now());
        let rate = Limits { rate: Some(1), ..Limits::default() };
        for number in 0..4 * SWEEP_AT {
            table.take(&tenant("db", &number.to_string()), rate, past, today).expect("a share");
            table.leave(tenant("db", &number.to_string()));
        }
        table.take(&user("stays"), sessions(1), past, today).expect("a share");
        table.take(&Key::Token([1; 32]), from([10, 0, 0, 1], today), past, today).expect("a share");
        table.leave(Key::Token([1; 32]));
        table.sweep_at = 0;
        table.sweep(past + 2 * WINDOW, today);
        assert_eq!(table.entries.len(), 1);
    }

    #[test]
    fn a_full_table_takes_only_tokens_that_it_knows() {
        let mut table = Table::default();
        let (now, today) = (Instant::now(), SystemTime::now());
        let later = today + Duration::from_secs(60);
        let token = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            Key::Token(id)
        };
        for number in 0..MAX_TOKENS {
            table.take(&token(number), from([10, 0, 0, 1], later), now, today).expect("room");
        }
        let one_more = token(MAX_TOKENS);
        assert_eq!(table.take(&one_more, from([10, 0, 0, 1], later), now, today), Err(Full::Table));
        assert!(table.take(&token(0), from([10, 0, 0, 1], later), now, today).is_ok());
        assert!(table.take(&user("anybody"), sessions(1), now, today).is_ok());
        table.leave(user("anybody"));
        assert_eq!(table.entries.len(), MAX_TOKENS);
    }
}
