//! Options of TCP sockets: `[tcp]` of the configuration, and TCP_NODELAY, which is always on because a pooler forwards
//! whole messages and gains nothing from waiting for more.

use std::io;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// `[tcp]`. What is `None` stays as the operating system has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpOptions {
    /// Whether a silent peer is probed.
    pub(crate) keepalive: bool,
    /// Silence before the first probe.
    pub(crate) time: Option<Duration>,
    /// Time between probes.
    pub(crate) interval: Option<Duration>,
    /// Unanswered probes after which the connection is dead.
    pub(crate) retries: Option<u32>,
    /// How long sent bytes may stay unacknowledged (Linux only).
    pub(crate) user_timeout: Option<Duration>,
    /// By its name (Linux only).
    pub(crate) congestion_control: Option<String>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        let (time, interval, retries, user_timeout, congestion_control) = Default::default();
        Self { keepalive: true, time, interval, retries, user_timeout, congestion_control }
    }
}

impl TcpOptions {
    /// Whether the kernel takes all of this, tried on a socket that connects to nobody.
    pub(crate) fn check(&self) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        self.set(SockRef::from(&socket))
    }

    /// Sets everything on a connection, accepted or opened.
    pub(crate) fn apply(&self, socket: &TcpStream) -> io::Result<()> {
        self.set(SockRef::from(socket))
    }

    /// Sets everything on a connection that came in by a listener with [`prepare`]. On Linux it has the defaults already,
    /// which saves two system calls for each; elsewhere nothing promises that.
    pub(crate) fn apply_to_accepted(&self, socket: &TcpStream) -> io::Result<()> {
        if cfg!(target_os = "linux") && *self == Self::default() { Ok(()) } else { self.apply(socket) }
    }

    fn set(&self, socket: SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(true)?;
        if self.keepalive {
            socket.set_tcp_keepalive(&self.probes())?;
        } else {
            socket.set_keepalive(false)?;
        }
        #[cfg(target_os = "linux")]
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(name) = &self.congestion_control {
            socket.set_tcp_congestion(name.as_bytes())?;
        }
        Ok(())
    }

    fn probes(&self) -> TcpKeepalive {
        let mut probes = TcpKeepalive::new();
        if let Some(time) = self.time {
            probes = probes.with_time(time);
        }
        if let Some(interval) = self.interval {
            probes = probes.with_interval(interval);
        }
        if let Some(retries) = self.retries {
            probes = probes.with_retries(retries);
        }
        probes
    }
}

/// Gives a listener the default options, which its connections inherit.
pub(crate) fn prepare(listener: &TcpListener) -> io::Result<()> {
    TcpOptions::default().set(SockRef::from(listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn options_reach_the_socket() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let options = TcpOptions {
            time: Some(Duration::from_secs(30)),
            interval: Some(Duration::from_secs(5)),
            retries: Some(3),
            // The one that every kernel has.
            congestion_control: Some("reno".to_owned()),
            ..TcpOptions::default()
        };

        options.apply(&socket).unwrap();

        assert!(socket.nodelay().unwrap());
        let socket = SockRef::from(&socket);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        #[cfg(target_os = "linux")]
        assert!(socket.tcp_congestion().unwrap().starts_with(b"reno"));
    }

    #[tokio::test]
    async fn connections_have_the_options_however_they_got_them() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener).unwrap();
        let off = TcpOptions { keepalive: false, ..TcpOptions::default() };
        let rare = TcpOptions { time: Some(Duration::from_secs(30)), ..TcpOptions::default() };
        for (options, keepalive) in [(TcpOptions::default(), true), (off, false), (rare, true)] {
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            options.apply_to_accepted(&socket).unwrap();
            let socket = SockRef::from(&socket);
            assert!(socket.tcp_nodelay().unwrap());
            assert_eq!(socket.keepalive().unwrap(), keepalive);
            if let Some(time) = options.time {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), time);
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_the_kernel_does_not_have_is_found_before_anybody_connects() {
        let named = |name: &str| TcpOptions { congestion_control: Some(name.to_owned()), ..TcpOptions::default() };
        assert!(TcpOptions::default().check().is_ok() && named("reno").check().is_ok());
        assert!(named("no_such_algorithm").check().is_err());
    }

    #[tokio::test]
    async fn keepalive_can_be_off() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let options = TcpOptions { keepalive: false, ..TcpOptions::default() };

        options.apply(&socket).unwrap();

        assert!(!SockRef::from(&socket).keepalive().unwrap());
    }
}
