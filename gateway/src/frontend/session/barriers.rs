//! DISCARD ALL and RESET ALL: statements behind which the identity must be confirmed before anything else is sent.

use super::{End, Session};
use crate::backend::statements::Statement;
use crate::router::{Class, Effects};
use crate::wire::frame::HEADER_SIZE;

/// Names for DISCARD ALL that one client may keep where names are the server's own.
const MAX_BARRIER_NAMES: usize = 16;

impl Session {
    /// Whether the identity must be confirmed after a statement, before anything else is sent.
    pub(super) fn is_barrier_class(&self, class: Class) -> bool {
        class.effects.intersects(Effects::DISCARD_ALL)
            || (self.rules.resets_touch_identity && class.effects.intersects(Effects::RESETS_ALL))
    }

    /// After RESET ALL in an open transaction: the variables that carry identity have their values again before anything else
    /// is sent. A rollback leads to the same values.
    pub(super) async fn keep_variables(&mut self) -> Result<(), End> {
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let identity = self.pools.identity().clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let keep = Box::pin(async {
            let outcome = tokio::time::timeout(limit, server.keep_variables(&identity)).await;
            (server, outcome)
        });
        let (mut server, outcome) = self.while_waiting(keep).await?;
        self.tell_asides(&mut server);
        match outcome {
            Ok(Ok(())) => self.server = Some(server),
            Ok(Err(error)) => return Err(self.inquiry_failed(&error)),
            Err(late) => return Err(self.inquiry_failed(&late)),
        }
        Ok(())
    }

    /// Whether the identity must be confirmed after the statement with this name, and if so, whether it takes the
    /// session's statements and settings with it.
    pub(super) fn barrier_of(&self, name: &[u8], statement: Option<&Statement>) -> Option<bool> {
        if !self.rules.follows_statements {
            return self.barrier_names.iter().any(|known| **known == *name).then_some(true);
        }
        let class = match statement {
            Some(statement) => statement.class,
            None if name.is_empty() => self.unnamed_class(),
            None => return None,
        };
        self.is_barrier_class(class).then(|| class.effects.intersects(Effects::DISCARD_ALL))
    }

    /// Where names are the server's own: remembers which of them are DISCARD ALL. Gives the name that is none any more
    /// when the Parse succeeds; `None` when there are too many.
    pub(super) fn note_barrier_name(&mut self, class: Class, name_size: usize) -> Option<Option<Box<[u8]>>> {
        let name = self.input.bytes().get(HEADER_SIZE..HEADER_SIZE + name_size).unwrap_or_default();
        let is_known = self.barrier_names.iter().any(|known| **known == *name);
        let name: Box<[u8]> = if is_known || self.is_barrier_class(class) { name.into() } else { return Some(None) };
        match (self.is_barrier_class(class), is_known) {
            (true, false) if self.barrier_names.len() >= MAX_BARRIER_NAMES => None,
            (true, false) => {
                self.barrier_names.push(name);
                Some(None)
            }
            (true, true) => Some(None),
            (false, _) => Some(Some(name)),
        }
    }
}
