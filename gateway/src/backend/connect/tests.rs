//! Servers that behave, made of the gateway's own half of the protocol, and servers that do not.

use tokio::net::{TcpListener, UnixListener};

use super::*;
use crate::frontend::handshake::{HandshakeOptions, Opening, handshake};
use crate::frontend::methods::{Candidates, Method, Verdict, authenticate};
use crate::net::tls::{TlsMode, server_config};
use crate::wire::PgError;

const LOGIN: ServerLogin<'static> = ServerLogin {
    user: "alice",
    password: Some("secret"),
    database: "demo",
    parameters: &[("application_name", "test")],
};

/// A connection attempt over a Unix socket, and the server's side of it once the start-up packet was read.
async fn attempt<F: Future>(server: impl FnOnce(Stream) -> F) -> Result<Connected, ConnectError> {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    let address = ServerAddress {
        host: folder.path().to_str().unwrap().to_owned(),
        port: 5432,
    };
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        let options = HandshakeOptions::default();
        let Ok(Opening::Startup { stream, startup }) = handshake(socket.into(), &options).await
        else {
            panic!("no start-up packet")
        };
        assert_eq!(startup.get("user"), Some("alice"));
        assert_eq!(startup.get("database"), Some("demo"));
        assert_eq!(startup.get("application_name"), Some("test"));
        server(stream).await;
    };
    let (tls, tcp) = (ClientTls::disabled(), TcpOptions::default());
    let (connected, ()) = tokio::join!(connect(&address, LOGIN, &tls, &tcp), serving);
    connected
}

/// The same, with a server that says all it has to say at once.
async fn told(bytes: Vec<u8>) -> Result<Connected, ConnectError> {
    attempt(|mut stream| async move {
        stream.write_all(&bytes).await.unwrap();
        // The client leaves, one way or the other.
        tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .ok();
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
        assert_eq!(
            (connected.process, &connected.key[..]),
            (42, &[1, 2, 3, 4][..])
        );
        assert_eq!(
            connected.parameters,
            [("server_version".to_owned(), "15.1".to_owned())]
        );
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
    assert_eq!(error.sqlstate(), "3D000");
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
            tokio::io::copy(&mut stream, &mut tokio::io::sink())
                .await
                .ok();
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
            crate::net::read::read_message(&mut stream, 1000, &mut body)
                .await
                .unwrap();
            let nonce = String::from_utf8(body).unwrap();
            let nonce = nonce.rsplit_once("r=").unwrap().1;
            let first = format!("r={nonce}more,s=c2FsdA==,i=4096");
            out.clear();
            message::authentication_sasl_continue(&mut out, first.as_bytes());
            message::authentication_sasl_final(&mut out, b"v=AAAA");
            greet(&mut out);
            stream.write_all(&out).await.unwrap();
            tokio::io::copy(&mut stream, &mut tokio::io::sink())
                .await
                .ok();
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
    for bytes in [
        not_idle,
        early,
        notices,
        b"R\x3f\0\0\0".to_vec(),
        b"HTTP/1.1 400".to_vec(),
    ] {
        let error = error(told(bytes).await);
        assert_eq!(error.sqlstate(), "08P01", "{error}");
    }
}

#[tokio::test]
async fn a_nul_cannot_smuggle_a_parameter() {
    let tls = ClientTls::disabled();
    let (mut near, _far) = tokio::net::UnixStream::pair()
        .map(|(a, b)| (Stream::from(a), b))
        .unwrap();
    let login = ServerLogin {
        user: "alice\0role\0postgres",
        ..LOGIN
    };
    assert!(login::log_in(&mut near, login).await.is_err());
    assert!(!tls.encrypt(near, "x").await.unwrap().is_tls());
    assert!(!format!("{LOGIN:?}").contains("secret"));
}

/// A server over TCP that answers the request for TLS with these bytes.
async fn answered(
    answer: &'static [u8],
    mode: TlsMode,
    ca: Option<&std::path::Path>,
) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(answer).await.unwrap();
        let mut request = [0; 8];
        socket.read_exact(&mut request).await.unwrap();
        tokio::io::copy(&mut socket, &mut tokio::io::sink())
            .await
            .ok();
    };
    let tls = ClientTls::new(mode, ca, None).unwrap();
    let tcp = TcpOptions::default();
    let (connected, ()) = tokio::join!(connect(&address, LOGIN, &tls, &tcp), serving);
    error(connected)
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// A self-signed certificate for `localhost`; `authority` marks it as one that may sign others.
    fn new(authority: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        if authority {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("crt"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key"), key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn certificate(&self) -> std::path::PathBuf {
        self.folder.path().join("crt")
    }

    fn server(&self) -> HandshakeOptions {
        let key = self.folder.path().join("key");
        HandshakeOptions {
            tls: Some(server_config(&self.certificate(), &key, None).unwrap()),
            tls_required: true,
        }
    }
}

#[tokio::test]
async fn tls_that_is_demanded_never_falls_back() {
    let files = Files::new(false);
    let ca = files.certificate();
    for mode in [TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let error = answered(b"N", mode, Some(&ca)).await;
        assert!(error.to_string().contains("does not offer TLS"), "{error}");
    }
}

#[tokio::test]
async fn only_one_byte_may_answer_the_request_for_tls() {
    for answer in [
        &b"SE\0\0\0\x05\0"[..],
        b"NR\0\0\0\x08\0\0\0\0",
        b"E\0\0\0\x05\0",
    ] {
        let error = answered(answer, TlsMode::Prefer, None).await;
        assert!(matches!(error, ConnectError::Tls(_)), "{answer:?} {error}");
    }
}

async fn over_tls(
    host: &str,
    files: &Files,
    mode: TlsMode,
    ca: &Files,
) -> Result<bool, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress {
        host: host.to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let options = files.server();
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        if let Ok(Opening::Startup { mut stream, .. }) = handshake(socket.into(), &options).await {
            let candidates = Candidates::none().with_password("secret");
            authenticate(&mut stream, Method::Plain, "alice", &candidates)
                .await
                .ok();
            let mut out = Vec::new();
            greet(&mut out);
            stream.write_all(&out).await.ok();
        }
    };
    let tls = ClientTls::new(mode, Some(&ca.certificate()), None).unwrap();
    let tcp = TcpOptions::default();
    let (connected, ()) = tokio::join!(connect(&address, LOGIN, &tls, &tcp), serving);
    connected.map(|connected| connected.stream.is_tls())
}

#[tokio::test]
async fn certificates_are_believed_as_far_as_the_mode_says() {
    let (own, stranger) = (Files::new(false), Files::new(false));
    // Host, authority, and which of the modes let it pass.
    for (host, ca, modes) in [
        ("localhost", &own, [true, true, true]),
        ("127.0.0.1", &own, [true, true, false]),
        ("localhost", &stranger, [true, false, false]),
    ] {
        let tried = [TlsMode::Prefer, TlsMode::VerifyCa, TlsMode::VerifyFull];
        for (mode, passes) in tried.into_iter().zip(modes) {
            let outcome = over_tls(host, &own, mode, ca).await;
            assert_eq!(outcome.is_ok_and(|tls| tls), passes, "{host} {mode:?}");
        }
    }
}

#[tokio::test]
async fn a_self_signed_authority_in_the_file_is_its_own_proof() {
    let (own, stranger) = (Files::new(true), Files::new(true));
    let outcome = over_tls("localhost", &own, TlsMode::VerifyFull, &own).await;
    assert!(outcome.unwrap());
    assert!(
        over_tls("localhost", &own, TlsMode::VerifyCa, &stranger)
            .await
            .is_err()
    );
    assert!(
        over_tls("127.0.0.1", &own, TlsMode::VerifyFull, &own)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_cancel_request_ends_when_the_server_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress {
        host: "127.0.0.1".to_owned(),
        port: listener.local_addr().unwrap().port(),
    };
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        match handshake(socket.into(), &HandshakeOptions::default()).await {
            Ok(Opening::Cancel { process, key }) => (process, key),
            _ => panic!("no cancel request"),
        }
    };
    let tls = ClientTls::new(TlsMode::Prefer, None, None).unwrap();
    let (sent, heard) = tokio::join!(cancel(&address, &tls, 7, b"long secret key"), serving);
    sent.unwrap();
    assert_eq!(heard, (7, b"long secret key".to_vec()));
}
