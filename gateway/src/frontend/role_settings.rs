//! A login's settings: those of the client, over those that the owner attached to its role.

use std::sync::Arc;
use std::time::Duration;

use pgdog_jwt_guard::{Account, Policy};
use tracing::warn;

use super::grant::Who;
use crate::app::state::Generation;
use crate::backend::cluster::Membership;
use crate::backend::conversation::ConversationError;
use crate::backend::identity::IdentityError;
use crate::backend::role_settings::{Known, RoleSettings, Why};
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::wire::Severity;

/// Whose settings a login has, and on which terms.
pub(super) struct Terms<'a> {
    pools: &'a Membership,
    /// Which variables nobody sets but the gateway.
    policy: &'a Policy,
    /// How long an answer is good.
    ttl: Duration,
}

impl<'a> Terms<'a> {
    /// `None`: the session is who logged in to PostgreSQL, which has applied what there is; or several subjects are the
    /// role, and what is attached to it may be the work of one of them.
    pub(super) fn new(pools: &'a Membership, generation: &'a Generation, who: &Who) -> Option<Self> {
        let jwt = generation.config.jwt.as_ref()?;
        pools.identity().role.as_ref()?;
        if who.account(&generation.config) == Account::Shared {
            return None;
        }
        let policy = generation.policies.base(pools.spec.read_only);
        Some(Self { pools, policy, ttl: jwt.role_settings_ttl })
    }

    fn role(&self) -> &str {
        self.pools.identity().role.as_deref().unwrap_or_default()
    }

    pub(super) fn known(&self) -> Known {
        self.pools.role_settings.look(self.role(), self.ttl)
    }

    pub(super) fn forget(&self) {
        self.pools.role_settings.forget_role(self.role());
    }

    /// Asks the server, whose connection has become the role, and remembers.
    pub(super) async fn ask(&self, server: &mut Server) -> Result<Arc<RoleSettings>, IdentityError> {
        let found = match server.settings_of_role(|name, value| self.is_guarded(name, value)).await {
            Ok(found) => found,
            Err(ConversationError::Refused(fields)) if !fields.is_fatal() => {
                // Whoever closed the catalogs to the role did not mean to close the database.
                warn!(
                    event = "role_settings",
                    role = self.role(),
                    code = fields.code,
                    "a role's settings are not known"
                );
                RoleSettings::default()
            }
            Err(error) => return Err(IdentityError::Lost(error)),
        };
        let found = Arc::new(found);
        for at in self.pools.role_settings.note(self.role(), &found, self.ttl) {
            let Some(left) = found.left_out.get(at) else { continue };
            warn!(
                event = "role_setting",
                role = self.role(),
                database = self.pools.key.database,
                setting = left.name,
                reason = left.why.reason(),
                "a setting of a role is left out"
            );
        }
        Ok(found)
    }

    /// The settings of a client that asks for `own`. What is remembered may be older than the guard's configuration.
    pub(super) fn settings(&self, own: &Settings, role: &RoleSettings) -> Settings {
        let mut below = role.settings.clone();
        for (name, value) in role.settings.iter() {
            if self.is_guarded(name, value) {
                below.remove(name);
            }
        }
        own.over(&below)
    }

    /// What the gateway's own configuration sets goes before, as what a client sets does.
    fn is_guarded(&self, name: &str, value: &str) -> bool {
        let mut parameters = self.pools.spec.pools.iter().flat_map(|pool| &pool.parameters);
        parameters.any(|(own, _)| own == name) || self.policy.refused_setting(name, value).is_some()
    }
}

/// Appends the warnings that PostgreSQL gives at a login, of values that it does not take.
pub(super) fn write_warnings(role: &RoleSettings, own: &Settings, out: &mut Vec<u8>) {
    for left in role.left_out.iter().filter(|left| own.get(&left.name).is_none()) {
        if let Why::Refused(fields) = &left.why {
            fields.clone().into_error(Severity::Warning).write(out);
        }
    }
}
