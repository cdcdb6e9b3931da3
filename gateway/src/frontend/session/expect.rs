//! The replies that a server still owes, in order. Each request that is sent adds an entry; each reply that completes one
//! takes it off. This is how the gateway knows, from headers alone, when a server is done, which replies are its own to
//! swallow, and where a reply of its own belongs.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::backend::statements::Statement;
use crate::wire::PgError;

/// One request whose reply is not complete.
#[derive(Debug)]
pub(super) enum Expect {
    /// A simple query: everything up to ReadyForQuery.
    Query { refusal: Option<Box<PgError>> },
    /// A function call: everything up to ReadyForQuery.
    FunctionCall,
    /// The end of an extended batch: ReadyForQuery.
    Sync,
    /// ParseComplete.
    Parse(Box<Parse>),
    /// BindComplete.
    Bind,
    /// RowDescription or NoData.
    Describe,
    /// CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// CloseComplete.
    Close(Box<Close>),
    /// A reply that the gateway gives itself when its turn comes; what to undo when it does not come.
    Reply(&'static [u8], Box<Undo>),
}

/// What the gateway did with a client's statement names ahead of the server's answers, the other way round.
#[derive(Debug)]
pub(super) enum Undo {
    /// The name stood for nothing.
    Forget(Box<[u8]>),
    /// The name stood for this.
    Restore(Box<[u8]>, Arc<Statement>),
    Nothing,
}

/// A Parse message on its way.
#[derive(Debug, Default)]
pub(super) struct Parse {
    /// The gateway sent it for itself: the client hears nothing.
    pub(super) own: bool,
    /// The statement that the server will hold when it succeeds.
    pub(super) statement: Option<Arc<Statement>>,
    /// The client's name for it, to be forgotten when it fails.
    pub(super) name: Option<Box<[u8]>>,
    /// The name is no longer that of a DISCARD ALL when it succeeds.
    pub(super) clears: Option<Box<[u8]>>,
    /// It was sent in place of a refused request, so that PostgreSQL ends the batch and fails the transaction as for any
    /// other error; the client hears this error.
    pub(super) refusal: Option<Box<PgError>>,
}

/// A Close message on its way.
#[derive(Debug, Default)]
pub(super) struct Close {
    /// The gateway's own, of a statement that was held longest without use: the client hears nothing.
    pub(super) evicted: Option<u64>,
    /// The name is no longer that of a DISCARD ALL when it succeeds.
    pub(super) clears: Option<Box<[u8]>>,
}

impl Expect {
    /// Whether ReadyForQuery completes it.
    #[inline]
    pub(super) fn ends_with_ready(&self) -> bool {
        matches!(self, Self::Query { .. } | Self::FunctionCall | Self::Sync)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expected(VecDeque<Expect>);

impl Expected {
    #[inline]
    pub(super) fn push(&mut self, expect: Expect) {
        self.0.push_back(expect);
    }

    #[inline]
    pub(super) fn front(&self) -> Option<&Expect> {
        self.0.front()
    }

    #[inline]
    pub(super) fn front_mut(&mut self) -> Option<&mut Expect> {
        self.0.front_mut()
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<Expect> {
        self.0.pop_front()
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reply that the gateway owes next, if it is its turn.
    #[inline]
    pub(super) fn pop_reply(&mut self) -> Option<&'static [u8]> {
        match self.0.front() {
            Some(Expect::Reply(bytes, _)) => {
                let bytes = *bytes;
                self.0.pop_front();
                Some(bytes)
            }
            _ => None,
        }
    }

    /// COPY FROM STDIN has begun in the extended protocol: PostgreSQL ignores the Sync messages that it reads before the
    /// end of the data (PostgreSQL documentation, section "COPY Operations"), so no ReadyForQuery comes for them.
    pub(super) fn forget_syncs_behind_front(&mut self) {
        let mut first = true;
        self.0.retain(|expect| std::mem::take(&mut first) || !matches!(expect, Expect::Sync));
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Expect> {
        self.0.drain(..)
    }

    /// Gives memory back that an unusually long pipeline needed.
    pub(super) fn shrink(&mut self) {
        if self.0.capacity() > 64 {
            self.0.shrink_to(16);
        }
    }
}
