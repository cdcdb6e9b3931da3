//! A session that is warm allocates nothing for a query. Client, gateway and server are tasks of one thread, over sockets, and
//! all that the process allocates is counted.
//!
//! The server is a stand-in that allocates nothing either (`benches/common/postgres.rs`): what is counted is the gateway's.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails shall stop")]

#[path = "../benches/common/mod.rs"]
mod common;

use std::path::Path;

use common::exchanges::{self, Exchange};
use common::postgres::{READY, frame};
use common::{DATABASE, Setup};
use dhat::{HeapStats, Profiler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Turns in which everything grows to the size that it needs, and those that are counted.
const WARM_UP: usize = 100;
const COUNTED: usize = 250;

/// How often they are counted: of all counts the least is the session's. Another thread looks at the key files every now and
/// then, and allocates.
const ATTEMPTS: usize = 40;

/// A client that has logged in with a token.
struct Client {
    socket: UnixStream,
    heard: Vec<u8>,
}

impl Client {
    async fn log_in(setup: &Setup, user: &str) -> Self {
        let (mut socket, served) = UnixStream::pair().unwrap();
        tokio::spawn(setup.gateway.serve(served));
        let parameters = ["user", user, "database", DATABASE, "", ""].join("\0");
        let mut login = (parameters.len() as u32 + 8).to_be_bytes().to_vec();
        login.extend_from_slice(&[0, 3, 0, 0]);
        login.extend_from_slice(parameters.as_bytes());
        frame(&mut login, b'p', &[setup.token(user).unwrap().as_bytes(), b"\0"]);
        socket.write_all(&login).await.unwrap();
        let mut heard = Vec::with_capacity(64 * 1024);
        while !heard.ends_with(READY) {
            assert_ne!(socket.read_buf(&mut heard).await.unwrap(), 0, "{}", heard.escape_ascii());
        }
        Self { socket, heard }
    }

    async fn converse(&mut self, exchange: &Exchange) {
        self.socket.write_all(&exchange.asks).await.unwrap();
        self.heard.resize(exchange.own.len() + exchange.answers.len(), 0);
        self.socket.read_exact(&mut self.heard).await.unwrap();
        let (own, answers) = self.heard.split_at(exchange.own.len());
        assert!(own == exchange.own && answers == exchange.answers, "{}", self.heard.escape_ascii());
    }
}

/// All clients, one after the other, go through all exchanges, so many times.
async fn take_turns(clients: &mut [Client], exchanges: &[Exchange], times: usize) {
    for _ in 0..times {
        for client in &mut *clients {
            for exchange in exchanges {
                client.converse(exchange).await;
            }
        }
    }
}

/// Whether a turn needs no more allocations than `bound`.
async fn check(what: &str, clients: &mut [Client], exchanges: &[Exchange], bound: usize) {
    take_turns(clients, exchanges, WARM_UP).await;
    let mut least = u64::MAX;
    for _ in 0..ATTEMPTS {
        let _profiler = Profiler::builder().testing().build();
        take_turns(clients, exchanges, COUNTED).await;
        least = least.min(HeapStats::get().total_blocks);
        if least <= (bound * COUNTED) as u64 {
            return;
        }
    }
    let stacks = Path::new(env!("CARGO_TARGET_TMPDIR")).join("allocations.json");
    let profiler = Profiler::builder().file_name(&stacks).trim_backtraces(Some(64)).build();
    take_turns(clients, exchanges, COUNTED).await;
    drop(profiler);
    let each = least as f64 / COUNTED as f64;
    panic!("{what}: {each} allocations each time, not {bound}; DHAT's viewer shows where: {}", stacks.display());
}

// One test: another would allocate at the same time.
#[test]
fn a_session_that_is_warm_allocates_nothing_for_a_query() {
    for shared in [false, true] {
        let setup = Setup::new(shared, 1).unwrap();
        setup.runtime.block_on(async {
            let profiler = Profiler::builder().testing().build();
            let clients = &mut [Client::log_in(&setup, "alice").await];
            assert_ne!(HeapStats::get().total_blocks, 0, "a login allocates, so nothing is counted");
            drop(profiler);
            check("a simple query", clients, &[exchanges::simple()], 0).await;
            // Four: the statement, which the session keeps, its text, and what is to be undone if PostgreSQL refuses it.
            check("an unnamed statement", clients, &[exchanges::unnamed()], 4).await;
            take_turns(clients, &[exchanges::prepare()], 1).await;
            check("a prepared statement", clients, &[exchanges::prepared()], 0).await;
            check("ten of them at once", clients, &[exchanges::pipeline(10)], 0).await;
            // Two of them for whose it is.
            check("one that is prepared anew", clients, &[exchanges::close(), exchanges::prepare()], 16).await;
            let mut other = Client::log_in(&setup, "alice").await;
            other.converse(&exchanges::prepare_again()).await;
            check("one that another session has, too", clients, &[exchanges::close(), exchanges::prepare_again()], 7)
                .await;
        });
    }
    let setup = Setup::new(true, 1).unwrap();
    setup.runtime.block_on(async {
        let clients = &mut [Client::log_in(&setup, "alice").await, Client::log_in(&setup, "bob").await];
        check("two clients' queries on one server", clients, &[exchanges::simple()], 2 * 41).await;
    });
}
