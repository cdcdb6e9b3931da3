//! What the model of PostgreSQL in `tests/common` says of sequences of messages, so that it can be compared with real servers:
//! each line of standard input is a sequence of letters, by number in `Letter::ALL`; each line of output the types of the
//! replies, then `skipping`, `copying` or `idle`, and `closed` when the server has ended the connection.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{BufRead, stdin};

use common::{Letter, Server};

fn main() {
    for line in stdin().lock().lines().map_while(Result::ok) {
        let letters = line.split_whitespace().filter_map(|word| Letter::ALL.get(word.parse::<usize>().ok()?));
        let mut server = Server::default();
        server.inbox.extend(letters.map(|letter| (*letter, 0)));
        while !server.inbox.is_empty() && !server.is_dead {
            server.read();
        }
        let replies = server.outbox.iter().chain(&server.kept).map(|reply| char::from(reply.kind));
        let state = match (server.is_dead, server.skipping, server.is_copying()) {
            (true, ..) => "closed",
            (_, true, _) => "skipping",
            (_, _, true) => "copying",
            _ => "idle",
        };
        println!("{} {state}", replies.collect::<String>());
    }
}
