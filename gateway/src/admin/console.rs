//! The conversation with an administrator's client: simple queries here, the extended protocol in `extended`.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use tokio::io::AsyncWriteExt;

use super::command::{self, Command, NotACommand};
use super::drivers::Who;
use super::extended::Statements;
use super::run::{self, Outcome};
use super::table::Formats;
use crate::app::state::App;
use crate::frontend::sessions::Registration;
use crate::net::read::{Incoming, ReadError, read_message};
use crate::wire::fields::Fields;
use crate::wire::{PgError, frame, message};

/// Largest message of an administrator, in bytes.
const MAX_MESSAGE: usize = 64 * 1024;

/// An administrator's session.
pub(crate) struct Console {
    pub(super) app: &'static App,
    stream: Incoming,
    pub(super) registration: Registration,
    pub(super) out: Vec<u8>,
    /// Transaction status, for drivers that begin one.
    pub(super) status: u8,
    pub(super) prepared: Statements,
    body: Vec<u8>,
}

/// The session is over.
pub(super) struct Left;

impl Console {
    pub(crate) fn new(app: &'static App, stream: Incoming, registration: Registration) -> Self {
        let prepared = Statements::default();
        Self { app, stream, registration, out: Vec::new(), status: b'I', prepared, body: Vec::new() }
    }

    /// Serves the client until it leaves or the process ends.
    pub(crate) async fn run(mut self, greeting: Vec<u8>) {
        self.out = greeting;
        while self.flush().await.is_ok() {
            let Ok(tag) = self.next().await else { break };
            let body = std::mem::take(&mut self.body);
            let done = self.message(tag, &body).await;
            self.body = body;
            if done.is_err() {
                break;
            }
        }
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }

    /// Sends what there is to say.
    async fn flush(&mut self) -> Result<(), Left> {
        let written = self.stream.write_all(&self.out).await;
        self.registration.meter.sent(self.out.len());
        self.out.clear();
        written.map_err(|_| Left)
    }

    /// The next message, or the end.
    async fn next(&mut self) -> Result<u8, Left> {
        match self.read().await {
            Some(Ok(tag)) => {
                self.registration.meter.received(self.body.len() + frame::HEADER_SIZE);
                Ok(tag)
            }
            Some(Err(ReadError::TooLarge { .. } | ReadError::Protocol(_))) => {
                PgError::fatal("08P01", "the message cannot be read").write(&mut self.out);
                Err(Left)
            }
            Some(Err(_)) => Err(Left),
            None => {
                PgError::fatal("57P01", "terminating connection due to administrator command").write(&mut self.out);
                Err(Left)
            }
        }
    }

    /// Reads into `body`; `None` when the session is told to end.
    async fn read(&mut self) -> Option<Result<u8, ReadError>> {
        let Self { stream, registration, body, .. } = self;
        let mut reading = pin!(read_message(stream, MAX_MESSAGE, body));
        poll_fn(|cx| {
            if let Some(signal) = registration.poll_signal(cx)
                && (signal.terminate || signal.drain)
            {
                return Poll::Ready(None);
            }
            reading.as_mut().poll(cx).map(Some)
        })
        .await
    }

    async fn message(&mut self, tag: u8, body: &[u8]) -> Result<(), Left> {
        match tag {
            b'X' => Err(Left),
            b'Q' if !self.prepared.is_skipping() => {
                let text = Fields(body).cstr().unwrap_or_default();
                self.query(&String::from_utf8_lossy(text)).await;
                message::ready_for_query(&mut self.out, self.status);
                Ok(())
            }
            b'P' | b'B' | b'D' | b'E' | b'C' | b'S' | b'H' | b'Q' => self.extended(tag, body).await,
            // Data of a COPY that nobody asked for.
            b'd' | b'c' | b'f' => Ok(()),
            _ => {
                PgError::fatal("08P01", "the admin database does not know this message").write(&mut self.out);
                Err(Left)
            }
        }
    }

    /// Runs the statements of a simple query, up to the first that fails.
    async fn query(&mut self, text: &str) {
        let statements = command::statements(text);
        if statements.iter().all(Vec::is_empty) {
            frame::push(&mut self.out, b'I', &[]);
            return;
        }
        for words in statements.iter().filter(|words| !words.is_empty()) {
            let command = match self.parse(words) {
                Ok(command) => command,
                Err(error) => return self.fail(&error),
            };
            match self.execute(&command).await {
                Ok(outcome) => {
                    if let Some(table) = &outcome.table {
                        table.describe(&Formats::default(), &mut self.out);
                    }
                    self.finish(&outcome, &Formats::default());
                }
                Err(error) => return self.fail(&error),
            }
        }
    }

    pub(super) fn parse(&self, words: &[command::Word]) -> Result<Command, PgError> {
        let about = &self.registration.meter.card().about;
        let who = Who { user: &about.user, database: &about.database, process: self.registration.process() };
        command::parse(words, &who).map_err(|NotACommand(reason)| {
            PgError::error("42601", reason).hint("SHOW HELP lists the commands of the admin database.")
        })
    }

    pub(super) async fn execute(&mut self, command: &Command) -> Result<Outcome, PgError> {
        self.registration.meter.query();
        run::run(self.app, &self.registration, command).await
    }

    /// Tells what came of a command: notices, rows, the tag.
    pub(super) fn finish(&mut self, outcome: &Outcome, formats: &Formats) {
        for notice in &outcome.notices {
            PgError::notice(notice.clone()).write(&mut self.out);
        }
        if let Some(table) = &outcome.table {
            table.write(formats, &mut self.out);
        }
        self.status = match outcome.tag.as_str() {
            "BEGIN" | "START TRANSACTION" => b'T',
            "COMMIT" | "ROLLBACK" => b'I',
            _ => self.status,
        };
        let start = frame::begin(&mut self.out, b'C');
        message::cstr(&mut self.out, outcome.tag.as_bytes());
        frame::end(&mut self.out, start);
    }

    pub(super) fn fail(&mut self, error: &PgError) {
        if self.status == b'T' {
            self.status = b'E';
        }
        error.write(&mut self.out);
    }
}
