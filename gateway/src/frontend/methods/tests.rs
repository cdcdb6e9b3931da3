//! Clients of `postgres-protocol` against the gateway's methods.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::*;
use crate::net::Stream;
use crate::net::read::incoming;
use crate::wire::message;

type Outcome = Result<Verdict, MethodError>;

async fn run<F: Future<Output = T>, T>(
    method: Method,
    candidates: &Candidates,
    client: impl FnOnce(UnixStream) -> F,
) -> (Outcome, T) {
    let (near, far) = UnixStream::pair().unwrap();
    let mut server = incoming(Stream::from(far));
    let serving = async {
        let outcome = authenticate(&mut server, method, "alice", candidates).await;
        drop(server);
        outcome
    };
    tokio::join!(serving, client(near))
}

/// One message of the server: its authentication code and its data.
async fn hear(stream: &mut UnixStream) -> Option<(u32, Vec<u8>)> {
    let mut body = Vec::new();
    let tag = read_message(stream, 1000, &mut body).await.ok()?;
    assert_eq!(tag, b'R');
    let data = body.split_off(4);
    Some((u32::from_be_bytes(body.try_into().unwrap()), data))
}

async fn say(stream: &mut UnixStream, body: &[u8]) {
    let mut out = Vec::new();
    message::password(&mut out, body);
    stream.write_all(&out).await.unwrap();
}

/// Runs SCRAM as a client and says whether the server proved itself, too.
async fn scram(mut stream: UnixStream, password: &str, binding: ChannelBinding) -> bool {
    let (code, data) = hear(&mut stream).await.unwrap();
    assert_eq!((code, &data[..]), (10, &b"SCRAM-SHA-256\0\0"[..]));
    let mut scram = ScramSha256::new(password.as_bytes(), binding);
    let mut out = Vec::new();
    message::sasl_initial_response(&mut out, "SCRAM-SHA-256", scram.message());
    stream.write_all(&out).await.unwrap();
    let Some((11, data)) = hear(&mut stream).await else {
        return false;
    };
    scram.update(&data).unwrap();
    say(&mut stream, scram.message()).await;
    match hear(&mut stream).await {
        Some((12, data)) => scram.finish(&data).is_ok(),
        _ => false,
    }
}

fn rotation() -> Candidates {
    Candidates::none().with_password("old").with_password("new")
}

fn stored() -> Candidates {
    let hash = postgres_protocol::password::scram_sha_256(b"new");
    Candidates::none().with_hash(&hash).unwrap()
}

#[tokio::test]
async fn scram_accepts_each_password_of_a_rotation() {
    for password in ["old", "new"] {
        let (outcome, proved) =
            run(Method::Scram, &rotation(), |stream| scram(stream, password, ChannelBinding::unsupported())).await;
        assert_eq!(outcome.unwrap(), Verdict::Accepted);
        assert!(proved);
    }
}

#[tokio::test]
async fn scram_accepts_a_client_that_could_bind_the_channel() {
    let (outcome, proved) =
        run(Method::Scram, &stored(), |stream| scram(stream, "new", ChannelBinding::unrequested())).await;
    assert_eq!(outcome.unwrap(), Verdict::Accepted);
    assert!(proved);
}

#[tokio::test]
async fn scram_refuses_a_client_that_demands_channel_binding() {
    let (outcome, proved) =
        run(Method::Scram, &stored(), |stream| scram(stream, "new", ChannelBinding::tls_server_end_point(vec![1])))
            .await;
    let told = outcome.unwrap_err().client_error().unwrap();
    assert_eq!(told.code, "08P01");
    assert!(!proved);
}

#[tokio::test]
async fn scram_refuses_wrong_passwords_and_unknown_users_alike() {
    for candidates in [rotation(), stored(), Candidates::none()] {
        let (outcome, proved) =
            run(Method::Scram, &candidates, |stream| scram(stream, "wrong", ChannelBinding::unsupported())).await;
        assert_eq!(outcome.unwrap(), Verdict::Refused);
        assert!(!proved);
    }
}

#[tokio::test]
async fn a_first_response_may_come_late() {
    let (outcome, ()) = run(Method::Scram, &stored(), |mut stream| async move {
        hear(&mut stream).await.unwrap();
        say(&mut stream, b"SCRAM-SHA-256\0\xff\xff\xff\xff").await;
        assert_eq!(hear(&mut stream).await, Some((11, Vec::new())));
        let binding = ChannelBinding::unsupported();
        let mut scram = ScramSha256::new(b"new", binding);
        say(&mut stream, scram.message()).await;
        let (_, data) = hear(&mut stream).await.unwrap();
        scram.update(&data).unwrap();
        say(&mut stream, scram.message()).await;
        let (_, data) = hear(&mut stream).await.unwrap();
        scram.finish(&data).unwrap();
    })
    .await;
    assert_eq!(outcome.unwrap(), Verdict::Accepted);
}

async fn md5(mut stream: UnixStream, password: &str) {
    let (code, salt) = hear(&mut stream).await.unwrap();
    assert_eq!(code, 5);
    let hash = md5_hash(b"alice", password.as_bytes(), salt.try_into().unwrap());
    say(&mut stream, format!("{hash}\0").as_bytes()).await;
}

#[tokio::test]
async fn md5_compares_plain_and_stored_passwords() {
    let hash = postgres_protocol::password::md5(b"new", "alice");
    let stored = Candidates::none().with_hash(&hash).unwrap();
    for candidates in [rotation(), stored] {
        let (outcome, ()) = run(Method::Md5, &candidates, |stream| md5(stream, "new")).await;
        assert_eq!(outcome.unwrap(), Verdict::Accepted);
        let (outcome, ()) = run(Method::Md5, &candidates, |stream| md5(stream, "wrong")).await;
        assert_eq!(outcome.unwrap(), Verdict::Refused);
    }
    let none = Candidates::none();
    let (outcome, ()) = run(Method::Md5, &none, |stream| md5(stream, "")).await;
    assert_eq!(outcome.unwrap(), Verdict::Refused);
}

#[tokio::test]
async fn md5_becomes_scram_for_a_user_with_a_scram_verifier() {
    let (outcome, proved) =
        run(Method::Md5, &stored(), |stream| scram(stream, "new", ChannelBinding::unsupported())).await;
    assert_eq!(outcome.unwrap(), Verdict::Accepted);
    assert!(proved);
}

async fn plain_password(candidates: &Candidates, body: &[u8]) -> Outcome {
    let client = |mut stream: UnixStream| async move {
        assert_eq!(hear(&mut stream).await.unwrap().0, 3);
        say(&mut stream, body).await;
    };
    run(Method::Plain, candidates, client).await.0
}

#[tokio::test]
async fn plain_compares_every_stored_form() {
    let hash = postgres_protocol::password::md5(b"new", "alice");
    let md5 = Candidates::none().with_hash(&hash).unwrap();
    for candidates in [rotation(), stored(), md5] {
        let accepted = plain_password(&candidates, b"new\0").await.unwrap();
        assert_eq!(accepted, Verdict::Accepted);
        let refused = plain_password(&candidates, b"newer\0").await.unwrap();
        assert_eq!(refused, Verdict::Refused);
    }
}

#[tokio::test]
async fn an_empty_password_is_refused_whatever_is_stored() {
    let empty = Candidates::none().with_password("");
    let outcome = plain_password(&empty, b"\0").await.unwrap();
    assert_eq!(outcome, Verdict::Refused);
    let (outcome, ()) = run(Method::Md5, &empty, |stream| md5(stream, "")).await;
    assert_eq!(outcome.unwrap(), Verdict::Refused);
}

#[tokio::test]
async fn malformed_answers_are_protocol_errors() {
    for body in [&b"no terminator"[..], b"two\0parts\0", b""] {
        let error = plain_password(&rotation(), body).await.unwrap_err();
        assert!(matches!(error, MethodError::Protocol(_)), "{error}");
    }
}

#[tokio::test]
async fn a_password_over_the_limit_is_refused_by_its_header() {
    let (near, far) = UnixStream::pair().unwrap();
    let mut server = incoming(Stream::from(far));
    let client = async {
        let mut near = near;
        hear(&mut near).await.unwrap();
        near.write_all(b"p\0\x98\x96\x84").await.unwrap();
        near
    };
    let (asked, _near) = tokio::join!(plain::ask(&mut server, 100), client);
    let error = asked.unwrap_err();
    assert!(matches!(error, MethodError::Read(ReadError::TooLarge { .. })));
    assert!(error.client_error().is_some());
}

#[tokio::test]
async fn leaving_at_the_question_is_told_apart() {
    let (outcome, ()) = run(Method::Scram, &rotation(), |stream| async { drop(stream) }).await;
    assert!(matches!(outcome, Err(MethodError::Closed | MethodError::Write(_))));
}
