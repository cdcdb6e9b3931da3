//! Clients that behave, and clients that do not.

mod tls;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::*;
use crate::net::tls::server_config;
use crate::wire::startup::Version;
use crate::wire::{ErrorFields, message};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];

fn startup_packet() -> Vec<u8> {
    let mut out = Vec::new();
    message::startup(&mut out, Version::V3_0, &[("user", "alice")]);
    out
}

fn pair() -> (UnixStream, Stream) {
    let (client, server) = UnixStream::pair().unwrap();
    (client, server.into())
}

async fn tcp_pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (client.unwrap(), server.unwrap().0.into())
}

fn with_tls() -> HandshakeOptions {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    HandshakeOptions { tls: Some(server_config(&certificate, &key, None).unwrap()), tls_required: false }
}

async fn all_at_once(bytes: &[u8]) -> (Result<Opening, HandshakeError>, Vec<u8>) {
    let (mut client, server) = pair();
    client.write_all(bytes).await.unwrap();
    client.shutdown().await.unwrap();
    let outcome = handshake(server, &HandshakeOptions::default()).await;
    let mut heard = Vec::new();
    if outcome.is_err() {
        client.read_to_end(&mut heard).await.ok();
    }
    (outcome, heard)
}

fn user(opening: Result<Opening, HandshakeError>) -> String {
    match opening {
        Ok(Opening::Startup { startup, .. }) => startup.get("user").unwrap().to_owned(),
        Ok(Opening::Cancel { .. }) => panic!("cancel"),
        Err(error) => panic!("{error}"),
    }
}

fn error(opening: Result<Opening, HandshakeError>) -> HandshakeError {
    match opening {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_packet_in_single_bytes_is_read() {
    let (mut client, server) = pair();
    let sending = async {
        for byte in startup_packet() {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let options = HandshakeOptions::default();
    let (_, opening) = tokio::join!(sending, handshake(server, &options));
    assert_eq!(user(opening), "alice");
}

#[tokio::test]
async fn both_requests_are_answered_in_any_order() {
    for requests in [[SSL_REQUEST, GSS_REQUEST], [GSS_REQUEST, SSL_REQUEST]] {
        let (mut client, server) = pair();
        let asking = async {
            for request in requests {
                client.write_all(&request).await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), b'N');
            }
            client.write_all(&startup_packet()).await.unwrap();
        };
        let options = HandshakeOptions::default();
        let (_, opening) = tokio::join!(asking, handshake(server, &options));
        assert_eq!(user(opening), "alice");
    }
}

#[tokio::test]
async fn asking_twice_is_refused() {
    let (mut client, server) = pair();
    let asking = async {
        client.write_all(&SSL_REQUEST).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'N');
        client.write_all(&SSL_REQUEST).await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        ErrorFields::parse(&heard[5..]).code
    };
    let options = HandshakeOptions::default();
    let (code, opening) = tokio::join!(asking, handshake(server, &options));
    assert_eq!(code, "0A000");
    assert!(matches!(error(opening), HandshakeError::AskedTwice));
}

#[tokio::test]
async fn bytes_behind_a_request_for_encryption_are_refused() {
    let stuffed = [&SSL_REQUEST[..], &startup_packet()].concat();
    let (opening, heard) = all_at_once(&stuffed).await;
    assert!(matches!(error(opening), HandshakeError::Stuffed));
    assert!(heard.is_empty());

    let (mut client, server) = tcp_pair().await;
    client.write_all(&stuffed).await.unwrap();
    let opening = handshake(server, &with_tls()).await;
    assert!(matches!(error(opening), HandshakeError::Stuffed));
}

#[tokio::test]
async fn a_probe_is_not_an_error_worth_telling() {
    assert!(matches!(error(all_at_once(b"").await.0), HandshakeError::Closed));
    let (client, server) = tcp_pair().await;
    drop(client);
    assert!(matches!(error(handshake(server, &with_tls()).await), HandshakeError::Closed));
}

#[tokio::test]
async fn other_protocols_get_a_clean_close() {
    for (bytes, text) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "HTTP"),
        (b"\x16\x03\x01\x02\0\x01", "TLS"),
        (b"\xff\xff\xff\xffrandom", "\\xff"),
        (b"\0\0\0\x07\0\0\0", "\\x07"),
    ] {
        let (opening, heard) = all_at_once(bytes).await;
        assert!(heard.is_empty());
        let error = error(opening).to_string();
        assert!(error.contains(text), "{error}");
    }
}

#[tokio::test]
async fn half_a_packet_is_half_a_packet() {
    let packet = startup_packet();
    for end in 1..packet.len() {
        let (opening, heard) = all_at_once(&packet[..end]).await;
        assert!(matches!(error(opening), HandshakeError::Truncated), "{end}");
        assert!(heard.is_empty());
    }
}

#[tokio::test]
async fn the_client_hears_what_it_can_understand() {
    for (body, code) in [
        (&b"\0\x02\0\0\0"[..], "0A000"),
        (b"\0\x04\0\0\0", "0A000"),
        (b"\0\x03\0\0user\0alice", "08P01"),
        (b"\0\x03\0\0user\0\xff\0\0", "22021"),
    ] {
        let packet = [&(body.len() as u32 + 4).to_be_bytes(), body].concat();
        let (opening, heard) = all_at_once(&packet).await;
        assert!(opening.is_err());
        assert_eq!(ErrorFields::parse(&heard[5..]).code, code);
    }
}

#[tokio::test]
async fn a_cancel_request_is_taken_as_it_is() {
    let mut request = Vec::new();
    message::cancel_request(&mut request, 7, b"secret-key");
    let (opening, _) = all_at_once(&request).await;
    assert!(matches!(
        opening,
        Ok(Opening::Cancel { process: 7, key, .. }) if key == b"secret-key"
    ));
}
