//! `[tenants]`.

use pgdog_jwt::reader::{Count, Filled, Flag, Key, NO_LIMIT, Setting, Special, Strings, Time, key, setting};

/// Most new connections per second that may be configured.
const MAX_RATE: i64 = 1_000_000;

pgdog_jwt::keys! {
    /// Tenants in user names.
    pub(in crate::config) static TENANTS: Table = "[tenants]" {
        /// What stands before the tenant.
        SEPARATOR: Setting<Filled> = setting("separator", Filled, ".");
        /// What stands between the values of several variables.
        VALUE_SEPARATOR: Setting<Filled> = setting("value_separator", Filled, ":");
        /// The settings that the tenant becomes, in the order of the values.
        VARIABLES: Setting<Strings> = setting("variables", Strings, &["app.current_tenant_id"]);
        /// Whether one of several values may be empty.
        ALLOW_EMPTY: Setting<Flag> = setting("allow_empty", Flag, false);
        /// The claim that holds the tenants which a token opens, a string or a list; for several variables one claim each.
        CLAIM: Key<Strings> = key("claim", Strings);
        /// A required resolver without whose row nobody opens a tenant.
        RESOLVER: Key<Filled> = key("resolver", Filled);
        /// Users that open no tenant, get no variables of resolvers and are not guarded for their sake.
        BYPASS_USERS: Setting<Strings> = setting("bypass_users", Strings, &["postgres"]);
        /// tenants.allow: for a variable, the only values that it may have, or their beginnings followed by *.
        ALLOW: Key<Special> = key("allow", Special { type_name: "table", schema: super::lists });
        /// tenants.deny: values that it may not have.
        DENY: Key<Special> = key("deny", Special { type_name: "table", schema: super::lists });
        /// Most sessions of a tenant on a database at a time; the next one hears 53300.
        MAX_CONNECTIONS: Key<Count> = key("max_connections", Count::from(1)).or("no limit");
        /// Most new sessions of a tenant per second.
        CONNECTION_RATE: Key<Count> = key("connection_rate", Count::within(1, MAX_RATE)).or("no limit");
        /// Longest statement of a session with a tenant, when that is shorter than the general query_timeout.
        QUERY_TIMEOUT: Key<Time> = key("query_timeout", Time::millis(0, NO_LIMIT)).or("the general one");
    }
}
