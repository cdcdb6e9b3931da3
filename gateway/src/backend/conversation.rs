//! The gateway's own conversations with a server: short queries whose whole answer is read before anything else happens.
//!
//! Each reply must be one that PostgreSQL gives to what was asked, and when all requests are answered nothing may be left. An
//! answer by which something is decided is a fresh one ([`Connection::query_fresh`]): the server repeats a random value that
//! is new with the question, so nothing that a client has had its server say before can be taken for it.

use std::future::poll_fn;
use std::io;

use pgdog_jwt_protocol::{Conversation, Desync, Received};

use super::connection::Connection;
use super::nonce::Nonce;
use super::own_requests::{BEGIN, COMMIT, OwnRequests};
use super::sql::{READABLE, Sql};
use crate::net::buffer::Chunk;
use crate::wire::fields::Fields;
use crate::wire::{ErrorFields, Header, ProtocolViolation};

/// Largest answer that the gateway reads to one of its own queries, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Notifications that may come meanwhile, in bytes.
const MAX_ASIDES: usize = 16 << 20;

/// Goes before SQL of the gateway's own, for the same reason as the level of [`BEGIN`]. Several statements in one
/// query are a transaction.
pub(super) const PLAINLY: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;";

/// For the rest of such a query: what a session allows its own statements is no limit for those of the gateway.
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
    #[error("the server gave {0}")]
    Desync(#[from] Desync),
    #[error("the system gives no random numbers")]
    NoRandom,
    /// What it said was no answer to this question.
    #[error("the server did not repeat what its answer must show")]
    Stale,
    #[error("{}", .0.message)]
    Refused(ErrorFields),
}

impl ConversationError {
    /// The connection has ended, by itself or with the server's last word.
    pub(crate) fn is_lost(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) => true,
            Self::Refused(fields) => fields.is_fatal(),
            _ => false,
        }
    }

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
    /// The description of their columns: see [`Self::columns`].
    description: Vec<u8>,
    /// How many parameters the statement has, where that was asked for.
    pub(crate) parameters: usize,
}

impl Answer {
    /// An answer with these rows, for tests.
    #[cfg(test)]
    pub(crate) fn of(rows: Vec<Vec<Option<String>>>) -> Self {
        Self { rows, ..Self::default() }
    }

    fn read(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'D' => self.rows.push(row(body)),
            b'T' => {
                // A result without rows must not look like the one before it.
                self.rows.clear();
                self.description.clear();
                self.description.extend_from_slice(body);
            }
            b't' => self.parameters = Fields(body).u16().map_or(0, usize::from),
            _ => {}
        }
    }

    /// The names of the columns.
    pub(crate) fn columns(&self) -> Vec<String> {
        columns(&self.description)
    }

    /// A value of the last row; empty where there is none.
    pub(crate) fn value(&self, column: usize) -> &str {
        self.rows.last().and_then(|row| row.get(column)).and_then(Option::as_deref).unwrap_or_default()
    }
}

impl Connection {
    /// Runs SQL of the gateway's own and reads the whole answer. The caller sets the time limit.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        self.run(sql, false).await
    }

    /// The same, with a proof that the answer was given to this question: PostgreSQL repeats a new random value behind it.
    pub(crate) async fn query_fresh(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        self.run(sql, true).await
    }

    async fn run(&mut self, sql: &str, is_fresh: bool) -> Result<Answer, ConversationError> {
        let mut own = OwnRequests::default();
        own.query(sql);
        if !is_fresh {
            return self.converse(&own).await.map(last);
        }
        let nonce = Nonce::new()?;
        own.run(&nonce.question());
        own.sync();
        nonce.check(self.converse(&own).await?)
    }

    /// Carries requests out that are a transaction, and all of it or none. The answer is that of the last statement that
    /// describes its rows. As [`Self::query_unhurried`], it does not fail because of the `statement_timeout` that a session has
    /// left.
    pub(super) async fn transact(&mut self, own: &OwnRequests) -> Result<Answer, ConversationError> {
        let mut outcome = self.converse(own).await.map(last);
        for _ in 1..ATTEMPTS {
            if !outcome.as_ref().is_err_and(ConversationError::is_canceled) {
                break;
            }
            self.roll_back(own).await?;
            let mut begin = OwnRequests::like(own);
            begin.begin();
            begin.sync();
            outcome = match self.converse(&begin).await {
                Ok(_) => self.converse(own).await.map(last),
                Err(error) => Err(error),
            };
            if outcome.is_ok() && self.status == b'T' {
                outcome = match self.end(own, COMMIT).await {
                    Ok(()) => outcome,
                    Err(error) => Err(error),
                };
            }
        }
        if matches!(&outcome, Err(ConversationError::Refused(fields)) if !fields.is_fatal()) {
            self.roll_back(own).await?;
        }
        outcome
    }

    async fn roll_back(&mut self, own: &OwnRequests) -> Result<(), ConversationError> {
        if self.status == b'I' { Ok(()) } else { self.end(own, "ROLLBACK").await }
    }

    /// Ends the transaction by a statement of the same kind as those in it.
    async fn end(&mut self, own: &OwnRequests, sql: &str) -> Result<(), ConversationError> {
        let nonce = Nonce::new()?;
        let mut end = OwnRequests::like(own);
        end.run_text(sql);
        end.sync();
        end.ask_sql(&nonce.question());
        end.sync();
        nonce.check(self.converse(&end).await?).map(drop)
    }

    /// As [`Self::query`], for SQL that must not fail because of the `statement_timeout` that a session has left. That is in
    /// force until SQL that ends it was read, so a long text may come too late: then it follows in a transaction that has begun
    /// with it.
    pub(crate) async fn query_unhurried(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        self.run_unhurried(sql, false).await
    }

    /// The same for an answer that must be a fresh one.
    pub(crate) async fn query_fresh_unhurried(&mut self, sql: &str) -> Result<Answer, ConversationError> {
        self.run_unhurried(sql, true).await
    }

    async fn run_unhurried(&mut self, sql: &str, is_fresh: bool) -> Result<Answer, ConversationError> {
        let mut outcome = self.run(sql, is_fresh).await;
        for _ in 1..ATTEMPTS {
            if !outcome.as_ref().is_err_and(ConversationError::is_canceled) {
                break;
            }
            outcome = match self.query(&format!("{BEGIN};{UNHURRIED}")).await {
                Ok(_) => self.run(sql, is_fresh).await,
                Err(error) => Err(error),
            };
            if self.status != b'I' {
                let end = if outcome.is_ok() { COMMIT } else { "ROLLBACK" };
                outcome = self.query(end).await.and(outcome);
            }
        }
        outcome
    }

    /// Runs statements that each stand alone, and leave the client's unnamed statement and portal alone: in one transaction, if
    /// there is none yet.
    pub(crate) async fn query_aside(&mut self, statements: &[Sql<'_>]) -> Result<Answer, ConversationError> {
        let mut own = OwnRequests::default();
        statements.iter().for_each(|sql| own.run_aside(sql));
        own.sync();
        self.converse(&own).await.map(last)
    }

    /// The same, of which the server reads every character as it was written. The answer is that of the last statement.
    pub(super) async fn query_aside_in_utf8(
        &mut self,
        mut statements: Vec<Sql<'_>>,
    ) -> Result<Answer, ConversationError> {
        if !self.misreads(&statements) {
            return self.query_aside(&statements).await;
        }
        let again = self.encoding_again();
        statements.insert(0, Sql::of(READABLE));
        statements.push(again);
        let mut answer = self.query_aside(&statements).await?;
        answer.rows.pop();
        Ok(answer)
    }

    /// Runs one statement with parameters and reads the first row of its result. `None`: does not run it, but says what its
    /// parameters and columns are.
    pub(crate) async fn ask(&mut self, sql: &str, values: Option<&[&str]>) -> Result<Answer, ConversationError> {
        let nonce = Nonce::new()?;
        let mut own = OwnRequests::default();
        match values {
            Some(values) => own.ask(sql, values, 1),
            None => own.describe(sql),
        }
        own.sync();
        own.run(&nonce.question());
        own.sync();
        nonce.check(self.converse(&own).await?)
    }

    /// Sends requests and reads all that is owed for them; gives an answer for each ReadyForQuery. The first error stands.
    pub(super) async fn converse(&mut self, own: &OwnRequests) -> Result<Vec<Answer>, ConversationError> {
        let mut conversation = Conversation::with_capacity(own.requests.len());
        own.requests.iter().for_each(|request| conversation.sent(*request, ()));
        self.send(&own.out).await?;
        let mut answers = vec![Answer::default()];
        let mut refused = None;
        let mut read = 0_usize;
        let mut chunk = Chunk::take();
        loop {
            while let Some(header) = Header::parse(chunk.bytes())? {
                let Some(frame) = chunk.bytes().get(..header.size) else {
                    chunk.make_room(header.size);
                    break;
                };
                let body = frame.get(crate::wire::frame::HEADER_SIZE..).unwrap_or_default();
                if header.tag == b'E' {
                    let fields = ErrorFields::parse(body);
                    if fields.is_fatal() {
                        return Err(refused.map_or(ConversationError::Refused(fields), ConversationError::Refused));
                    }
                    refused = refused.or(Some(fields));
                }
                match conversation.received(header.tag)? {
                    Received::Ready(()) => {
                        self.status = body.first().copied().unwrap_or(b'E');
                        answers.push(Answer::default());
                    }
                    Received::Unasked if header.tag == b'A' => self.asides.extend_from_slice(frame),
                    Received::Unasked if header.tag == b'S' => self.note_parameter(body),
                    Received::CopyIn => return Err(ProtocolViolation::Unexpected('G').into()),
                    Received::Failed(_) => {}
                    // They concern batches without Sync, which the gateway does not send.
                    Received::BatchFailed | Received::Doubtful | Received::Probed | Received::Skipped(()) => {
                        return Err(ProtocolViolation::Unexpected('E').into());
                    }
                    _ => {
                        if let Some(answer) = answers.last_mut() {
                            answer.read(header.tag, body);
                        }
                    }
                }
                chunk.consume(header.size);
                if header.tag == b'A' {
                    // It is no part of the answer.
                    read = read.saturating_sub(header.size);
                }
            }
            // A notification may follow at once.
            if conversation.is_idle() && chunk.is_empty() {
                answers.pop();
                return match refused {
                    Some(error) => Err(ConversationError::Refused(error)),
                    None => Ok(answers),
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
            if read > MAX_ANSWER || self.asides.len() > MAX_ASIDES {
                return Err(ConversationError::TooLarge);
            }
        }
    }
}

fn last(mut answers: Vec<Answer>) -> Answer {
    answers.pop().unwrap_or_default()
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
        answer.read(b'T', &[0, 0]);
        answer.read(b'D', b"\0\x01\0\0\0\x05alice");
        assert_eq!(answer.value(0), "alice");

        answer.read(b'T', &[0, 0]);

        assert_eq!(answer.value(0), "");
    }
}
