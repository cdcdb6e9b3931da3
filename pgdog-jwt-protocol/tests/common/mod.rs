//! PostgreSQL's main loop and its reader of COPY data, as far as they decide which messages are answered: what the
//! documentation says in "Message Flow", and what servers were seen to do. It shares nothing with the crate that it tests, and
//! is itself compared with real servers (`integration/test_protocol_model.py`).
#![allow(dead_code, unreachable_pub, reason = "each user of the model needs a part of it")]

use std::collections::VecDeque;

/// A client's message with the outcome that it will have: the letters of the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Letter {
    /// A simple query with one result.
    Query,
    /// One that fails.
    QueryFails,
    /// `COPY … FROM STDIN` as a simple query.
    QueryCopy,
    /// Two of them in one string.
    QueryTwoCopies,
    /// One that fails before it has read anything, as with a trigger for each statement.
    QueryCopyFails,
    FunctionCall,
    FunctionCallFails,
    Parse,
    ParseFails,
    Bind,
    BindFails,
    DescribeStatement,
    DescribePortal,
    DescribeFails,
    Execute,
    ExecuteFails,
    /// A portal of which nobody has said that it copies nothing, and it does not.
    ExecuteUnknown,
    ExecuteUnknownFails,
    ExecuteCopy,
    ExecuteCopyFails,
    /// A COPY that was taken for something else.
    ExecuteCopyUnforeseen,
    Close,
    Flush,
    Sync,
    /// The commit fails, as with a deferred constraint.
    SyncFails,
    Data,
    /// Data that the COPY does not take.
    BadData,
    Done,
    /// The end of data that turns out to be wrong: a constraint of rows that were gathered.
    DoneFails,
    Fail,
}

use Letter as L;

impl Letter {
    pub const ALL: [Self; 30] = [
        L::Query,
        L::QueryFails,
        L::QueryCopy,
        L::QueryTwoCopies,
        L::QueryCopyFails,
        L::FunctionCall,
        L::FunctionCallFails,
        L::Parse,
        L::ParseFails,
        L::Bind,
        L::BindFails,
        L::DescribeStatement,
        L::DescribePortal,
        L::DescribeFails,
        L::Execute,
        L::ExecuteFails,
        L::ExecuteUnknown,
        L::ExecuteUnknownFails,
        L::ExecuteCopy,
        L::ExecuteCopyFails,
        L::ExecuteCopyUnforeseen,
        L::Close,
        L::Flush,
        L::Sync,
        L::SyncFails,
        L::Data,
        L::BadData,
        L::Done,
        L::DoneFails,
        L::Fail,
    ];
}

/// A reply, with the number of the request that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reply {
    pub kind: u8,
    pub of: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Copy {
    of: u8,
    simple: bool,
    /// Further COPYs in the same string.
    further: u8,
}

/// One server process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// What it was sent and has not read.
    pub inbox: VecDeque<(Letter, u8)>,
    /// Replies that it keeps back until something flushes them.
    pub kept: Vec<Reply>,
    /// Replies on their way.
    pub outbox: VecDeque<Reply>,
    /// It reads and drops everything up to a Sync.
    pub skipping: bool,
    /// The message that it deals with is of the extended protocol.
    extended: bool,
    /// A limit on the time of a statement counts.
    timed: bool,
    copy: Option<Copy>,
    /// It has ended the connection because of what it read inside a COPY.
    pub is_dead: bool,
}

/// Of a reply that answers no request.
pub const NOBODY: u8 = u8::MAX;

impl Server {
    pub fn is_copying(&self) -> bool {
        self.copy.is_some()
    }

    /// Whether a limit on the time of a statement may end a batch now, in which nothing runs.
    pub fn may_run_out_of_time(&self) -> bool {
        self.timed && self.extended && !self.skipping && self.copy.is_none()
    }

    /// It does.
    pub fn run_out_of_time(&mut self) {
        self.error(NOBODY);
    }

    /// Reads one message and does what it says.
    pub fn read(&mut self) {
        let Some((letter, of)) = self.inbox.pop_front() else { return };
        if self.copy.is_some() {
            self.read_in_copy(letter);
            return;
        }
        match letter {
            L::Sync | L::SyncFails => {
                // What has failed already has nothing to commit.
                let commits = !std::mem::take(&mut self.skipping);
                (self.extended, self.timed) = (false, false);
                if letter == L::SyncFails && commits {
                    self.say(b"E", of);
                }
                self.say(b"Z", of);
                self.flush();
            }
            _ if self.skipping => {}
            L::Query | L::QueryFails | L::QueryCopy | L::QueryTwoCopies | L::QueryCopyFails => self.query(letter, of),
            L::FunctionCall | L::FunctionCallFails => {
                (self.extended, self.timed) = (false, false);
                match letter {
                    L::FunctionCall => self.say(b"VZ", of),
                    _ => self.say(b"EZ", of),
                }
                self.flush();
            }
            L::Flush => self.flush(),
            L::Data | L::BadData | L::Done | L::DoneFails | L::Fail => {}
            _ => {
                self.extended = true;
                // A Close begins no transaction.
                self.timed |= letter != L::Close;
                self.extended(letter, of);
            }
        }
    }

    fn query(&mut self, letter: Letter, of: u8) {
        (self.extended, self.timed) = (false, false);
        let further = u8::from(letter == L::QueryTwoCopies);
        match letter {
            L::Query => self.say(b"TDCZ", of),
            L::QueryFails => self.say(b"EZ", of),
            L::QueryCopyFails => self.say(b"GEZ", of),
            _ => {
                self.say(b"G", of);
                self.copy = Some(Copy { of, simple: true, further });
            }
        }
        self.flush();
    }

    fn extended(&mut self, letter: Letter, of: u8) {
        match letter {
            L::Parse => self.say(b"1", of),
            L::Bind => self.say(b"2", of),
            L::DescribeStatement => self.say(b"tT", of),
            L::DescribePortal => self.say(b"T", of),
            L::Execute | L::ExecuteUnknown => self.say(b"DC", of),
            L::Close => self.say(b"3", of),
            L::ExecuteCopy | L::ExecuteCopyUnforeseen => {
                self.say(b"G", of);
                self.flush();
                self.copy = Some(Copy { of, simple: false, further: 0 });
            }
            L::ExecuteCopyFails => {
                self.say(b"G", of);
                self.error(of);
            }
            _ => self.error(of),
        }
    }

    fn read_in_copy(&mut self, letter: Letter) {
        let Some(copy) = self.copy else { return };
        match letter {
            L::Data | L::Flush | L::Sync | L::SyncFails => {}
            L::Done => {
                self.say(b"C", copy.of);
                self.copy = None;
                if copy.further > 0 {
                    self.say(b"G", copy.of);
                    self.copy = Some(Copy { further: copy.further - 1, ..copy });
                    self.flush();
                } else if copy.simple {
                    self.say(b"Z", copy.of);
                    self.flush();
                }
            }
            L::BadData | L::DoneFails | L::Fail => {
                self.copy = None;
                self.error(copy.of);
            }
            _ => self.is_dead = true,
        }
    }

    /// An error of the message that it deals with: behind one of the extended protocol it skips.
    fn error(&mut self, of: u8) {
        self.say(b"E", of);
        self.skipping = self.extended;
        if !self.extended {
            self.say(b"Z", of);
        }
        self.flush();
    }

    fn say(&mut self, kinds: &[u8], of: u8) {
        self.kept.extend(kinds.iter().map(|&kind| Reply { kind, of }));
    }

    fn flush(&mut self) {
        self.outbox.extend(self.kept.drain(..));
    }
}
