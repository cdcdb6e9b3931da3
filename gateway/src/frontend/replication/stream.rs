//! A replication session: bytes go from the client to its server and back as they come, by header alone. In each direction
//! more is read only when what was read before has been written, so a standby that is slow holds its server back, and the
//! gateway keeps no more than a buffer of it. While a CopyBoth lasts, both sides speak when they like.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgdog_jwt_guard::replication::{Language, language};
use pgdog_jwt_guard::{Effects, Verdict, Watch};
use tokio::time::MissedTickBehavior;

use super::lane::{Frame, Lane};
use crate::app::state::App;
use crate::app::worker;
use crate::backend::dedicated::Dedicated;
use crate::backend::node::CancelOutcome;
use crate::config::{Guard, OnExpiry};
use crate::frontend::audit;
use crate::frontend::cancelling::Cancelling;
use crate::frontend::deadline::{Deadline, token_expired};
use crate::frontend::session::Opening;
use crate::frontend::sessions::{Askers, Signal, shutting_down};
use crate::wire::fields::Fields;
use crate::wire::{Header, PgError, ProtocolViolation};

/// How often it is asked whether a reload, or the end of its token, has taken the right to be here.
const LOOK: Duration = Duration::from_secs(1);

/// Time to write the last words to a client.
const GOODBYE: Duration = Duration::from_secs(1);

/// Largest reply that is read; a larger one is forwarded unread.
const MAX_READ: usize = 64 * 1024;

/// See the module.
pub(crate) struct Replication {
    app: &'static App,
    opening: Opening,
    server: Dedicated,
    /// When its token ends, where that matters.
    ends: Option<Deadline>,
    upstream: Lane,
    downstream: Lane,
    /// Requests that the server has not answered to the end.
    asked: usize,
    /// A CopyBoth is going on: it ends when one side says so, and loses nothing by that.
    streaming: bool,
    /// The client has said goodbye: what it sent before is still passed on.
    leaving: bool,
    /// A cancel request is on its way to the server.
    cancelling: Option<Cancelling>,
}

/// Why it ended.
enum End {
    /// One of the two sides has left.
    Left,
    /// The client is told why.
    Fatal(PgError),
}

impl From<ProtocolViolation> for End {
    fn from(violation: ProtocolViolation) -> Self {
        Self::Fatal(PgError::fatal("08P01", violation.to_string()))
    }
}

impl Replication {
    pub(crate) fn new(app: &'static App, opening: Opening, server: Dedicated) -> Self {
        opening.registration.meter.hold(server.connection.seat_id());
        let (upstream, downstream) = (Lane::default(), Lane::default());
        let life = opening.generation.config.jwt.as_ref().map(|jwt| jwt.life.on_expiry);
        let matters = life.is_some_and(|rule| rule != OnExpiry::Ignore);
        let ends = opening.who.grant().filter(|_| matters).map(|grant| Deadline::new(grant.valid_until));
        Self {
            app,
            opening,
            server,
            ends,
            upstream,
            downstream,
            asked: 0,
            streaming: false,
            leaving: false,
            cancelling: None,
        }
    }

    /// Runs until one side leaves or the client is cut off. `greeting` is what the client still has to be told of its login.
    pub(crate) async fn run(mut self, greeting: Vec<u8>) {
        self.downstream.append(&greeting);
        let reason = match self.converse().await {
            End::Left => None,
            End::Fatal(error) => {
                self.opening.registration.meter.own_error(&error.code);
                self.tell(&error).await;
                Some(error)
            }
        };
        if self.upstream.is_whole() && !self.upstream.is_blocked() {
            self.server.connection.farewell();
        }
        if self.opening.generation.config.general.log_disconnections || reason.is_some() {
            audit::disconnected(&self.opening.registration, reason.as_ref());
        }
    }

    async fn converse(&mut self) -> End {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let end = tokio::select! {
                end = poll_fn(|cx| self.poll(cx)) => end,
                _ = look.tick() => self.check_rights(),
            };
            if let Err(end) = end {
                return end;
            }
        }
    }

    /// Moves bytes. Ready when it is over, or when the session was asked to do something and has done it.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if let Some(signal) = self.opening.registration.poll_signal(cx) {
            return Poll::Ready(self.signal(signal));
        }
        loop {
            let moved = self.poll_downstream(cx).and_then(|down| Ok(self.poll_upstream(cx)? || down));
            match moved {
                Err(end) => return Poll::Ready(Err(end)),
                Ok(_) if self.opening.registration.is_draining() && self.may_leave() => {
                    return Poll::Ready(Err(End::Fatal(shutting_down())));
                }
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
            }
        }
    }

    /// From the server to the client; whether anything was read.
    fn poll_downstream(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let client = &mut self.opening.client;
        let written = self.downstream.write_with(|bytes| client.poll_write_slice(cx, bytes));
        self.opening.registration.meter.sent(written.map_err(|_| End::Left)?);
        if self.downstream.is_blocked() {
            return Ok(false);
        }
        let connection = &mut self.server.connection;
        match self.downstream.read_with(|chunk| connection.poll_read(cx, chunk)) {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => return Err(End::Left),
            Poll::Ready(Ok(_)) => {}
        }
        while let Some(frame) = self.downstream.peek(is_read)? {
            self.reply(&frame)?;
            self.downstream.accept(frame.header);
        }
        Ok(true)
    }

    /// From the client to the server; whether anything was read.
    fn poll_upstream(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let connection = &mut self.server.connection;
        self.upstream.write_with(|bytes| connection.poll_write(cx, bytes)).map_err(|_| End::Left)?;
        if self.upstream.is_blocked() {
            return Ok(false);
        }
        if self.leaving {
            return Err(End::Left);
        }
        let client = &mut self.opening.client;
        let ahead = std::mem::take(&mut self.opening.ahead);
        let read = self.upstream.read_with(|chunk| {
            if !ahead.is_empty() {
                chunk.append(ahead.bytes());
                return Poll::Ready(Ok(ahead.len()));
            }
            let poll = client.poll_read_slice(cx, chunk.room());
            if let Poll::Ready(Ok(count)) = poll {
                chunk.filled(count);
            }
            poll
        });
        match read {
            Poll::Pending => return Ok(false),
            Poll::Ready(Ok(0) | Err(_)) => return Err(End::Left),
            Poll::Ready(Ok(count)) => self.opening.registration.meter.received(count),
        }
        let longest = self.longest_read();
        while !self.leaving
            && let Some(frame) = self.upstream.peek(|header| header.tag == b'Q' && header.size <= longest)?
        {
            self.request(&frame)?;
            self.upstream.accept(frame.header);
        }
        Ok(true)
    }

    fn watch(&self) -> Watch {
        self.opening.who.watch(&self.opening.generation.config, false)
    }

    /// Statements are read where the guard has to; otherwise none is.
    fn longest_read(&self) -> usize {
        let jwt = self.opening.generation.config.jwt.as_ref();
        jwt.filter(|_| self.watch().is_guarded()).map_or(0, |jwt| jwt.max_statement_size)
    }

    /// Judges what the client sends. What is refused ends the session: whoever replicates sends the same few commands each
    /// time, and has no use for a connection on which one of them failed.
    fn request(&mut self, frame: &Frame) -> Result<(), End> {
        let guarded = self.watch().is_guarded();
        match frame.header.tag {
            b'X' => self.leaving = true,
            b'Q' => {
                if self.watch().is_guarded() {
                    self.judge(frame)?;
                }
                self.opening.registration.meter.query();
                self.expect();
            }
            b'S' => self.expect(),
            b'd' | b'c' | b'f' | b'H' => {}
            b'F' if !guarded => self.expect(),
            _ if !guarded => {}
            tag => {
                let text =
                    format!("message of type {:?} is not supported in a replication connection", char::from(tag));
                return Err(End::Fatal(PgError::fatal("0A000", text)));
            }
        }
        Ok(())
    }

    fn expect(&mut self) {
        self.asked += 1;
        self.opening.registration.meter.asked();
    }

    /// The guard.
    fn judge(&self, frame: &Frame) -> Result<(), End> {
        let refused = |code, text: &'static str| Err(End::Fatal(PgError::fatal(code, text)));
        if frame.body.is_empty() {
            return refused("54000", "statement is longer than the gateway reads");
        }
        let text = Fields(&frame.body).cstr().ok_or(ProtocolViolation::Malformed('Q'))?;
        let class = match language(text) {
            Language::Allowed => return Ok(()),
            Language::Refused => {
                return refused("42501", "physical replication is not for users that come with a token");
            }
            Language::Sql => worker::with_classifier(&self.opening.generation, self.watch(), |it| it.classify(text)),
        };
        match class.verdict {
            Verdict::Allow if !class.effects.intersects(Effects::DISCARD_ALL) => Ok(()),
            Verdict::Allow | Verdict::Barrier => {
                refused("0A000", "DISCARD ALL is not supported in a replication connection")
            }
            Verdict::Refuse(refusal) | Verdict::Rewrite(refusal) => {
                audit::statement_refused(&self.opening.registration, refusal.sqlstate, refusal.message, None);
                Err(End::Fatal(PgError::fatal(refusal.sqlstate, refusal.message).hint(refusal.hint)))
            }
        }
    }

    /// Notes what the server says of the session.
    fn reply(&mut self, frame: &Frame) -> Result<(), End> {
        let guarded = self.watch().is_guarded();
        let connection = &mut self.server.connection;
        let meter = &mut self.opening.registration.meter;
        match frame.header.tag {
            b'W' => self.streaming = true,
            b'Z' => {
                self.streaming = false;
                self.asked = self.asked.saturating_sub(1);
                connection.status = frame.body.first().copied().unwrap_or(b'E');
                meter.ready(connection.status);
                if self.asked == 0 {
                    meter.quiet(Instant::now(), connection.seat.as_ref(), connection.status != b'I', false);
                }
            }
            b'E' => meter.server_error(&frame.body),
            b'S' => {
                connection.note_parameter(&frame.body);
                if guarded && connection.hides_quotes() {
                    let text = "the server no longer reads strings as the gateway does";
                    return Err(End::Fatal(PgError::fatal("42501", text)));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the client would lose nothing by being cut off. A stream goes on from where its reader has confirmed it.
    fn may_leave(&self) -> bool {
        self.streaming || (self.asked == 0 && self.server.connection.status == b'I')
    }

    /// Does what another task asked of this session.
    fn signal(&mut self, signal: Signal) -> Result<(), End> {
        let askers = if signal.cancel { self.opening.registration.take_cancel() } else { Askers::new() };
        if (signal.cancel || signal.revoked || signal.terminate) && self.asked > 0 {
            self.cancel(askers);
        }
        if signal.terminate {
            return Err(End::Fatal(signal.last_words()));
        }
        if signal.drain {
            self.opening.registration.drain();
        }
        if self.opening.registration.is_draining() && self.may_leave() {
            return Err(End::Fatal(shutting_down()));
        }
        Ok(())
    }

    /// The connection is this session's to its end, so a request that comes late hits nobody else.
    fn cancel(&mut self, mut askers: Askers) {
        if let Some(cancelling) = &self.cancelling {
            match cancelling.again(askers) {
                Ok(()) => return,
                Err(late) => askers = late,
            }
        }
        let connection = &self.server.connection;
        let (process, key) = (connection.process, connection.key.clone());
        let node = self.server.pool.node.clone();
        self.cancelling = Some(Cancelling::begin(askers, CancelOutcome::Over, move || {
            let (node, key) = (node.clone(), key.clone());
            async move { node.cancel(process, &key).await }
        }));
    }

    /// Whether the configuration still lets the client do what it does: another one, since the last look, must give it the
    /// same pools in session mode, on the server that it has.
    fn check_rights(&mut self) -> Result<(), End> {
        // What it streams is no transaction that could end well: there is no grace.
        if self.ends.is_some_and(|end| end.left().is_zero()) {
            return Err(End::Fatal(token_expired()));
        }
        let generation = self.app.state();
        if generation.number == self.opening.generation.number {
            return Ok(());
        }
        let pools = self.opening.who.pools(&generation.registry, &self.opening.pools.key.database).ok();
        let same = pools.filter(|pools| {
            let has_server = pools.pools.iter().any(|pool| Arc::ptr_eq(&pool.node, &self.server.pool.node));
            has_server
                && pools.spec.serves(&self.opening.pools.spec)
                && pools.identity() == self.opening.pools.identity()
        });
        let strict = generation.config.jwt.as_ref().is_some_and(|jwt| jwt.guard == Guard::Strict);
        let guarded = self.opening.who.watch(&generation.config, false).is_guarded();
        match same.filter(|_| strict || !guarded) {
            Some(pools) => {
                self.opening.pools = pools;
                self.opening.generation = generation;
                Ok(())
            }
            None => Err(End::Fatal(PgError::fatal(
                "57P01",
                "terminating connection because the configuration of its user or database has changed",
            ))),
        }
    }

    /// Writes an error to a client that is about to be cut off, unless it is in the middle of a message.
    async fn tell(&mut self, error: &PgError) {
        if !self.downstream.is_whole() {
            return;
        }
        let mut message = Vec::new();
        error.write(&mut message);
        self.downstream.append(&message);
        let writing = poll_fn(|cx| {
            let client = &mut self.opening.client;
            match self.downstream.write_with(|bytes| client.poll_write_slice(cx, bytes)) {
                Ok(_) if self.downstream.is_blocked() => Poll::Pending,
                _ => Poll::Ready(()),
            }
        });
        let _ = tokio::time::timeout(GOODBYE, writing).await;
    }
}

/// Replies that say something about the session.
fn is_read(header: Header) -> bool {
    matches!(header.tag, b'E' | b'S' | b'W' | b'Z') && header.size <= MAX_READ
}
