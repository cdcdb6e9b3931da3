//! A flood of refused logins, or of cancel requests for nobody, must not become a flood of the log. In each second, so many
//! are written one by one for each reason and address, and so many in all; the others are counted and summed up in one event
//! for each reason and address. Accepted logins never come here: each of them is in the log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::login_limits::Prefix;
use crate::audit::{Event, Record, Who};

/// Events of one reason and one address in a second.
const MOST_OF_A_SOURCE: u32 = 50;
/// Events of all reasons and addresses in a second.
const MOST: u32 = 1_000;
/// Reasons and addresses that are told apart in a second; those beyond are one for each reason.
const MOST_SOURCES: usize = 1_024;
const WINDOW: Duration = Duration::from_secs(1);

/// Each kind has its own, so that a flood of one hides nothing of the other.
static LOGINS: LazyLock<Mutex<Second>> = LazyLock::new(Mutex::default);
static CANCELS: LazyLock<Mutex<Second>> = LazyLock::new(Mutex::default);
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// Who failed, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source {
    reason: &'static str,
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum From {
    Unix,
    Address(Prefix),
    /// Too many to be told apart.
    Several,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    written: u32,
    left_out: u64,
}

/// One second of refusals.
#[derive(Default)]
struct Second {
    began: Option<Instant>,
    written: u32,
    sources: HashMap<Source, Count>,
    /// Somebody comes to sum up.
    awaited: bool,
}

/// What comes in floods.
#[derive(Debug, Clone, Copy)]
pub(super) enum Flood {
    Logins,
    Cancels,
}

impl Flood {
    fn event(self) -> Event {
        match self {
            Self::Logins => Event::Login,
            Self::Cancels => Event::Cancel,
        }
    }

    fn second(self) -> &'static Mutex<Second> {
        match self {
            Self::Logins => &LOGINS,
            Self::Cancels => &CANCELS,
        }
    }

    /// Whether a refusal is written as an event of its own. One that is not is in the next summary.
    pub(super) fn is_written(self, reason: &'static str, client: Option<SocketAddr>) -> bool {
        let from = client.map_or(From::Unix, |address| From::Address(Prefix::of(address)));
        let mut second = self.second().lock();
        let past = second.turn_over(Instant::now());
        let written = second.add(Source { reason, from });
        let sums_up = !written && !std::mem::replace(&mut second.awaited, true);
        drop(second);
        self.report(past);
        if !written {
            LEFT_OUT.fetch_add(1, Ordering::Relaxed);
        }
        if sums_up {
            tokio::spawn(async move {
                tokio::time::sleep(WINDOW).await;
                let past = {
                    let mut second = self.second().lock();
                    second.awaited = false;
                    second.turn_over(Instant::now())
                };
                self.report(past);
            });
        }
        written
    }

    fn report(self, past: Vec<(Source, u64)>) {
        for (Source { reason, from }, count) in past {
            let client = match from {
                From::Unix => "unix".to_owned(),
                From::Address(prefix) => prefix.to_string(),
                From::Several => "several".to_owned(),
            };
            let who = Who { client: Some(client.into()), ..Who::default() };
            Record::new(self.event(), who).refused(reason).and_more(count).send();
        }
    }
}

/// Refusals that were only summed up, so far.
pub(crate) fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

impl Second {
    /// Begins another second when this one is over; what was left out in it.
    fn turn_over(&mut self, now: Instant) -> Vec<(Source, u64)> {
        if self.began.is_some_and(|began| now.saturating_duration_since(began) < WINDOW) {
            return Vec::new();
        }
        self.began = Some(now);
        self.written = 0;
        let past = std::mem::take(&mut self.sources);
        past.into_iter()
            .filter(|(_, count)| count.left_out > 0)
            .map(|(source, count)| (source, count.left_out))
            .collect()
    }

    fn add(&mut self, source: Source) -> bool {
        let known = self.sources.len() < MOST_SOURCES || self.sources.contains_key(&source);
        let source = if known { source } else { Source { from: From::Several, ..source } };
        let count = self.sources.entry(source).or_default();
        let writes = count.written < MOST_OF_A_SOURCE && self.written < MOST;
        if writes {
            count.written += 1;
            self.written += 1;
        } else {
            count.left_out += 1;
        }
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(reason: &'static str, last: u32) -> Source {
        let address = SocketAddr::new(std::net::Ipv4Addr::from(0xc000_0200 + last).into(), 1);
        Source { reason, from: From::Address(Prefix::of(address)) }
    }

    #[test]
    fn a_source_is_written_so_often_and_summed_up() {
        let (mut second, now) = (Second::default(), Instant::now());
        assert!(second.turn_over(now).is_empty());
        let written = (0..4_261).filter(|_| second.add(source("expired", 1))).count();
        assert_eq!(written, 50);
        assert!(second.add(source("expired", 2)) && second.add(source("bad_signature", 1)), "others are not held back");
        assert!(second.turn_over(now + WINDOW / 2).is_empty(), "not yet");
        assert_eq!(second.turn_over(now + WINDOW), [(source("expired", 1), 4_211)]);
        assert!(second.add(source("expired", 1)), "a new second");
    }

    #[test]
    fn all_sources_together_have_a_limit_and_so_has_memory() {
        let (mut second, now) = (Second::default(), Instant::now());
        second.turn_over(now);
        let written = (0..100_000).filter(|number| second.add(source("expired", *number))).count();
        assert_eq!(written, 1_000);
        assert_eq!(second.sources.len(), MOST_SOURCES + 1);
        let left_out: u64 = second.turn_over(now + WINDOW).iter().map(|(_, count)| count).sum();
        assert_eq!(left_out, 99_000, "every one of them is counted");
    }
}
