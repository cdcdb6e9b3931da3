//! `[[users]]`.

use pgdog_jwt::reader::{
    Count, Filled, Flag, Key, NO_LIMIT, PoolerMode, SecretKey, Setting, Strings, Time, Word, key, setting,
};

pgdog_jwt::keys! {
    /// One user of users.toml.
    pub(in crate::config) static USERS: List = "[[users]]" {
        /// What the client types, or whom the token is about.
        NAME: Key<Filled> = key("name", Filled).or("required");
        /// The database the user may log in to.
        DATABASE: Key<Filled> = key("database", Filled);
        /// Several. Not used beside database.
        DATABASES: Key<Strings> = key("databases", Strings);
        /// All of them.
        ALL_DATABASES: Setting<Flag> = setting("all_databases", Flag, false);
        /// Lets the user in, and logs in to PostgreSQL unless server_password is set.
        PASSWORD: SecretKey = pgdog_jwt::secret!("password");
        /// More passwords that let the user in, for a change without downtime.
        PASSWORDS: Key<Strings> = key("passwords", Strings);
        /// A verifier instead of a password: what pg_authid.rolpassword holds, SCRAM-SHA-256$… or md5….
        PASSWORD_HASH: SecretKey = pgdog_jwt::secret!("password_hash");
        /// Most server connections of this user's pool.
        POOL_SIZE: Key<Count> = key("pool_size", Count::from(1)).or("the database's");
        /// Server connections that it keeps open.
        MIN_POOL_SIZE: Key<Count> = key("min_pool_size", Count::from(0)).or("the database's");
        /// Most clients that are logged in as this user, on all databases.
        MAX_USER_CLIENT_CONNECTIONS: Key<Count> = key("max_user_client_connections", Count::from(1)).or("the general one");
        /// Pooler mode of this user.
        POOLER_MODE: Key<Word<PoolerMode>> = key("pooler_mode", Word::ANY).or("the database's");
        /// Account to log in to PostgreSQL with.
        SERVER_USER: Key<Filled> = key("server_user", Filled).or("`name`");
        /// Its password.
        SERVER_PASSWORD: SecretKey = pgdog_jwt::secret!("server_password").or("`password`");
        /// Sets statement_timeout on every connection of this user.
        STATEMENT_TIMEOUT: Key<Time> = key("statement_timeout", Time::millis(0, NO_LIMIT)).or("PostgreSQL's");
        /// Sets lock_timeout on every connection of this user.
        LOCK_TIMEOUT: Key<Time> = key("lock_timeout", Time::millis(0, NO_LIMIT)).or("the database's");
        /// Whether this user must show a client certificate; true also keeps it off the Unix socket.
        TLS_CLIENT_CERTIFICATE_REQUIRED: Key<Flag> = key("tls_client_certificate_required", Flag).or("the general one");
        /// This user only reads, and only from replicas.
        READ_ONLY: Key<Flag> = key("read_only", Flag);
        /// With tenants: the tenants that this user may open, or their beginnings followed by *; with several variables as many values ("acme:*").
        TENANTS: Key<Strings> = key("tenants", Strings);
    }
}
