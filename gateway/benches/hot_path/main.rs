//! What the gateway itself does for a query, on one thread: with a session's whole work but the system calls (`sessions`,
//! `replies`), and its parts (`statements`, `settings`, `servers`, `logins`). Allocations are counted too.
//!
//! `make bench-micro`
#![allow(clippy::unwrap_used, reason = "a measurement that fails shall stop")]

#[path = "../common/mod.rs"]
mod common;
mod logins;
mod replies;
mod servers;
mod sessions;
mod settings;
mod statements;

use common::Setup;
use divan::AllocProfiler;
use mimalloc::MiMalloc;
use pgdog_jwt_gateway::bench::{Conversation, Pools, Subject};

/// The program's own, as in `src/main.rs`.
#[global_allocator]
static ALLOCATOR: AllocProfiler<MiMalloc> = AllocProfiler::new(MiMalloc);

fn main() {
    divan::main();
}

fn subject(setup: &Setup, name: &str) -> Subject {
    let token = setup.token(name).unwrap();
    setup.runtime.block_on(setup.gateway.identify(name, common::DATABASE, &token)).unwrap()
}

fn pools(setup: &Setup, name: &str) -> Pools {
    setup.gateway.pools(&subject(setup, name)).unwrap()
}

/// A session that has had a server.
fn conversation(setup: &Setup, name: &str) -> Conversation {
    let (subject, pools) = (subject(setup, name), pools(setup, name));
    setup.runtime.block_on(Conversation::begin(setup.gateway, subject, pools)).unwrap()
}
