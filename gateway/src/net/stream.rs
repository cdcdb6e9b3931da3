//! One connection, whatever it runs over. Plain sockets are the hot path: they sit in the enum itself and every call is
//! one match and one system call. TLS is boxed, so that a plain stream stays small.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A connection to a client or to a server.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A client's connection, in which the gateway is the TLS server.
    ClientTls(Box<Tls<server::TlsStream<TcpStream>>>),
    /// A connection to PostgreSQL, in which the gateway is the TLS client.
    ServerTls(Box<Tls<client::TlsStream<TcpStream>>>),
}

/// A TLS session, and how many plain bytes it took that have not all left the process yet.
pub(crate) struct Tls<T> {
    session: T,
    taken: usize,
}

/// A TLS session, as PostgreSQL names its version and IANA its cipher suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsSession {
    pub(crate) version: &'static str,
    pub(crate) cipher: String,
}

/// The address that people know: IPv4 addresses that arrive at an IPv6 socket are given as IPv4.
pub(crate) fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

impl Stream {
    /// Whether a read may find something, without a buffer for it. Costs no system call. Under TLS only a read can tell.
    #[inline]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Where there is news, nothing has to be registered: a look costs a fifth of the poll.
        if self.is_readable() {
            return Poll::Ready(());
        }
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx).map(drop),
            Self::Unix(socket) => socket.poll_read_ready(cx).map(drop),
            Self::ClientTls(_) | Self::ServerTls(_) => Poll::Ready(()),
        }
    }

    /// The same at this moment; nobody is woken when that changes.
    #[inline]
    pub(crate) fn is_readable(&self) -> bool {
        match self {
            Self::Tcp(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Self::ClientTls(_) | Self::ServerTls(_) => true,
        }
    }

    /// Reads what there is, at most `into.len()` bytes; 0 is the end of the stream.
    #[inline]
    pub(crate) fn poll_read_slice(&mut self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes from the front of `bytes` and says how many were written: those are in the kernel's hands, also under
    /// TLS, so nobody has to flush.
    ///
    /// After `Pending` the next call must begin with the same bytes (any loop that writes a buffer until it is empty
    /// does): under TLS they may be encrypted already and only wait for room in the socket.
    #[inline]
    pub(crate) fn poll_write_slice(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::ClientTls(tls) => tls.poll_write(cx, bytes),
            Self::ServerTls(tls) => tls.poll_write(cx, bytes),
        }
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::ClientTls(_) | Self::ServerTls(_))
    }

    /// Where the other side is: `None` for a Unix socket, or when the connection is gone already. IPv4 addresses that
    /// arrive at an IPv6 socket are given as IPv4.
    pub(crate) fn peer(&self) -> Option<SocketAddr> {
        self.tcp()?.peer_addr().ok().map(canonical)
    }

    /// Whether nobody outside this machine can see the bytes: a Unix socket, or TCP over loopback.
    pub(crate) fn is_local(&self) -> bool {
        match self.tcp() {
            Some(_) => self.peer().is_some_and(|peer| peer.ip().is_loopback()),
            None => true,
        }
    }

    /// What was agreed on in the TLS handshake; `None` without TLS.
    pub(crate) fn tls_session(&self) -> Option<TlsSession> {
        let (version, suite) = match self {
            Self::Tcp(_) | Self::Unix(_) => return None,
            Self::ClientTls(tls) => {
                let session = tls.session.get_ref().1;
                (session.protocol_version(), session.negotiated_cipher_suite())
            }
            Self::ServerTls(tls) => {
                let session = tls.session.get_ref().1;
                (session.protocol_version(), session.negotiated_cipher_suite())
            }
        };
        let version = match version? {
            rustls::ProtocolVersion::TLSv1_3 => "TLSv1.3",
            rustls::ProtocolVersion::TLSv1_2 => "TLSv1.2",
            _ => "unknown",
        };
        // rustls marks those of TLS 1.3, IANA's names do not.
        let cipher = suite?.suite().as_str()?.replacen("TLS13_", "TLS_", 1);
        Some(TlsSession { version, cipher })
    }

    /// The other side's own certificate, which the handshake checked as the configuration asks.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        let chain = match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::ClientTls(tls) => tls.session.get_ref().1.peer_certificates(),
            Self::ServerTls(tls) => tls.session.get_ref().1.peer_certificates(),
        };
        chain?.first()
    }

    /// Whether the socket holds bytes that nobody has read yet, seen without waiting and below TLS. The end of the
    /// stream counts as nothing.
    pub(crate) fn has_unread(&self) -> io::Result<bool> {
        match self.socket().peek(&mut [MaybeUninit::uninit(); 1]) {
            Ok(count) => Ok(count > 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the other side has closed it, as far as the reactor has seen, whatever lies in front of that.
    pub(crate) fn has_left(&self) -> bool {
        let ready = match self {
            Self::Tcp(socket) => now(socket.ready(Interest::READABLE)),
            Self::Unix(socket) => now(socket.ready(Interest::READABLE)),
            Self::ClientTls(tls) => now(tls.session.get_ref().0.ready(Interest::READABLE)),
            Self::ServerTls(tls) => now(tls.session.get_ref().0.ready(Interest::READABLE)),
        };
        ready.is_some_and(|ready| ready.is_ok_and(|ready| ready.is_read_closed()))
    }

    /// The number of the socket's descriptor.
    pub(crate) fn descriptor(&self) -> usize {
        usize::try_from(self.socket().as_raw_fd()).unwrap_or(usize::MAX)
    }

    /// Gives the socket another descriptor: the lowest that is free.
    pub(crate) fn renumber(&mut self) -> io::Result<()> {
        let other = self.socket().try_clone()?;
        match self {
            Self::Tcp(socket) => *socket = TcpStream::from_std(other.into())?,
            Self::Unix(socket) => *socket = UnixStream::from_std(other.into())?,
            Self::ClientTls(_) | Self::ServerTls(_) => {}
        }
        Ok(())
    }

    /// Sends what fits into the socket's own buffer, without waiting and below TLS.
    pub(crate) fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.socket().send(bytes)
    }

    /// Closing it will reset the connection: what the other side has not read yet, it will not read (TCP alone).
    pub(crate) fn reset_when_closed(&self) {
        // Otherwise it is closed as always.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }

    fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Unix(socket) => SockRef::from(socket),
            Self::Tcp(socket) => SockRef::from(socket),
            Self::ClientTls(tls) => SockRef::from(tls.session.get_ref().0),
            Self::ServerTls(tls) => SockRef::from(tls.session.get_ref().0),
        }
    }

    /// Moves the socket to the reactor of the current runtime, because every worker thread runs its own. A TLS session
    /// stays with the runtime that began it: it cannot be taken apart, and works from any thread, only less directly.
    pub(crate) fn rebind(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket.into_std()?)?),
            Self::Unix(socket) => Self::Unix(UnixStream::from_std(socket.into_std()?)?),
            tls => tls,
        })
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Unix(_) => None,
            Self::ClientTls(tls) => Some(tls.session.get_ref().0),
            Self::ServerTls(tls) => Some(tls.session.get_ref().0),
        }
    }
}

/// What a future gives at once, if it does.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixStream> for Stream {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}

impl From<server::TlsStream<TcpStream>> for Stream {
    fn from(session: server::TlsStream<TcpStream>) -> Self {
        Self::ClientTls(Box::new(Tls { session, taken: 0 }))
    }
}

impl From<client::TlsStream<TcpStream>> for Stream {
    fn from(session: client::TlsStream<TcpStream>) -> Self {
        Self::ServerTls(Box::new(Tls { session, taken: 0 }))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Tls<T> {
    /// A peer that closes its socket without the alert that TLS asks for is at its end all the same: many clients do,
    /// and a message that was cut short is noticed by its length.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.session).poll_read(cx, into)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            other => Poll::Ready(other),
        }
    }

    /// Takes bytes once, and reports them as written when the records are out.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.taken == 0 {
            self.taken = ready!(Pin::new(&mut self.session).poll_write(cx, bytes))?;
        }
        ready!(Pin::new(&mut self.session).poll_flush(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.taken).min(bytes.len())))
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, into),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, into),
            Self::ClientTls(tls) => tls.poll_read(cx, into),
            Self::ServerTls(tls) => tls.poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_slice(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Self::Unix(socket) => Pin::new(socket).poll_flush(cx),
            Self::ClientTls(tls) => Pin::new(&mut tls.session).poll_flush(cx),
            Self::ServerTls(tls) => Pin::new(&mut tls.session).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::ClientTls(tls) => Pin::new(&mut tls.session).poll_shutdown(cx),
            Self::ServerTls(tls) => Pin::new(&mut tls.session).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_socket_moves_to_another_runtime() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let (first, second) = (runtime(), runtime());
        let (near, mut far) = first.block_on(async {
            let (near, far) = UnixStream::pair().unwrap();
            (Stream::from(near), far.into_std().unwrap())
        });

        let echoed = second.block_on(async {
            let mut near = near.rebind().unwrap();
            near.write_all(b"ping").await.unwrap();
            let mut far = UnixStream::from_std(far.try_clone().unwrap()).unwrap();
            let mut bytes = [0; 4];
            far.read_exact(&mut bytes).await.unwrap();
            bytes
        });

        assert_eq!(&echoed, b"ping");
        std::io::Write::flush(&mut far).unwrap();
    }

    #[tokio::test]
    async fn unread_bytes_are_seen_without_taking_them() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut near = Stream::from(near);
        assert!(!near.has_unread().unwrap());

        far.write_all(b"x").await.unwrap();

        assert!(near.has_unread().unwrap());
        assert_eq!(near.read_u8().await.unwrap(), b'x');
        assert!(!near.has_unread().unwrap());
        assert!(near.is_local());
        assert_eq!(near.peer(), None);
    }
}
