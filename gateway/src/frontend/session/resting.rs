//! What a session needs only while something moves: the buffers of its requests and answers, and the queue of replies that
//! are owed. A session that waits for its client has none of them; a worker keeps some for whoever is next, so that those
//! who take turns use the same memory, which the processor's cache then holds.

use std::cell::RefCell;

use pgdog_jwt_protocol::Conversation;

use super::Session;
use super::pending::Pending;
use crate::net::buffer::Chunk;

/// Sets that a worker keeps for reuse.
const STOCK: usize = 64;

thread_local! {
    static SETS: RefCell<Vec<Set>> = const { RefCell::new(Vec::new()) };
}

/// See the module. Empty, but with room.
struct Set {
    out: Vec<u8>,
    requests: Vec<u8>,
    conversation: Conversation<Pending>,
}

impl Session {
    /// Bytes have arrived of a session that was at rest.
    #[inline]
    pub(super) fn awake(&mut self) {
        self.input = Chunk::take();
        if self.requests.capacity() == 0
            && self.out.capacity() == 0
            && self.conversation.is_idle()
            && let Some(set) = SETS.with_borrow_mut(Vec::pop)
        {
            (self.out, self.requests, self.conversation) = (set.out, set.requests, set.conversation);
        }
    }

    /// Nothing has arrived of the client, and there is nothing that it is still to be given.
    #[inline]
    pub(super) fn rest(&mut self) {
        self.input = Chunk::default();
        let has_set = self.requests.capacity() > 0 || self.out.capacity() > 0;
        if has_set && self.conversation.is_idle() && !self.is_moving() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let (out, requests) = (std::mem::take(&mut self.out), std::mem::take(&mut self.requests));
        let set = Set { out, requests, conversation: std::mem::take(&mut self.conversation) };
        SETS.with_borrow_mut(|sets| {
            if sets.len() < STOCK {
                sets.push(set);
            }
        });
        // Rarely used.
        self.carry = Vec::new();
        self.provided = Vec::new();
    }
}
