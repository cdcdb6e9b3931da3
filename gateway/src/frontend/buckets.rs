//! Buckets of failures that cost nothing, which fill up again with time.

use std::hash::Hash;
use std::time::{Duration, Instant};

use lru::LruCache;

/// In which a rate is configured.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// How fast a bucket fills up, and how much it holds.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    /// [`usize::MAX`]: no limit.
    pub(super) per_minute: usize,
    pub(super) burst: f64,
}

impl Rate {
    pub(super) fn new(per_minute: usize, burst: usize) -> Self {
        Self { per_minute, burst: burst as f64 }
    }

    fn is_limit(self) -> bool {
        self.per_minute != usize::MAX
    }
}

/// How many failures cost nothing yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    room: f64,
    /// When that was so.
    at: Instant,
}

impl Bucket {
    fn full(rate: Rate, now: Instant) -> Self {
        Self { room: rate.burst, at: now }
    }

    fn room(&self, rate: Rate, now: Instant) -> f64 {
        let minutes = now.saturating_duration_since(self.at).as_secs_f64() / MINUTE.as_secs_f64();
        (self.room + minutes * rate.per_minute as f64).min(rate.burst)
    }

    /// One more failure, also below nothing: the debt is paid off first.
    fn take(&mut self, rate: Rate, now: Instant) {
        let room = (self.room(rate, now) - 1.0).max(-rate.burst);
        *self = Self { room, at: now };
    }
}

/// Whether nothing is left. A bucket that there is none of is full.
pub(super) fn is_empty(bucket: Option<&Bucket>, rate: Rate, now: Instant) -> bool {
    rate.is_limit() && bucket.is_some_and(|bucket| bucket.room(rate, now) < 1.0)
}

/// Takes one from a bucket that is the only one of its kind.
pub(super) fn take_one(bucket: &mut Option<Bucket>, rate: Rate, now: Instant) {
    if rate.is_limit() {
        bucket.get_or_insert_with(|| Bucket::full(rate, now)).take(rate, now);
    }
}

/// Takes one from the bucket of this key. At most `most` are remembered; the one that was used longest ago is forgotten.
pub(super) fn take<K: Hash + Eq>(buckets: &mut LruCache<K, Bucket>, key: K, rate: Rate, most: usize, now: Instant) {
    if !rate.is_limit() {
        return;
    }
    buckets.get_or_insert_mut(key, || Bucket::full(rate, now)).take(rate, now);
    while buckets.len() > most {
        buckets.pop_lru();
    }
}
