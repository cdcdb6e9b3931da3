//! Which grants may use the same server connections.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::AuthGrant;
use crate::config::{IdentityMode, Secret};

/// What a grant's server connections are, and whose: connections of one key may serve every grant with an equal key, and no
/// other. A database's name is not in it.
///
/// In it are the user, and the subject with its issuer; the mode; the account that logs in with its password, and the role
/// mapping that chose it; the role; the settings, in any order; whether the session only reads, by its own claims or as a
/// subject that the host does not name; whether it is guarded; and all claims where they are proven to databases, so that
/// each token then is by itself.
///
/// Not in it is what differs from one login to the next: times, the token with its name and fingerprint, groups, claims that
/// the host has asked for, and how many sessions there may be and how they hold connections. In mode
/// [`Passthrough`](IdentityMode::Passthrough) a connection has logged in with a token of the same subject, perhaps an earlier
/// one.
#[derive(Clone, PartialEq, Eq)]
pub struct PoolKey {
    user: String,
    issuer: Option<String>,
    subject: String,
    mode: IdentityMode,
    rule: Option<String>,
    account: Option<String>,
    password: Option<Secret>,
    role: Option<String>,
    settings: BTreeMap<String, String>,
    read_only: bool,
    provision_read_only: bool,
    guarded: bool,
    proven: Option<Arc<Map<String, Value>>>,
}

impl AuthGrant {
    /// The key of the pool whose connections this grant may use.
    pub fn pool_key(&self) -> PoolKey {
        PoolKey {
            user: self.user.clone(),
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            mode: self.mode,
            rule: self.account.as_ref().map(|account| account.rule().name.clone()),
            account: self.server_user.clone(),
            password: self.server_password.clone(),
            role: self.server_role.clone(),
            settings: self.settings.iter().cloned().collect(),
            read_only: self.read_only,
            provision_read_only: self.provision_read_only,
            guarded: self.guarded,
            proven: self.claims.clone(),
        }
    }
}

/// Without the password and the claims, which equal keys have in common anyway.
impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.user, &self.issuer, &self.subject, self.mode, &self.rule, &self.account, &self.role).hash(state);
        (&self.settings, self.read_only, self.provision_read_only, self.guarded).hash(state);
    }
}

/// Without values of settings and claims (S5).
impl fmt::Debug for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolKey")
            .field("user", &self.user)
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("mode", &self.mode)
            .field("account", &self.account)
            .field("role", &self.role)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
