//! Claims that are proven to the database: signed for one server connection, because the proof counts on no other.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::proof::{Bound, ProofPolicy};
use serde_json::{Map, Value};

use crate::config::{Config, Databases};

/// What a session proves. Two are the same when a proof of one is as good as a proof of the other.
#[derive(Debug, Clone)]
pub(crate) struct Proven {
    policy: Arc<ProofPolicy>,
    claims: Arc<Map<String, Value>>,
    /// The claims as text, which is quick to compare.
    text: Arc<str>,
    expires_at: SystemTime,
}

/// The server process that a proof is for, as PostgreSQL knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// When it began, in microseconds since 1970.
    pub(crate) start: i64,
}

impl Proven {
    /// What the bearer of a grant proves to a database; `None`: nothing.
    pub(super) fn of(config: &Config, database: &str, grant: &AuthGrant) -> Option<Self> {
        let serves = |databases: &Databases| match databases {
            Databases::All => true,
            Databases::Some(names) => names.iter().any(|name| name == database),
        };
        let proofs = config.jwt.as_ref().map(|jwt| jwt.proofs.as_slice())?;
        let proof = proofs.iter().find(|proof| serves(&proof.databases))?;
        let claims = grant.claims.clone()?;
        let text = Value::Object((*claims).clone()).to_string().into();
        Some(Self { policy: Arc::new(proof.policy.clone()), claims, text, expires_at: grant.expires_at })
    }

    /// A proof that counts on this connection alone, and until when.
    pub(super) fn prove(&self, role: &str, database: &str, process: Process) -> (String, SystemTime) {
        let expires_at = self.policy.expires_at(SystemTime::now(), self.expires_at);
        let Process { pid, start } = process;
        (self.policy.prove(&Bound { role, database, pid, start, expires_at }, &self.claims), expires_at)
    }

    /// Whether a proof that counts until then must be made again. No proof outlives the token.
    pub(super) fn is_spent(&self, until: SystemTime) -> bool {
        until < self.expires_at && until <= SystemTime::now()
    }

    /// What the database calls the key.
    pub(crate) fn key_id(&self) -> &str {
        self.policy.key.id()
    }

    fn key(&self) -> (&str, &str, SystemTime) {
        (&self.text, self.policy.key.id(), self.expires_at)
    }
}

impl PartialEq for Proven {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.policy == other.policy
    }
}

impl Eq for Proven {}

impl Hash for Proven {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
