//! `[jwt.proof]`.

use pgdog_jwt::reader::{Filled, Key, SecretKey, Setting, Strings, Time, key, setting};

/// In seconds.
const YEAR: i64 = 365 * 24 * 3_600;

pgdog_jwt::keys! {
    /// The key that claims are proven to databases with.
    pub(in crate::config) static PROOF: Either = "[jwt.proof]" {
        /// Names of databases.
        DATABASES: Key<Strings> = key("databases", Strings).or("all");
        /// The key, at least 32 bytes.
        KEY: SecretKey = pgdog_jwt::secret!("key");
        /// What the database calls the key: the first argument of jwt.add_key.
        KEY_ID: Setting<Filled> = setting("key_id", Filled, "1");
        /// The claims that are proven, by name or path: name those that your policies read. "*": all of them.
        CLAIMS: Setting<Strings> = setting("claims", Strings, &["iss", "sub"]);
        /// A proof counts for this long, and never longer than the token; then it is made again when a client is next given the connection, which costs one round trip.
        LIFETIME: Key<Time> = key("lifetime", Time::seconds(1, YEAR)).or("the token's");
    }
}
