//! Requests of the gateway's own, as messages and as what a server owes for them.

use pgdog_jwt_protocol::Request;

use super::sql::Sql;
use crate::wire::message;

/// A session's default may be a level that a replica does not know, or one that waits for others (PostgreSQL documentation, SET
/// TRANSACTION).
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
pub(super) const COMMIT: &str = "COMMIT";

/// For the rest of the transaction: what a session allows its own statements is no limit for those of the gateway.
pub(super) const UNHURRIED: &str = "SET LOCAL statement_timeout TO 0";

const EXECUTE: Request = Request::Execute { may_copy: false };

/// The name of statements that leave the client's unnamed one alone. No client should have it.
const ASIDE: &[u8] = b"__pgdog_jwt_aside";

/// What is sent at once, and answered together.
pub(super) struct OwnRequests {
    pub(super) out: Vec<u8>,
    pub(super) requests: Vec<Request>,
    /// The name of its statements: none, or [`ASIDE`].
    name: &'static [u8],
    /// A statement of its own lies under the name.
    leaves_statement: bool,
}

impl Default for OwnRequests {
    fn default() -> Self {
        Self { out: Vec::with_capacity(1024), requests: Vec::with_capacity(64), name: b"", leaves_statement: false }
    }
}

impl OwnRequests {
    /// Outside of transactions, requests that leave the client's unnamed statement as it is.
    pub(super) fn aside() -> Self {
        // Whatever lies there.
        Self { name: ASIDE, leaves_statement: true, ..Self::default() }
    }

    /// A transaction begins. What a session allows its own statements is no limit for what is in it.
    pub(super) fn begin(&mut self) {
        self.run_text(BEGIN);
        self.run_text(UNHURRIED);
    }

    /// It ends.
    pub(super) fn commit(&mut self) {
        self.run_text(COMMIT);
        self.sync();
    }

    /// A simple query: a transaction of its own, where there is none.
    pub(super) fn query(&mut self, sql: &str) {
        message::query(&mut self.out, sql.as_bytes());
        self.requests.push(Request::Query { may_copy: false });
    }

    /// Prepares a statement and runs it. Its rows come without a description of them.
    pub(super) fn run(&mut self, sql: &Sql<'_>) {
        self.prepare(sql.text());
        self.bind(&sql.values());
        self.execute(0);
    }

    /// The same for a constant.
    pub(super) fn run_text(&mut self, sql: &str) {
        self.prepare(sql);
        self.bind(&[]);
        self.execute(0);
    }

    /// The same with a description, so that its rows are the answer, and those before are not.
    pub(super) fn ask(&mut self, text: &str, values: &[&str], rows: u32) {
        self.prepare(text);
        self.bind(values);
        message::describe_portal(&mut self.out);
        self.requests.push(Request::DescribePortal);
        self.execute(rows);
    }

    /// The same with all rows.
    pub(super) fn ask_sql(&mut self, sql: &Sql<'_>) {
        self.ask(sql.text(), &sql.values(), 0);
    }

    /// Prepares a statement and asks what it takes and gives.
    pub(super) fn describe(&mut self, sql: &str) {
        self.prepare(sql);
        message::describe_statement(&mut self.out, self.name);
        self.requests.push(Request::DescribeStatement);
    }

    /// More requests of the same kind, at another time.
    pub(super) fn like(other: &Self) -> Self {
        if other.name.is_empty() { Self::default() } else { Self::aside() }
    }

    fn prepare(&mut self, sql: &str) {
        if !self.name.is_empty() {
            // Unlike one without a name, it is not replaced.
            self.close_statement();
        }
        self.leaves_statement = true;
        message::parse(&mut self.out, self.name, sql.as_bytes(), &[0, 0]);
        self.requests.push(Request::Parse);
    }

    /// To the unnamed portal, which ends with the transaction.
    fn bind(&mut self, values: &[&str]) {
        message::bind(&mut self.out, b"", self.name, values.iter().copied());
        self.requests.push(Request::Bind);
    }

    fn execute(&mut self, rows: u32) {
        message::execute(&mut self.out, rows);
        self.requests.push(EXECUTE);
    }

    fn close_statement(&mut self) {
        if std::mem::take(&mut self.leaves_statement) {
            message::close_statement(&mut self.out, self.name);
            self.requests.push(Request::Close);
        }
    }

    /// Runs a statement that leaves the client's unnamed statement and portal as they are, also in a transaction.
    pub(super) fn run_aside(&mut self, sql: &Sql<'_>) {
        message::close_statement(&mut self.out, ASIDE);
        message::close_portal(&mut self.out, ASIDE);
        message::parse(&mut self.out, ASIDE, sql.text().as_bytes(), &[0, 0]);
        message::run(&mut self.out, ASIDE, &sql.values());
        message::close_statement(&mut self.out, ASIDE);
        let requests =
            [Request::Close, Request::Close, Request::Parse, Request::Bind, EXECUTE, Request::Close, Request::Close];
        self.requests.extend(requests);
    }

    /// The end of what PostgreSQL carries out as a whole. No statement stays that a client could bind.
    pub(super) fn sync(&mut self) {
        self.close_statement();
        message::sync(&mut self.out);
        self.requests.push(Request::Sync);
    }
}
