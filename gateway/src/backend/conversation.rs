//! The gateway's own conversations with a server: short queries whose whole answer is read before anything else happens.

use std::future::poll_fn;
use std::io;

use super::connection::Connection;
use crate::net::buffer::Chunk;
use crate::wire::fields::Fields;
use crate::wire::{ErrorFields, Header, ProtocolViolation, message};

/// Largest answer that the gateway reads to one of its own queries, in bytes.
const MAX_ANSWER: usize = 1 << 20;

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
