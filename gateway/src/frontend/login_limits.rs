//! Limits on failed logins: for each address, and for each user name from each address. A bucket of failures that cost
//! nothing, which fills up again with time; whoever has none left is refused without a look at the credential.
//!
//! - A name is limited together with the address that it comes from: a stranger who fails as somebody else locks out
//!   nobody but himself. A refusal by the limit of a name costs its address nothing, so that one program with an old
//!   password does not shut out its neighbours.
//! - An address is an IPv4 address, or the 64 bits of an IPv6 address that one customer is given. Unix sockets are exempt.
//! - What is remembered is bounded; the address that failed longest ago is forgotten first. To be forgotten on purpose, an
//!   attacker would have to fail from as many other addresses as are remembered, and from each of them may try anyway. The
//!   names that one address can bring in are bounded by its own limit.
//! - Failures that were decided at the same time are all counted, also below nothing: the debt is paid off first.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lru::LruCache;
use parking_lot::Mutex;

use super::buckets::{Bucket, Rate, is_empty, take};
use crate::config::General;

static FAILURES: LazyLock<Mutex<Failures>> = LazyLock::new(Mutex::default);
static LIMITED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// What was used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Address,
    User,
}

impl By {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::User => "user",
        }
    }
}

/// The part of an address that counts as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix(IpAddr);

impl Prefix {
    pub(super) fn of(address: SocketAddr) -> Self {
        Self(match address.ip().to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 => v4,
        })
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.0, if self.0.is_ipv6() { "/64" } else { "" })
    }
}

/// Whether another try is refused unseen. `Ok` for Unix sockets.
pub(super) fn check(general: &General, address: Option<SocketAddr>, user: &str) -> Result<(), By> {
    let Some(address) = address else { return Ok(()) };
    let outcome = FAILURES.lock().check(&Limits::of(general), Prefix::of(address), user, Instant::now());
    if let Err(by) = outcome {
        LIMITED[by as usize].fetch_add(1, Ordering::Relaxed);
    }
    outcome
}

/// A login failed.
pub(super) fn failed(general: &General, address: Option<SocketAddr>, user: &str) {
    if let Some(address) = address {
        FAILURES.lock().add(&Limits::of(general), Prefix::of(address), user, Instant::now());
    }
}

/// Logins that were refused unseen so far, and how many addresses and names are remembered.
pub(crate) fn counts() -> [(By, u64, usize); 2] {
    let (addresses, users) = {
        let failures = FAILURES.lock();
        (failures.addresses.len(), failures.users.len())
    };
    let limited = |by: By| LIMITED[by as usize].load(Ordering::Relaxed);
    [(By::Address, limited(By::Address), addresses), (By::User, limited(By::User), users)]
}

/// What the configuration says.
struct Limits {
    address: Rate,
    user: Rate,
    /// Most addresses, and most names, that are remembered.
    tracked: usize,
}

impl Limits {
    fn of(general: &General) -> Self {
        Self {
            address: Rate::new(general.login_failures_per_address, general.login_failures_per_address_burst),
            user: Rate::new(general.login_failures_per_user, general.login_failures_per_user_burst),
            tracked: general.login_failures_tracked,
        }
    }
}

struct Failures {
    addresses: LruCache<Prefix, Bucket>,
    /// By address and a keyed hash of the name, which may be long.
    users: LruCache<(Prefix, u64), Bucket>,
    names: RandomState,
}

impl Default for Failures {
    fn default() -> Self {
        Self { addresses: LruCache::unbounded(), users: LruCache::unbounded(), names: RandomState::new() }
    }
}

impl Failures {
    fn check(&self, limits: &Limits, address: Prefix, user: &str, now: Instant) -> Result<(), By> {
        if is_empty(self.users.peek(&(address, self.names.hash_one(user))), limits.user, now) {
            return Err(By::User);
        }
        if is_empty(self.addresses.peek(&address), limits.address, now) {
            return Err(By::Address);
        }
        Ok(())
    }

    fn add(&mut self, limits: &Limits, address: Prefix, user: &str, now: Instant) {
        let user = (address, self.names.hash_one(user));
        take(&mut self.addresses, address, limits.address, limits.tracked, now);
        take(&mut self.users, user, limits.user, limits.tracked, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::buckets::MINUTE;
    use super::*;

    fn limits(address: usize, user: usize, tracked: usize) -> Limits {
        Limits { address: Rate::new(60, address), user: Rate::new(60, user), tracked }
    }

    fn prefix(text: &str) -> Prefix {
        Prefix::of(SocketAddr::new(text.parse().unwrap(), 1))
    }

    /// How many of many tries are looked at.
    fn tries(failures: &mut Failures, limits: &Limits, address: &str, user: &str, now: Instant) -> usize {
        let look = |_: &usize| {
            let looked_at = failures.check(limits, prefix(address), user, now).is_ok();
            if looked_at {
                failures.add(limits, prefix(address), user, now);
            }
            looked_at
        };
        (0..100).filter(look).count()
    }

    #[test]
    fn failures_are_used_up_and_come_back_with_time() {
        let (mut failures, limits, now) = (Failures::default(), limits(50, 3, 100), Instant::now());
        assert_eq!(tries(&mut failures, &limits, "192.0.2.1", "alice", now), 3);
        assert_eq!(failures.check(&limits, prefix("192.0.2.1"), "alice", now), Err(By::User));
        assert_eq!(tries(&mut failures, &limits, "192.0.2.1", "alice", now + Duration::from_secs(2)), 2);
        assert_eq!(tries(&mut failures, &limits, "192.0.2.1", "alice", now + MINUTE), 3, "and no more than that");
    }

    #[test]
    fn a_stranger_locks_nobody_out() {
        let (mut failures, limits, now) = (Failures::default(), limits(50, 3, 100), Instant::now());
        tries(&mut failures, &limits, "192.0.2.1", "alice", now);
        assert!(failures.check(&limits, prefix("192.0.2.2"), "alice", now).is_ok(), "the real one, from elsewhere");
        assert!(failures.check(&limits, prefix("192.0.2.1"), "bob", now).is_ok(), "his neighbour");
    }

    #[test]
    fn other_names_do_not_help_an_address() {
        let (mut failures, limits, now) = (Failures::default(), limits(7, 3, 100), Instant::now());
        let names = (0..20).map(|number| number.to_string());
        let seen: usize = names.map(|name| tries(&mut failures, &limits, "192.0.2.1", &name, now)).sum();
        assert_eq!(seen, 7);
        assert_eq!(failures.check(&limits, prefix("192.0.2.1"), "new", now), Err(By::Address));
    }

    #[test]
    fn an_ipv6_customer_is_one_client_and_a_mapped_address_is_its_ipv4_self() {
        assert_eq!(prefix("2001:db8:0:7::1"), prefix("2001:db8:0:7:ffff::2"));
        assert_ne!(prefix("2001:db8:0:7::1"), prefix("2001:db8:0:8::1"));
        assert_eq!(prefix("::ffff:192.0.2.1"), prefix("192.0.2.1"));
        assert_ne!(prefix("192.0.2.1"), prefix("192.0.2.2"));
        assert_eq!(prefix("2001:db8:0:7::1").to_string(), "2001:db8:0:7::/64");
    }

    #[test]
    fn memory_is_bounded_and_who_fails_again_is_not_forgotten() {
        let (mut failures, limits, now) = (Failures::default(), limits(2, 2, 10), Instant::now());
        for number in 0..100u8 {
            failures.add(&limits, prefix("192.0.2.200"), "alice", now);
            failures.add(&limits, prefix(&format!("192.0.2.{number}")), "alice", now);
        }
        assert_eq!((failures.addresses.len(), failures.users.len()), (10, 10));
        assert!(failures.check(&limits, prefix("192.0.2.200"), "alice", now).is_err());
    }

    #[test]
    fn one_address_cannot_push_itself_out() {
        let (mut failures, limits, now) = (Failures::default(), limits(20, 2, 50), Instant::now());
        tries(&mut failures, &limits, "192.0.2.1", "alice", now);
        for number in 0..1_000 {
            tries(&mut failures, &limits, "192.0.2.1", &number.to_string(), now);
        }
        assert_eq!(failures.check(&limits, prefix("192.0.2.1"), "alice", now), Err(By::User));
    }

    #[test]
    fn many_at_the_same_time_pay_later() {
        let (mut failures, limits, now) = (Failures::default(), limits(100, 5, 100), Instant::now());
        for _ in 0..50 {
            failures.add(&limits, prefix("192.0.2.1"), "alice", now);
        }
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(failures.check(&limits, prefix("192.0.2.1"), "alice", later(5)).is_err());
        assert!(failures.check(&limits, prefix("192.0.2.1"), "alice", later(6)).is_ok(), "but not for ever");
    }

    #[test]
    fn no_limit_remembers_nobody() {
        let unlimited = Rate::new(usize::MAX, 1);
        let limits = Limits { address: unlimited, user: unlimited, tracked: 10 };
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(tries(&mut failures, &limits, "192.0.2.1", "alice", now), 100);
        assert!(failures.addresses.is_empty() && failures.users.is_empty());
    }
}
