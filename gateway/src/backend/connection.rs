//! One connection to PostgreSQL, and the gateway's own conversations on it: short simple queries whose whole answer is
//! read before anything else happens.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use super::greeting;
use crate::app::worker;
use crate::net::buffer::Chunk;
use crate::net::stream::Stream;
use crate::router::keeps_quotes_visible;
use crate::stats::Seat;
use crate::wire::fields::Fields;
use crate::wire::{ErrorFields, Header, ProtocolViolation, message};

/// Largest answer that the gateway reads to one of its own queries, in bytes.
const MAX_ANSWER: usize = 1 << 20;

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
    /// Notifications that arrived during a conversation of the gateway's own: they are the client's.
    asides: Vec<u8>,
    /// Its place in the list of its pool's connections.
    pub(crate) seat: Option<Seat>,
}

/// What the server's parameters say about guarding it.
#[derive(Debug, Clone, Copy, Default)]
struct Reports {
    /// Strings may end elsewhere for the server than for the guard.
    hides_quotes: bool,
    /// It is no replica, or no longer one (`in_hot_standby`, PostgreSQL 14 and later).
    is_primary: bool,
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

/// Goes before SQL of the gateway's own: a session's default may be a level that a replica does not know, or one that waits
/// for others (PostgreSQL documentation, SET TRANSACTION). Several statements in one query are a transaction.
pub(super) const PLAINLY: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;";

/// For the rest of the transaction: what a session allows its own statements is no limit for those of the gateway.
pub(super) const UNHURRIED: &str = "SET LOCAL statement_timeout TO 0;";

/// How often SQL is sent that the session's `statement_timeout` cuts short.
const ATTEMPTS: usize = 3;

/// Why a conversation with a server failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConversationError {
    #[error("the server closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolViolation),
    #[error("the server's answer is too large")]
    TooLarge,
    #[error("{}", .0.message)]
    Refused(ErrorFields),
}

impl ConversationError {
    /// `query_canceled`: the statement was cut short, by a time limit or a cancel request.
    pub(super) fn is_canceled(&self) -> bool {
        matches!(self, Self::Refused(fields) if fields.code == "57014")
    }
}

/// What a query of the gateway's own came back with.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The values of all rows, as text; of several statements, those of the last that has a result.
    pub(crate) rows: Vec<Vec<Option<String>>>,
    /// The names of the columns, where they were asked for.
    pub(crate) columns: Vec<String>,
    /// How many parameters the statement has, where that was asked for.
    pub(crate) parameters: usize,
}

impl Answer {
    fn read(&mut self, tag: u8, body: &[u8], describes: bool) {
        match tag {
            b'D' => self.rows.push(row(body)),
            b'T' => {
                // A result without rows must not look like the one before it.
                self.rows.clear();
                if describes {
                    self.columns = columns(body);
                }
            }
            b't' if describes => self.parameters = Fields(body).u16().map_or(0, usize::from),
            _ => {}
        }
    }

    /// A value of the last row; empty where there is none.
    pub(crate) fn value(&self, column: usize) -> &str {
        self.rows.last().and_then(|row| row.get(column)).and_then(Option::as_deref).unwrap_or_default()
    }
}

impl Connection {
    pub(crate) fn new(connected: crate::backend::connect::Connected) -> Self {
        let mut reports = Reports::default();
        for (name, value) in &connected.parameters {
            reports.note(name.as_bytes(), value);
        }
        Self {
            reports,
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
    pub(crate) fn is_spent(&self) -> bool {
        let is_retired = self.seat.as_ref().is_some_and(|seat| seat.card.is_retired());
        is_retired || self.has_expired() || self.retires_at.is_some_and(|at| at <= Instant::now())
    }

    /// Whether the token that it was made with has ended: it serves nobody any more.
    #[inline]
    pub(crate) fn has_expired(&self) -> bool {
        self.expires_at.is_some_and(|at| at <= SystemTime::now())
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Notes the value that a ParameterStatus reports.
    pub(crate) fn note_parameter(&mut self, body: &[u8]) {
        let mut fields = Fields(body);
        let (Some(name), Some(value)) = (fields.cstr(), fields.cstr()) else { return };
        let value = String::from_utf8_lossy(value).into_owned();
        self.reports.note(name, &value);
        let name = String::from_utf8_lossy(name);
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

    /// Looks for news on a connection that nobody uses: a server that shuts down says so and closes. Costs no system call
    /// while the reactor has seen nothing.
    pub(crate) fn is_alive(&mut self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if self.poll_readable(&mut cx).is_pending() {
            return true;
        }
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

    /// Runs SQL of the gateway's own and reads the whole answer. The caller sets the time limit.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        let mut out = Vec::with_capacity(sql.len() + 8);
        message::query(&mut out, sql.as_bytes());
        self.send(&out).await?;
        self.answer(false).await
    }

    /// The same for SQL that must not fail because of the `statement_timeout` that a session has left. That is in force until
    /// SQL that ends it was read, so a long text may come too late: then it follows in a transaction that has begun with it.
    pub(crate) async fn query_unhurried(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        let mut outcome = self.query(sql).await;
        for _ in 1..ATTEMPTS {
            if !outcome.as_ref().is_err_and(ConversationError::is_canceled) {
                break;
            }
            outcome = match self.query(&format!("BEGIN ISOLATION LEVEL READ COMMITTED;{UNHURRIED}")).await {
                Ok(_) => self.query(sql).await,
                Err(error) => Err(error),
            };
            if self.status != b'I' {
                let end = if outcome.is_ok() { "COMMIT" } else { "ROLLBACK" };
                outcome = self.query(end).await.and(outcome);
            }
        }
        outcome
    }

    /// The same for one statement, which leaves the client's unnamed statement and portal alone.
    pub(crate) async fn query_aside(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        const NAME: &[u8] = b"__pgdog_jwt_aside";
        let mut out = Vec::with_capacity(sql.len() + 128);
        message::parse(&mut out, NAME, sql.as_bytes(), &[0, 0]);
        message::run(&mut out, NAME);
        message::close_statement(&mut out, NAME);
        message::sync(&mut out);
        self.send(&out).await?;
        self.answer(false).await
    }

    /// Runs one statement with parameters and reads the first row of its result. `None`: does not run it, but says what its
    /// parameters and columns are.
    pub(crate) async fn ask(&mut self, sql: &str, values: Option<&[&str]>) -> Result<Answer, ConversationError> {
        let mut out = Vec::with_capacity(sql.len() + 128);
        message::parse(&mut out, b"", sql.as_bytes(), &[0, 0]);
        match values {
            Some(values) => message::run_with(&mut out, values),
            None => message::describe_statement(&mut out, b""),
        }
        message::sync(&mut out);
        self.send(&out).await?;
        self.answer(true).await
    }

    /// Reads up to the next ReadyForQuery, and what lies behind it in the same bytes: a notification may follow at once.
    async fn answer(&mut self, describes: bool) -> Result<Answer, ConversationError> {
        let mut answer = Answer::default();
        let mut refused = None;
        let mut ready = false;
        let mut read = 0;
        let mut chunk = Chunk::take();
        loop {
            while let Some(header) = Header::parse(chunk.bytes())? {
                let Some(frame) = chunk.bytes().get(..header.size) else {
                    chunk.make_room(header.size);
                    break;
                };
                let body = frame.get(crate::wire::frame::HEADER_SIZE..).unwrap_or_default();
                match header.tag {
                    b'Z' => {
                        self.status = body.first().copied().unwrap_or(b'E');
                        ready = true;
                    }
                    b'E' if ready => return Err(ConversationError::Closed),
                    b'A' => {
                        let frame = frame.to_vec();
                        self.asides.extend_from_slice(&frame);
                    }
                    b'E' => refused = refused.or(Some(ErrorFields::parse(body))),
                    b'S' => {
                        let body = body.to_vec();
                        self.note_parameter(&body);
                    }
                    tag => answer.read(tag, body, describes),
                }
                chunk.consume(header.size);
            }
            if ready && chunk.is_empty() {
                return match refused {
                    Some(error) => Err(ConversationError::Refused(error)),
                    None => Ok(answer),
                };
            }
            if chunk.room().is_empty() {
                chunk.make_room(chunk.len() + 1);
            }
            match poll_fn(|cx| self.poll_read(cx, &mut chunk)).await {
                Ok(0) => return Err(refused.map_or(ConversationError::Closed, ConversationError::Refused)),
                Ok(count) => read += count,
                Err(error) => return Err(error.into()),
            }
            if read > MAX_ANSWER {
                return Err(ConversationError::TooLarge);
            }
        }
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

/// The names in a RowDescription.
fn columns(body: &[u8]) -> Vec<String> {
    /// What follows a name: table, column, type, its size and modifier, format.
    const REST: usize = 18;
    let mut fields = Fields(body);
    let count = fields.u16().unwrap_or(0);
    let mut column = |_| {
        let name = fields.cstr()?;
        fields.take(REST)?;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    (0..count).map_while(&mut column).collect()
}

/// The values of a DataRow.
fn row(body: &[u8]) -> Vec<Option<String>> {
    let mut fields = Fields(body);
    let count = fields.u16().unwrap_or(0);
    (0..count)
        .map(|_| {
            let size = fields.u32().filter(|size| *size != u32::MAX)?;
            fields.take(size as usize).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_rows_is_not_the_one_of_the_statement_before() {
        let mut answer = Answer::default();
        answer.read(b'T', &[0, 0], false);
        answer.read(b'D', b"\0\x01\0\0\0\x05alice", false);
        assert_eq!(answer.value(0), "alice");

        answer.read(b'T', &[0, 0], false);

        assert_eq!(answer.value(0), "");
    }
}
