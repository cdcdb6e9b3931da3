//! What may happen very often and is written down seldom: at once, and then not before a while has passed.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Seldom(Mutex<Past>);

struct Past {
    written: Option<Instant>,
    times: u64,
}

impl Seldom {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Past { written: None, times: 0 }))
    }

    /// It has happened. How often since the last line, when another is due.
    pub(crate) fn due(&self) -> Option<u64> {
        self.due_at(Instant::now())
    }

    fn due_at(&self, now: Instant) -> Option<u64> {
        let mut past = self.0.lock();
        past.times += 1;
        if past.written.is_some_and(|written| now.saturating_duration_since(written) < PAUSE) {
            return None;
        }
        past.written = Some(now);
        Some(std::mem::take(&mut past.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_is_written_and_the_others_are_counted() {
        let (seldom, now) = (Seldom::new(), Instant::now());
        assert_eq!(seldom.due_at(now), Some(1));
        for _ in 0..5 {
            assert_eq!(seldom.due_at(now + PAUSE / 2), None);
        }
        assert_eq!(seldom.due_at(now + PAUSE), Some(6));
        assert_eq!(seldom.due_at(now + PAUSE), None);
    }
}
