//! The sums of one database over all its sessions, past and present.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::Tally;

macro_rules! sums {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        /// What sessions have done, as plain numbers.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub(crate) struct Sums {
            $($(#[$doc])* pub(crate) $field: u64,)+
        }

        /// The same, while it is counted.
        #[derive(Debug, Default)]
        pub(crate) struct Tallies {
            $($(#[$doc])* pub(crate) $field: Tally,)+
        }

        impl Tallies {
            pub(crate) fn read(&self) -> Sums {
                Sums { $($field: self.$field.get(),)+ }
            }

            /// Only for the writer, as [`Tally::add`].
            pub(crate) fn add(&self, sums: &Sums) {
                $(self.$field.add(sums.$field);)+
            }
        }

        impl std::ops::AddAssign for Sums {
            fn add_assign(&mut self, other: Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)+
            }
        }

        impl Sums {
            /// What came since `earlier`.
            pub(crate) fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field),)+ }
            }
        }
    };
}

sums! {
    /// Requests that run a statement: a simple query, an Execute, a function call.
    queries,
    /// Transactions that ended, with the implicit ones.
    transactions,
    /// Bytes from clients, below them TLS.
    received,
    /// Bytes to clients.
    sent,
    /// Times that a server was given to a client.
    checkouts,
    /// Prepared statements that clients made, where they follow them.
    client_parses,
    /// The same, each time that a server was told of one.
    server_parses,
    /// Bind messages for such statements that went to a server.
    binds,
    /// Logins that succeeded.
    logins,
    /// Time in which a server owed an answer.
    query_nanos,
    /// Time from the first request of a transaction to its end.
    transaction_nanos,
    /// Time that clients waited for a server.
    wait_nanos,
    /// Errors that clients heard.
    errors,
    /// Times that a session became bound to its server.
    pins,
}

/// The upper bounds of the histogram of waits, in microseconds.
pub(crate) const BOUNDS: [u64; 12] =
    [100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000, 10_000_000, 60_000_000];

/// How long clients waited. Shared by all writers: those who wait have time to count.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, wait: Duration) {
        let micros = wait.as_micros() as u64;
        let at = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Upper bound in seconds (`None`: infinity) and how many waits were at most that long.
    pub(crate) fn cumulative(&self) -> Vec<(Option<f64>, u64)> {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|bound| Some(*bound as f64 / 1e6)).chain([None]);
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        bounds
            .zip(buckets)
            .map(|(bound, here)| {
                count += here;
                (bound, count)
            })
            .collect()
    }

    /// All waits together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.micros.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// One database.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) database: String,
    /// What sessions did that have ended. Written under the lock of the session registry.
    pub(crate) retired: Tallies,
    /// Check-outs that found no free connection.
    pub(crate) waits: Histogram,
}

/// By name. Sessions exist only for configured databases, so there are no more entries than names that ever were.
static DATABASES: LazyLock<Mutex<BTreeMap<String, Arc<Totals>>>> = LazyLock::new(Mutex::default);

/// The totals of a database.
pub(crate) fn of(database: &str) -> Arc<Totals> {
    let mut databases = DATABASES.lock();
    if let Some(totals) = databases.get(database) {
        return totals.clone();
    }
    let totals = Arc::new(Totals { database: database.to_owned(), ..Totals::default() });
    databases.insert(database.to_owned(), totals.clone());
    totals
}

/// The totals of all databases that ever had a session, by name.
pub(crate) fn all() -> Vec<Arc<Totals>> {
    DATABASES.lock().values().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_each_wait_in_all_buckets_that_hold_it() {
        let histogram = Histogram::default();
        for micros in [50, 100, 101, 70_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let cumulative = histogram.cumulative();
        assert_eq!(cumulative[0], (Some(0.0001), 2));
        assert_eq!(cumulative[1].1, 3);
        assert_eq!(cumulative.last(), Some(&(None, 4)));
        assert!((histogram.seconds() - 70.000251).abs() < 1e-9);
    }

    #[test]
    fn sums_add_and_subtract_field_by_field() {
        let tallies = Tallies::default();
        tallies.queries.add(2);
        tallies.sent.add(100);
        let earlier = tallies.read();
        tallies.queries.add(1);
        let mut sums = tallies.read();
        assert_eq!(sums.since(&earlier), Sums { queries: 1, ..Sums::default() });
        sums += earlier;
        assert_eq!((sums.queries, sums.sent), (5, 200));
    }
}
