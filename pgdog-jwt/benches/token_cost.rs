//! What a login costs in the core, on one thread: a token that is known (`cached`), one that is new where nothing is
//! remembered (`uncached`) and where it is (`new`), and beside them the bare signature check of the crypto library over the
//! same bytes (`bare`).
//!
//! `make bench-micro`; figures in bench/RESULTS.md
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that fails shall stop")]

mod common;

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::case;
use divan::Bencher;
use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Credential};

/// Tokens that take turns, so that no cache of the processor helps more than it would in a gateway.
const TOKENS: usize = 256;

const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

fn main() {
    divan::main();
}

/// One login. With keys from a file it waits for nothing but its turn, so that no runtime is part of the figure.
fn login(authenticator: &Authenticator, token: &str) {
    let context = AuthContext {
        user: "alice",
        database: "app",
        credential: Credential::new(token.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    let mut login = pin!(authenticator.authenticate(context));
    loop {
        if let Poll::Ready(decision) = login.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            assert!(matches!(black_box(decision), AuthDecision::Allow(_)));
            return;
        }
    }
}

fn logins(bencher: Bencher<'_, '_>, name: &str, cache_size: usize, warm: bool) {
    let case = case(name);
    let tokens = case.tokens(TOKENS);
    let authenticator = case.authenticator(cache_size);
    if warm {
        tokens.iter().for_each(|token| login(&authenticator, token));
    }
    let mut turns = tokens.iter().cycle();
    bencher.bench_local(|| login(&authenticator, turns.next().unwrap()));
    let misses = authenticator.cache_stats().misses;
    assert!(!warm || misses == TOKENS as u64, "{misses} tokens were not known");
}

#[divan::bench(args = ALGORITHMS)]
fn bare(bencher: Bencher<'_, '_>, name: &str) {
    let case = case(name);
    let signed: Vec<(String, Vec<u8>)> = case
        .tokens(TOKENS)
        .iter()
        .map(|token| token.rsplit_once('.').unwrap())
        .map(|(input, signature)| (input.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap()))
        .collect();
    let key = ParsedPublicKey::new(case.verifier, case.pair.public_key_raw()).unwrap();
    let mut turns = signed.iter().cycle();
    bencher.bench_local(|| {
        let (input, signature) = turns.next().unwrap();
        key.verify_sig(black_box(input.as_bytes()), signature).unwrap();
    });
}

#[divan::bench(args = ALGORITHMS)]
fn uncached(bencher: Bencher<'_, '_>, name: &str) {
    logins(bencher, name, 0, false);
}

/// A cache that is full and never holds the next token: the dearest miss.
#[divan::bench(args = ALGORITHMS)]
fn new(bencher: Bencher<'_, '_>, name: &str) {
    logins(bencher, name, TOKENS / 4, false);
}

#[divan::bench(args = ALGORITHMS)]
fn cached(bencher: Bencher<'_, '_>, name: &str) {
    logins(bencher, name, 10_000, true);
}
