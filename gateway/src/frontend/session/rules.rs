//! What a session may do, and how it uses servers.

use pgdog_jwt_guard::Watch;

use crate::app::state::Generation;
use crate::backend::cluster::Membership;
use crate::config::{Guard, PoolerMode, PreparedStatements, ReadWriteStrategy, ServerCleaning};
use crate::frontend::grant::Who;

/// What a request with a token may hold beyond it, in bytes.
const OWN_SLACK: usize = 64 * 1024;

/// What does not change during a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) mode: PoolerMode,
    pub(super) watch: Watch,
    /// The guard is on: for the identity (S3), or for an account that others have too.
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
    /// Servers are cleaned where code has run that is not PostgreSQL's own.
    pub(super) notes_foreign: bool,
}

impl Rules {
    pub(super) fn new(generation: &Generation, who: &Who, pools: &Membership) -> Self {
        let config = &generation.config;
        let mode = pools.mode;
        let watch = who.watch(config, pools.spec.read_only);
        let guarded = watch.is_guarded();
        Self {
            mode,
            watch,
            guarded,
            reads_sql: watch.may_refuse() || mode != PoolerMode::Session || pools.routes(),
            follows_statements: mode != PoolerMode::Session
                && config.general.prepared_statements != PreparedStatements::Disabled,
            follows_sql: mode != PoolerMode::Session && config.general.prepared_statements == PreparedStatements::Full,
            first_statement_decides: mode == PoolerMode::Transaction
                && pools.routes()
                && config.general.read_write_strategy == ReadWriteStrategy::Aggressive,
            resets_touch_identity: !generation.policies.base(watch.read_only).protected.is_empty(),
            verifies: (watch.identity || watch.read_only)
                && config.jwt.as_ref().is_some_and(|jwt| jwt.guard == Guard::Standard),
            notes_foreign: mode != PoolerMode::Session && config.general.server_cleaning == ServerCleaning::WhenNeeded,
            max_own_request: config.jwt.as_ref().map_or(0, |jwt| jwt.core.max_token_size.saturating_add(OWN_SLACK)),
            max_statement: config.jwt.as_ref().map_or(16 << 20, |jwt| jwt.max_statement_size),
        }
    }

    /// Whether a session with these rules may go on under others, while it has no server and owes nothing: what it may do is the
    /// same, and what it has can be kept. `has_statements`: it has prepared some.
    pub(super) fn may_become(&self, new: &Self, has_statements: bool) -> bool {
        let same_rights = self.watch == new.watch
            && self.guarded == new.guarded
            && self.verifies == new.verifies
            && self.resets_touch_identity == new.resets_touch_identity;
        // A server of its own would not have them, nor one that does not follow them; and what was not read is not known.
        let same_statements = self.follows_statements == new.follows_statements
            && self.follows_sql == new.follows_sql
            && self.reads_sql == new.reads_sql;
        same_rights && (same_statements || !has_statements)
    }

    /// Statements are classified also where they are recorded, or may set the name that a template makes.
    pub(super) fn reading(self, reads: bool) -> Self {
        Self { reads_sql: self.reads_sql || reads, ..self }
    }
}
