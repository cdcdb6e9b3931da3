//! The end of a session: what becomes of its server.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pgdog_jwt_protocol::Batch;
use tokio::io::AsyncWriteExt;
use tracing::debug;

use super::Session;
use super::turn::closed;
use crate::backend::node::CancelOutcome;
use crate::backend::server::Server;
use crate::config::PoolerMode;
use crate::net::buffer::Chunk;
use crate::wire::PgError;

/// How long a client that has said goodbye may take to read what it is still owed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of replies that are read for a client that is gone. PostgreSQL ends a statement as soon as it cannot send its rows;
/// this is more than the sockets between it and a client hold, so that no statement is cut off that would have finished.
const UNHEARD: usize = 16 << 20;

/// Between two cancel requests for a session that does nothing more.
const CANCEL_EVERY: Duration = Duration::from_millis(100);

/// How a client and its session part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parting {
    /// The client leaves, and may still hear its answers.
    Farewell,
    /// It was told why it is cut off. What it has sent is carried out, as PostgreSQL does for a client that leaves.
    CutOff,
    /// It was told that an administrator or `transaction_timeout` ends it: nothing more of what it has sent is carried out.
    Stop,
}

/// What became of the replies that a server owed.
enum Finished {
    All,
    /// One more request is answered, and others wait.
    One,
    /// More of them than anybody would have taken.
    TooMany,
    TooLate,
}

/// Who hears the last replies.
struct Audience {
    /// Requests that are not answered; `None`: however many there are.
    open: Option<usize>,
    /// Whether the client still takes them.
    listening: bool,
    /// Bytes that nobody took.
    unheard: usize,
}

impl Session {
    /// The end: the server finishes what it was asked, as PostgreSQL does for a client that leaves, or is told to stop; then it
    /// goes back.
    pub(super) async fn leave(mut self: Box<Self>, parting: Parting) {
        self.registration.ignore_cancel();
        let listening = parting == Parting::Farewell;
        if !listening {
            let _ = tokio::time::timeout(PATIENCE, self.client.shutdown()).await;
        }
        if let Some(server) = self.server.take() {
            self.leave_server(server, parting).await;
        }
        if listening && self.has_output() {
            let _ = tokio::time::timeout(PATIENCE, poll_fn(|cx| self.poll_client_write(cx))).await;
        }
        self.record_lost(self.conversation.iter(), "08006");
        if let Some(cancelling) = self.cancelling.take() {
            // The statement of a server that was given up: the gateway does not end before it was told.
            cancelling.over().await;
        }
    }

    /// Before a client hears that an administrator ends its session: what runs is told to stop, and what was sent behind it is not
    /// run. A server reads what has arrived before it sees that a connection has been closed, unless that was reset.
    pub(super) async fn halt(&mut self) {
        // What the reactor has not seen yet would be lost with the connection.
        tokio::task::yield_now().await;
        self.take_what_has_come();
        if self.is_quiet() && !self.is_moving() {
            return;
        }
        let is_one =
            self.conversation.open() <= 1 && self.conversation.batch() == Batch::None && self.requests.is_empty();
        self.cancel();
        if !is_one && let Some(server) = self.server.take() {
            // Closed here, before the cancel request is on its way: another request would begin as soon as that has come.
            server.connection().reset_when_closed();
        }
        if let Some(cancelling) = &self.cancelling {
            let limit = self.generation.config.general.rollback_timeout;
            let over = tokio::time::timeout(limit, cancelling.over()).await;
            if over != Ok(CancelOutcome::Over) {
                // It may have finished in that time.
                self.take_what_has_come();
            }
        }
    }

    /// Takes the answers that have arrived, without waiting for more: the client is told what was done.
    fn take_what_has_come(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        while self.server.is_some() && self.out.len() < UNHEARD {
            self.flush_forward_into_out();
            if !matches!(self.poll_server_read(&mut cx), Poll::Ready(Ok(()))) {
                break;
            }
        }
        self.flush_forward_into_out();
    }

    async fn leave_server(&mut self, mut server: Server, parting: Parting) {
        // What the last statements left was not asked for any more: nobody knows what the server has.
        let unsettled = (self.ran && self.rules.verifies) || self.awaits_inquiry();
        if self.rules.mode == PoolerMode::Session || self.pins.is_pinned() || unsettled {
            server.mark_dirty();
        }
        if self.is_quiet() && !self.is_moving() {
            let cancelling = self.cancelling.take();
            self.clean(server, cancelling);
            return;
        }
        if self.conversation.is_copying_in() || self.conversation.batch() != Batch::None || self.passing > 0 {
            // Half a request cannot be finished: closing the connection makes PostgreSQL forget it.
            return;
        }
        if parting == Parting::Stop {
            self.server = Some(server);
            self.stop().await;
            return;
        }
        self.server = Some(server);
        let mut audience = Audience { open: None, listening: parting == Parting::Farewell, unheard: 0 };
        let mut finished = self.finish(&mut audience).await;
        if self.server.as_ref().is_some_and(Server::has_refused) {
            // It has finished nothing yet. Without another, the client hears why.
            let resent = self.resend().await.is_ok();
            if !resent || self.server.is_none() {
                return;
            }
            finished = self.finish(&mut audience).await;
        }
        match finished {
            Ok(Finished::All) => {
                if let Some(server) = self.server.take() {
                    let cancelling = self.cancelling.take();
                    self.clean(server, cancelling);
                }
            }
            Err(error) => debug!(%error, "a server was lost after its client"),
            Ok(Finished::One | Finished::TooMany | Finished::TooLate) => {
                self.halt().await;
            }
        }
    }

    /// Lets the server finish what it owes, for as long as it may take.
    async fn finish(&mut self, audience: &mut Audience) -> Result<Finished, Box<PgError>> {
        let limit = self.generation.config.general.rollback_timeout;
        let finishing = poll_fn(|cx| self.poll_finish(cx, audience));
        tokio::time::timeout(limit, finishing).await.unwrap_or(Ok(Finished::TooLate))
    }

    /// Cancels what the server was asked until it owes nothing; the connection is closed when that takes too long.
    async fn stop(&mut self) {
        let limit = self.generation.config.general.rollback_timeout;
        let stopped = tokio::time::timeout(limit, self.stop_all()).await.unwrap_or(false);
        let (Some(server), cancelling) = (self.server.take(), self.cancelling.take()) else { return };
        if stopped {
            self.clean(server, cancelling);
        } else if let Some(cancelling) = cancelling {
            let _ = tokio::time::timeout(limit, cancelling.over()).await;
        }
    }

    /// Whether the server owes nothing any more.
    async fn stop_all(&mut self) -> bool {
        loop {
            self.cancel();
            let mut audience = Audience { open: Some(self.conversation.open()), listening: false, unheard: 0 };
            let finishing = poll_fn(|cx| self.poll_finish(cx, &mut audience));
            match tokio::time::timeout(CANCEL_EVERY, finishing).await {
                // One that it has not heard, or that was for the request before.
                Err(_) | Ok(Ok(Finished::One)) => {}
                Ok(finished) => return matches!(finished, Ok(Finished::All)),
            }
        }
    }

    /// Reads what the server still owes, for the client while it listens.
    fn poll_finish(&mut self, cx: &mut Context<'_>, audience: &mut Audience) -> Poll<Result<Finished, Box<PgError>>> {
        loop {
            if let Poll::Ready(Err(_)) = self.poll_server_write(cx) {
                return Poll::Ready(Err(Box::new(closed())));
            }
            if audience.listening {
                audience.listening = ready!(self.poll_client_write(cx)).is_ok();
            }
            if !audience.listening {
                audience.unheard += self.out.len() + self.forward.len();
                self.out.clear();
                self.out_at = 0;
                self.forward = Chunk::default();
            }
            if self.is_quiet() && !self.is_moving() {
                return Poll::Ready(Ok(Finished::All));
            }
            if self.conversation.is_copying_in()
                || (self.conversation.is_empty() && self.conversation.batch() != Batch::None)
            {
                // Nobody will send its data, or the Sync that the rest waits for.
                return Poll::Ready(Err(Box::new(closed())));
            }
            if audience.open.is_some_and(|open| self.conversation.open() < open) {
                return Poll::Ready(Ok(Finished::One));
            }
            if audience.unheard > UNHEARD {
                return Poll::Ready(Ok(Finished::TooMany));
            }
            ready!(self.poll_server_read(cx))?;
        }
    }
}
