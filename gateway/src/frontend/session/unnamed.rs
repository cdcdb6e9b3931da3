//! The unnamed statement. It goes to the server as it is, and is kept: a client may bind it again in a later batch, by
//! which time another client may have replaced it on the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pgdog_jwt_guard::Class;
use pgdog_jwt_protocol::Request;

use super::Session;
use super::name::Renamed;
use super::pending::{Parse, Pending};
use crate::wire::fields::Fields;
use crate::wire::frame::{self, HEADER_SIZE};
use crate::wire::{Header, PgError};

/// Largest unnamed statement that is kept for a Bind in a later batch, in bytes.
const MAX_KEPT: usize = 64 * 1024;

/// Tags of unnamed statements, across all sessions.
static TAGS: AtomicU64 = AtomicU64::new(1);

/// A client's unnamed statement, or that there is none any more.
#[derive(Debug)]
pub(super) struct Unnamed {
    /// Servers remember it by this.
    tag: u64,
    exists: bool,
    /// The Parse message behind the name; empty when it is too large to be prepared again elsewhere.
    body: Box<[u8]>,
    class: Class,
}

/// A request that changes the unnamed statement, on its way.
#[derive(Debug)]
pub(super) struct Change {
    /// The tag that it brings.
    tag: u64,
    /// What the client had before.
    client: Option<Arc<Unnamed>>,
    /// What the server had before.
    server: u64,
}

impl Session {
    pub(super) fn parse_unnamed(&mut self, header: Header, class: Class, renamed: Option<&Renamed>) {
        let tag = new_tag();
        let kept = header.size <= MAX_KEPT;
        let body = self.input.bytes().get(HEADER_SIZE + 1..header.size).filter(|_| kept).unwrap_or_default();
        let body = renamed.map_or(body, |renamed| &renamed.body);
        let unnamed = Unnamed { tag, exists: true, body: body.into(), class };
        self.note_code(class.code, &|session: &Self| {
            let body = session.input.bytes().get(HEADER_SIZE + 1..header.size).unwrap_or_default();
            Fields(body).cstr().unwrap_or_default().to_vec()
        });
        let change = self.change_unnamed(unnamed);
        match renamed {
            Some(renamed) => self.forward_renamed_parse(header, 0, renamed),
            None => self.forward_request(header),
        }
        self.owe(Request::Parse, Pending::Parse(Box::new(Parse { unnamed: Some(change), ..Parse::default() })));
    }

    fn change_unnamed(&mut self, unnamed: Unnamed) -> Box<Change> {
        let tag = unnamed.tag;
        let client = self.unnamed.replace(Arc::new(unnamed));
        self.unnamed_changed_in = self.names.batch();
        Box::new(Change { tag, client, server: self.server_unnamed(tag) })
    }

    /// Notes what the server has; gives what it had.
    fn server_unnamed(&mut self, tag: u64) -> u64 {
        self.server.as_mut().map_or(0, |server| std::mem::replace(server.unnamed(), tag))
    }

    /// A request ends the unnamed statement.
    pub(super) fn end_unnamed(&mut self) -> Box<Change> {
        self.change_unnamed(Unnamed { tag: new_tag(), exists: false, body: Box::default(), class: Class::NONE })
    }

    /// The unnamed statement is gone, here and on the server.
    pub(super) fn forget_unnamed(&mut self) {
        self.unnamed = None;
        self.unnamed_changed_in = self.names.batch();
        self.server_unnamed(0);
    }

    /// The server loses its unnamed statement to one of the gateway's own; the client's is kept.
    pub(super) fn overwrite_unnamed(&mut self) -> Box<Change> {
        let tag = new_tag();
        Box::new(Change { tag, client: self.unnamed.clone(), server: self.server_unnamed(tag) })
    }

    /// A request that changes the unnamed statement was skipped: there is what there was before.
    pub(super) fn skipped_unnamed(&mut self, change: Change) {
        self.replace_unnamed(change.tag, change.client, change.server);
    }

    /// A Parse of the unnamed statement failed: PostgreSQL has dropped the one before. A client's own is gone; one of the
    /// gateway's has nothing to do with it.
    pub(super) fn failed_unnamed(&mut self, change: &Change, own: bool) {
        let client = change.client.clone().filter(|_| own);
        self.replace_unnamed(change.tag, client, 0);
    }

    /// Puts other statements in place of the one with this tag, also where requests that follow count on it.
    fn replace_unnamed(&mut self, tag: u64, client: Option<Arc<Unnamed>>, server: u64) {
        let replace = |has: &mut Option<Arc<Unnamed>>| {
            if has.as_ref().is_some_and(|unnamed| unnamed.tag == tag) {
                has.clone_from(&client);
            }
        };
        replace(&mut self.unnamed);
        if let Some(held) = &mut self.server
            && *held.unnamed() == tag
        {
            *held.unnamed() = server;
        }
        for change in self.conversation.iter_mut().filter_map(Pending::unnamed_change) {
            replace(&mut change.client);
            if change.server == tag {
                change.server = server;
            }
        }
    }

    /// Whether it is certain which statement is meant; see [`super::names`].
    pub(super) fn is_unnamed_settled(&self) -> bool {
        self.names.is_settled(self.unnamed_changed_in, self.conversation.open())
    }

    pub(super) fn unnamed_class(&self) -> Class {
        self.unnamed.as_ref().map_or(Class::NONE, |unnamed| unnamed.class)
    }

    pub(super) fn unnamed_text(&self) -> Vec<u8> {
        let text = self.unnamed.as_ref().and_then(|unnamed| Fields(&unnamed.body).cstr());
        text.unwrap_or_default().to_vec()
    }

    /// Makes sure that the server's unnamed statement is the client's own, by preparing it again where another client
    /// has replaced it. `false`: the client has none, or it was too large to keep.
    pub(super) fn restore_unnamed(&mut self) -> bool {
        if !self.rules.follows_statements {
            return true;
        }
        let (Some(server), Some(unnamed)) = (&mut self.server, self.unnamed.clone()) else { return false };
        if !unnamed.exists {
            return false;
        }
        if *server.unnamed() == unnamed.tag {
            return true;
        }
        if unnamed.body.is_empty() {
            return false;
        }
        self.note_code(unnamed.class.code, &Self::unnamed_text);
        // Until it is answered, later batches cannot be sure of it.
        self.unnamed_changed_in = self.names.batch();
        let server = self.server_unnamed(unnamed.tag);
        let change = Box::new(Change { tag: unnamed.tag, client: Some(unnamed.clone()), server });
        let start = frame::begin(&mut self.requests, b'P');
        self.requests.push(0);
        self.requests.extend_from_slice(&unnamed.body);
        frame::end(&mut self.requests, start);
        let parse = Parse { own: true, unnamed: Some(change), ..Parse::default() };
        self.owe(Request::Parse, Pending::Parse(Box::new(parse)));
        true
    }
}

fn new_tag() -> u64 {
    TAGS.fetch_add(1, Ordering::Relaxed)
}

/// PostgreSQL's error for an unnamed statement that is not there.
pub(super) fn no_unnamed() -> PgError {
    PgError::error("26000", "unnamed prepared statement does not exist")
}
