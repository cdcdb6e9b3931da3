//! Telling the service manager how the process is (sd_notify(3)). Without `NOTIFY_SOCKET` nobody wants to know.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tracing::warn;

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// Clients are served, with the configuration as it is now.
    Ready,
    /// The configuration is being read.
    Reloading,
    /// No new clients; those that are there finish.
    Stopping,
}

/// Tells it.
pub(super) fn notify(news: News) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text: &[u8] = match news {
        News::Ready => b"READY=1\nSTATUS=Serving clients",
        News::Reloading => b"RELOADING=1\nSTATUS=Reading the configuration",
        News::Stopping => b"STOPPING=1\nSTATUS=Waiting for sessions to end",
    };
    if let Err(error) = send(&socket, text) {
        warn!(event = "notify", %error, "the service manager could not be told");
    }
}

fn send(socket: &OsStr, text: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => in_abstract(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(text, &address).map(drop)
}

/// Names with `@` are not files (unix(7), "Abstract sockets").
#[cfg(target_os = "linux")]
fn in_abstract(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn in_abstract(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(listener: &UnixDatagram, socket: &OsStr) -> Vec<u8> {
        send(socket, b"READY=1").unwrap();
        let mut text = [0; 64];
        let count = listener.recv(&mut text).unwrap();
        text[..count].to_vec()
    }

    #[test]
    fn a_socket_in_the_file_system_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        assert_eq!(hear(&listener, path.as_os_str()), b"READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("pgdog-jwt-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&in_abstract(name.as_bytes()).unwrap()).unwrap();
        assert_eq!(hear(&listener, OsStr::new(&format!("@{name}"))), b"READY=1");
    }
}
