//! How long an answer counts, and what an issuer or a flood of tokens can do.

use std::sync::Arc;
use std::time::Duration;

use crate::common::introspection::{Endpoint, Says, TOKEN, plain, raw};
use crate::common::verdict;
use pgdog_jwt::Authenticator;
use serde_json::json;

#[tokio::test]
async fn a_revocation_at_the_issuer_counts_after_the_time_to_live() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let authenticator = endpoint.authenticator(|source| source.cache_ttl = Duration::from_secs(1));
    let lasting = endpoint.authenticator(plain);
    for authenticator in [&authenticator, &lasting, &lasting] {
        assert_eq!(verdict(authenticator, "alice", TOKEN).await, "allowed");
    }
    assert_eq!(endpoint.hits(), 2);

    endpoint.revoke(TOKEN);
    tokio::time::sleep(Duration::from_millis(1100)).await;

    for _ in 0..5 {
        assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "token_inactive");
    }
    assert_eq!(endpoint.hits(), 3);
    assert_eq!(verdict(&lasting, "alice", TOKEN).await, "allowed");
}

#[tokio::test]
async fn garbage_pushes_out_no_good_token() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let authenticator = endpoint.authenticator(|source| {
        source.cache_size = 1;
        source.negative_cache_size = 10;
    });
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    for number in 0..50 {
        assert_eq!(verdict(&authenticator, "alice", &format!("garbage-{number:020}")).await, "token_inactive");
    }
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    assert_eq!(endpoint.hits(), 51);
    let status = &authenticator.introspection_status()[0];
    assert_eq!((status.active, status.inactive, status.running), (1, 10, 0));
    assert_eq!((status.requests, status.failures), (51, 0));
}

#[tokio::test]
async fn logins_with_one_token_ask_once() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    endpoint.now(Says::Slow(Duration::from_millis(300)));
    let authenticator = Arc::new(endpoint.authenticator(plain));
    let logins = (0..20).map(|_| {
        let authenticator = authenticator.clone();
        tokio::spawn(async move { verdict(&authenticator, "alice", TOKEN).await })
    });
    for login in logins.collect::<Vec<_>>() {
        assert_eq!(login.await.unwrap(), "allowed");
    }
    assert_eq!(endpoint.hits(), 1);
}

#[tokio::test]
async fn whoever_asks_may_leave_and_the_next_one_asks_anew() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    endpoint.now(Says::Hang);
    let authenticator = Arc::new(endpoint.authenticator(plain));
    let task =
        |authenticator: Arc<Authenticator>| tokio::spawn(async move { verdict(&authenticator, "alice", TOKEN).await });
    let first = task(authenticator.clone());
    while endpoint.hits() < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = task(authenticator.clone());
    endpoint.now(Says::Truth);
    first.abort();
    assert_eq!(second.await.unwrap(), "allowed");
    assert_eq!(authenticator.introspection_status()[0].running, 0);
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_at_once() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let authenticator = Arc::new(endpoint.authenticator(|source| source.max_requests = 2));
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    endpoint.now(Says::Hang);
    let waiting: Vec<_> = (0..2)
        .map(|number| {
            let authenticator = authenticator.clone();
            tokio::spawn(
                async move { verdict(&authenticator, "alice", &format!("{TOKEN}{number}").replace('=', "")).await },
            )
        })
        .collect();
    while endpoint.hits() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    assert_eq!(verdict(&authenticator, "alice", "one-more-good-token-12345").await, "introspection_unavailable");
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    assert_eq!(endpoint.hits(), 3);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    // Nothing is remembered of a question that was not put.
    endpoint.now(Says::Truth);
    endpoint.issue("one-more-good-token-12345", &json!({}));
    for waiting in waiting {
        let _ = waiting.await;
    }
    assert_eq!(verdict(&authenticator, "alice", "one-more-good-token-12345").await, "allowed");
}

#[tokio::test]
async fn an_issuer_that_does_not_answer_is_left_alone() {
    for says in [
        Says::Hang,
        raw(500, "busy"),
        raw(401, "who are you"),
        Says::Raw(String::new()),
        Says::Raw("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned()),
    ] {
        let endpoint = Endpoint::new();
        endpoint.now(says);
        let authenticator = endpoint.authenticator(|source| source.timeout = Duration::from_millis(200));
        for number in 0..20 {
            let token = format!("some-token-{number:020}");
            assert_eq!(verdict(&authenticator, "alice", &token).await, "introspection_unavailable");
        }
        let status = &authenticator.introspection_status()[0];
        assert!((3..10).contains(&endpoint.hits()), "{}", endpoint.hits());
        assert_eq!(status.failures, endpoint.hits() as u64);
        assert!(status.last_error.is_some());

        endpoint.issue(TOKEN, &json!({}));
        endpoint.now(Says::Truth);
        while verdict(&authenticator, "alice", TOKEN).await != "allowed" {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let status = &authenticator.introspection_status()[0];
        assert!(!status.is_paused && status.last_error.is_none());
    }
}

#[tokio::test]
async fn answers_that_are_none_harm_their_own_token_alone() {
    let huge = format!("{{\"active\":true,\"x\":\"{}\"}}", "x".repeat(70_000));
    let endless = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{huge}");
    for says in [raw(200, &huge), Says::Raw(endless), raw(200, "<html>"), raw(200, ""), raw(400, "no"), raw(200, "[]")]
    {
        let endpoint = Endpoint::new();
        endpoint.issue(TOKEN, &json!({}));
        let authenticator = endpoint.authenticator(plain);
        endpoint.now(says);
        for number in 0..5 {
            let token = format!("some-token-{number:020}");
            assert_eq!(verdict(&authenticator, "alice", &token).await, "introspection_unavailable");
        }
        assert_eq!(endpoint.hits(), 5);
        endpoint.now(Says::Truth);
        assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    }
}
