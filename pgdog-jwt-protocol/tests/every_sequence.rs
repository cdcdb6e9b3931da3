//! Every sequence of messages that a client may send, up to a length, with every interleaving of who reads when: the machine
//! against the model of PostgreSQL in `common`.
//!
//! The alphabet is [`Letter`]: each message with each outcome. Whether a reply is there before the next message is dealt with
//! is part of what is tried, so a state here is the machine, the server, what is on its way between them, and how many letters
//! are still to come; states that were seen already are not looked at again.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails shall stop")]

mod common;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use common::{Letter, NOBODY, Reply, Server};
use pgdog_jwt_protocol::{Admit, Batch, Conversation, Failed, Received, Request, Silent};

use Letter as L;

/// A message as the machine knows it.
enum Message {
    Request(Request),
    Silent(Silent),
}

fn message(letter: Letter) -> Message {
    let execute = |may_copy| Message::Request(Request::Execute { may_copy });
    let query = |may_copy| Message::Request(Request::Query { may_copy });
    match letter {
        L::Query | L::QueryFails => query(false),
        L::QueryCopy | L::QueryTwoCopies | L::QueryCopyFails => query(true),
        L::FunctionCall | L::FunctionCallFails => Message::Request(Request::FunctionCall),
        L::Parse | L::ParseFails => Message::Request(Request::Parse),
        L::Bind | L::BindFails => Message::Request(Request::Bind),
        L::DescribeStatement => Message::Request(Request::DescribeStatement),
        L::DescribePortal | L::DescribeFails => Message::Request(Request::DescribePortal),
        L::Execute | L::ExecuteFails | L::ExecuteCopyUnforeseen => execute(false),
        L::ExecuteUnknown | L::ExecuteUnknownFails | L::ExecuteCopy | L::ExecuteCopyFails => execute(true),
        L::Close => Message::Request(Request::Close),
        L::Flush => Message::Silent(Silent::Flush),
        L::Sync | L::SyncFails => Message::Request(Request::Sync),
        L::Data | L::BadData => Message::Silent(Silent::CopyData),
        L::Done | L::DoneFails | L::Fail => Message::Silent(Silent::CopyEnd),
    }
}

#[derive(Debug, Clone, Hash)]
struct World {
    machine: Conversation<u8>,
    server: Server,
    /// A message of the client's that must wait.
    held: Option<Letter>,
    next: u8,
    left: usize,
    /// A COPY that nobody has foreseen was sent: the connection may have to be closed.
    is_surprised: bool,
    /// A batch has not yet run out of time between two messages.
    has_time: bool,
    /// What the client sends is dropped, up to its Sync.
    refused: bool,
}

struct Search<'a> {
    letters: &'a [Letter],
    seen: HashSet<u64>,
    /// What has led here, for people.
    path: Vec<String>,
    steps: u64,
    closed: u64,
}

impl Search<'_> {
    fn explore(&mut self, world: &World) {
        let mut hasher = DefaultHasher::new();
        world.hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        self.steps += 1;
        self.check(world);
        // The server reads a message.
        if !world.server.inbox.is_empty() {
            let mut next = world.clone();
            next.server.read();
            if next.server.is_dead {
                assert!(next.is_surprised, "the server was sent what ends it: {:#?}", self.path);
                self.closed += 1;
            } else {
                self.go("the server reads".into(), &next);
            }
        }
        if world.has_time && world.server.may_run_out_of_time() {
            let mut next = world.clone();
            next.has_time = false;
            next.server.run_out_of_time();
            self.go("time is up".into(), &next);
        }
        // A reply arrives.
        if let Some(&reply) = world.server.outbox.front() {
            let mut next = world.clone();
            next.server.outbox.pop_front();
            if self.receive(&mut next, reply) {
                self.go(format!("reply {}", char::from(reply.kind)), &next);
            }
        }
        // The client sends, or what it has sent is looked at again.
        match world.held {
            Some(letter) => self.client(world, letter, true),
            None if world.left > 0 => {
                for &letter in self.letters {
                    self.client(world, letter, false);
                }
            }
            None => {}
        }
    }

    fn go(&mut self, what: String, world: &World) {
        self.path.push(what);
        self.explore(world);
        self.path.pop();
    }

    fn client(&mut self, world: &World, letter: Letter, again: bool) {
        let mut next = world.clone();
        if !again {
            next.left -= 1;
        }
        next.held = None;
        if next.refused {
            match letter {
                L::Sync | L::SyncFails => next.refused = false,
                _ => return self.go(format!("client {letter:?} (refused)"), &next),
            }
        }
        let message = message(letter);
        let admit = match message {
            Message::Request(request) => next.machine.admit(request),
            Message::Silent(silent) => next.machine.admit_silent(silent),
        };
        match admit {
            Admit::Hold if again => return,
            Admit::Hold => next.held = Some(letter),
            Admit::Discard => {}
            Admit::EndCopy => {
                next.server.inbox.push_back((L::Fail, next.next));
                next.machine.sent_silently(Silent::CopyEnd);
                next.held = Some(letter);
            }
            Admit::Send => {
                next.server.inbox.push_back((letter, next.next));
                match message {
                    Message::Request(request) => {
                        next.machine.sent(request, next.next);
                        if request.may_copy() && !request.ends_with_ready() {
                            next.server.inbox.push_back((L::Flush, next.next));
                        }
                    }
                    Message::Silent(silent) => next.machine.sent_silently(silent),
                }
                next.next += 1;
                next.is_surprised |= letter == L::ExecuteCopyUnforeseen;
            }
        }
        self.go(format!("client {letter:?} ({admit:?})"), &next);
    }

    /// Whether it goes on: a connection that is closed does not.
    fn receive(&mut self, world: &mut World, reply: Reply) -> bool {
        let before = world.machine.front().copied();
        let of = match world.machine.received(reply.kind) {
            Ok(Received::Unasked) => panic!("{reply:?} belongs to a request: {:#?}", self.path),
            Ok(Received::Part | Received::CopyIn | Received::Failing) => before,
            Ok(Received::Completed(of) | Received::Ready(of)) => Some(of),
            Ok(Received::Failed(Failed { failed, .. })) => Some(failed),
            Ok(Received::BatchFailed) => Some(NOBODY),
            Ok(Received::Doubtful) => {
                world.server.inbox.extend([L::Sync, L::Close, L::Sync].map(|letter| (letter, NOBODY)));
                before
            }
            Ok(Received::Probed) => before,
            Ok(Received::Skipped(of)) => {
                world.refused = true;
                Some(of)
            }
            Err(desync) => {
                // Only a COPY that was not foreseen, with something behind it.
                assert!(world.is_surprised, "{desync}: {:#?}", self.path);
                self.closed += 1;
                return false;
            }
        };
        let is_right = of == Some(reply.of) || reply.of == NOBODY;
        assert!(is_right, "{reply:?} was taken for the answer to {of:?}: {:#?}", self.path);
        true
    }

    fn check(&self, world: &World) {
        let World { machine, server, .. } = world;
        if machine.is_idle() {
            let mut server = server.clone();
            while !server.inbox.is_empty() {
                server.read();
            }
            let owes = !server.outbox.is_empty() || !server.kept.is_empty() || server.skipping || server.is_copying();
            assert!(!owes && !server.is_dead, "idle, and the server is not: {:#?}", self.path);
        }
        if server.inbox.is_empty() && server.outbox.is_empty() {
            // Nothing will happen by itself.
            assert!(!machine.holds(), "it waits for ever: {:#?}", self.path);
            assert_eq!(machine.is_copying_in(), server.is_copying(), "{:#?}", self.path);
            assert_eq!(machine.batch() == Batch::Skipping, server.skipping, "{:#?}", self.path);
            let answered = server.kept.is_empty() && !server.is_copying();
            assert!(!answered || machine.is_empty(), "an answer is missing: {:#?}", self.path);
        }
    }
}

fn search(letters: &[Letter], length: usize) -> Search<'_> {
    let (machine, server) = Default::default();
    let world = World {
        machine,
        server,
        held: None,
        next: 0,
        left: length,
        is_surprised: false,
        has_time: true,
        refused: false,
    };
    let mut search = Search { letters, seen: HashSet::new(), path: Vec::new(), steps: 0, closed: 0 };
    search.explore(&world);
    println!("{} letters, length {length}: {} states, {} closed", letters.len(), search.steps, search.closed);
    search
}

/// The letters that move the state: of those that do the same to it, one.
const MOVING: [Letter; 13] = [
    L::Query,
    L::QueryFails,
    L::QueryTwoCopies,
    L::Parse,
    L::ParseFails,
    L::ExecuteUnknown,
    L::ExecuteCopy,
    L::ExecuteCopyFails,
    L::Sync,
    L::SyncFails,
    L::Data,
    L::BadData,
    L::Done,
];

#[test]
fn every_letter_is_answered_as_postgresql_answers_it() {
    let letters: Vec<_> = Letter::ALL.into_iter().filter(|letter| *letter != L::ExecuteCopyUnforeseen).collect();
    assert!(search(&letters, 4).steps > 10_000);
}

#[test]
fn what_moves_the_state_does_so_in_longer_sequences() {
    assert!(search(&MOVING, 6).steps > 100_000);
}

/// No text tells with certainty that it copies nothing: when one does all the same, the connection is closed rather than
/// miscounted.
#[test]
fn a_copy_that_was_not_foreseen_ends_the_connection_or_is_counted_rightly() {
    let letters: Vec<_> = MOVING.into_iter().chain([L::ExecuteCopyUnforeseen, L::Flush, L::Close]).collect();
    assert!(search(&letters, 4).closed > 1_000);
}
