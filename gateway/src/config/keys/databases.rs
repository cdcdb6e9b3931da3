//! `[[databases]]`.

use pgdog_jwt::reader::{
    Count, Filled, Flag, Key, NO_LIMIT, PoolerMode, Port, SecretKey, Setting, Time, Word, key, setting,
};

use crate::config::choices::Role;

pgdog_jwt::keys! {
    /// One PostgreSQL server. Entries with the same name are one cluster.
    pub(in crate::config) static DATABASES: List = "[[databases]]" {
        /// What clients call the database.
        NAME: Key<Filled> = key("name", Filled).or("required");
        /// Host name or address, or the absolute path of a folder with a Unix socket.
        HOST: Key<Filled> = key("host", Filled).or("required");
        /// Its port; also names the Unix socket.
        PORT: Setting<Port> = setting("port", Port::ANY, 5_432);
        /// What the server is. auto asks it, and follows failovers: see servers.md.
        ROLE: Setting<Word<Role>> = setting("role", Word::ANY, Role::Primary);
        /// Any other value is an error: put a PgDog behind the gateway for sharding.
        SHARD: Setting<Count> = setting("shard", Count::from(0), 0);
        /// What PostgreSQL calls the database.
        DATABASE_NAME: Key<Filled> = key("database_name", Filled).or("`name`");
        /// Account to log in to PostgreSQL with, for users with a password that name no server_user.
        USER: Key<Filled> = key("user", Filled);
        /// Its password, for users that name no server_password.
        PASSWORD: SecretKey = pgdog_jwt::secret!("password");
        /// Most server connections of a pool of this database.
        POOL_SIZE: Key<Count> = key("pool_size", Count::from(1)).or("`default_pool_size`");
        /// Server connections that such a pool keeps open.
        MIN_POOL_SIZE: Key<Count> = key("min_pool_size", Count::from(0)).or("the general one");
        /// Most connections to this server, over all pools.
        MAX_SERVER_CONNECTIONS: Key<Count> = key("max_server_connections", Count::from(1)).or("the general one");
        /// Most clients that are logged in to this database; of several entries of a name, the lowest counts.
        MAX_DB_CLIENT_CONNECTIONS: Key<Count> = key("max_db_client_connections", Count::from(1)).or("the general one");
        /// Its connections that were idle for this long are closed, down to min_pool_size.
        IDLE_TIMEOUT: Key<Time> = key("idle_timeout", Time::millis(0, NO_LIMIT)).or("the general one");
        /// Its connections this old are closed at check-in, or while they are free.
        SERVER_LIFETIME: Key<Time> = key("server_lifetime", Time::millis(0, NO_LIMIT)).or("the general one");
        /// Each lives longer or shorter by a random part of this.
        SERVER_LIFETIME_JITTER: Key<Time> = key("server_lifetime_jitter", Time::millis(0, NO_LIMIT)).or("the general one");
        /// Pooler mode of this database.
        POOLER_MODE: Key<Word<PoolerMode>> = key("pooler_mode", Word::ANY).or("the general one");
        /// Sets statement_timeout on every connection to this server.
        STATEMENT_TIMEOUT: Key<Time> = key("statement_timeout", Time::millis(0, NO_LIMIT)).or("PostgreSQL's");
        /// Sets lock_timeout on every connection to this server.
        LOCK_TIMEOUT: Key<Time> = key("lock_timeout", Time::millis(0, NO_LIMIT)).or("PostgreSQL's");
        /// Users of this database that do not say read_only = false themselves only read, and only from its replicas: on any one server of a cluster it holds for the whole cluster.
        READ_ONLY: Key<Flag> = key("read_only", Flag);
        /// Share of reads under weighted_round_robin.
        LB_WEIGHT: Setting<Count> = setting("lb_weight", Count::within(0, 255), 255);
    }
}
