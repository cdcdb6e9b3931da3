//! `[jwt.claims]`.

use crate::reader::key::{Key, Setting, key, setting};
use crate::reader::kinds::{Count, Filled, Strings};

crate::keys! {
    /// Claims that say what a session may do. Each key names a claim, by exact name or path.
    pub(in crate::reader) static CLAIMS: Table = "[jwt.claims]" {
        /// A boolean: the session only reads, from replicas.
        READ_ONLY: Key<Filled> = key("read_only", Filled);
        /// A database or a list of them: the only ones that the token opens.
        DATABASE: Key<Filled> = key("database", Filled);
        /// A whole number from 0 on.
        PERMISSION_LEVEL: Key<Filled> = key("permission_level", Filled);
        /// What the levels mean, from 0 on: "refuse", "read_only", "read_write", or "role:" and a role.
        PERMISSION_LEVELS: Setting<Strings> =
            setting("permission_levels", Strings, &["refuse", "read_only", "read_write", "read_write"]);
        /// "transaction", "session" or "statement", for this session.
        POOL_MODE: Key<Filled> = key("pool_mode", Filled).by_host();
        /// Which of them a token may choose.
        POOL_MODES: Key<Strings> = key("pool_modes", Strings).or("all three").by_host();
        /// Most sessions that the user may have on the database at a time.
        MAX_CONNECTIONS: Key<Filled> = key("max_connections", Filled).by_host();
        /// Most of them whatever the token says.
        MAX_CONNECTIONS_CEILING: Key<Count> =
            key("max_connections_ceiling", Count::from(1)).or("no limit").by_host();
    }
}
