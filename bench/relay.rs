//! A plain TCP relay: what a second hop costs when nobody looks at what passes. Built by the benchmark with `rustc -O`.
//!
//! `relay PORT TARGET` listens on the port of loopback, and connects each client to the target, `host:port`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

const BUFFER_BYTES: usize = 128 * 1024;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err(std::io::Error::other("usage: relay PORT TARGET"));
    };
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    for client in listener.incoming() {
        // A client that cannot be served loses its connection, and nothing else happens.
        let _ = client.and_then(|client| serve(client, &target));
    }
    Ok(())
}

fn serve(client: TcpStream, target: &str) -> std::io::Result<()> {
    let server = TcpStream::connect(target)?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
    }
    let (requests, replies) = ((client.try_clone()?, server.try_clone()?), (server, client));
    thread::spawn(move || copy(requests.0, requests.1));
    thread::spawn(move || copy(replies.0, replies.1));
    Ok(())
}

/// Until either side ends; the other direction then ends too.
fn copy(mut source: TcpStream, mut target: TcpStream) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        if target.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for socket in [source, target] {
        let _ = socket.shutdown(Shutdown::Both);
    }
}
