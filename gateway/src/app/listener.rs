//! Listening sockets, and the loop that gives each new client to a worker. It runs on the first worker: a client that this
//! one keeps has its socket registered once and wakes no other thread.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::warn;

use super::accepted::{Accepted, serve};
use super::seldom::Seldom;
use super::state::App;
use super::unix_socket::{self, SocketFile};
use super::worker::Workers;
use crate::config::General;
use crate::net::listen::{listen, overlook_newcomers};
use crate::net::options;
use crate::net::stream::canonical;

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(50);

/// How long connections that a client has begun to make may take to be there, when another process takes over.
const SETTLE: Duration = Duration::from_millis(300);

/// A socket that clients connect to.
pub(super) struct Listener {
    socket: Socket,
    address: String,
    /// Of a Unix socket of our own.
    file: Option<SocketFile>,
    /// Another process may listen at the same address: clients that are waiting in the queue are ours.
    shared: bool,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why the gateway cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub(super) struct BindError {
    address: String,
    error: io::Error,
}

/// The sockets that the service manager has opened for this process (sd_listen_fds(3)), if any. To be asked for once, and
/// before there are threads: the variables that say so are removed.
pub(super) fn inherited() -> Result<Vec<Listener>, BindError> {
    let mut passed = ListenFd::from_env();
    (0..passed.len())
        .map(|number| {
            // As systemd counts them: after the three standard ones.
            let named = |error| BindError { address: format!("file descriptor {}", number + 3), error };
            adopt(&mut passed, number).map_err(named)
        })
        .collect()
}

fn adopt(passed: &mut ListenFd, number: usize) -> io::Result<Listener> {
    let listener = |socket, address| Listener { socket, address, file: None, shared: false };
    if let Ok(Some(socket)) = passed.take_tcp_listener(number) {
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?.to_string();
        return Ok(listener(Socket::Tcp(TcpListener::from_std(socket)?), address));
    }
    let unknown = || io::Error::new(io::ErrorKind::InvalidInput, "neither a TCP nor a Unix stream socket");
    let socket = passed.take_unix_listener(number).ok().flatten().ok_or_else(unknown)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    let address = address.as_pathname().map_or_else(|| "unix".to_owned(), |path| path.display().to_string());
    Ok(listener(Socket::Unix(UnixListener::from_std(socket)?), address))
}

/// Opens all sockets that the configuration names.
pub(super) async fn bind(general: &General) -> Result<Vec<Listener>, BindError> {
    let named = |error, address: &str| BindError { address: address.to_owned(), error };
    let name = format!("{}:{}", general.host, general.port);
    let addresses =
        tokio::net::lookup_host((general.host.as_str(), general.port)).await.map_err(|error| named(error, &name))?;
    let shared = general.reuse_port;
    let mut listeners = Vec::new();
    for address in addresses {
        let socket = listen(address, true, shared).map_err(|error| named(error, &address.to_string()))?;
        let address = socket.local_addr().map_err(|error| named(error, &name))?.to_string();
        listeners.push(Listener { socket: Socket::Tcp(socket), address, file: None, shared });
    }
    if let Some(folder) = &general.unix_socket_dir {
        // The name that libpq looks for (PostgreSQL documentation, unix_socket_directories).
        let path = folder.join(format!(".s.PGSQL.{}", general.port));
        let address = path.display().to_string();
        let opened = unix_socket::open(path, general.unix_socket_permissions, shared);
        let (socket, file) = opened.map_err(|error| named(error, &address))?;
        listeners.push(Listener { socket: Socket::Unix(socket), address, file: Some(file), shared });
    }
    Ok(listeners)
}

/// Registers the sockets with the reactor of the runtime that this runs on.
pub(super) fn move_here(listeners: Vec<Listener>) -> Result<Vec<Listener>, BindError> {
    let moved = |listener: Listener| {
        let Listener { socket, address, file, shared } = listener;
        match socket.rebind() {
            Ok(socket) => Ok(Listener { socket, address, file, shared }),
            Err(error) => Err(BindError { address, error }),
        }
    };
    listeners.into_iter().map(moved).collect()
}

impl Socket {
    fn rebind(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => {
                let socket = TcpListener::from_std(socket.into_std()?)?;
                options::prepare(&socket)?;
                Self::Tcp(socket)
            }
            Self::Unix(socket) => Self::Unix(UnixListener::from_std(socket.into_std()?)?),
        })
    }
}

/// Accepts on all sockets until `stop`, and then whoever is in the queue where another process takes over.
pub(super) async fn accept_all(
    app: &'static App,
    listeners: Vec<Listener>,
    workers: &'static Workers,
    stop: watch::Receiver<bool>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        let mut stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                () = listener.accept_for_ever(app, workers) => {}
            }
            if listener.shared {
                listener.hand_over(app, workers).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

impl Listener {
    pub(super) fn address(&self) -> impl fmt::Display {
        &self.address
    }

    async fn accept(&self) -> io::Result<Accepted> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => {
                let (socket, peer) = listener.accept().await?;
                Accepted { socket: socket.into(), address: Some(canonical(peer)) }
            }
            Socket::Unix(listener) => Accepted { socket: listener.accept().await?.0.into(), address: None },
        })
    }

    async fn accept_for_ever(&self, app: &'static App, workers: &'static Workers) {
        let failures = Seldom::new();
        loop {
            match self.accept().await {
                Ok(accepted) => serve(app, accepted, workers).await,
                Err(error) => {
                    if let Some(count) = failures.due() {
                        warn!(event = "accept", %error, count, "a client could not be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Sees to it that new clients reach the other process, and accepts those that have not.
    async fn hand_over(&self, app: &'static App, workers: &'static Workers) {
        match (&self.socket, &self.file) {
            (Socket::Tcp(socket), _) => {
                if let Err(error) = overlook_newcomers(socket) {
                    warn!(event = "accept", %error, "clients that connect in this moment may have to connect again");
                }
            }
            (Socket::Unix(_), Some(file)) => file.remove(),
            (Socket::Unix(_), None) => {}
        }
        let end = Instant::now() + SETTLE;
        // The last look, with no time left, finds who is in the queue already.
        while let Ok(Ok(accepted)) = timeout(end.saturating_duration_since(Instant::now()), self.accept()).await {
            serve(app, accepted, workers).await;
        }
    }
}
