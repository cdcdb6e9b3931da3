//! Settings that came with the role and that PostgreSQL does not take any more: what they name was dropped, say. A session
//! of its own would go on, as what it has is not looked at again; so this one goes on without.

use std::sync::Arc;

use super::checkout::check_out;
use super::{End, Session};
use crate::backend::choose::Need;
use crate::backend::role_settings::Why;
use crate::backend::settings::Settings;
use crate::wire::Severity;

impl Session {
    /// Finds out which those are, and tells the client. `false` when there is nothing that the session could go without.
    pub(super) async fn forgo_refused(&mut self, need: Need) -> Result<bool, End> {
        let Some(attached) = self.attached.clone() else { return Ok(false) };
        let (pools, wish) = (self.pools.clone(), self.pools.wish.clone());
        let own = Arc::new(self.settings.without(&attached));
        let need = Need { may_pipeline: false, ..need };
        let ask = Box::pin(async {
            let mut server = check_out(&pools, need, &wish, &own).await.ok()?;
            let limit = server.pool().spec.limits.connect_timeout;
            let refused = tokio::time::timeout(limit, server.refused(&attached)).await.ok()?.ok()?;
            server.check_in();
            Some(refused)
        });
        let Some(refused) = self.while_waiting(ask).await? else { return Ok(false) };
        let mut gone = Settings::default();
        for left in &refused {
            if let Some(value) = self.attached.as_mut().and_then(|attached| attached.remove(&left.name)) {
                gone.set(&left.name, &value);
            }
        }
        self.settings = Arc::new(self.settings.without(&gone));
        self.startup = Arc::new(self.startup.without(&gone));
        for left in &refused {
            if let Why::Refused(fields) = &left.why {
                self.flush_forward_into_out();
                fields.clone().into_error(Severity::Warning).write(&mut self.out);
            }
        }
        Ok(!refused.is_empty())
    }
}
