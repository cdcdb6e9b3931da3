//! One connection to a PostgreSQL server, from the socket to ReadyForQuery, and cancel requests (PostgreSQL
//! documentation, sections "Start-up" and "Canceling Requests in Progress"). The caller sets the time limit.
//!
//! A server is believed no more than it must be: its messages are bounded, it gets one try at asking for a password,
//! and a SCRAM exchange that it began ends only when it has shown that it knows the password too.

mod auth;
mod error;
mod login;
mod oauth;
mod proof;
mod scram;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

pub(crate) use error::ConnectError;
pub(crate) use proof::{Bearer, Proof};

use crate::net::tls::ClientTls;
use crate::net::{Stream, TcpOptions};
use crate::wire::message;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerAddress {
    /// A name, an IP address, or the folder of a Unix socket (an absolute path), as libpq has it.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Who logs in.
#[derive(Clone, Copy)]
pub(crate) struct ServerLogin<'a> {
    pub(crate) user: &'a str,
    pub(crate) password: Option<&'a str>,
    pub(crate) proof: &'a Proof,
    pub(crate) database: &'a str,
    /// The rest of the start-up packet, as it is sent.
    pub(crate) parameters: &'a [(&'a str, &'a str)],
}

impl std::fmt::Debug for ServerLogin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerLogin")
            .field("user", &self.user)
            .field("password", &self.password.map(|_| ".."))
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// A connection that is ready for its first query. Nothing was read beyond ReadyForQuery.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// Process id and key for cancel requests; 0 and empty when the server gave none.
    pub(crate) process: u32,
    pub(crate) key: Vec<u8>,
    /// ParameterStatus in the order of arrival.
    pub(crate) parameters: Vec<(String, String)>,
}

/// Opens a connection and logs in, with protocol 3.0.
pub(crate) async fn connect(
    address: &ServerAddress,
    login: ServerLogin<'_>,
    tls: &ClientTls,
    tcp: &TcpOptions,
) -> Result<Connected, ConnectError> {
    let stream = open(address, tcp).await?;
    let mut stream = tls.encrypt(stream, &address.host).await?;
    login.proof.check_transport(&stream)?;
    let greeting = login::log_in(&mut stream, login).await?;
    Ok(Connected { stream, process: greeting.process, key: greeting.key, parameters: greeting.parameters })
}

/// Whether anybody listens there: for who has no account to ask more with. PostgreSQL takes no notice of it.
pub(crate) async fn knock(address: &ServerAddress) -> Result<(), ConnectError> {
    open(address, &TcpOptions::default()).await.map(drop)
}

/// Asks the server to cancel what `process` runs, and waits until it closes the connection: then the signal was sent,
/// or the key was wrong, which it does not tell. Encrypted as other connections are, because the key is a secret. `is_sent`: whether
/// anything of the request may have reached the server.
pub(crate) async fn cancel(
    address: &ServerAddress,
    tls: &ClientTls,
    process: u32,
    key: &[u8],
    is_sent: &AtomicBool,
) -> Result<(), ConnectError> {
    let stream = open(address, &TcpOptions::default()).await?;
    let mut stream = tls.encrypt(stream, &address.host).await?;
    let mut out = Vec::new();
    message::cancel_request(&mut out, process, key);
    is_sent.store(true, Ordering::Relaxed);
    stream.write_all(&out).await.map_err(ConnectError::unreachable)?;
    let mut unasked = [0; 64];
    // An error is a close as well: the request is out, and there is nothing to try again.
    while matches!(stream.read(&mut unasked).await, Ok(count) if count > 0) {}
    Ok(())
}

/// Every address of the name is tried, in the order of the resolver.
async fn open(address: &ServerAddress, tcp: &TcpOptions) -> Result<Stream, ConnectError> {
    if address.host.starts_with('/') {
        let path = PathBuf::from(&address.host).join(format!(".s.PGSQL.{}", address.port));
        let socket = UnixStream::connect(path).await;
        return Ok(socket.map_err(ConnectError::unreachable)?.into());
    }
    let socket = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(ConnectError::unreachable)?;
    tcp.apply(&socket).map_err(ConnectError::unreachable)?;
    Ok(socket.into())
}
