//! What is known of one server connection while it is there, whoever holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

use super::Tally;

/// Numbers of server connections, across all pools.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct ServerCard {
    pub(crate) id: u64,
    /// PostgreSQL's process.
    pub(crate) process: u32,
    pub(crate) connected_at: SystemTime,
    pub(crate) tls: bool,
    /// Prepared statements that it holds.
    pub(crate) prepared: Arc<AtomicUsize>,
    /// Written by the session that holds the connection.
    pub(crate) queries: Tally,
    pub(crate) transactions: Tally,
    pub(crate) last_request: Tally,
    close: AtomicBool,
}

impl ServerCard {
    /// The connection is to be closed as soon as nobody uses it.
    pub(crate) fn retire(&self) {
        self.close.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.close.load(Ordering::Relaxed)
    }
}

/// The connections of one pool.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Vec<Arc<ServerCard>>>);

impl Seats {
    /// Adds a connection. It is listed until the seat is dropped.
    pub(crate) fn take(self: &Arc<Self>, process: u32, tls: bool, prepared: Arc<AtomicUsize>) -> Seat {
        let card = Arc::new(ServerCard {
            id: NUMBERS.fetch_add(1, Ordering::Relaxed),
            process,
            connected_at: SystemTime::now(),
            tls,
            prepared,
            queries: Tally::default(),
            transactions: Tally::default(),
            last_request: Tally::default(),
            close: AtomicBool::new(false),
        });
        self.0.lock().push(card.clone());
        Seat { card, seats: self.clone() }
    }

    pub(crate) fn cards(&self) -> Vec<Arc<ServerCard>> {
        self.0.lock().clone()
    }
}

/// A connection's place in the list.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) card: Arc<ServerCard>,
    seats: Arc<Seats>,
}

impl Seat {
    /// Adds what a session did with the connection.
    #[inline]
    pub(crate) fn credit(&self, queries: u64, transactions: u64, now: u64) {
        self.card.queries.add(queries);
        self.card.transactions.add(transactions);
        self.card.last_request.set(now);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.0.lock().retain(|card| card.id != self.card.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_listed_while_it_lives() {
        let seats = Arc::<Seats>::default();
        let (one, two) = (seats.take(1, false, Arc::default()), seats.take(2, false, Arc::default()));
        one.credit(3, 1, 9);
        let listed = seats.cards();
        assert_eq!(listed.iter().map(|card| card.process).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(listed[0].queries.get(), 3);
        drop(one);
        assert_eq!(seats.cards().len(), 1);
        two.card.retire();
        assert!(seats.cards()[0].is_retired());
    }
}
