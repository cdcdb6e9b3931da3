//! For how long a burst of new tokens keeps a thread from its other clients: 16 logins that arrive at once, for RS256, ES384
//! and PS512, and beside them the same signatures checked in a row, as it would be if logins did not take turns.
//!
//! A task of the same thread comes whenever it is let, and notes the thread's processor time since it came last. That is
//! what a query waits at most, on a core of its own; what other programs do on the machine is no part of it.
//!
//! `make bench-micro`; figures in bench/RESULTS.md
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that fails shall stop")]

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Case, case};
use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Credential};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::{LocalSet, spawn_local, yield_now};

/// Logins that arrive at once.
const BURST: usize = 16;
const BURSTS: usize = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:<20} {:>12} {:>12} {:>12}", "longest wait", "median", "greatest", "whole burst");
    runtime.block_on(LocalSet::new().run_until(async {
        for name in ["RS256", "ES384", "PS512"] {
            let case = case(name);
            let tokens = case.tokens(BURST * BURSTS);
            let authenticator = Arc::new(case.authenticator(10_000));
            let mut fresh = tokens.iter().cloned();
            measure(&format!("{name}, in turns"), async || {
                in_turns(&authenticator, fresh.by_ref().take(BURST)).await;
            })
            .await;
            let signed = Signed::new(&case, &tokens[0]);
            measure(&format!("{name}, in a row"), async || signed.check_in_a_row()).await;
        }
    }));
}

/// Logins as a host has them: a task each.
async fn in_turns(authenticator: &Arc<Authenticator>, tokens: impl Iterator<Item = String>) {
    let login = |token: String| {
        let authenticator = Arc::clone(authenticator);
        tokio::spawn(async move {
            let context = AuthContext {
                user: "alice",
                database: "app",
                credential: Credential::new(token.as_bytes()),
                client_addr: None,
                tls: true,
                tls_identity: None,
            };
            assert!(matches!(authenticator.authenticate(context).await, AuthDecision::Allow(_)));
        })
    };
    for login in tokens.map(login).collect::<Vec<_>>() {
        login.await.unwrap();
    }
}

struct Signed<'a> {
    key: ParsedPublicKey,
    input: &'a [u8],
    signature: Vec<u8>,
}

impl<'a> Signed<'a> {
    fn new(case: &Case, token: &'a str) -> Self {
        let (input, signature) = token.rsplit_once('.').unwrap();
        let key = ParsedPublicKey::new(case.verifier, case.pair.public_key_raw()).unwrap();
        Self { key, input: input.as_bytes(), signature: URL_SAFE_NO_PAD.decode(signature).unwrap() }
    }

    fn check_in_a_row(&self) {
        for _ in 0..BURST {
            self.key.verify_sig(self.input, &self.signature).unwrap();
        }
    }
}

/// Runs bursts, and prints the longest wait of the other task in each.
async fn measure(name: &str, mut burst: impl AsyncFnMut()) {
    let (last, longest) = (Rc::new(Cell::new(processor_time())), Rc::new(Cell::new(Duration::ZERO)));
    let other = spawn_local({
        let (last, longest) = (Rc::clone(&last), Rc::clone(&longest));
        async move {
            loop {
                let now = processor_time();
                longest.set(longest.get().max(now - last.replace(now)));
                yield_now().await;
            }
        }
    });
    let (mut waits, mut spent) = (Vec::new(), Duration::ZERO);
    for _ in 0..BURSTS {
        yield_now().await;
        longest.set(Duration::ZERO);
        let start = processor_time();
        burst().await;
        spent += processor_time() - start;
        yield_now().await;
        waits.push(longest.get());
    }
    other.abort();
    waits.sort();
    let micros = |time: Duration| format!("{:.0} µs", time.as_nanos() as f64 / 1000.0);
    let (median, greatest) = (waits[BURSTS / 2], waits[BURSTS - 1]);
    println!("{name:<20} {:>12} {:>12} {:>12}", micros(median), micros(greatest), micros(spent / BURSTS as u32));
}

/// Of this thread alone.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
