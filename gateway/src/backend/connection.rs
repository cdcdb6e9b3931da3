//! One connection to PostgreSQL: its socket, and what the server has said of itself.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use pgdog_jwt_guard::keeps_quotes_visible;

use super::greeting;
use crate::app::worker;
use crate::net::buffer::Chunk;
use crate::net::stream::Stream;
use crate::stats::Seat;
use crate::wire::fields::Fields;
use crate::wire::{Header, message};

/// A connection that has logged in. What it is at this moment is kept by its wrappers.
pub(crate) struct Connection {
    stream: Stream,
    /// How PostgreSQL knows it: process id and cancel key.
    pub(crate) process: u32,
    pub(crate) key: Vec<u8>,
    /// The parameters that the server reports, as they are now.
    pub(crate) parameters: Vec<(String, String)>,
    /// Those that clients are told of when they change, as messages.
    pub(crate) reported: Arc<[u8]>,
    /// When it has served long enough.
    pub(crate) retires_at: Option<Instant>,
    /// When the token that it was made with ends.
    pub(crate) expires_at: Option<SystemTime>,
    /// It was made for the client that has it: it was never in its pool.
    pub(super) is_new: bool,
    /// The worker whose reactor the socket is registered with.
    worker: usize,
    /// Transaction status of the last ReadyForQuery.
    pub(crate) status: u8,
    reports: Reports,
    /// Who logged in, as it reported then.
    login: Box<str>,
    /// Notifications that arrived during a conversation of the gateway's own: they are the client's.
    pub(super) asides: Vec<u8>,
    /// Its place in the list of its pool's connections.
    pub(crate) seat: Option<Seat>,
}

const AUTHORIZATION: &str = "session_authorization";

/// What the server's parameters say about guarding it.
#[derive(Debug, Clone, Copy, Default)]
struct Reports {
    /// Strings may end elsewhere for the server than for the guard.
    hides_quotes: bool,
    /// It is no replica, or no longer one (`in_hot_standby`, PostgreSQL 14 and later).
    is_primary: bool,
    /// Its session authorization is not that of the login.
    is_another: bool,
}

impl Reports {
    fn note(&mut self, name: &[u8], value: &str) {
        match name {
            b"standard_conforming_strings" => self.hides_quotes = value != "on",
            b"client_encoding" => self.hides_quotes |= !keeps_quotes_visible(value),
            b"in_hot_standby" => self.is_primary = value == "off",
            _ => {}
        }
    }
}

impl Connection {
    pub(crate) fn new(connected: crate::backend::connect::Connected) -> Self {
        let mut reports = Reports::default();
        for (name, value) in &connected.parameters {
            reports.note(name.as_bytes(), value);
        }
        let login = connected.parameters.iter().find(|(name, _)| name == AUTHORIZATION);
        Self {
            reports,
            login: login.map_or_else(Box::default, |(_, value)| value.as_str().into()),
            asides: Vec::new(),
            stream: connected.stream,
            process: connected.process,
            key: connected.key,
            reported: greeting::followed(&connected.parameters),
            parameters: connected.parameters,
            retires_at: None,
            expires_at: None,
            is_new: true,
            worker: worker::current(),
            status: b'I',
            seat: None,
        }
    }

    /// Its number in the admin database; 0 before it has one.
    #[inline]
    pub(crate) fn seat_id(&self) -> u64 {
        self.seat.as_ref().map_or(0, |seat| seat.card.id)
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.stream.is_tls()
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// Whether it has served long enough, or the administrator wants another in its place.
    pub(crate) fn is_spent(&self, now: Instant) -> bool {
        let is_retired = self.seat.as_ref().is_some_and(|seat| seat.card.is_retired());
        is_retired || self.has_expired() || self.retires_at.is_some_and(|at| at <= now)
    }

    /// Whether the token that it was made with has ended: it serves nobody any more.
    #[inline]
    pub(crate) fn has_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= SystemTime::now())
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// PostgreSQL's major version; `None`: it says none that can be read.
    pub(crate) fn major_version(&self) -> Option<u32> {
        let version = self.parameter("server_version")?;
        version.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    }

    /// Notes the value that a ParameterStatus reports.
    pub(crate) fn note_parameter(&mut self, body: &[u8]) {
        let mut fields = Fields(body);
        let (Some(name), Some(value)) = (fields.cstr(), fields.cstr()) else { return };
        let value = String::from_utf8_lossy(value).into_owned();
        self.reports.note(name, &value);
        let name = String::from_utf8_lossy(name);
        if name == AUTHORIZATION {
            self.reports.is_another = *self.login != *value;
        }
        match self.parameters.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) if *old == value => return,
            Some((_, old)) => *old = value,
            None => self.parameters.push((name.clone().into_owned(), value)),
        }
        if greeting::is_followed(&name) {
            self.reported = greeting::followed(&self.parameters);
        }
    }

    /// Whether the guard may read a string otherwise than the server: it may not serve a guarded session.
    #[inline]
    pub(crate) fn hides_quotes(&self) -> bool {
        self.reports.hides_quotes
    }

    /// Whether the server said that it is a primary.
    #[inline]
    pub(crate) fn is_primary(&self) -> bool {
        self.reports.is_primary
    }

    /// Whether it says that its session authorization is another than at the login. Of its role it says nothing.
    #[inline]
    pub(super) fn is_another(&self) -> bool {
        self.reports.is_another
    }

    /// Notifications that the client has not been told of.
    pub(crate) fn take_asides(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.asides)
    }

    /// Moves the socket to the reactor of the worker that runs this, if it is another one's.
    pub(crate) fn adopt(mut self) -> io::Result<Self> {
        let here = worker::current();
        if self.worker != here {
            self.stream = self.stream.rebind()?;
            self.worker = here;
        }
        Ok(self)
    }

    #[inline]
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.poll_readable(cx)
    }

    #[inline]
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, chunk: &mut Chunk) -> Poll<io::Result<usize>> {
        let poll = self.stream.poll_read_slice(cx, chunk.room());
        if let Poll::Ready(Ok(count)) = poll {
            chunk.filled(count);
        }
        poll
    }

    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.poll_write_slice(cx, bytes)
    }

    /// Closing it will make the server forget what it has not read yet.
    pub(crate) fn reset_when_closed(&self) {
        self.stream.reset_when_closed();
    }

    /// Looks for news on a connection that nobody uses: a server that shuts down says so and closes. Costs no system call
    /// while the reactor has seen nothing.
    pub(crate) fn is_alive(&mut self) -> bool {
        if !self.stream.is_readable() {
            return true;
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut chunk = Chunk::take();
        loop {
            match self.poll_read(&mut cx, &mut chunk) {
                Poll::Pending => return chunk.is_empty(),
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return false,
                Poll::Ready(Ok(_)) => {}
            }
            while let Ok(Some(header)) = Header::parse(chunk.bytes()) {
                let Some(frame) = chunk.bytes().get(..header.size) else { break };
                match header.tag {
                    b'S' => {
                        let body = frame.get(crate::wire::frame::HEADER_SIZE..).unwrap_or_default().to_vec();
                        self.note_parameter(&body);
                    }
                    b'N' => {}
                    // An error on an idle connection is its last word; a notification is for a listener that left it.
                    _ => return false,
                }
                chunk.consume(header.size);
            }
            chunk.make_room(0);
        }
    }

    /// Sends bytes, all of them.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = poll_fn(|cx| self.poll_write(cx, bytes)).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(count..).unwrap_or_default();
        }
        Ok(())
    }

    /// Waits until the server has closed the connection. What it says until then is for nobody.
    pub(crate) async fn ended(&mut self) {
        let mut chunk = Chunk::take();
        while let Ok(1..) = poll_fn(|cx| self.poll_read(cx, &mut chunk)).await {
            chunk.truncate(0);
        }
    }

    /// Says goodbye without waiting, so that PostgreSQL does not log a lost client.
    pub(crate) fn farewell(&mut self) {
        let mut out = Vec::with_capacity(5);
        message::terminate(&mut out);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let _ = self.poll_write(&mut cx, &out);
    }
}
