//! Fetches that unknown `kid`s cause. Until a set with the key is there, nobody can tell a key that was just rotated from a made-up
//! name, so there is a limit; and so that strangers do not use up everybody's, there is one for each address and one in all.
//!
//! The first unknown `kid` of an address causes a fetch at once. After each that brought nothing new the address waits, a second at first
//! and twice as long each time, up to `min_refresh_interval`. All addresses together cause at most [`MOST`] fetches in that time,
//! and one a second. A set that has changed ends all waiting.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;

/// Least time between two fetches for unknown `kid`s, and the wait of an address after one that brought nothing.
const SPACING: Duration = Duration::from_secs(1);
/// Most such fetches in `min_refresh_interval`.
pub(super) const MOST: usize = 8;
/// Addresses that are remembered.
const MAX_SOURCES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);
/// Logins that may wait for such a fetch, of one address and in all.
const MAX_WAITING: (u32, u32) = (16, 128);

/// Where a login comes from: an IPv6 network of one customer is one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source(Option<IpAddr>);

impl Source {
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        Self(address.map(|address| match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address => address,
        }))
    }
}

/// What is remembered of them.
pub(super) struct Strangers {
    /// When fetches were made, the oldest first.
    made: VecDeque<Instant>,
    sources: LruCache<Source, Asked>,
    waiting: u32,
}

#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    /// Fetches that brought nothing new.
    in_vain: u32,
    waiting: u32,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { made: VecDeque::new(), sources: LruCache::new(MAX_SOURCES), waiting: 0 }
    }
}

impl Strangers {
    /// How long until this address may cause a fetch.
    pub(super) fn wait(&mut self, source: Source, interval: Duration, now: Instant) -> Duration {
        self.made.retain(|made| now.duration_since(*made) < interval);
        let spaced = self.made.back().map(|last| *last + SPACING.min(interval));
        let bounded = self.made.front().filter(|_| self.made.len() >= MOST).map(|first| *first + interval);
        let own = self.sources.get(&source).and_then(|asked| {
            let pause = SPACING.saturating_mul(1 << asked.in_vain.saturating_sub(1).min(20));
            Some(asked.last? + pause.min(interval))
        });
        let moment = [spaced, bounded, own].into_iter().flatten().max();
        moment.map_or(Duration::ZERO, |moment| moment.saturating_duration_since(now))
    }

    /// It causes one now.
    pub(super) fn ask(&mut self, source: Source, now: Instant) {
        self.made.push_back(now);
        let asked = self.sources.get_or_insert_mut(source, Asked::default);
        asked.last = Some(now);
        asked.in_vain = asked.in_vain.saturating_add(1);
    }

    /// What was fetched for another reason has answered for unknown `kid`s too.
    pub(super) fn answered(&mut self, now: Instant) {
        if self.made.is_empty() {
            self.made.push_back(now);
        }
    }

    /// A fetch has brought something new, or nothing that could be called an answer: nobody has to wait for what was asked before.
    pub(super) fn forget(&mut self) {
        self.made.clear();
        for (_, asked) in self.sources.iter_mut() {
            (asked.last, asked.in_vain) = (None, 0);
        }
    }

    /// A login begins to wait; `false` when too many do.
    pub(super) fn begin_to_wait(&mut self, source: Source) -> bool {
        let (of_one, in_all) = MAX_WAITING;
        let asked = self.sources.get_or_insert_mut(source, Asked::default);
        if asked.waiting >= of_one || self.waiting >= in_all {
            return false;
        }
        asked.waiting += 1;
        self.waiting += 1;
        true
    }

    /// It waits no longer.
    pub(super) fn end_to_wait(&mut self, source: Source) {
        self.waiting = self.waiting.saturating_sub(1);
        if let Some(asked) = self.sources.get_mut(&source) {
            asked.waiting = asked.waiting.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn source(last: u8) -> Source {
        Source::of(Some(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn an_address_waits_longer_each_time_and_others_do_not() {
        let (mut strangers, mut now) = (Strangers::default(), Instant::now());
        for seconds in [0, 1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(strangers.wait(source(1), INTERVAL, now), Duration::from_secs(seconds));
            now += Duration::from_secs(seconds);
            strangers.ask(source(1), now);
        }
        assert_eq!(strangers.wait(source(2), INTERVAL, now), SPACING, "one a second in all");
        now += SPACING;
        assert_eq!(strangers.wait(source(2), INTERVAL, now), Duration::ZERO);
        strangers.forget();
        assert_eq!(strangers.wait(source(1), INTERVAL, now), Duration::ZERO);
    }

    #[test]
    fn many_addresses_cause_no_more_than_the_limit() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let mut fetches = 0;
        for tick in 0..300 {
            let now = start + Duration::from_millis(100) * tick;
            for last in 0..=255 {
                if strangers.wait(source(last), INTERVAL, now).is_zero() {
                    strangers.ask(source(last), now);
                    fetches += 1;
                }
            }
        }
        assert_eq!(fetches, MOST);
        assert!(strangers.sources.len() < MOST, "who has asked waits longer");
    }

    #[test]
    fn few_may_wait() {
        let mut strangers = Strangers::default();
        let waiting = (0..100).filter(|_| strangers.begin_to_wait(source(1))).count();
        assert_eq!(waiting, 16);
        assert!(strangers.begin_to_wait(source(2)));
        strangers.end_to_wait(source(1));
        assert!(strangers.begin_to_wait(source(1)));
    }

    #[test]
    fn a_customers_network_is_one_source() {
        let of = |text: &str| Source::of(Some(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::7"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
