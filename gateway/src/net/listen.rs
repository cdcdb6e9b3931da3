//! TCP sockets that listen, and how one goes out of service while another process takes over its port.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Listens on `address`. With `reuse_port` other processes of the same user may listen there as well; the kernel shares
/// new connections out among them (socket(7), SO_REUSEPORT). `only_v6` keeps `::` from taking IPv4 clients too.
pub(crate) fn listen(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = bound(address, only_v6, reuse_port)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Whether the address can be had at this moment. Nobody can connect to it meanwhile.
pub(crate) fn try_bind(address: SocketAddr) -> io::Result<()> {
    bound(address, true, false).map(drop)
}

fn bound(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Makes the kernel overlook further clients on this socket: their first packet is dropped, they send it again a second
/// later, and by then the socket is closed and the other process gets it. Without this, a client that comes between the
/// last accept and the close would be reset. Connections that are being made go on.
#[cfg(target_os = "linux")]
pub(crate) fn overlook_newcomers(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};

    // Classic BPF, on the TCP header: load the flags; SYN and not ACK is dropped, the rest is kept whole.
    const FLAGS: u32 = 13;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    let program = [
        SockFilter::new(0x30, 0, 0, FLAGS),
        SockFilter::new(0x54, 0, 0, SYN | ACK),
        SockFilter::new(0x15, 0, 1, SYN),
        SockFilter::new(0x06, 0, 0, 0),
        SockFilter::new(0x06, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

/// Elsewhere there is no such filter.
#[cfg(not(target_os = "linux"))]
pub(crate) fn overlook_newcomers(_: &TcpListener) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpStream;

    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_port_is_shared_only_when_both_want_it() {
        let one = listen(loopback(), true, true).unwrap();
        let address = one.local_addr().unwrap();
        assert_eq!(listen(address, true, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(listen(address, true, true).unwrap().local_addr().unwrap(), address);

        let alone = listen(loopback(), true, false).unwrap();
        let error = listen(alone.local_addr().unwrap(), true, true).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_newcomer_waits_for_the_next_process_and_who_is_there_is_served() {
        let old = listen(loopback(), true, true).unwrap();
        let address = old.local_addr().unwrap();
        let queued = TcpStream::connect(address).await.unwrap();

        overlook_newcomers(&old).unwrap();
        let newcomer = tokio::spawn(TcpStream::connect(address));
        let (accepted, from) = old.accept().await.unwrap();
        assert_eq!(from, queued.local_addr().unwrap());
        assert!(tokio::time::timeout(Duration::from_millis(100), old.accept()).await.is_err());
        let new = listen(address, true, true).unwrap();
        drop(old);

        let newcomer = newcomer.await.unwrap().unwrap();
        assert_eq!(new.accept().await.unwrap().1, newcomer.local_addr().unwrap());
        drop(accepted);
    }
}
