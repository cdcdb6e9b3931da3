//! The replies that a server still owes, in order. Each request that is sent adds an entry; each reply that completes one
//! takes it off. This is how the gateway knows, from headers alone, when a server is done, which replies are its own to
//! swallow, and where a reply of its own belongs.

use std::collections::VecDeque;
use std::sync::Arc;

use super::names::{Before, Name};
use super::recorded::{Binding, Naming, Running};
use super::unnamed::Change;
use crate::backend::statements::Statement;
use crate::wire::PgError;

/// One request whose reply is not complete.
#[derive(Debug)]
pub(super) enum Expect {
    /// A simple query: everything up to ReadyForQuery.
    Query {
        /// It was sent in place of a refused one: the client hears this.
        refusal: Option<Box<PgError>>,
        /// The unnamed statement that it ends, unless it is skipped.
        unnamed: Option<Box<Change>>,
        /// Where statements are recorded.
        audit: Option<Box<Running>>,
    },
    /// A function call: everything up to ReadyForQuery.
    FunctionCall(Option<Box<Running>>),
    /// The end of an extended batch: ReadyForQuery.
    Sync,
    /// ParseComplete.
    Parse(Box<Parse>),
    /// BindComplete; the client's name for the statement and its number, where it follows the client.
    Bind(Option<(Name, u64)>, Option<Box<Binding>>),
    /// RowDescription or NoData; the same.
    Describe(Option<Box<(Name, Arc<Statement>)>>),
    /// The same, asked by the gateway for itself: whether the statement still is what clients know.
    Check(Arc<Statement>),
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute(Option<Box<Running>>),
    /// CloseComplete.
    Close(Box<Close>),
    /// No reply: the end of the data of a COPY, which PostgreSQL reads before what comes behind it.
    CopyEnd,
    /// A reply that the gateway gives itself when its turn comes; what to undo when it does not come.
    Reply(&'static [u8], Option<Box<Undo>>),
}

/// What a name stood for before the gateway changed it ahead of the server's answer.
#[derive(Debug)]
pub(super) struct Undo {
    pub(super) name: Name,
    pub(super) before: Before,
}

/// A Parse message on its way.
#[derive(Debug, Default)]
pub(super) struct Parse {
    /// The gateway sent it for itself: the client hears nothing.
    pub(super) own: bool,
    /// The number of the statement that the server will hold when it succeeds, 0 for none.
    pub(super) statement: u64,
    /// The client's name for it, which it is not when this fails.
    pub(super) undo: Option<Undo>,
    /// The client's name for it, where PostgreSQL is only asked to say that it cannot be prepared.
    pub(super) fails: Option<Name>,
    /// The name is no longer that of a DISCARD ALL when it succeeds.
    pub(super) clears: Option<Box<[u8]>>,
    /// It is an unnamed statement.
    pub(super) unnamed: Option<Box<Change>>,
    /// It was sent in place of a refused request, so that PostgreSQL ends the batch and fails the transaction as for any
    /// other error; the client hears this error.
    pub(super) refusal: Option<Box<PgError>>,
    /// Where statements are recorded.
    pub(super) audit: Option<Box<Naming>>,
}

/// A Close message on its way.
#[derive(Debug, Default)]
pub(super) struct Close {
    /// The gateway's own: the client hears nothing. The number of the statement, which the server still has when this
    /// is skipped; 0 for none.
    pub(super) own: Option<u64>,
    /// The unnamed statement that it closes.
    pub(super) unnamed: Option<Box<Change>>,
    /// The name is no longer that of a DISCARD ALL when it succeeds.
    pub(super) clears: Option<Box<[u8]>>,
}

impl Expect {
    /// Whether ReadyForQuery completes it.
    #[inline]
    pub(super) fn ends_with_ready(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::FunctionCall(_) | Self::Sync)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expected {
    queue: VecDeque<Expect>,
    /// Those that end with ReadyForQuery.
    open: usize,
}

impl Expected {
    #[inline]
    pub(super) fn push(&mut self, expect: Expect) {
        self.open += usize::from(expect.ends_with_ready());
        self.queue.push_back(expect);
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Expect> {
        self.queue.front()
    }

    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut Expect> {
        self.queue.front_mut()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Expect> {
        let expect = self.queue.pop_front();
        self.open -= usize::from(expect.as_ref().is_some_and(Expect::ends_with_ready));
        while matches!(self.queue.front(), Some(Expect::CopyEnd)) {
            self.queue.pop_front();
        }
        expect
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The batches and simple queries that were sent whole and are not answered.
    #[inline]
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The reply that the gateway owes next, if it is its turn.
    #[inline]
    pub(super) fn pop_reply(&mut self) -> Option<&'static [u8]> {
        match self.queue.front() {
            Some(Expect::Reply(bytes, _)) => {
                let bytes = *bytes;
                self.pop();
                Some(bytes)
            }
            _ => None,
        }
    }

    /// COPY FROM STDIN has begun in the extended protocol: PostgreSQL ignores the Sync messages that it reads before the
    /// end of the data (PostgreSQL documentation, section "COPY Operations"), so no ReadyForQuery comes for them. Gives
    /// whether the end of the data was sent already.
    pub(super) fn begin_copy(&mut self) -> bool {
        let mut first = true;
        let mut ended = false;
        self.queue.retain(|expect| {
            ended |= matches!(expect, Expect::CopyEnd);
            std::mem::take(&mut first) || ended || !matches!(expect, Expect::Sync)
        });
        self.open = self.queue.iter().filter(|expect| expect.ends_with_ready()).count();
        ended
    }

    /// What requests do to the unnamed statement.
    pub(super) fn unnamed_changes(&mut self) -> impl Iterator<Item = &mut Change> {
        self.queue.iter_mut().filter_map(|expect| match expect {
            Expect::Query { unnamed, .. } => unnamed.as_deref_mut(),
            Expect::Parse(parse) => parse.unnamed.as_deref_mut(),
            Expect::Close(close) => close.unnamed.as_deref_mut(),
            _ => None,
        })
    }

    /// Those that an error takes with it: up to the end of the batch.
    pub(super) fn until_sync(&self) -> impl Iterator<Item = &Expect> {
        self.queue.iter().take_while(|expect| !matches!(expect, Expect::Sync))
    }

    /// Takes off everything.
    pub(super) fn take(&mut self) -> VecDeque<Expect> {
        self.open = 0;
        std::mem::take(&mut self.queue)
    }

    /// Gives memory back that an unusually long pipeline needed.
    pub(super) fn shrink(&mut self) {
        if self.queue.capacity() > 64 {
            self.queue.shrink_to(16);
        }
    }
}
