//! Clients that have not logged in: how many there may be, in all and of one address, and who makes room for whom. A
//! client is one of them from the moment that it is accepted until its session begins or it is closed, whatever it came
//! for (S9).
//!
//! - When a bound is met, the client that has been silent for longest is closed: of the newcomer's address when that has
//!   too many, otherwise of all. Silent is a client as long as the gateway waits for a message of it, or for its TLS
//!   handshake; the time begins anew with each *whole* one, so a byte now and then does not help.
//! - One whose credential the gateway looks at, for whom it asks an issuer or a server, is not silent and is never closed
//!   for another. When nobody is silent the newcomer is refused.
//! - A client that is asked to leave may have sent something that nobody has read yet, because the gateway is busy. So it
//!   is looked at once more, and stays if it has; the next is asked.
//! - A place goes from the one to the other without being free in between: neither bound is exceeded, and nobody else takes
//!   what a newcomer waits for.

mod bounds;
mod report;
mod table;

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;
use tokio::time::timeout;

pub(crate) use bounds::Bounds;
pub(crate) use report::{Outcome, times};
pub(crate) use table::Place;

use crate::wire::PgError;
use table::Table;

/// Newcomers that wait at a time until another has left; meanwhile nobody else is accepted. Each has a descriptor, of
/// those that are reserved for others if it comes to that, and of these there are more.
const MOST_WAITING: usize = 32;
/// How many are asked for one newcomer.
const TRIES: usize = 16;
/// How long a client may take to leave that was asked to. It needs one turn of its worker.
const PATIENCE: Duration = Duration::from_secs(1);

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);
static WAITING: Semaphore = Semaphore::const_new(MOST_WAITING);

tokio::task_local! {
    /// The place of the client that logs in. Kept beside the login and not passed through it: each method reads the
    /// client's messages in a place of its own.
    static PLACE: RefCell<Place>;
}

/// What there are too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Clients that have not logged in.
    Total,
    /// Such clients of one address.
    Address,
    /// Descriptors in use.
    Descriptors,
}

impl Bound {
    pub(crate) const ALL: [Self; 3] = [Self::Total, Self::Address, Self::Descriptors];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
            Self::Descriptors => "descriptors",
        }
    }

    /// What a client hears for whom there is no room.
    pub(crate) fn error(self) -> PgError {
        let error = match self {
            Self::Total => "sorry, too many clients are logging in already",
            Self::Address => "sorry, too many clients of this address are logging in already",
            Self::Descriptors => "sorry, too many clients already",
        };
        PgError::fatal("53300", error).hint("Try again in a moment.")
    }
}

/// Takes the place of a client that was accepted with a descriptor of this number.
pub(crate) fn enter(bounds: &Bounds, address: Option<SocketAddr>, descriptor: usize) -> Result<Place, Bound> {
    Place::take(&TABLE, bounds.counted(address), bounds.most(), descriptor < bounds.descriptors)
}

/// A turn to wait for room; dropping it is the next one's turn.
pub(crate) async fn turn() -> Option<SemaphorePermit<'static>> {
    WAITING.acquire().await.ok()
}

/// Waits until another client has made room. `None`: nobody does.
pub(crate) async fn replace(bounds: &Bounds, address: Option<SocketAddr>, bound: Bound) -> Option<Place> {
    let place = wait_for_place(bounds, address, bound).await;
    if place.is_none() {
        report::met(bounds, bound, address, Outcome::Refused);
    }
    place
}

async fn wait_for_place(bounds: &Bounds, address: Option<SocketAddr>, mut bound: Bound) -> Option<Place> {
    let (counted, most) = (bounds.counted(address), bounds.most());
    for _ in 0..TRIES {
        let asked = Place::ask(&TABLE, counted, most, bound)?;
        match timeout(PATIENCE, asked).await {
            Ok(Ok(place)) => {
                report::met(bounds, bound, address, Outcome::Closed);
                return Some(place);
            }
            Ok(Err(_)) => {}
            Err(_) => return None,
        }
        match Place::take(&TABLE, counted, most, bound != Bound::Descriptors) {
            Ok(place) => return Some(place),
            Err(met) => bound = met,
        }
    }
    None
}

/// Clients that have not logged in.
pub(crate) fn clients() -> usize {
    TABLE.lock().clients()
}

/// Runs a login in its place. `None`: it was ended to make room for another.
pub(super) async fn hold<T>(place: Place, login: impl Future<Output = T>) -> Option<T> {
    let bell = place.bell.clone();
    let mut login = pin!(PLACE.scope(RefCell::new(place), login));
    loop {
        tokio::select! {
            biased;
            done = &mut login => return Some(done),
            () = bell.rings() => {}
        }
        // The worker looks at its sockets before it goes on here.
        yield_now().await;
        let looked = poll_fn(|cx| Poll::Ready(login.as_mut().poll(cx))).await;
        if let Poll::Ready(done) = looked {
            return Some(done);
        }
        if bell.is_rung() {
            return None;
        }
    }
}

/// Waits for a whole message of the client, which is silent until then.
pub(super) async fn message<T>(read: impl Future<Output = T>) -> T {
    with_place(|place| {
        if !place.is_silent() {
            place.wait();
        }
    });
    let message = read.await;
    with_place(Place::work);
    message
}

/// The client has done a part of what the gateway waits for.
pub(super) fn goes_on() {
    with_place(Place::wait);
}

fn with_place(change: impl FnOnce(&mut Place)) {
    // Sessions read a client's messages in the same ways, and have none.
    let _ = PLACE.try_with(|place| change(&mut place.borrow_mut()));
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::task::JoinHandle;

    use super::table::Most;
    use super::*;

    const MOST: Most = Most { total: 9, per_address: 9 };

    fn table() -> &'static Mutex<Table> {
        Box::leak(Box::default())
    }

    /// A login that reads a byte and then works until it is told to end; what the client writes, and how it ends.
    fn login(table: &'static Mutex<Table>) -> (std::os::unix::net::UnixStream, JoinHandle<Option<u8>>) {
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let mut near = UnixStream::from_std(near).unwrap();
        let place = Place::take(table, None, MOST, true).unwrap();
        let login = async move {
            let byte = message(near.read_u8()).await.unwrap();
            let _ = near.read_u8().await;
            byte
        };
        (far, tokio::spawn(hold(place, login)))
    }

    #[tokio::test]
    async fn a_silent_client_leaves_when_it_is_asked_to() {
        let table = table();
        let (_client, login) = login(table);
        let place = Place::ask(table, None, MOST, Bound::Total).unwrap().await.unwrap();
        assert_eq!(login.await.unwrap(), None);
        assert_eq!(table.lock().clients(), 1);
        drop(place);
        assert_eq!(table.lock().clients(), 0);
    }

    #[tokio::test]
    async fn a_client_that_has_spoken_stays_though_nobody_has_read_it() {
        let table = table();
        let (mut client, login) = login(table);
        yield_now().await;
        client.write_all(b"x").unwrap();
        assert!(Place::ask(table, None, MOST, Bound::Total).unwrap().await.is_err());
        assert!(Place::ask(table, None, MOST, Bound::Total).is_none(), "it is not silent");
        client.write_all(b"y").unwrap();
        assert_eq!(login.await.unwrap(), Some(b'x'));
        assert_eq!(table.lock().clients(), 0);
    }

    #[tokio::test]
    async fn one_that_stayed_may_be_asked_again() {
        let table = table();
        let place = Place::take(table, None, MOST, true).unwrap();
        let silence = async {
            for _ in 0..2 {
                message(yield_now()).await;
            }
            message(std::future::pending::<()>()).await;
        };
        let login = tokio::spawn(hold(place, silence));
        while let Some(asked) = Place::ask(table, None, MOST, Bound::Total) {
            if let Ok(place) = asked.await {
                drop(place);
            }
            yield_now().await;
        }
        assert_eq!(login.await.unwrap(), None);
    }

    #[tokio::test]
    async fn messages_outside_of_a_login_are_read_as_ever() {
        assert_eq!(message(async { 7 }).await, 7);
        goes_on();
    }
}
