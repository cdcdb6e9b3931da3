//! Listening sockets, and the loop that gives each new client to a worker.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::warn;

use super::state::App;
use super::worker::Workers;
use crate::config::General;
use crate::frontend::login;
use crate::net::stream::Stream;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Pause after a failed accept, so that a lack of file descriptors does not become a busy loop.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that clients connect to.
pub(super) enum Listener {
    Tcp(TcpListener, SocketAddr),
    /// The file is removed when the listener goes.
    Unix(UnixListener, SocketFile),
}

pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why the gateway cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {error}")]
pub(super) struct BindError {
    address: String,
    error: io::Error,
}

impl Listener {
    pub(super) fn address(&self) -> impl fmt::Display {
        match self {
            Self::Tcp(_, address) => address.to_string(),
            Self::Unix(_, file) => file.0.display().to_string(),
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, _) => listener.accept().await?.0.into_std().map(Accepted::Tcp),
            Self::Unix(listener, _) => listener.accept().await?.0.into_std().map(Accepted::Unix),
        }
    }
}

/// A client's socket on its way to a worker.
enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// Opens all sockets that the configuration names.
pub(super) async fn bind(general: &General) -> Result<Vec<Listener>, BindError> {
    let named = |error, address: &str| BindError { address: address.to_owned(), error };
    let name = format!("{}:{}", general.host, general.port);
    let addresses =
        tokio::net::lookup_host((general.host.as_str(), general.port)).await.map_err(|error| named(error, &name))?;
    let mut listeners = Vec::new();
    for address in addresses {
        let listener = tcp(address).map_err(|error| named(error, &address.to_string()))?;
        let address = listener.local_addr().map_err(|error| named(error, &name))?;
        listeners.push(Listener::Tcp(listener, address));
    }
    if let Some(folder) = &general.unix_socket_dir {
        // The name that libpq looks for (PostgreSQL documentation, unix_socket_directories).
        let path = folder.join(format!(".s.PGSQL.{}", general.port));
        listeners.push(unix(path.clone()).map_err(|error| named(error, &path.display().to_string()))?);
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn unix(path: PathBuf) -> io::Result<Listener> {
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
    }
    // What is left of a process that did not end well.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    Ok(Listener::Unix(listener, SocketFile(path)))
}

/// Accepts on all sockets until it is dropped.
pub(super) async fn accept_all(app: &'static App, listeners: Vec<Listener>, workers: &'static Workers) {
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        tasks.spawn(accept(app, listener, workers));
    }
    while tasks.join_next().await.is_some() {}
}

async fn accept(app: &'static App, listener: Listener, workers: &'static Workers) {
    loop {
        match listener.accept().await {
            Ok(accepted) => workers.spawn(async move {
                // Registered with the reactor of the worker that runs this.
                match accepted.into_stream(app) {
                    Ok(stream) => login::serve(app, stream).await,
                    Err(error) => tracing::debug!(%error, "a client was gone before it was served"),
                }
            }),
            Err(error) => {
                warn!(event = "accept", %error, "a client could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Accepted {
    fn into_stream(self, app: &App) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => {
                let socket = TcpStream::from_std(socket)?;
                app.state().tcp.apply(&socket)?;
                Ok(Stream::Tcp(socket))
            }
            Self::Unix(socket) => UnixStream::from_std(socket).map(Stream::Unix),
        }
    }
}
