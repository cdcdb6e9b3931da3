//! Tokens that are passed on, and certificates: what a server hears of them.

use std::time::SystemTime;

use pgdog_jwt::config::Secret;
use tokio::io::AsyncReadExt;

use super::*;

/// The end of a greeting.
const READY: &[u8] = b"Z\0\0\0\x05I";
const TOKEN: &str = "eyJh.eyJz.c2ln";

fn bearer(token: &str) -> Proof {
    Proof::Token(Bearer { token: Secret::new(token), expires_at: SystemTime::UNIX_EPOCH })
}

/// Shows a token to a server that says this, each part when the one before was answered; gives what it has heard. What
/// the server greets with is not answered.
async fn shown(token: &str, parts: Vec<Vec<u8>>) -> (Result<Connected, ConnectError>, Vec<u8>) {
    let mut heard = Vec::new();
    let proof = bearer(token);
    let login = ServerLogin { proof: &proof, ..LOGIN };
    let outcome = attempt_as(login, |mut stream| {
        let heard = &mut heard;
        async move {
            for part in parts {
                stream.write_all(&part).await.unwrap();
                if !heard.is_empty() && part.ends_with(READY) {
                    break;
                }
                let mut chunk = [0; 1024];
                let count = stream.read(&mut chunk).await.unwrap_or(0);
                heard.extend_from_slice(&chunk[..count]);
            }
        }
    })
    .await;
    (outcome, heard)
}

fn offer(mechanism: &str) -> Vec<u8> {
    let mut out = Vec::new();
    message::authentication_sasl(&mut out, mechanism);
    out
}

#[tokio::test]
async fn a_token_is_shown_in_the_form_of_the_mechanism() {
    let mut greeting = Vec::new();
    greet(&mut greeting);
    let (outcome, heard) = shown(TOKEN, vec![offer("OAUTHBEARER"), greeting]).await;
    assert_eq!(outcome.unwrap().process, 42);
    let mut wanted = Vec::new();
    let response = format!("n,,\x01auth=Bearer {TOKEN}\x01\x01");
    message::sasl_initial_response(&mut wanted, "OAUTHBEARER", response.as_bytes());
    assert_eq!(heard, wanted);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_words_of_oauth_and_of_the_server() {
    let mut challenge = Vec::new();
    message::authentication_sasl_continue(&mut challenge, br#"{"status":"invalid_token","scope":"x"}"#);
    let mut refusal = Vec::new();
    PgError::fatal("28000", "OAuth bearer authentication failed").write(&mut refusal);
    let (outcome, heard) = shown(TOKEN, vec![offer("OAUTHBEARER"), challenge, refusal]).await;
    let error = error(outcome);
    assert!(matches!(&error, ConnectError::TokenRefused { status, .. } if status == "invalid_token"), "{error}");
    assert!(!error.to_string().contains(TOKEN) && !format!("{error:?}").contains(TOKEN));
    assert!(heard.ends_with(b"p\0\0\0\x05\x01"));
}

#[tokio::test]
async fn a_server_that_wants_something_else_hears_nothing_of_the_token() {
    let mut plain = Vec::new();
    message::authentication_cleartext(&mut plain);
    let mut md5 = Vec::new();
    message::authentication_md5(&mut md5, [1, 2, 3, 4]);
    let mut trust = Vec::new();
    greet(&mut trust);
    for request in [plain, md5, trust, offer("SCRAM-SHA-256"), offer("XOAUTHBEARER")] {
        let (outcome, heard) = shown(TOKEN, vec![request]).await;
        assert!(matches!(error(outcome), ConnectError::Authentication(_)));
        assert_eq!(heard, b"");
    }
}

#[tokio::test]
async fn what_could_end_the_field_of_the_token_is_not_sent() {
    for token in ["", "a\x01host=evil", "a b"] {
        let (outcome, heard) = shown(token, vec![offer("OAUTHBEARER")]).await;
        assert!(matches!(error(outcome), ConnectError::Authentication(_)));
        assert_eq!(heard, b"");
    }
}

#[tokio::test]
async fn a_server_that_refused_a_token_cannot_go_on() {
    let mut challenge = Vec::new();
    message::authentication_sasl_continue(&mut challenge, b"{}");
    let mut greeting = Vec::new();
    greet(&mut greeting);
    let (outcome, _) = shown(TOKEN, vec![offer("OAUTHBEARER"), challenge, greeting]).await;
    assert!(matches!(error(outcome), ConnectError::Protocol(_)));
}

#[tokio::test]
async fn without_tls_a_certificate_proves_nothing_and_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
    let address = ServerAddress { host: folder.path().to_str().unwrap().to_owned(), port: 5432 };
    let login = ServerLogin { proof: &Proof::Certificate, ..LOGIN };
    let serving = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let (tls, tcp) = (ClientTls::disabled(), TcpOptions::default());
    let (outcome, heard) = tokio::join!(connect(&address, login, &tls, &tcp), serving);
    assert!(matches!(error(outcome), ConnectError::Authentication(_)));
    assert_eq!(heard, b"");
}
