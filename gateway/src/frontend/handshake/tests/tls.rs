//! TLS: asked for, begun without asking, required.

use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::*;
use crate::net::tls::ClientTls;
use crate::net::tls::client::TlsMode;

#[tokio::test]
async fn required_tls_is_required_of_tcp_only() {
    let options = HandshakeOptions { tls_required: true, ..with_tls() };
    let (mut client, server) = tcp_pair().await;
    client.write_all(&startup_packet()).await.unwrap();
    let opening = handshake(server, &options).await;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    let told = ErrorFields::parse(&heard[5..]);
    assert!(matches!(error(opening), HandshakeError::TlsRequired));
    assert_eq!(told.code, "28000");
    assert!(told.hint.is_some());

    let (mut client, server) = pair();
    client.write_all(&startup_packet()).await.unwrap();
    assert_eq!(user(handshake(server, &options).await), "alice");
}

#[tokio::test]
async fn tls_after_a_request_carries_the_startup_packet() {
    let options = HandshakeOptions { tls_required: true, ..with_tls() };
    let (client, server) = tcp_pair().await;
    let calling = async {
        let tls = ClientTls::new(TlsMode::Prefer, None, None).unwrap();
        let mut client = tls.encrypt(client.into(), "localhost").await.unwrap();
        assert!(client.is_tls());
        client.write_all(&startup_packet()).await.unwrap();
        client
    };
    let (_client, opening) = tokio::join!(calling, handshake(server, &options));
    let Ok(Opening::Startup { stream, .. }) = opening else { panic!("no start-up packet") };
    assert!(stream.get_ref().is_tls());
}

async fn direct(alpn: &[&[u8]]) -> Result<Opening, HandshakeError> {
    let (client, server) = tcp_pair().await;
    let options = with_tls();
    let calling = async {
        let mut config = ClientTls::new(TlsMode::Prefer, None, None).unwrap().config().as_ref().clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        if let Ok(mut client) = connector.connect(name, client).await {
            client.write_all(&startup_packet()).await.ok();
            client.read_u8().await.ok();
        }
    };
    // The session ends here, which lets the client end.
    let opening = async {
        let startup = match handshake(server, &options).await? {
            Opening::Startup { startup, .. } => startup,
            Opening::Cancel { .. } => panic!("cancel"),
        };
        let stream = incoming(pair().1);
        Ok(Opening::Startup { stream, startup })
    };
    let (_, opening) = tokio::join!(calling, opening);
    opening
}

#[tokio::test]
async fn direct_tls_needs_the_protocol_by_name() {
    assert_eq!(user(direct(&[b"postgresql"]).await), "alice");
    assert!(matches!(error(direct(&[]).await), HandshakeError::NoAlpn));
    assert!(matches!(error(direct(&[b"h2"]).await), HandshakeError::Tls(_)));
}

#[tokio::test]
async fn what_a_write_reports_has_left_without_a_flush() {
    let mut options = with_tls();
    // A ticket that the client never read would turn its close into a reset.
    if let Some(config) = &mut options.tls {
        Arc::make_mut(config).send_tls13_tickets = 0;
    }
    let (client, server) = tcp_pair().await;
    let tls = ClientTls::new(TlsMode::Prefer, None, None).unwrap();
    let sent: Vec<u8> = (0..4_000_000u32).map(|n| n as u8).collect();
    let calling = async {
        let mut client = tls.encrypt(client.into(), "localhost").await.unwrap();
        client.write_all(&startup_packet()).await.unwrap();
        let mut left = &sent[..];
        while !left.is_empty() {
            let written = std::future::poll_fn(|cx| client.poll_write_slice(cx, left));
            left = &left[written.await.unwrap()..];
        }
        client
    };
    let reading = async {
        let Ok(Opening::Startup { stream, .. }) = handshake(server, &options).await else {
            panic!("no start-up packet")
        };
        let mut got = stream.buffer().to_vec();
        let mut stream = stream.into_inner();
        let mut part = [0; 5000];
        while got.len() < sent.len() {
            let read = std::future::poll_fn(|cx| stream.poll_read_slice(cx, &mut part)).await;
            got.extend_from_slice(&part[..read.unwrap()]);
        }
        (stream, got)
    };
    let (client, (mut stream, got)) = tokio::join!(calling, reading);
    assert!(got == sent);
    // A socket that is closed without the alert of TLS is the end, not an error.
    drop(client);
    assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
}
