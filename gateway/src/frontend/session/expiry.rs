//! The end of a session's token: `on_expiry`.
//!
//! The clock is one timer in each session, polled by the task that the session has anyway. tokio keeps the timers of a
//! worker in one hashed wheel: setting, moving and dropping one costs the same however many there are, and one that is
//! not due costs a query nothing but an atomic read where its task comes to rest. A session pays for it with its share of
//! memory, see the test below; there is no task, no list and no sweep.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pgdog_jwt::config::IdentityMode;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::requests::{Next, Step};
use super::{End, Session};
use crate::config::{Life, OnExpiry};
use crate::frontend::audit;
use crate::frontend::deadline::{Deadline, token_expired};
use crate::frontend::grant::Who;
use crate::wire::{Header, PgError, message};
use pgdog_jwt_protocol::Batch;

/// Between two looks at the clock on the wall, which may have been set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What becomes of the session, and when.
pub(super) struct Expiry {
    rule: Rule,
    grace: Duration,
    state: State,
    timer: Option<Pin<Box<Sleep>>>,
    /// The task that the timer wakes. It is the session's own, so that the timer has to be told once.
    told: Option<Waker>,
}

/// `on_expiry`, as it is for one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Its server connections were made with the token and may not outlive it: nothing more is sent to them.
    Strict,
    Disconnect,
    Refuse,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Valid(Deadline),
    /// The token has ended; so does the grace.
    Ended(Instant),
    Over,
}

/// What the timer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The token has ended.
    Token,
    /// So has the time that what runs was given.
    Grace,
}

impl Expiry {
    /// `None`: the session has no token, or does not care.
    pub(super) fn new(who: &Who, life: Option<&Life>) -> Option<Box<Self>> {
        let (grant, life) = (who.grant()?, life?);
        let rule = match (grant.mode, life.on_expiry) {
            (IdentityMode::Passthrough, _) => Rule::Strict,
            (_, OnExpiry::Disconnect) => Rule::Disconnect,
            (_, OnExpiry::RefuseNewTransactions) => Rule::Refuse,
            (_, OnExpiry::Ignore) => return None,
        };
        // PostgreSQL checks the token itself there, without the leeway.
        let end = if rule == Rule::Strict { grant.expires_at } else { grant.valid_until };
        let state = State::Valid(Deadline::new(end));
        Some(Box::new(Self { rule, grace: life.expiry_grace, state, timer: None, told: None }))
    }

    fn has_ended(&self) -> bool {
        !matches!(self.state, State::Valid(_))
    }

    fn ends_session(&self) -> bool {
        self.has_ended() && self.rule != Rule::Refuse
    }

    /// Ready once for each of the two moments.
    #[inline]
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        // `Waker::will_wake` also compares tables of functions, and tokio's waker of a running task has another one than
        // its clones: it would always say no.
        if let (Some(timer), Some(told)) = (&self.timer, &self.told)
            && !timer.is_elapsed()
            && std::ptr::eq(told.data(), cx.waker().data())
        {
            return Poll::Pending;
        }
        let due = self.poll_timer(cx);
        self.told = due.is_pending().then(|| cx.waker().clone());
        due
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            let State::Valid(deadline) = self.state else { return self.poll_grace(cx) };
            let left = || deadline.left().min(LOOK_EVERY);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(left())));
            ready!(timer.as_mut().poll(cx));
            match left() {
                Duration::ZERO => {
                    self.timer = None;
                    self.state = match self.rule {
                        Rule::Refuse => State::Over,
                        Rule::Strict | Rule::Disconnect => State::Ended(Instant::now() + self.grace),
                    };
                    return Poll::Ready(Due::Token);
                }
                left => timer.as_mut().reset(Instant::now() + left),
            }
        }
    }

    fn poll_grace(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let State::Ended(end) = self.state else { return Poll::Pending };
        ready!(self.timer.get_or_insert_with(|| Box::pin(sleep_until(end))).as_mut().poll(cx));
        self.timer = None;
        self.state = State::Over;
        Poll::Ready(Due::Grace)
    }
}

impl Session {
    #[inline]
    pub(super) fn poll_expiry(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        self.expiry.as_mut().map_or(Poll::Pending, |expiry| expiry.poll(cx))
    }

    /// The token has ended, or the grace: the end of the session, where that is not for the next request to find.
    pub(super) fn note_expiry(&mut self, due: Due) -> Result<(), End> {
        if due == Due::Grace {
            // What runs is not waited for any more.
            let error = token_expired();
            return Err(if self.replying > 0 { End::Broken(error) } else { End::Fatal(error) });
        }
        audit::expired(&self.registration);
        Ok(())
    }

    #[inline]
    pub(super) fn has_expired(&self) -> bool {
        self.expiry.as_ref().is_some_and(|expiry| expiry.has_ended())
    }

    /// Whether the session has come to the quiet moment at which it ends.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        let Some(expiry) = self.expiry.as_ref().filter(|expiry| expiry.ends_session()) else { return false };
        let rests = self.is_quiet() && !self.is_moving() && !self.conversation.is_copying_in();
        rests && (expiry.rule == Rule::Strict || !self.in_transaction())
    }

    /// Before the next request of the client, when the token has ended: what to wait for, or the end.
    pub(super) fn end_with_token(&mut self) -> Result<Option<Next>, End> {
        let Some(rule) = self.expiry.as_ref().filter(|expiry| expiry.ends_session()).map(|expiry| expiry.rule) else {
            return Ok(None);
        };
        let in_batch = self.conversation.batch() != Batch::None;
        if self.conversation.is_copying_in() || (rule == Rule::Disconnect && in_batch) {
            return Ok(None);
        }
        if !self.owes_nothing() {
            if self.conversation.batch() == Batch::Open {
                // Without it the server may keep its answers back until a Sync that will not be read.
                message::flush(&mut self.requests);
            }
            return Ok(Some(Next::Rest));
        }
        if rule == Rule::Disconnect && self.in_transaction() {
            return Ok(None);
        }
        Err(End::Fatal(token_expired()))
    }

    /// Refuses what would begin anew after the token has ended, with `on_expiry = "refuse_new_transactions"`.
    pub(super) fn refuse_expired(&mut self, header: Header) -> Option<Step> {
        let refuses = self.expiry.as_ref().is_some_and(|expiry| expiry.has_ended() && expiry.rule == Rule::Refuse);
        let begins = matches!(header.tag, b'Q' | b'P' | b'B' | b'D' | b'E' | b'C' | b'F');
        if !refuses || !begins || self.conversation.is_copying_in() || self.conversation.batch() == Batch::Open {
            return None;
        }
        if !self.owes_nothing() {
            return Some(Step::Wait(Next::Rest));
        }
        if self.in_transaction() {
            return None;
        }
        let error = PgError::error("28000", "the token of this session has expired")
            .hint("Renew it with SET \"pgdog_jwt.token\" = '…', or log in again.");
        Some(self.answer(header, &error))
    }

    fn owes_nothing(&self) -> bool {
        self.conversation.is_empty() && self.carry.is_empty() && self.replying == 0
    }

    /// Whether a transaction is open, as far as is known while replies are owed.
    pub(super) fn in_transaction(&self) -> bool {
        self.begun.is_some() || self.server.as_ref().is_some_and(|server| server.status() != b'I')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_of_a_session_is_small() {
        let size = size_of::<Expiry>() + size_of::<Sleep>();
        assert!(size <= 256, "{size} bytes");
    }
}
