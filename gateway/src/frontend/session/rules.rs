//! What a session may do, and how it uses servers.

use crate::app::state::Generation;
use crate::app::worker::Watch;
use crate::backend::cluster::Membership;
use crate::config::{Guard, PoolerMode, PreparedStatements, ReadWriteStrategy};
use crate::frontend::grant::Who;

/// What a request with a token may hold beyond it, in bytes.
const OWN_SLACK: usize = 64 * 1024;

/// What does not change during a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) mode: PoolerMode,
    pub(super) watch: Watch,
    /// The guard is on (S3).
    pub(super) guarded: bool,
    /// Statements are classified: for the guard, the routes, or the state that they leave on a pooled server.
    pub(super) reads_sql: bool,
    /// Prepared statements are renamed and follow the client.
    pub(super) follows_statements: bool,
    /// So are those of SQL `PREPARE`.
    pub(super) follows_sql: bool,
    /// Largest statement that is read, in bytes.
    pub(super) max_statement: usize,
    /// Largest request that may be about the session's token, in bytes; 0: there are no tokens.
    pub(super) max_own_request: usize,
    /// The first statement of a transaction says where it runs (`read_write_strategy = "aggressive"`).
    pub(super) first_statement_decides: bool,
    /// RESET ALL may touch variables that carry identity.
    pub(super) resets_touch_identity: bool,
    /// Functions of the client's own may run (`guard = "standard"`): what they did to the identity is not known.
    pub(super) verifies: bool,
}

impl Rules {
    pub(super) fn new(generation: &Generation, who: &Who, pools: &Membership) -> Self {
        let config = &generation.config;
        let mode = pools.mode;
        let watch = match (pools.spec.read_only, who.is_guarded()) {
            (true, _) => Watch::ReadOnly,
            (false, true) => Watch::Guarded,
            (false, false) => Watch::Open,
        };
        let guarded = watch != Watch::Open;
        Self {
            mode,
            watch,
            guarded,
            reads_sql: guarded || mode != PoolerMode::Session || pools.routes(),
            follows_statements: mode != PoolerMode::Session
                && config.general.prepared_statements != PreparedStatements::Disabled,
            follows_sql: mode != PoolerMode::Session && config.general.prepared_statements == PreparedStatements::Full,
            first_statement_decides: mode == PoolerMode::Transaction
                && pools.routes()
                && config.general.read_write_strategy == ReadWriteStrategy::Aggressive,
            resets_touch_identity: watch == Watch::ReadOnly || !generation.policy.protected.is_empty(),
            verifies: guarded && config.jwt.as_ref().is_some_and(|jwt| jwt.guard == Guard::Standard),
            max_own_request: config.jwt.as_ref().map_or(0, |jwt| jwt.core.max_token_size.saturating_add(OWN_SLACK)),
            max_statement: config.jwt.as_ref().map_or(16 << 20, |jwt| jwt.max_statement_size),
        }
    }

    /// Statements are classified also where they are recorded, or may set the name that a template makes.
    pub(super) fn reading(self, reads: bool) -> Self {
        Self { reads_sql: self.reads_sql || reads, ..self }
    }
}
