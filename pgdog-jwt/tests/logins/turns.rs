//! New tokens take their turn: one token is checked once, and a thread does other things between two checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{TestKey, authenticator_for, claims, text_config, verdict};
use pgdog_jwt::{Authenticator, JwtConfig};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_hundred_logins_on_four_threads_check_one_new_token_once() {
    let key = TestKey::p384("k");
    let authenticator = Arc::new(authenticator_for(&[&key]));
    for round in 1..=20 {
        let token: Arc<str> = key.sign(&claims("alice")).into();
        let start = Arc::new(std::sync::Barrier::new(4));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (authenticator, token, start) =
                    (Arc::clone(&authenticator), Arc::clone(&token), Arc::clone(&start));
                std::thread::spawn(move || {
                    runtime().block_on(async {
                        start.wait();
                        let logins = (0..25).map(|_| {
                            let (authenticator, token) = (Arc::clone(&authenticator), Arc::clone(&token));
                            tokio::spawn(async move { verdict(&authenticator, "alice", &token).await })
                        });
                        for login in logins.collect::<Vec<_>>() {
                            assert_eq!(login.await.unwrap(), "allowed");
                        }
                    });
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(authenticator.cache_stats().misses, round);
    }
}

#[test]
fn a_thread_does_other_things_between_two_checks() {
    let key = TestKey::p256("k");
    let authenticator = Arc::new(authenticator_for(&[&key]));
    runtime().block_on(async {
        let turns = Arc::new(AtomicUsize::new(0));
        let others = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                others.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let login = |number: usize| {
            let (authenticator, turns) = (Arc::clone(&authenticator), Arc::clone(&turns));
            let token = key.sign(&serde_json::json!({"sub": "alice", "exp": crate::common::now() + 60, "n": number}));
            tokio::spawn(async move {
                assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
                turns.load(Ordering::Relaxed)
            })
        };
        let mut seen = Vec::new();
        for login in (0..16).map(login).collect::<Vec<_>>() {
            seen.push(login.await.unwrap());
        }
        // Two that share a flight may go in another order.
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        other.abort();
    });
}

#[tokio::test]
async fn a_login_that_is_given_up_leaves_its_turn_to_the_next() {
    let key = TestKey::p256("k");
    let config = JwtConfig { token_cache_size: 0, ..text_config(&[&key]) };
    for authenticator in [Authenticator::new(config).unwrap(), authenticator_for(&[&key])] {
        let token = key.sign(&claims("alice"));
        for _ in 0..3 {
            let mut login = Box::pin(verdict(&authenticator, "alice", &token));
            assert!(poll_once(login.as_mut()).is_pending(), "it waits for its turn");
        }
        assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    }
}

fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> std::task::Poll<T> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
