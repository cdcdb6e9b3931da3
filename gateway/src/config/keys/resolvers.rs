//! `[[resolvers]]`.

use pgdog_jwt::reader::{Filled, Flag, Key, Setting, Special, Strings, Time, Word, key, setting};

use crate::config::resolvers::OnNull;

/// In seconds.
const DAY: i64 = 24 * 60 * 60;

pgdog_jwt::keys! {
    /// A query that derives variables when a session begins.
    pub(in crate::config) static RESOLVERS: List = "[[resolvers]]" {
        /// For depends_on and the log.
        NAME: Key<Filled> = key("name", Filled).or("required");
        /// One statement, with $1, $2, ….
        QUERY: Key<Filled> = key("query", Filled).or("required");
        /// Their values: claim:(claim), var:(variable), user or database.
        PARAMS: Key<Strings> = key("params", Strings);
        /// Variables, and the column that each gets its value from.
        INJECT: Key<Special> = key("inject", Special { type_name: "table", schema: super::columns });
        /// Whether a login without a row, with a NULL among the inputs or with a query that fails ends.
        REQUIRED: Setting<Flag> = setting("required", Flag, false);
        /// Resolvers that run before.
        DEPENDS_ON: Key<Strings> = key("depends_on", Strings);
        /// How long a result is used again.
        CACHE_TTL: Setting<Time> = setting("cache_ttl", Time::seconds(0, DAY), 0);
        /// What becomes of NULL, as an input or as a column: an empty variable, or the end of the login.
        ON_NULL: Setting<Word<OnNull>> = setting("on_null", Word::ANY, OnNull::Unset);
        /// The databases whose sessions it is for.
        DATABASES: Key<Strings> = key("databases", Strings).or("all");
    }
}
