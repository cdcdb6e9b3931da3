//! The state machine: what was sent, what is owed, what a reply means.

use std::collections::VecDeque;
use std::fmt;

use crate::answer::{Kind, Progress, Step, step};
use crate::request::{Request, Silent};

/// Where an extended batch stands on the server: the messages up to a Sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Batch {
    /// No message since the last Sync, simple query or function call.
    #[default]
    None,
    /// There was one, and no Sync yet.
    Open,
    /// It has failed: the server reads and drops everything up to the next Sync.
    Skipping,
}

/// What becomes of a client's message now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It may be sent.
    Send,
    /// It must wait: what the server makes of it depends on an answer that is not there yet.
    Hold,
    /// The server would read it and drop it: it is not sent.
    Discard,
    /// It does not belong into the COPY that runs. The server would end the connection for it, unless its COPY has failed already,
    /// which only it can tell; so may the host. One that goes on sends a CopyFail first, and then asks about this again.
    EndCopy,
}

/// What a reply means.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// NoticeResponse, NotificationResponse or ParameterStatus: it may come at any time and answers nothing.
    Unasked,
    /// A part of the answer to the oldest request, which goes on.
    Part,
    /// The oldest request reads the client's data from now on.
    CopyIn,
    /// The oldest request has failed. Its ReadyForQuery follows.
    Failing,
    /// The oldest request is answered. It is owed no longer.
    Completed(T),
    /// The same, with ReadyForQuery.
    Ready(T),
    /// The oldest request has failed, and the server drops those behind it. None of them is owed any longer.
    Failed(Failed<T>),
    /// The batch that is open has failed by itself, between two messages, when its time was up. All requests were answered.
    BatchFailed,
    /// An error came in the place of the oldest request's answer. It is its own, and ReadyForQuery follows; or it is that of
    /// the batch in front of it, which has no Sync, and nothing follows before one. The host sends the probe that tells: Sync,
    /// a Close of a statement that does not exist, Sync. The end is [`Self::Ready`] or [`Self::Skipped`].
    Doubtful,
    /// A part of the answer to the probe.
    Probed,
    /// The oldest request was skipped with the batch in front of it, which has failed. The last Sync of the probe is answered.
    Skipped(T),
}

/// Requests that have come to nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Failed<T> {
    /// The one that has failed.
    pub failed: T,
    /// Those behind it that are dropped, in order: up to a Sync, which was sent already or is to come.
    pub skipped: Vec<T>,
}

/// A reply that PostgreSQL does not give at this point. Nothing that its server says can be believed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desync {
    /// The type of the message.
    pub reply: u8,
    /// What was to be answered; `None`: nothing.
    pub owed: Option<Request>,
}

impl fmt::Display for Desync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reply = char::from(self.reply);
        match self.owed {
            Some(request) => write!(f, "a reply of type {reply:?} to {request:?}, or to a later part of it"),
            None => write!(f, "a reply of type {reply:?} to no request"),
        }
    }
}

impl std::error::Error for Desync {}

/// Whether a COPY reads the client's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
enum CopyIn {
    #[default]
    No,
    /// The request that was sent last may become one, or its error may be another's: nothing is sent behind it.
    Possible,
    /// The oldest request is one, and nothing was sent behind it but data.
    Running,
}

/// A request, or a reply of the host's own, with what the host keeps with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owed<T> {
    kind: Kind,
    holds: Holds,
    with: T,
}

/// Why nothing is sent behind a request before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holds {
    No,
    /// It may become a COPY.
    Copy,
    /// It ends a batch that has no Sync. When that fails by itself, the server skips the request.
    Batch,
}

/// A conversation with one server. `T` is what the host keeps with each request until it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conversation<T> {
    queue: VecDeque<Owed<T>>,
    /// The kind of the oldest of them, which every reply is compared with.
    front: Kind,
    /// Those that ReadyForQuery ends. A host keeps one conversation for each of its clients, so it is small.
    open: u32,
    /// How far the answer to the oldest has come.
    progress: Progress,
    copy: CopyIn,
    batch: Batch,
}

impl<T> Default for Conversation<T> {
    fn default() -> Self {
        let (progress, copy, batch) = Default::default();
        Self { queue: VecDeque::new(), front: Kind::NONE, open: 0, progress, copy, batch }
    }
}

impl<T> Conversation<T> {
    /// One with room for so many requests.
    #[must_use]
    pub fn with_capacity(requests: usize) -> Self {
        Self { queue: VecDeque::with_capacity(requests), ..Self::default() }
    }

    /// What becomes of a request now.
    #[inline]
    #[must_use]
    pub fn admit(&self, request: Request) -> Admit {
        match (self.copy, self.batch) {
            (CopyIn::No, Batch::Skipping) if request != Request::Sync => Admit::Discard,
            (CopyIn::No, _) => Admit::Send,
            (CopyIn::Possible, _) => Admit::Hold,
            (CopyIn::Running, _) if request == Request::Sync => Admit::Discard,
            (CopyIn::Running, _) => Admit::EndCopy,
        }
    }

    /// The same for a message that has no answer.
    #[inline]
    #[must_use]
    pub fn admit_silent(&self, message: Silent) -> Admit {
        match (self.copy, message) {
            (CopyIn::Possible, _) => Admit::Hold,
            (CopyIn::Running, Silent::Flush) => Admit::Discard,
            (CopyIn::Running, _) => Admit::Send,
            (CopyIn::No, Silent::Flush) if self.batch != Batch::Skipping => Admit::Send,
            (CopyIn::No, _) => Admit::Discard,
        }
    }

    /// Whether every request may be sent now, and Flush. What belongs to a COPY is not a request.
    #[inline]
    #[must_use]
    pub fn admits_all(&self) -> bool {
        self.copy == CopyIn::No && self.batch != Batch::Skipping
    }

    /// A request was sent, which [`Self::admit`] has allowed. Behind one of the extended protocol that may become a COPY the
    /// host sends a Flush: the server keeps some answers back without.
    #[inline(always)]
    pub fn sent(&mut self, request: Request, with: T) {
        debug_assert_eq!(self.admit(request), Admit::Send, "{request:?}");
        let (kind, ends) = (Kind::of(request), request.ends_with_ready());
        let holds = match self.batch {
            Batch::Open if ends && kind != Kind::SYNC => Holds::Batch,
            _ if request.may_copy() => Holds::Copy,
            _ => Holds::No,
        };
        self.batch = if ends { Batch::None } else { Batch::Open };
        self.open += u32::from(ends);
        if holds != Holds::No {
            self.copy = CopyIn::Possible;
        }
        self.push(Owed { kind, holds, with });
    }

    #[inline]
    fn push(&mut self, owed: Owed<T>) {
        if self.queue.is_empty() {
            self.front = owed.kind;
        }
        self.queue.push_back(owed);
    }

    #[inline]
    fn pop(&mut self) -> Option<Owed<T>> {
        let owed = self.queue.pop_front();
        self.front = self.queue.front().map_or(Kind::NONE, |owed| owed.kind);
        owed
    }

    /// A message was sent that has no answer, which [`Self::admit_silent`] has allowed.
    #[inline]
    pub fn sent_silently(&mut self, message: Silent) {
        debug_assert_eq!(self.admit_silent(message), Admit::Send, "{message:?}");
        if message == Silent::CopyEnd {
            self.progress = Progress::CopyInEnd;
            // The next statement of a simple query may be a COPY as well.
            let goes_on = self.front_request().is_some_and(Request::ends_with_ready);
            self.copy = if goes_on { CopyIn::Possible } else { CopyIn::No };
        }
    }

    /// The host gives a reply itself when it is its turn: see [`Self::pop_own`]. It belongs to the open batch.
    pub fn answers_itself(&mut self, with: T) {
        self.push(Owed { kind: Kind::NONE, holds: Holds::No, with });
    }

    /// Whether a reply of the host's own comes next.
    #[inline]
    #[must_use]
    pub fn owns_next(&self) -> bool {
        self.front == Kind::NONE && !self.queue.is_empty()
    }

    /// The reply of the host's own that comes next.
    #[inline]
    pub fn pop_own(&mut self) -> Option<T> {
        if self.owns_next() { self.pop().map(|owed| owed.with) } else { None }
    }

    /// What a reply means, by the type of its message. A FATAL error is no reply: it ends the connection.
    ///
    /// # Errors
    /// PostgreSQL does not give this reply here.
    // As a call of its own it would move what the host keeps several times.
    #[inline(always)]
    pub fn received(&mut self, reply: u8) -> Result<Received<T>, Desync> {
        match step(self.front, self.progress, reply) {
            Step::Part(progress) => {
                let before = std::mem::replace(&mut self.progress, progress);
                if progress >= Progress::CopyIn { self.turned(before, reply) } else { Ok(Received::Part) }
            }
            Step::Completed => self.take().map(Received::Completed).ok_or_else(|| self.desync(reply)),
            Step::Ready => self.take().map(Received::Ready).ok_or_else(|| self.desync(reply)),
            Step::Failed => self.take_failed().map(Received::Failed).ok_or_else(|| self.desync(reply)),
            Step::Unasked => Ok(Received::Unasked),
            Step::Skipped => self.take().map(Received::Skipped).ok_or_else(|| self.desync(reply)),
            Step::Impossible if reply == b'E' && self.queue.is_empty() && self.batch == Batch::Open => {
                self.batch = Batch::Skipping;
                Ok(Received::BatchFailed)
            }
            Step::Impossible => Err(self.desync(reply)),
        }
    }

    #[cold]
    fn desync(&self, reply: u8) -> Desync {
        Desync { reply, owed: self.front_request() }
    }

    /// The answer has become an error, or a COPY that reads data, or goes on as that of a probe. `before`: how far it was.
    #[inline(never)]
    fn turned(&mut self, before: Progress, reply: u8) -> Result<Received<T>, Desync> {
        if self.progress > Progress::Failed {
            return Ok(Received::Probed);
        }
        if self.progress == Progress::Failed {
            if before == Progress::Start && self.queue.front().is_some_and(|owed| owed.holds == Holds::Batch) {
                self.progress = Progress::Doubtful;
                return Ok(Received::Doubtful);
            }
            self.copy = if self.ends_in_doubt(1) { CopyIn::Possible } else { CopyIn::No };
            return Ok(Received::Failing);
        }
        // What was sent behind it would be read inside of it, or not: nobody knows.
        if self.queue.len() > 1 {
            return Err(self.desync(reply));
        }
        self.copy = CopyIn::Running;
        Ok(Received::CopyIn)
    }

    /// Takes off the oldest request, which is answered.
    #[inline]
    fn take(&mut self) -> Option<T> {
        let owed = self.pop()?;
        self.progress = Progress::Start;
        self.open -= u32::from(owed.kind.ends_with_ready());
        if self.copy != CopyIn::No && !self.ends_in_doubt(0) {
            self.copy = CopyIn::No;
        }
        Some(owed.with)
    }

    /// Takes off the oldest request, which has failed, and all that the server drops with it: everything up to a Sync, also
    /// simple queries and function calls.
    #[inline(never)]
    fn take_failed(&mut self) -> Option<Failed<T>> {
        let failed = self.take()?;
        let end = self.queue.iter().position(|owed| owed.kind == Kind::SYNC);
        let end = end.unwrap_or_else(|| {
            self.batch = Batch::Skipping;
            self.queue.len()
        });
        let skipped: Vec<_> = (0..end).map_while(|_| self.pop()).collect();
        self.open -= skipped.iter().map(|owed| u32::from(owed.kind.ends_with_ready())).sum::<u32>();
        self.copy = if self.ends_in_doubt(0) { CopyIn::Possible } else { CopyIn::No };
        Some(Failed { failed, skipped: skipped.into_iter().map(|owed| owed.with).collect() })
    }

    /// Whether nothing may be sent behind the request that was sent last, which is not among the first `known`.
    #[inline]
    fn ends_in_doubt(&self, known: usize) -> bool {
        self.queue.len() > known && self.queue.back().is_some_and(|owed| owed.holds != Holds::No)
    }

    #[inline]
    fn front_request(&self) -> Option<Request> {
        self.front.request()
    }

    /// What the host keeps with the oldest request.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.queue.front().map(|owed| &owed.with)
    }

    /// The same, to change it.
    #[inline]
    pub fn front_mut(&mut self) -> Option<&mut T> {
        self.queue.front_mut().map(|owed| &mut owed.with)
    }

    /// What the host keeps with all requests, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.queue.iter().map(|owed| &owed.with)
    }

    /// The same, to change it.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.queue.iter_mut().map(|owed| &mut owed.with)
    }

    /// Requests that are not answered, and replies of the host's own that are not given.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether all requests are answered.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Batches and simple requests that were sent whole and are not answered.
    #[inline]
    #[must_use]
    pub fn open(&self) -> usize {
        self.open as usize
    }

    /// Where the batch stands.
    #[inline]
    #[must_use]
    pub fn batch(&self) -> Batch {
        self.batch
    }

    /// Whether the server owes nothing, and is in the middle of nothing.
    #[inline]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.batch == Batch::None
    }

    /// Whether everything has to wait until the request that was sent last is answered, or has become a COPY.
    #[inline]
    #[must_use]
    pub fn holds(&self) -> bool {
        self.copy == CopyIn::Possible
    }

    /// Whether a COPY reads the client's data.
    #[inline]
    #[must_use]
    pub fn is_copying_in(&self) -> bool {
        self.copy == CopyIn::Running
    }

    /// The server is lost: gives what it has not answered, the oldest first, and whether ReadyForQuery would have ended the
    /// answer. The conversation is a new one afterwards.
    pub fn lost(&mut self) -> Vec<(T, bool)> {
        let lost = std::mem::take(self);
        let unanswered = |owed: Owed<T>| (owed.with, owed.kind.ends_with_ready());
        lost.queue.into_iter().map(unanswered).collect()
    }

    /// Gives memory back that an unusually long pipeline needed.
    pub fn shrink(&mut self) {
        const KEPT: usize = 16;
        if self.queue.capacity() > 4 * KEPT {
            self.queue.shrink_to(KEPT);
        }
    }
}
