//! How many sessions a tenant may have, and how many new ones in a second. Counted after authentication: nobody else can
//! use up a tenant's share.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

static TENANTS: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// Entries from which on those that say nothing any more are looked for.
const SWEEP_AT: usize = 256;
/// In this time a rate that was used up is whole again.
const WINDOW: Duration = Duration::from_secs(1);

/// Database and tenant.
type Key = (Box<str>, Box<str>);

#[derive(Default)]
struct Table {
    entries: HashMap<Key, Share>,
    sweep_at: usize,
}

struct Share {
    sessions: usize,
    /// New sessions that may come at once.
    room: f64,
    /// When that was so.
    at: Instant,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    Rate,
}

/// What a tenant may have; `None`: as much as it likes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    pub(super) connections: Option<usize>,
    pub(super) rate: Option<usize>,
}

/// A session that is counted, as long as this lives.
#[derive(Debug)]
pub(crate) struct TenantSeat(Key);

/// Counts a session of a tenant. A session that comes too soon takes nothing of the rate.
pub(super) fn take(database: &str, tenant: &str, limits: Limits) -> Result<TenantSeat, Full> {
    let key: Key = (database.into(), tenant.into());
    let now = Instant::now();
    let mut table = TENANTS.lock();
    table.sweep(now);
    let rate = limits.rate.map_or(0.0, |rate| rate as f64);
    let share = table.entries.entry(key.clone()).or_insert(Share { sessions: 0, room: rate, at: now });
    if limits.connections.is_some_and(|most| share.sessions >= most) {
        return Err(Full::Connections);
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
    share.sessions += 1;
    Ok(TenantSeat(key))
}

impl Table {
    /// What is not in use, and has not been for a while, says nothing.
    fn sweep(&mut self, now: Instant) {
        if self.entries.len() < self.sweep_at.max(SWEEP_AT) {
            return;
        }
        self.entries.retain(|_, share| share.sessions > 0 || now.saturating_duration_since(share.at) < WINDOW);
        self.sweep_at = self.entries.len() * 2;
    }
}

impl Drop for TenantSeat {
    fn drop(&mut self) {
        if let Some(share) = TENANTS.lock().entries.get_mut(&self.0) {
            share.sessions = share.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: Option<usize>, rate: Option<usize>) -> Limits {
        Limits { connections, rate }
    }

    #[test]
    fn each_tenant_of_each_database_has_its_own_share() {
        let two = limits(Some(2), None);
        let first = take("limits", "acme", two).expect("the first");
        let _second = take("limits", "acme", two).expect("the second");
        assert_eq!(take("limits", "acme", two).err(), Some(Full::Connections));
        assert!(take("limits", "other", two).is_ok() && take("elsewhere", "acme", two).is_ok());
        drop(first);
        assert!(take("limits", "acme", two).is_ok());
    }

    #[test]
    fn a_rate_is_used_up_by_those_who_come_in() {
        let rate = limits(None, Some(3));
        let taken = (0..20).filter(|_| take("rates", "acme", rate).is_ok()).count();
        assert!((3..20).contains(&taken), "{taken}");
        assert!(take("rates", "other", rate).is_ok());
    }

    #[test]
    fn tenants_that_are_gone_take_no_room_for_ever() {
        let mut table = Table::default();
        let past = Instant::now();
        for number in 0..10 * SWEEP_AT {
            let key: Key = ("db".into(), number.to_string().into());
            table.entries.insert(key, Share { sessions: usize::from(number == 0), room: 0.0, at: past });
        }
        table.sweep(past + 2 * WINDOW);
        assert_eq!(table.entries.len(), 1);
    }
}
