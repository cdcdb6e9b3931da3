//! The second opinion on a role that a connection refuses. A server process that works out its memberships while another
//! grant is committed can keep the list that it began with, and then refuses a role that its account was given, until
//! memberships change the next time. A connection that is made after the refusal cannot have such a list: where logins make
//! roles it is asked, in the place of the one that refused.
//!
//! Who is refused for good gains nothing by it: the connection that is asked is one, it takes the other's place in pool and
//! budget, and what it says counts for a while.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkout_error::CheckoutError;
use super::identity::{Identity, IdentityError, Unconfirmed};
use super::server::Server;
use super::settings::Settings;
use crate::wire::ErrorFields;

/// `insufficient_privilege` (PostgreSQL documentation, appendix A): the account may not become the role.
const NOT_A_MEMBER: &str = "42501";

/// How long it is certain that a role is refused which a new connection has refused.
const CERTAIN_FOR: Duration = Duration::from_secs(1);

/// Refusals of one pool that are in doubt, or were a short while ago.
#[derive(Default)]
pub(super) struct Doubts(Vec<Doubt>);

struct Doubt {
    role: String,
    at: Instant,
    /// A new connection has refused the role as well.
    is_refused: bool,
}

impl Doubts {
    /// Whether a new connection may be asked about the role: not about one that another new one has just refused, and not
    /// more often at a time than the pool has connections (`most`).
    fn begin(&mut self, role: &str, most: usize, now: Instant) -> bool {
        self.0.retain(|doubt| now.saturating_duration_since(doubt.at) < CERTAIN_FOR);
        let is_certain = self.0.iter().any(|doubt| doubt.is_refused && doubt.role == role);
        if is_certain || self.0.len() >= most {
            return false;
        }
        self.0.push(Doubt { role: role.to_owned(), at: now, is_refused: false });
        true
    }

    /// What came of it.
    fn end(&mut self, role: &str, is_refused: bool, now: Instant) {
        if let Some(at) = self.0.iter().position(|doubt| !doubt.is_refused && doubt.role == role) {
            self.0.swap_remove(at);
        }
        if is_refused {
            self.0.push(Doubt { role: role.to_owned(), at: now, is_refused });
        }
    }
}

impl Unconfirmed {
    /// Whether the refusal of a take-over may come from memberships that are no longer so, and a new connection may be
    /// asked, which [`Self::ask_another`] must do then.
    pub(super) fn may_ask_another(&self, identity: &Identity, refusal: &ErrorFields) -> bool {
        let pool = self.slot.pool();
        let is_doubtful = pool.spec.makes_roles && !self.connection.is_new && refusal.code == NOT_A_MEMBER;
        let role = identity.role.as_deref().filter(|_| is_doubtful);
        role.is_some_and(|role| pool.doubts.lock().begin(role, pool.spec.size, Instant::now()))
    }

    /// Ends the connection and makes another in its place, which becomes the identity or refuses it for good. A take-over
    /// leaves nothing of a session on a connection, so none misses the old one. Boxed: it is rare.
    pub(super) fn ask_another<'a>(
        self: Box<Self>,
        refusal: ErrorFields,
        identity: &'a Arc<Identity>,
        settings: &'a Arc<Settings>,
    ) -> Pin<Box<dyn Future<Output = Result<Server, IdentityError>> + Send + 'a>> {
        Box::pin(async move {
            let pool = self.slot.pool().clone();
            let role = identity.role.as_deref().unwrap_or_default();
            let outcome = match self.replaced().await {
                Ok(server) => server.confirm(identity, settings).await,
                Err(error) => {
                    tracing::warn!(event = "identity", role, reason = %error, "no second opinion on a refused role");
                    Err(IdentityError::Refused(refusal))
                }
            };
            let is_refused = matches!(outcome, Err(IdentityError::Refused(_)));
            pool.doubts.lock().end(role, is_refused, Instant::now());
            if outcome.is_ok() {
                tracing::info!(event = "identity", role, "a server connection went by memberships of a moment ago");
            }
            outcome
        })
    }

    /// Another connection with this one's right to be there.
    async fn replaced(self: Box<Self>) -> Result<Box<Self>, CheckoutError> {
        let Self { mut connection, slot, .. } = *self;
        slot.end(&mut connection).await;
        drop(connection);
        let pool = slot.pool().clone();
        let deadline = Instant::now().checked_add(pool.spec.limits.connect_timeout);
        pool.connect(slot, deadline, false).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_connection_has_refused_is_certain_for_a_while() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        assert!(doubts.begin("a", 2, now));
        doubts.end("a", true, now);

        assert!(!doubts.begin("a", 2, now));
        assert!(doubts.begin("b", 2, now), "another role is another question");
        assert!(doubts.begin("a", 2, now + CERTAIN_FOR));
    }

    #[test]
    fn what_a_new_connection_grants_makes_no_role_certain() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        for _ in 0..10 {
            assert!(doubts.begin("a", 1, now));
            doubts.end("a", false, now);
        }
    }

    #[test]
    fn a_pool_asks_no_more_often_than_it_has_connections() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        for role in ["a", "b", "c"] {
            assert!(doubts.begin(role, 3, now));
        }
        assert!(!doubts.begin("d", 3, now), "while three are in doubt");
        for role in ["a", "b", "c"] {
            doubts.end(role, true, now);
        }

        assert!(!doubts.begin("d", 3, now), "while three are certain");
        assert!(doubts.begin("d", 3, now + CERTAIN_FOR));
        assert!(doubts.0.len() == 1, "what is over takes no room");
    }
}
