//! Moving bytes: one poll loop over the client's and the server's socket. In each direction more is read only when what
//! was read before has been written, so a slow reader holds the other side back and no buffer grows.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pgdog_jwt_protocol::Batch;
use tokio::time::{Instant, Sleep, sleep};

use super::expiry::Due;
use super::patience::Limit;
use super::requests::MAX_EXPECTED;
use super::{End, Session};
use crate::backend::server::Server;
use crate::frontend::sessions::{Signal, shutting_down};
use crate::net::buffer::Chunk;
use crate::wire::PgError;

/// How often it is looked whether a client is still there from which nothing is read.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks whether a client is still there.
struct Look {
    timer: Pin<Box<Sleep>>,
    /// Since when it sends nothing more.
    closed: Option<Instant>,
}

/// What a turn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Bytes from the client.
    Input,
    /// The requests to be on their way.
    Room,
    /// The server to owe much less.
    Replies,
    /// No batch that was sent whole to be unanswered.
    Answers,
    /// No reply to be owed.
    Silence,
    /// The same, or a COPY to ask for its data.
    Rest,
    /// The server to owe nothing.
    Quiet,
    /// It to be known whether a request becomes a COPY.
    Copy,
}

/// What ended a turn's polling.
enum Event {
    /// What was waited for.
    Reached,
    /// The server owes nothing.
    ServerQuiet,
    ServerLost(Box<PgError>),
    /// The server would not become the client's, and has run nothing.
    Refused,
    ClientLeft,
    Signal(Signal),
    Expiry(Due),
}

/// What a turn does when it has ended its polling.
enum Then {
    /// It is over.
    Done,
    /// It goes on.
    Again,
    /// It goes on when the requests have another server.
    Resend,
}

impl Session {
    /// Moves bytes until `until`.
    pub(super) async fn turn(&mut self, until: Until) -> Result<(), End> {
        let mut look = None;
        loop {
            if self.settle().await? && (until != Until::Input || self.is_over()) {
                return Ok(());
            }
            if self.registration.is_draining() && self.may_leave() {
                return Err(End::Fatal(shutting_down()));
            }
            let event = match self.time_limit() {
                None => poll_fn(|cx| self.poll_turn(cx, until, &mut look)).await,
                Some((limit, kind)) => {
                    let polling = poll_fn(|cx| self.poll_turn(cx, until, &mut look));
                    match Box::pin(tokio::time::timeout(limit, polling)).await {
                        Ok(event) => event,
                        Err(_) if kind == Limit::Query => Event::ServerLost(Box::new(self.give_up())),
                        // The transaction that ran then may have ended, and the next begun.
                        Err(_) if kind == Limit::Transaction && self.has_time() => continue,
                        Err(_) => return Err(self.timed_out(kind)),
                    }
                }
            };
            match self.heard(event, until)? {
                Then::Done => return Ok(()),
                Then::Again => {}
                Then::Resend => Box::pin(self.resend()).await?,
            }
        }
    }

    fn heard(&mut self, event: Event, until: Until) -> Result<Then, End> {
        match event {
            Event::Reached => return Ok(Then::Done),
            Event::ServerQuiet => {}
            Event::ServerLost(error) => {
                self.server_lost(*error)?;
                if until != Until::Input {
                    return Ok(Then::Done);
                }
            }
            Event::Refused => return Ok(Then::Resend),
            Event::ClientLeft => return Err(End::Left),
            Event::Signal(signal) => self.signal(signal)?,
            Event::Expiry(due) => {
                self.note_expiry(due)?;
                if until == Until::Input {
                    // What to do then is for who reads the requests.
                    return Ok(Then::Done);
                }
            }
        }
        Ok(Then::Again)
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, until: Until, look: &mut Option<Box<Look>>) -> Poll<Event> {
        if let Some(signal) = self.registration.poll_signal(cx) {
            return Poll::Ready(Event::Signal(signal));
        }
        loop {
            // Only what was read makes another round worth while: what was written has made room already.
            let mut moved = false;
            if self.has_output()
                && let Poll::Ready(Err(_)) = self.poll_client_write(cx)
            {
                return Poll::Ready(Event::ClientLeft);
            }
            if !self.requests.is_empty() {
                match self.poll_server_write(cx) {
                    Poll::Ready(Err(error)) => return self.poll_last_words(cx, &error),
                    // The rest of a message that nobody answers, such as data for a COPY that has failed meanwhile.
                    Poll::Ready(Ok(())) if self.server.is_some() && self.is_quiet() && !self.is_moving() => {
                        return Poll::Ready(Event::ServerQuiet);
                    }
                    _ => {}
                }
            }
            if until == Until::Room && self.requests.is_empty() {
                return Poll::Ready(Event::Reached);
            }
            if self.server.is_some() && !self.has_output() {
                match self.poll_server_read(cx) {
                    Poll::Ready(Ok(())) => {
                        if self.is_quiet() && !self.is_moving() {
                            return Poll::Ready(Event::ServerQuiet);
                        }
                        if self.has_reached(until) {
                            return Poll::Ready(Event::Reached);
                        }
                        moved = true;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(self.ended(error)),
                    Poll::Pending => {}
                }
            }
            if until == Until::Input && self.requests.is_empty() && !self.has_output() {
                match self.poll_client_read(cx) {
                    Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(Event::ClientLeft),
                    Poll::Ready(Ok(_)) => return Poll::Ready(Event::Reached),
                    Poll::Pending => {}
                }
            }
            if !moved {
                // What was waited for may have come with what was written.
                if self.has_reached(until) {
                    return Poll::Ready(Event::Reached);
                }
                if self.held_cancel.is_some() {
                    self.poll_held_cancel(cx);
                }
                if self.poll_look(cx, until, look).is_ready() {
                    return Poll::Ready(Event::ClientLeft);
                }
                return self.poll_expiry(cx).map(Event::Expiry);
            }
        }
    }

    /// While nothing is read from the client: whether it has left.
    #[inline]
    fn poll_look(&self, cx: &mut Context<'_>, until: Until, look: &mut Option<Box<Look>>) -> Poll<()> {
        if until == Until::Input && self.requests.is_empty() && !self.has_output() {
            return Poll::Pending;
        }
        self.look_for_client(cx, look)
    }

    /// A client that has closed its side may read on. What it has sent is carried out, for as long as after its end.
    #[cold]
    fn look_for_client(&self, cx: &mut Context<'_>, look: &mut Option<Box<Look>>) -> Poll<()> {
        let look = look.get_or_insert_with(|| Box::new(Look { timer: Box::pin(sleep(LOOK_EVERY)), closed: None }));
        loop {
            ready!(look.timer.as_mut().poll(cx));
            let grace = self.generation.config.general.rollback_timeout;
            if self.client.has_left() && look.closed.get_or_insert_with(Instant::now).elapsed() >= grace {
                return Poll::Ready(());
            }
            look.timer.as_mut().reset(Instant::now() + LOOK_EVERY);
        }
    }

    /// Whether the server owes as little as was waited for.
    #[inline]
    fn has_reached(&self, until: Until) -> bool {
        match until {
            Until::Replies => self.conversation.len() <= MAX_EXPECTED / 2,
            Until::Answers => self.conversation.open() == 0,
            Until::Silence => self.conversation.is_empty() && !self.is_moving(),
            Until::Copy => !self.conversation.holds(),
            Until::Rest => self.conversation.is_copying_in() || (self.conversation.is_empty() && !self.is_moving()),
            // PostgreSQL skips what was waited with: the client must send its Sync.
            Until::Quiet => self.conversation.is_empty() && self.conversation.batch() == Batch::Skipping,
            Until::Input | Until::Room => false,
        }
    }

    #[inline]
    pub(super) fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.forward.is_empty()
    }

    /// Writes replies to the client until there are none.
    pub(super) fn poll_client_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(bytes) = self.out.get(self.out_at as usize..).filter(|bytes| !bytes.is_empty()) {
            let count = ready!(self.client.poll_write_slice(cx, bytes))?;
            self.registration.meter.sent(count);
            self.out_at += count as u32;
        }
        if self.out_at > 0 {
            recycle(&mut self.out, &mut self.out_at);
        }
        while !self.forward.is_empty() {
            let count = ready!(self.client.poll_write_slice(cx, self.forward.bytes()))?;
            self.registration.meter.sent(count);
            self.forward.consume(count);
        }
        self.forward = Chunk::default();
        Poll::Ready(Ok(()))
    }

    /// Writes requests to the server until there are none.
    pub(super) fn poll_server_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(server) = &mut self.server else { return Poll::Ready(Ok(())) };
        while let Some(bytes) = self.requests.get(self.requests_at as usize..).filter(|bytes| !bytes.is_empty()) {
            self.requests_at += ready!(server.poll_write(cx, bytes))? as u32;
        }
        recycle(&mut self.requests, &mut self.requests_at);
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_server_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Box<PgError>>> {
        let Some(server) = &mut self.server else { return Poll::Pending };
        ready!(server.poll_readable(cx));
        let mut chunk = Chunk::take();
        if !self.carry.is_empty() {
            chunk.append(&self.carry);
            if chunk.room().is_empty() {
                chunk.make_room(chunk.len() * 2);
            }
        }
        match ready!(server.poll_read(cx, &mut chunk)) {
            Ok(0) => Poll::Ready(Err(Box::new(closed()))),
            Ok(_) => {
                self.carry.clear();
                Poll::Ready(self.replies(chunk))
            }
            Err(_) => Poll::Ready(Err(Box::new(self.not_proven()))),
        }
    }

    /// The server takes no more requests. What it said before it left is worth more than the error of the socket.
    fn poll_last_words(&mut self, cx: &mut Context<'_>, error: &io::Error) -> Poll<Event> {
        tracing::debug!(%error, "a server took no more requests");
        if !self.server.as_ref().is_some_and(Server::is_unproven) {
            self.requests.clear();
            self.requests_at = 0;
        }
        loop {
            match self.poll_server_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(self.ended(error)),
                Poll::Pending => return Poll::Ready(Event::ServerLost(Box::new(closed()))),
            }
        }
    }

    #[cold]
    fn ended(&mut self, error: Box<PgError>) -> Event {
        let has_refused = self.server.as_ref().is_some_and(Server::has_refused);
        if has_refused { Event::Refused } else { Event::ServerLost(error) }
    }

    /// Reads from the client, into what it has sent before when that is not a whole message yet.
    fn poll_client_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.client.poll_readable(cx).is_pending() {
            if self.input.is_empty() {
                self.rest();
            }
            return Poll::Pending;
        }
        if self.input.is_empty() {
            self.awake();
        } else if self.input.room().is_empty() {
            self.input.make_room(self.input.len() + 1);
        }
        let poll = self.client.poll_read_slice(cx, self.input.room());
        match poll {
            Poll::Ready(Ok(count)) => {
                self.registration.meter.received(count);
                self.input.filled(count);
            }
            _ if self.input.is_empty() => self.rest(),
            _ => {}
        }
        poll
    }

    /// Writes an error to a client that is about to be cut off, for a short while.
    pub(super) async fn tell(&mut self, error: &PgError) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.say(error);
        let writing = poll_fn(|cx| self.poll_client_write(cx));
        let _ = tokio::time::timeout(PATIENCE, writing).await;
    }
}

/// Empties a buffer; one that grew beyond the ordinary is given back.
fn recycle(buffer: &mut Vec<u8>, at: &mut u32) {
    const KEEP: usize = 4096;
    buffer.clear();
    *at = 0;
    if buffer.capacity() > KEEP {
        *buffer = Vec::new();
    }
}

/// The error for a server that went away.
pub(super) fn closed() -> PgError {
    PgError::error("08006", "the connection to the server was lost")
        .hint("Whether the last statement took effect is not known: check before you repeat it.")
}
