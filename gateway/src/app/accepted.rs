//! A client that has connected, on its way to a worker.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use super::state::App;
use super::worker::{Seat, Workers};
use crate::frontend::login;
use crate::frontend::unauthenticated::{self, Bound, Bounds, Place};
use crate::net::stream::Stream;

/// A client that has connected; its socket is registered here.
pub(super) struct Accepted {
    pub(super) socket: Stream,
    /// `None`: through the Unix socket.
    pub(super) address: Option<SocketAddr>,
}

impl Accepted {
    /// Whether its descriptor is below this number, or another could be had that is: one that came when all of these were
    /// in use has one that is meant for others.
    fn fits(&mut self, number: usize) -> bool {
        self.socket.descriptor() < number || (self.socket.renumber().is_ok() && self.socket.descriptor() < number)
    }
}

/// Serves a client for whom there is room. Others wait for it beside the loop, so that those of one address do not hold up
/// those of another; but when descriptors are short nobody else is accepted, who would take the one that becomes free.
pub(super) async fn serve(app: &'static App, accepted: Accepted, workers: &'static Workers) {
    let generation = app.state();
    let descriptor = accepted.socket.descriptor();
    match unauthenticated::enter(&generation.bounds, accepted.address, descriptor) {
        Ok(place) => begin(app, accepted, place, workers),
        Err(bound) => {
            let turn = unauthenticated::turn().await;
            let fits = descriptor < generation.bounds.descriptors;
            let served = async move {
                serve_in_turn(app, &generation.bounds, accepted, bound, workers).await;
                drop(turn);
            };
            if fits { drop(tokio::spawn(served)) } else { served.await }
        }
    }
}

/// Serves a client when another has made room, or refuses it.
async fn serve_in_turn(
    app: &'static App,
    bounds: &Bounds,
    mut accepted: Accepted,
    bound: Bound,
    workers: &'static Workers,
) {
    match unauthenticated::replace(bounds, accepted.address, bound).await {
        Some(place) if accepted.fits(bounds.descriptors) => begin(app, accepted, place, workers),
        Some(_) => refuse(&accepted.socket, Bound::Descriptors),
        None => refuse(&accepted.socket, bound),
    }
}

fn begin(app: &'static App, accepted: Accepted, place: Place, workers: &'static Workers) {
    let Some(worker) = workers.least_busy() else { return };
    let Accepted { socket, address } = accepted;
    let socket = if worker.is_current() { Ok(Passed::Here(socket)) } else { Passed::to_another(socket) };
    worker.spawn(|seat| client(app, socket, address, place, seat));
}

/// As PostgreSQL does before it has read anything: whatever the client has asked for, it hears an error in plain.
fn refuse(socket: &Stream, bound: Bound) {
    let mut out = Vec::new();
    bound.error().write(&mut out);
    // Whether it still listens does not matter.
    let _ = socket.send_now(&out);
}

/// A client, from its first byte to its last. A login needs much more room than the session that follows, and sessions are
/// many: so the login has memory of its own, which is given back before the session begins.
fn client(
    app: &'static App,
    socket: io::Result<Passed>,
    address: Option<SocketAddr>,
    place: Place,
    seat: Seat,
) -> impl Future<Output = ()> {
    let login = Box::pin(async move {
        match socket.and_then(|socket| socket.into_stream(app)) {
            Ok(stream) => login::let_in(app, stream, address, place).await,
            Err(error) => {
                tracing::debug!(%error, "a client was gone before it was served");
                None
            }
        }
    });
    async move {
        if let Some(session) = login.await {
            session.run().await;
        }
        drop(seat);
    }
}

/// A client's socket on its way to a worker.
enum Passed {
    /// To the one that has accepted it.
    Here(Stream),
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Passed {
    fn to_another(socket: Stream) -> io::Result<Self> {
        match socket {
            Stream::Tcp(socket) => socket.into_std().map(Self::Tcp),
            Stream::Unix(socket) => socket.into_std().map(Self::Unix),
            other => Ok(Self::Here(other)),
        }
    }

    /// Registered with the reactor of the worker that runs this.
    fn into_stream(self, app: &App) -> io::Result<Stream> {
        let stream = match self {
            Self::Here(stream) => stream,
            Self::Tcp(socket) => TcpStream::from_std(socket)?.into(),
            Self::Unix(socket) => UnixStream::from_std(socket)?.into(),
        };
        if let Stream::Tcp(socket) = &stream {
            app.state().tcp.apply_to_accepted(socket)?;
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, E, F>(_: impl FnOnce(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    /// With what tokio needs for a task beside it, a block of 256 bytes. There is one for each client that waits.
    #[test]
    fn the_task_of_a_client_is_small() {
        let size = size_of_future(client);
        assert!(size <= 152, "{size} bytes");
    }
}
