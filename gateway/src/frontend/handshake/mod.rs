//! How a client's connection opens, up to the start-up packet or the cancel request (PostgreSQL documentation, sections
//! "Start-up", "SSL Session Encryption" and "GSSAPI Session Encryption"). The caller sets the time limit.
//!
//! A packet is gathered only when it was announced and found small enough, so a hostile client costs one packet of memory
//! and the little that is read at a time.

mod error;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub(crate) use error::HandshakeError;

use super::unauthenticated;
use crate::net::Stream;
use crate::net::read::{Incoming, incoming, read_body, read_head};
use crate::net::tls::ALPN;
use crate::wire::startup::{self, FirstMessage, Startup};

/// First byte of a TLS record that holds a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// What clients are offered.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandshakeOptions {
    /// Certificate and key; without them TLS is declined.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Refuse a session over TCP without TLS. Unix sockets are exempt, as `hostssl` lines never speak of them.
    pub(crate) tls_required: bool,
}

/// What a client came for.
pub(crate) enum Opening {
    Startup {
        stream: Incoming,
        startup: Startup,
    },
    /// The key is what the client sent, to be compared in constant time. Nothing is answered: PostgreSQL closes the
    /// connection when the request was handled, whatever came of it.
    Cancel {
        stream: Incoming,
        process: u32,
        key: Vec<u8>,
    },
}

/// Answers requests for encryption until the client says what it wants. An error that the client can understand was
/// sent to it when this returns; what is left to do is one log line.
pub(crate) async fn handshake(socket: Stream, options: &HandshakeOptions) -> Result<Opening, HandshakeError> {
    let mut stream = incoming(direct_tls(socket, options).await?);
    let mut gss_asked = false;
    let mut tls_asked = stream.get_ref().is_tls();
    loop {
        match packet(&mut stream).await {
            Ok(FirstMessage::Ssl) if !tls_asked => {
                tls_asked = true;
                stream = answer_tls(stream, options).await?;
            }
            Ok(FirstMessage::GssEnc) if !gss_asked => {
                gss_asked = true;
                answer(&mut stream, b'N').await?;
            }
            Ok(FirstMessage::Ssl | FirstMessage::GssEnc) => {
                return Err(refuse(stream, HandshakeError::AskedTwice).await);
            }
            Ok(FirstMessage::Cancel { process, key }) => {
                return Ok(Opening::Cancel { stream, process, key });
            }
            Ok(FirstMessage::Startup(_)) if options.tls_required && is_plain_tcp(stream.get_ref()) => {
                return Err(refuse(stream, HandshakeError::TlsRequired).await);
            }
            Ok(FirstMessage::Startup(startup)) => return Ok(Opening::Startup { stream, startup }),
            Err(error) => return Err(refuse(stream, error).await),
        }
    }
}

fn is_plain_tcp(stream: &Stream) -> bool {
    matches!(stream, Stream::Tcp(_))
}

/// PostgreSQL 17 and newer take TLS without being asked first (`sslnegotiation=direct`). Then ALPN is a must, so that a
/// client of another protocol cannot be led here (ALPACA).
async fn direct_tls(socket: Stream, options: &HandshakeOptions) -> Result<Stream, HandshakeError> {
    let (Stream::Tcp(tcp), Some(config)) = (&socket, &options.tls) else {
        return Ok(socket);
    };
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Err(HandshakeError::Closed);
    }
    if first[0] != TLS_HANDSHAKE {
        return Ok(socket);
    }
    let Stream::Tcp(tcp) = socket else {
        return Ok(socket);
    };
    let session = Box::pin(accept(tcp, config)).await?;
    if session.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::NoAlpn);
    }
    Ok(session.into())
}

/// Answers SSLRequest, and begins TLS when it is offered.
async fn answer_tls(mut stream: Incoming, options: &HandshakeOptions) -> Result<Incoming, HandshakeError> {
    let (true, Some(config)) = (is_plain_tcp(stream.get_ref()), &options.tls) else {
        answer(&mut stream, b'N').await?;
        return Ok(stream);
    };
    answer(&mut stream, b'S').await?;
    match stream.into_inner() {
        Stream::Tcp(socket) => Ok(incoming(Box::pin(accept(socket, config)).await?.into())),
        other => Ok(incoming(other)),
    }
}

/// Sends the one byte. A client waits for it before it goes on, so bytes that are there already were put there by
/// somebody else, to be taken for the client's own later (CVE-2021-23214). A stream under TLS is not looked at: what
/// it holds below is encrypted.
async fn answer(stream: &mut Incoming, byte: u8) -> Result<(), HandshakeError> {
    if !stream.buffer().is_empty() || (!stream.get_ref().is_tls() && stream.get_ref().has_unread()?) {
        return Err(HandshakeError::Stuffed);
    }
    stream.write_all(&[byte]).await?;
    unauthenticated::goes_on();
    Ok(())
}

async fn accept(
    socket: TcpStream,
    config: &Arc<rustls::ServerConfig>,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, HandshakeError> {
    let session = TlsAcceptor::from(Arc::clone(config)).accept(socket).await.map_err(HandshakeError::Tls)?;
    unauthenticated::goes_on();
    Ok(session)
}

/// Reads one packet without a tag.
async fn packet(stream: &mut Incoming) -> Result<FirstMessage, HandshakeError> {
    let length = read_head::<_, 4>(stream).await?;
    let size = startup::packet_size(length).map_err(|_| HandshakeError::NotPostgres(length))?;
    let mut body = Vec::new();
    read_body(stream, size - length.len(), &mut body).await?;
    Ok(startup::parse(&body)?)
}

/// Tells the client, if it can be told. Whether it still listens does not matter.
async fn refuse(mut stream: Incoming, error: HandshakeError) -> HandshakeError {
    if let Some(told) = error.client_error() {
        let mut out = Vec::new();
        told.write(&mut out);
        if stream.write_all(&out).await.is_ok() {
            stream.shutdown().await.ok();
        }
    }
    error
}
