//! Which servers are believed, and what happens before TLS begins.

use super::*;
use crate::net::tls::server_config;

/// A server over TCP that answers the request for TLS with these bytes.
async fn answered(answer: &'static [u8], mode: TlsMode, ca: Option<&std::path::Path>) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(answer).await.unwrap();
        let mut request = [0; 8];
        socket.read_exact(&mut request).await.unwrap();
        tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.ok();
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
        HandshakeOptions { tls: Some(server_config(&self.certificate(), &key, None).unwrap()), tls_required: true }
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
    for answer in [&b"SE\0\0\0\x05\0"[..], b"NR\0\0\0\x08\0\0\0\0", b"E\0\0\0\x05\0"] {
        let error = answered(answer, TlsMode::Prefer, None).await;
        assert!(matches!(error, ConnectError::Tls(_)), "{answer:?} {error}");
    }
}

async fn over_tls(host: &str, files: &Files, mode: TlsMode, ca: &Files) -> Result<bool, ConnectError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = ServerAddress { host: host.to_owned(), port: listener.local_addr().unwrap().port() };
    let options = files.server();
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        if let Ok(Opening::Startup { mut stream, .. }) = handshake(socket.into(), &options).await {
            let candidates = Candidates::none().with_password("secret");
            authenticate(&mut stream, Method::Plain, "alice", &candidates).await.ok();
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
    assert!(over_tls("localhost", &own, TlsMode::VerifyCa, &stranger).await.is_err());
    assert!(over_tls("127.0.0.1", &own, TlsMode::VerifyFull, &own).await.is_err());
}
