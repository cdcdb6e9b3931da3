//! What the session keeps with each request until its reply has come: what the reply means for it, and what must be undone
//! when the request is skipped. Which reply belongs to which request is [`pgdog_jwt_protocol`]'s to say.

use std::sync::Arc;

use pgdog_jwt_protocol::Request;

use super::Session;
use super::names::{Before, Name};
use super::recorded::{Binding, Naming, Running};
use super::rewriting::Completes;
use super::special::{Mark, Special};
use super::unnamed::Change;
use crate::backend::statements::Statement;
use crate::wire::PgError;

/// One request whose reply is not complete.
#[derive(Debug)]
pub(super) enum Pending {
    /// A simple query: everything up to ReadyForQuery.
    Query {
        /// What the client hears in place of an error.
        instead: Option<Box<Instead>>,
        /// The unnamed statement that it ends, unless it is skipped.
        unnamed: Option<Box<Change>>,
        /// Where statements are recorded.
        audit: Option<Box<Running>>,
    },
    /// A function call: everything up to ReadyForQuery.
    FunctionCall {
        /// Where statements are recorded.
        audit: Option<Box<Running>>,
        /// What the client hears in place of an error.
        instead: Option<Box<Instead>>,
    },
    /// The end of an extended batch: ReadyForQuery.
    Sync,
    /// One of the gateway's own, in the middle of a batch of the client's: the client hears nothing. But where it has failed in
    /// front of a simple request, that is what has failed for the client.
    OwnSync { fails_next: bool },
    /// ParseComplete.
    Parse(Box<Parse>),
    /// BindComplete; the client's name for the statement and its number, where it follows the client.
    Bind(Option<(Name, u64)>, Option<Box<Bound>>),
    /// RowDescription or NoData; the same.
    Describe(Option<Box<(Name, Arc<Statement>)>>),
    /// The same, asked by the gateway for itself: whether the statement still is what clients know.
    Check(Arc<Statement>),
    /// CommandComplete, EmptyQueryResponse or PortalSuspended. Where statements are recorded; what is special about the portal's
    /// statement. And the portal, where it was special and may run no more.
    Execute(Option<Box<Running>>, Option<Special>, Option<Box<Mark>>),
    /// CloseComplete.
    Close(Box<Close>),
    /// A part of the gateway's own question whether the connection still is who it was: see [`super::assertion`].
    Assertion,
    /// A reply that the gateway gives itself when its turn comes; what to undo when it does not come.
    Reply(&'static [u8], Option<Box<Undo>>),
}

/// What the client hears of a simple request that failed.
#[derive(Debug)]
pub(super) enum Instead {
    /// It was sent in place of a refused one.
    Refusal(PgError),
    /// It was sent otherwise than it was written: an error says no position.
    Rewritten(Option<Completes>),
    /// It has failed already, or the batch in front of it: this whole message, see [`super::doubt`].
    Error(Vec<u8>),
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
    /// The name, and what special it stood for before.
    pub(super) marks: Option<Mark>,
    /// It is an unnamed statement.
    pub(super) unnamed: Option<Box<Change>>,
    /// It was sent in place of a refused request, so that PostgreSQL ends the batch and fails the transaction as for any
    /// other error; the client hears this error.
    pub(super) refusal: Option<Box<PgError>>,
    /// Its text is not the client's.
    pub(super) is_rewritten: bool,
    /// Where statements are recorded.
    pub(super) audit: Option<Box<Naming>>,
}

/// What else a Bind message carries.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Where statements are recorded.
    pub(super) audit: Option<Box<Binding>>,
    /// The portal, and what special it stood for before.
    pub(super) portal: Option<Mark>,
    /// A refusal follows it: the client hears of it only if PostgreSQL refuses it for a reason of its own.
    pub(super) in_vain: bool,
}

/// A Close message on its way.
#[derive(Debug, Default)]
pub(super) struct Close {
    /// The gateway's own: the client hears nothing. The number of the statement, which the server still has when this
    /// is skipped; 0 for none.
    pub(super) own: Option<u64>,
    /// The unnamed statement that it closes.
    pub(super) unnamed: Option<Box<Change>>,
    /// The name, and what special it stood for before.
    pub(super) marks: Option<Mark>,
}

impl Pending {
    /// What the request does to the unnamed statement.
    pub(super) fn unnamed_change(&mut self) -> Option<&mut Change> {
        match self {
            Self::Query { unnamed, .. } => unnamed.as_deref_mut(),
            Self::Parse(parse) => parse.unnamed.as_deref_mut(),
            Self::Close(close) => close.unnamed.as_deref_mut(),
            _ => None,
        }
    }
}

impl Session {
    /// A request was sent whose kind says what it is.
    #[inline(always)]
    pub(super) fn owe(&mut self, request: Request, pending: Pending) {
        self.conversation.sent(request, pending);
    }

    /// A simple query was sent.
    #[inline]
    pub(super) fn owe_query(&mut self, may_copy: bool, unnamed: Option<Box<Change>>, audit: Option<Box<Running>>) {
        self.owe(Request::Query { may_copy }, Pending::Query { instead: None, unnamed, audit });
    }
}
