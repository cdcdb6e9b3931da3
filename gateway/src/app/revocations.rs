//! Revocations and the sessions that are there: when the list changes, by a command or by its file, the sessions that it
//! concerns end.

use std::sync::Arc;
use std::time::Duration;

use pgdog_jwt::revocation::{Revocation, Revocations, RevokeError};

use super::state::{App, NoTokens};
use crate::frontend::sessions;

/// How soon a list that a reload has put in place of another is noticed.
const LOOK: Duration = Duration::from_secs(1);

impl App {
    /// The list that holds; `None` while tokens are not accepted.
    pub(crate) fn revocations(&self) -> Option<Arc<Revocations>> {
        self.state().authenticator.as_ref().map(|authenticator| Arc::clone(authenticator.revocations()))
    }

    /// Revokes, and ends the sessions that this concerns; how many there were. May wait for the disk.
    pub(crate) fn revoke(&self, revocation: Revocation) -> Result<(Result<u64, RevokeError>, usize), NoTokens> {
        // A reload in this moment could make its list from one that does not have the entry yet.
        let _alone = self.alone();
        let list = self.revocations().ok_or(NoTokens)?;
        let outcome = list.revoke(revocation);
        Ok((outcome, end_sessions(&list)))
    }

    /// Ends the revocation with this number. May wait for the disk.
    pub(crate) fn withdraw(&self, number: u64) -> Result<Result<(), RevokeError>, NoTokens> {
        let _alone = self.alone();
        Ok(self.revocations().ok_or(NoTokens)?.withdraw(number))
    }
}

/// Ends the sessions whose tokens are revoked.
fn end_sessions(list: &Revocations) -> usize {
    sessions::end_revoked(|token| list.check(&token.identity()).is_err())
}

/// How soon is looked again after a command.
const BUSY: Duration = Duration::from_millis(10);

/// Looks at the sessions whenever the list has changed.
pub(super) async fn run(app: &'static App) {
    let mut seen: Option<(Arc<Revocations>, u64)> = None;
    loop {
        let Some(list) = app.revocations() else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let mut changes = list.changes();
        let version = *changes.borrow_and_update();
        if !seen.as_ref().is_some_and(|(known, at)| Arc::ptr_eq(known, &list) && *at == version) {
            let Some(_alone) = app.try_alone() else {
                // A command ends them itself, and tells how many there were.
                tokio::time::sleep(BUSY).await;
                continue;
            };
            end_sessions(&list);
        }
        seen = Some((list, version));
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
    }
}
