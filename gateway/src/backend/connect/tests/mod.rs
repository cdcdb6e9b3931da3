//! Servers that behave, made of the gateway's own half of the protocol, and servers that do not.

mod proof;
mod tls;

use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::frontend::handshake::{HandshakeOptions, Opening, handshake};
use crate::frontend::methods::{Candidates, Method, Verdict, authenticate};
use crate::net::read::Incoming;
use crate::net::tls::client::TlsMode;
use crate::wire::PgError;

const LOGIN: ServerLogin<'static> = ServerLogin {
    user: "alice",
    password: Some("secret"),
    proof: &Proof::Password,
    database: "demo",
    parameters: &[("application_name", "test")],
};

/// A connection attempt over a Unix socket, and the server's side of it once the start-up packet was read.
async fn attempt<F: Future>(server: impl FnOnce(Incoming) -> F) -> Result<Connected, ConnectError> {
    attempt_as(LOGIN, server).await
}

async fn attempt_as<F: Future>(
    login: ServerLogin<'_>,
    server: impl FnOnce(Incoming) -> F,
) -> Result<Connected, ConnectError> {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    let address = ServerAddress { host: folder.path().to_str().unwrap().to_owned(), port: 5432 };
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        let options = HandshakeOptions::default();
        let Ok(Opening::Startup { stream, startup }) = handshake(socket.into(), &options).await else {
            panic!("no start-up packet")
        };
        assert_eq!(startup.get("user"), Some("alice"));
        assert_eq!(startup.get("database"), Some("demo"));
        assert_eq!(startup.get("application_name"), Some("test"));
        server(stream).await;
    };
    let (tls, tcp) = (ClientTls::disabled(), TcpOptions::default());
    let (connected, ()) = tokio::join!(connect(&address, login, &tls, &tcp), serving);
    connected
}

/// The same, with a server that says all it has to say at once.
async fn told(bytes: Vec<u8>) -> Result<Connected, ConnectError> {
    attempt(|mut stream| async move {
        stream.write_all(&bytes).await.unwrap();
        // The client leaves, one way or the other.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
    })
    .await
}

fn error(outcome: Result<Connected, ConnectError>) -> ConnectError {
    match outcome {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error,
    }
}

fn greet(out: &mut Vec<u8>) {
    message::authentication_ok(out);
    message::parameter_status(out, "server_version", "15.1");
    message::backend_key_data(out, 42, &[1, 2, 3, 4]);
    message::ready_for_query(out, b'I');
}

#[tokio::test]
async fn every_method_logs_in() {
    for method in [Method::Scram, Method::Md5, Method::Plain] {
        let connected = attempt(|mut stream| async move {
            let candidates = Candidates::none().with_password("secret");
            let verdict = authenticate(&mut stream, method, "alice", &candidates).await;
            assert_eq!(verdict.unwrap(), Verdict::Accepted);
            let mut out = Vec::new();
            greet(&mut out);
            stream.write_all(&out).await.unwrap();
        })
        .await
        .unwrap();
        assert_eq!((connected.process, &connected.key[..]), (42, &[1, 2, 3, 4][..]));
        assert_eq!(connected.parameters, [("server_version".to_owned(), "15.1".to_owned())]);
    }
}

#[tokio::test]
async fn a_server_without_a_cancel_key_is_fine() {
    let mut out = Vec::new();
    message::authentication_ok(&mut out);
    crate::wire::frame::push(&mut out, b'N', b"SNOTICE\0\0");
    message::ready_for_query(&mut out, b'I');
    let (connected, _) = tokio::join!(
        attempt(|mut stream| async move { stream.write_all(&out).await.unwrap() }),
        std::future::ready(())
    );
    let connected = connected.unwrap();
    assert_eq!((connected.process, connected.key.len()), (0, 0));
}

#[tokio::test]
async fn an_error_is_passed_on_in_the_servers_words() {
    let mut out = Vec::new();
    PgError::fatal("3D000", "database \"demo\" does not exist").write(&mut out);
    let error = error(told(out).await);
    assert!(matches!(&error, ConnectError::Refused(fields) if fields.code == "3D000"), "{error}");
    assert!(error.to_string().contains("does not exist"));
}

#[tokio::test]
async fn a_server_cannot_skip_its_half_of_scram() {
    let error = error(
        attempt(|mut stream| async move {
            let mut out = Vec::new();
            message::authentication_sasl(&mut out, "SCRAM-SHA-256");
            greet(&mut out);
            stream.write_all(&out).await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        })
        .await,
    );
    assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_know_the_password_is_noticed() {
    let error = error(
        attempt(|mut stream| async move {
            let mut body = Vec::new();
            let mut out = Vec::new();
            message::authentication_sasl(&mut out, "SCRAM-SHA-256");
            stream.write_all(&out).await.unwrap();
            crate::net::read::read_message(&mut stream, 1000, &mut body).await.unwrap();
            let nonce = String::from_utf8(body).unwrap();
            let nonce = nonce.rsplit_once(",r=").unwrap().1;
            let first = format!("r={nonce}more,s=c2FsdA==,i=4096");
            out.clear();
            message::authentication_sasl_continue(&mut out, first.as_bytes());
            message::authentication_sasl_final(&mut out, b"v=AAAA");
            greet(&mut out);
            stream.write_all(&out).await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        })
        .await,
    );
    assert!(matches!(error, ConnectError::Authentication(_)), "{error}");
}

#[tokio::test]
async fn a_second_question_for_the_password_is_not_answered() {
    let mut out = Vec::new();
    message::authentication_md5(&mut out, [1, 2, 3, 4]);
    message::authentication_cleartext(&mut out);
    assert!(matches!(error(told(out).await), ConnectError::Protocol(_)));
}

#[tokio::test]
async fn strange_servers_are_refused() {
    let mut not_idle = Vec::new();
    message::authentication_ok(&mut not_idle);
    message::ready_for_query(&mut not_idle, b'T');
    let mut early = Vec::new();
    message::ready_for_query(&mut early, b'I');
    let mut notices = Vec::new();
    for _ in 0..2000 {
        crate::wire::frame::push(&mut notices, b'N', b"\0");
    }
    for bytes in [not_idle, early, notices, b"R\x3f\0\0\0".to_vec(), b"HTTP/1.1 400".to_vec()] {
        let error = error(told(bytes).await);
        assert!(matches!(error, ConnectError::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn a_nul_cannot_smuggle_a_parameter() {
    let tls = ClientTls::disabled();
    let (mut near, _far) = tokio::net::UnixStream::pair().map(|(a, b)| (Stream::from(a), b)).unwrap();
    let login = ServerLogin { user: "alice\0role\0postgres", ..LOGIN };
    assert!(login::log_in(&mut near, login).await.is_err());
    assert!(!tls.encrypt(near, "x").await.unwrap().is_tls());
    assert!(!format!("{LOGIN:?}").contains("secret"));
}

#[tokio::test]
async fn a_cancel_request_ends_when_the_server_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        match handshake(socket.into(), &HandshakeOptions::default()).await {
            Ok(Opening::Cancel { process, key, .. }) => (process, key),
            _ => panic!("no cancel request"),
        }
    };
    let tls = ClientTls::new(TlsMode::Prefer, None, None).unwrap();
    let is_sent = AtomicBool::new(false);
    let (sent, heard) = tokio::join!(cancel(&address, &tls, 7, b"long secret key", &is_sent), serving);
    sent.unwrap();
    assert_eq!(heard, (7, b"long secret key".to_vec()));
    assert!(is_sent.into_inner());
}

#[tokio::test]
async fn a_cancel_request_that_finds_no_server_was_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    drop(listener);
    let tls = ClientTls::new(TlsMode::Prefer, None, None).unwrap();
    let is_sent = AtomicBool::new(false);
    assert!(cancel(&address, &tls, 7, b"key", &is_sent).await.is_err());
    assert!(!is_sent.into_inner());
}
