//! Reading one's own writes (`read_your_writes`): after the session has written, PostgreSQL is asked how far its
//! write-ahead log goes, and the session's reads go only to replicas that have replayed as much.

use pgdog_jwt_guard::Access;

use super::{End, Session};
use crate::backend::choose::Need;

/// What a session remembers of its writes. A position is a `pg_lsn` as a number.
#[derive(Debug)]
pub(super) struct OwnWrites {
    on: bool,
    /// The session may have written something since its position was asked for.
    wrote: bool,
    /// What replicas must have replayed; 0: nothing.
    position: u64,
}

impl OwnWrites {
    pub(super) fn new(on: bool) -> Self {
        Self { on, wrote: false, position: 0 }
    }

    /// A server is needed for a request of this kind.
    #[inline]
    pub(super) fn note(&mut self, access: Access) {
        if self.on && access != Access::Read {
            self.wrote = true;
        }
    }

    /// Whether a position has to be asked for.
    #[inline]
    pub(super) fn are_due(&self) -> bool {
        self.wrote
    }
}

impl Session {
    /// What a server must be for the next request.
    #[inline]
    pub(super) fn need(&self, access: Access) -> Need {
        let patience = self.generation.config.general.read_your_writes_timeout;
        // What comes before the request is sent by itself: a BEGIN that was held back, statements of SQL PREPARE.
        let may_pipeline = self.pipelines && self.begun.is_none();
        Need { access, position: self.own_writes.position, patience, may_pipeline }
    }

    /// Asks an idle server, before it is given back, how far the session's writes go. When it cannot say, only the primary
    /// serves the session from now on.
    pub(super) async fn ask_position(&mut self) -> Result<(), End> {
        if !std::mem::take(&mut self.own_writes.wrote) {
            return Ok(());
        }
        // Nothing can have been written on a replica.
        let Some(mut server) = self.server.take_if(|server| !server.pool().node.is_replica()) else { return Ok(()) };
        let limit = server.pool().spec.limits.connect_timeout;
        let ask = Box::pin(async {
            let position = tokio::time::timeout(limit, server.written()).await;
            (server, position)
        });
        let (mut server, position) = self.while_waiting(ask).await?;
        self.tell_asides(&mut server);
        self.own_writes.position = match &position {
            Ok(Ok(Some(position))) => *position,
            _ => u64::MAX,
        };
        match position {
            Ok(Ok(_)) => self.server = Some(server),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    event = "server_lost",
                    user = self.who.user(),
                    "a server did not say how far it has written"
                );
                self.registration.meter.lost();
            }
        }
        Ok(())
    }
}
