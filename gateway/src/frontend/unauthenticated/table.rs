//! Who is here and has not logged in, and for whom of them the gateway waits, the longest first. Everything here takes
//! a time that grows with the logarithm of their number at most.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use atomic_waker::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Bound;
use crate::frontend::login_limits::Prefix;

/// When the gateway began to wait for a client: the lower, the longer ago.
type Turn = u64;

/// How many there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    pub(super) total: usize,
    pub(super) per_address: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    last_turn: Turn,
    clients: usize,
    addresses: HashMap<Prefix, usize>,
    /// Those that the gateway waits for.
    silent: BTreeMap<Turn, Silent>,
    silent_of_address: BTreeSet<(Prefix, Turn)>,
    /// Silent ones that were asked to make room, each with the one who gets its place.
    asked: HashMap<Turn, Heir>,
}

struct Silent {
    address: Option<Prefix>,
    bell: Arc<Bell>,
}

struct Heir {
    address: Option<Prefix>,
    most: Most,
    /// Dropped when the client has been heard in the meantime, and stays, or when the heir's address has too many by then.
    place: oneshot::Sender<Place>,
}

/// Tells the task of a client that it was asked to make room.
#[derive(Default)]
pub(super) struct Bell {
    rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    pub(super) async fn rings(&self) {
        std::future::poll_fn(|cx| {
            self.waker.register(cx.waker());
            if self.is_rung() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// A client that is counted as long as this lives.
pub(crate) struct Place {
    table: &'static Mutex<Table>,
    /// `None`: its address is not counted.
    address: Option<Prefix>,
    /// `None`: it has been heard, and the gateway works for it.
    turn: Option<Turn>,
    pub(super) bell: Arc<Bell>,
}

impl Place {
    /// For one whose bounds are not met. It is silent.
    pub(super) fn take(
        table: &'static Mutex<Table>,
        address: Option<Prefix>,
        most: Most,
        fits: bool,
    ) -> Result<Self, Bound> {
        let mut locked = table.lock();
        locked.check(address, most)?;
        if !fits {
            return Err(Bound::Descriptors);
        }
        locked.count(address);
        let mut place = Self { table, address, turn: None, bell: Arc::default() };
        locked.wait(&mut place);
        Ok(place)
    }

    /// Asks the client that has been silent for longest to make room: of this address, or of all. What is given brings its
    /// place, or fails when it does not. `None`: nobody is silent.
    pub(super) fn ask(
        table: &Mutex<Table>,
        address: Option<Prefix>,
        most: Most,
        bound: Bound,
    ) -> Option<oneshot::Receiver<Self>> {
        let mut table = table.lock();
        let turn = match (bound, address) {
            (Bound::Address, Some(address)) => table.oldest_of(address)?,
            _ => *table.silent.first_key_value()?.0,
        };
        let silent = table.forget(turn)?;
        let (place, asked) = oneshot::channel();
        table.asked.insert(turn, Heir { address, most, place });
        silent.bell.rung.store(true, Ordering::Release);
        silent.bell.waker.wake();
        Some(asked)
    }

    /// The gateway waits for the client from now on.
    pub(super) fn wait(&mut self) {
        let table = self.table;
        table.lock().wait(self);
    }

    /// The client has been heard.
    pub(super) fn work(&mut self) {
        let table = self.table;
        table.lock().work(self);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.turn.is_some()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let handover = self.table.lock().leave(self);
        // Whoever waits for it may have given up: then it is dropped in turn, which takes the lock again.
        if let Some((heir, place)) = handover {
            let _ = heir.send(place);
        }
    }
}

impl Table {
    /// Clients that have not logged in.
    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    fn check(&self, address: Option<Prefix>, most: Most) -> Result<(), Bound> {
        if self.is_full(address, most) {
            return Err(Bound::Address);
        }
        if self.clients >= most.total {
            return Err(Bound::Total);
        }
        Ok(())
    }

    fn is_full(&self, address: Option<Prefix>, most: Most) -> bool {
        let clients = address.and_then(|address| self.addresses.get(&address));
        clients.is_some_and(|clients| *clients >= most.per_address)
    }

    fn count(&mut self, address: Option<Prefix>) {
        self.clients += 1;
        if let Some(address) = address {
            *self.addresses.entry(address).or_default() += 1;
        }
    }

    fn uncount(&mut self, address: Option<Prefix>) {
        self.clients = self.clients.saturating_sub(1);
        let Some(address) = address else { return };
        if let Some(clients) = self.addresses.get_mut(&address) {
            *clients -= 1;
            if *clients == 0 {
                self.addresses.remove(&address);
            }
        }
    }

    fn oldest_of(&self, address: Prefix) -> Option<Turn> {
        self.silent_of_address.range((address, 0)..=(address, Turn::MAX)).next().map(|(_, turn)| *turn)
    }

    fn forget(&mut self, turn: Turn) -> Option<Silent> {
        let silent = self.silent.remove(&turn)?;
        if let Some(address) = silent.address {
            self.silent_of_address.remove(&(address, turn));
        }
        Some(silent)
    }

    fn wait(&mut self, place: &mut Place) {
        self.work(place);
        self.last_turn += 1;
        let turn = self.last_turn;
        place.turn = Some(turn);
        self.silent.insert(turn, Silent { address: place.address, bell: place.bell.clone() });
        if let Some(address) = place.address {
            self.silent_of_address.insert((address, turn));
        }
    }

    fn work(&mut self, place: &mut Place) {
        let Some(turn) = place.turn.take() else { return };
        if self.forget(turn).is_none() && self.asked.remove(&turn).is_some() {
            place.bell.rung.store(false, Ordering::Release);
        }
    }

    fn leave(&mut self, place: &mut Place) -> Option<(oneshot::Sender<Place>, Place)> {
        let heir = place.turn.take().and_then(|turn| match self.forget(turn) {
            Some(_) => None,
            None => self.asked.remove(&turn),
        });
        self.uncount(place.address);
        let Heir { address, most, place: to } = heir?;
        if self.is_full(address, most) {
            return None;
        }
        self.count(address);
        let mut next = Place { table: place.table, address, turn: None, bell: Arc::default() };
        self.wait(&mut next);
        Some((to, next))
    }
}

#[cfg(test)]
mod tests;
