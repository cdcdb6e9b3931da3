//! Requests whose server would not become the client's: PostgreSQL has run none of them, and they go to another, which becomes
//! it beforehand.

use pgdog_jwt_guard::Access;
use tracing::{debug, warn};

use super::checkout::canceled;
use super::turn::closed;
use super::{End, Session};
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::NoServer;
use crate::backend::identity::IdentityError;
use crate::backend::node::CancelOutcome;
use crate::wire::{PgError, Severity};

/// `query_canceled`: by a time limit or a cancel request.
const CANCELED: &str = "57014";

impl Session {
    /// Sends them again, or answers them with the reason why not.
    pub(super) async fn resend(&mut self) -> Result<(), End> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        self.registration.meter.release();
        let pool = server.pool().clone();
        let limit = pool.spec.limits.connect_timeout;
        let cancelling = self.cancelling.take();
        let is_canceled = cancelling.is_some();
        let unsent = Box::pin(async move {
            if let Some(cancelling) = cancelling {
                // The server must not be another client's while a cancel request for it is on its way (S11).
                if cancelling.over().await == CancelOutcome::InDoubt {
                    server.retire();
                }
            }
            tokio::time::timeout(limit, server.into_unsent()).await
        });
        let Ok(Ok(unsent)) = self.while_waiting(unsent).await? else {
            return self.answer_owed(closed(), false);
        };
        if is_canceled {
            return self.answer_owed(canceled(), false);
        }
        // A subject that is refused each time waits for each refusal only once.
        self.pipelines &= unsent.may_repeat;
        debug!(user = self.who.user(), "a server would not become the client's in one step");
        let access = if pool.node.is_replica() { Access::Read } else { Access::Write };
        let pipelines = std::mem::take(&mut self.pipelines);
        let found = self.find_server(access).await;
        self.pipelines = pipelines;
        let mut server = match found? {
            Ok(server) => server,
            Err(error) => return self.answer_owed(error, false),
        };
        let prepare = Box::pin(async {
            let requests = tokio::time::timeout(limit, server.take_on(unsent)).await;
            (server, requests)
        });
        let (server, requests) = self.while_waiting(prepare).await?;
        self.hold(server);
        match requests {
            Ok(Ok(mut requests)) => {
                requests.extend_from_slice(self.requests.get(self.requests_at as usize..).unwrap_or_default());
                (self.requests, self.requests_at) = (requests, 0);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => self.server_lost(closed()),
        }
    }

    /// The error for a server that ended, or has said that it is not the client's.
    #[cold]
    pub(super) fn not_proven(&mut self) -> PgError {
        match self.server.as_mut().and_then(|server| server.mismatch()) {
            None => closed(),
            // It was cut short, and nothing was run.
            Some(IdentityError::Refused(fields)) if fields.code == CANCELED => fields.into_error(Severity::Error),
            Some(error) => {
                warn!(event = "identity", user = self.who.user(), reason = %error, "identity could not be confirmed");
                NoServer::Checkout(CheckoutError::from(error)).for_client()
            }
        }
    }
}
