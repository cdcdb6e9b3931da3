//! When the server owes nothing: whether it is still the client's, and whether another may have it.

use std::time::Instant;

use tracing::warn;

use super::{End, Session};
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::NoServer;
use crate::backend::held;
use crate::backend::node::CancelOutcome;
use crate::backend::server::Server;
use crate::config::PoolerMode;
use crate::frontend::cancelling::Cancelling;
use crate::wire::{PgError, message};

impl Session {
    /// When the server owes nothing: confirms its identity where that is in doubt, gives it back where nothing keeps the
    /// session on it. `true`: it owes nothing.
    #[inline]
    pub(super) async fn settle(&mut self) -> Result<bool, End> {
        match self.settle_at_once() {
            Some(settled) => Ok(settled),
            // Boxed, as all that is rare: a session takes as much room as the most that it may wait for.
            None => Box::pin(self.settle_after_all()).await,
        }
    }

    /// The ordinary cases: nothing has to be asked of the server or done to it. `None`: there is more to it.
    #[inline]
    fn settle_at_once(&mut self) -> Option<bool> {
        let Some(server) = &self.server else { return Some(true) };
        // A request of which the server has only a part binds the session to it as an unanswered one does.
        if !self.is_quiet() || self.is_moving() {
            return Some(false);
        }
        if server.is_unproven() {
            return None;
        }
        let (idle, pinned) = (server.status() == b'I', self.pins.is_pinned());
        let stays = !idle || pinned || self.rules.mode == PoolerMode::Session;
        let is_settled = match (idle, stays) {
            (false, _) => self.rules.mode != PoolerMode::Statement,
            (true, true) => self.is_confirmed(server),
            (true, false) => server.is_clean() && server.identity_known() && !self.own_writes.are_due(),
        };
        let is_as_it_was = !self.forgetting.is_pending() && !self.changes_schema && !self.inquiries.are_due();
        let doubts_role = self.rules.verifies && server.status() != b'E';
        if !is_settled || !is_as_it_was || doubts_role {
            return None;
        }
        self.forget_requests();
        self.ran = false;
        let now = Instant::now();
        let seat = self.server.as_ref().and_then(|server| server.connection().seat.as_ref());
        self.registration.meter.quiet(now, seat, !idle, pinned);
        if !stays {
            self.release(now);
        }
        Some(true)
    }

    /// What is known of requests that are answered.
    #[inline]
    fn forget_requests(&mut self) {
        self.asked_at = None;
        if self.transaction_since.is_some() && !self.in_transaction() {
            self.transaction_since = None;
        }
        self.forget_held_cancel();
        self.names.settle();
        self.provided.clear();
    }

    /// The same when the server owes nothing, whatever there is to be done.
    pub(super) async fn settle_after_all(&mut self) -> Result<bool, End> {
        let settled = self.settle_thoroughly().await?;
        if std::mem::take(&mut self.is_ready_due) {
            self.flush_forward_into_out();
            let status = self.server.as_ref().map_or(b'I', |server| server.status());
            message::ready_for_query(&mut self.out, status);
        }
        Ok(settled)
    }

    async fn settle_thoroughly(&mut self) -> Result<bool, End> {
        if self.server.take_if(|server| server.is_unproven()).is_some() {
            // Nothing was asked of it, so it has not become the client's: nobody's, then (S4).
            self.registration.meter.lost();
            return Ok(true);
        }
        self.forget_requests();
        if let Some(cancelling) = &self.cancelling {
            // One that comes late would end what the gateway asks now, and the client's transaction with it.
            let over = Box::pin(cancelling.over());
            let outcome = self.while_waiting(over).await?;
            self.cancelling = None;
            if let Some(server) = &mut self.server {
                match outcome {
                    CancelOutcome::Over => server.mark_dirty(),
                    CancelOutcome::InDoubt => server.retire(),
                }
            }
        }
        if self.changes_schema {
            // For the session itself at once, for others when it is committed.
            held::schema_changed();
            self.changes_schema = self.server.as_ref().is_some_and(|server| server.status() != b'I');
        }
        let idle = self.server.as_ref().is_some_and(|server| server.status() == b'I');
        if self.forgetting.is_pending() {
            self.forget_what_is_due().await?;
        }
        let only_opens = std::mem::take(&mut self.only_opens);
        if std::mem::take(&mut self.ran)
            && self.rules.verifies
            && let Some(server) = &mut self.server
        {
            match server.status() {
                b'I' => server.doubt_role(),
                // No query may come between BEGIN and SET TRANSACTION; neither runs any code.
                b'T' if only_opens => {}
                b'T' => self.confirm_in_transaction().await?,
                // PostgreSQL runs nothing but the end of the transaction.
                _ => {}
            }
        }
        if self.is_ready_due && idle && self.server.as_ref().is_some_and(|server| !server.identity_known()) {
            self.confirm_again().await?;
        }
        if self.server.as_ref().is_some_and(Server::identity_known) {
            self.reset_to_startup().await?;
        }
        if idle {
            // Also of a server whose role is in doubt: what it has must be known before another client gets it.
            self.inquire().await?;
        }
        if self.rules.mode == PoolerMode::Statement && !idle {
            let text = "transaction blocks are not allowed when pooler_mode is \"statement\"";
            return Err(End::Fatal(PgError::fatal("0A000", text)));
        }
        let seat = self.server.as_ref().and_then(|server| server.connection().seat.as_ref());
        self.registration.meter.quiet(Instant::now(), seat, !idle, self.pins.is_pinned());
        if idle && self.rules.mode != PoolerMode::Session && !self.pins.is_pinned() {
            self.ask_position().await?;
            self.release(Instant::now());
        } else if idle && self.server.as_ref().is_some_and(|server| !self.is_confirmed(server)) {
            self.confirm_again().await?;
            // Where a barrier was what has reset them.
            self.reset_to_startup().await?;
        }
        Ok(true)
    }

    /// Whether a held server is still what the session needs.
    #[inline]
    fn is_confirmed(&self, server: &Server) -> bool {
        server.identity_known() && (self.rules.mode == PoolerMode::Session || server.has_settings(&self.settings))
    }

    pub(super) async fn confirm_again(&mut self) -> Result<(), End> {
        self.note_parameters();
        let Some(server) = self.server.take() else { return Ok(()) };
        let identity = self.pools.identity().clone();
        let settings = self.settings.clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let confirm = Box::pin(tokio::time::timeout(limit, server.confirm_again(&identity, &settings)));
        let confirmed = match self.while_waiting(confirm).await? {
            Ok(confirmed) => confirmed.map_err(CheckoutError::from),
            Err(_) => Err(CheckoutError::ConnectTimeout(limit)),
        };
        match confirmed {
            Ok(mut server) => {
                self.tell_asides(&mut server);
                self.server = Some(server);
                self.tell_parameters();
                Ok(())
            }
            Err(error) => {
                warn!(event = "identity", user = self.who.user(), reason = %error, "identity could not be confirmed");
                Err(End::Fatal(NoServer::Checkout(error).for_client()))
            }
        }
    }

    /// The same in the middle of a transaction, which goes on as the identity.
    async fn confirm_in_transaction(&mut self) -> Result<(), End> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let identity = self.pools.identity().clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let confirm = Box::pin(async {
            let outcome = tokio::time::timeout(limit, server.confirm_in_transaction(&identity)).await;
            (server, outcome)
        });
        let (mut server, outcome) = self.while_waiting(confirm).await?;
        self.tell_asides(&mut server);
        match outcome {
            Ok(Ok(())) => self.server = Some(server),
            Ok(Err(error)) => return Err(self.inquiry_failed(&error)),
            Err(late) => return Err(self.inquiry_failed(&late)),
        }
        Ok(())
    }

    /// Gives the server back: as it is, or by way of a cleaning that nobody waits for.
    #[inline]
    fn release(&mut self, now: Instant) {
        self.note_parameters();
        let Some(server) = self.server.take() else { return };
        self.registration.meter.release();
        self.conversation.shrink();
        match self.cancelling.take() {
            None if server.is_clean() => server.check_in_at(now),
            cancelling => self.clean(server, cancelling),
        }
    }

    pub(super) fn clean(&self, mut server: Server, cancelling: Option<Box<Cancelling>>) {
        let limit = self.generation.config.general.rollback_timeout;
        tokio::spawn(async move {
            if let Some(cancelling) = cancelling {
                // The server must not be another client's while a cancel request for it is on its way (S11).
                if cancelling.over().await == CancelOutcome::InDoubt {
                    return;
                }
                server.mark_dirty();
            }
            server.clean(limit).await;
        });
    }
}
