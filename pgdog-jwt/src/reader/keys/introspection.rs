//! `[[jwt.issuers]]`: the keys of issuers that are asked about tokens (RFC 7662).

use crate::reader::introspection::Method;
use crate::reader::key::{Key, SecretKey, Setting, key, setting};
use crate::reader::kinds::{Count, FilePath, Filled, Flag, Time, Unit, Word};

/// Longest wait for an issuer that may be configured, in milliseconds (S9).
const LONGEST_WAIT: i64 = 60_000;
/// Longest time that an answer may count, in seconds: what is revoked at the issuer is good for so long.
const LONGEST_TTL: i64 = 3_600;
/// Longest life that an answer without an end may be given, in seconds.
const LONGEST_AGE: i64 = 30 * 24 * 3_600;
/// Most answers of a kind that may be remembered (S9).
const MAX_CACHE_SIZE: i64 = 10_000_000;
/// Most requests at a time.
const MAX_REQUESTS: i64 = 10_000;

crate::keys! {
    /// One of any number of issuers: how it is asked about tokens.
    pub(in crate::reader) static INTROSPECTION: List = "[[jwt.issuers]]" {
        /// The issuer's introspection endpoint: https, or http to a loopback address.
        URL: Key<Filled> = key("introspection_url", Filled);
        /// What the issuer calls the host.
        CLIENT_ID: Key<Filled> = key("introspection_client_id", Filled).or("required");
        /// How the host proves that it is this client.
        CLIENT_AUTH: Key<Word<Method>> = key("introspection_client_auth", Word::ANY).or("by what is set");
        /// The client's secret.
        CLIENT_SECRET: SecretKey = crate::secret!("introspection_client_secret");
        /// For private_key_jwt: a PKCS #8 private key in PEM.
        CLIENT_KEY_FILE: Key<FilePath> = key("introspection_client_key_file", FilePath);
        /// "kid" of what it signs.
        CLIENT_KEY_ID: Key<Filled> = key("introspection_client_key_id", Filled);
        /// "aud" of what it signs.
        CLIENT_AUDIENCE: Key<Filled> = key("introspection_client_audience", Filled).or("`introspection_url`");
        /// Ask about the issuer's JWTs as well.
        JWTS: Setting<Flag> = setting("introspect_jwts", Flag, false);
        /// How long a session may live on an answer without "exp".
        MAX_AGE: Key<Time> = key("introspection_max_age", Time::seconds(1, LONGEST_AGE));
        /// How long "active" counts.
        CACHE_TTL: Setting<Time> = setting("introspection_cache_ttl", Time::seconds(1, LONGEST_TTL), 60);
        /// Most active tokens that are remembered.
        CACHE_SIZE: Setting<Count> = setting("introspection_cache_size", Count::within(0, MAX_CACHE_SIZE), 10_000);
        /// How long "not active" counts.
        NEGATIVE_TTL: Setting<Time> = setting("introspection_negative_ttl", Time::seconds(0, LONGEST_TTL), 10);
        /// Most tokens that are remembered as not active.
        NEGATIVE_CACHE_SIZE: Setting<Count> =
            setting("introspection_negative_cache_size", Count::within(0, MAX_CACHE_SIZE), 10_000);
        /// Most questions at a time.
        REQUESTS: Setting<Count> = setting("introspection_max_requests", Count::within(1, MAX_REQUESTS), 64);
        /// Longest wait for a connection.
        CONNECT_TIMEOUT: Setting<Time> =
            setting("introspection_connect_timeout", Time::millis(1, LONGEST_WAIT), 2_000);
        /// Longest wait for an answer.
        TIMEOUT: Setting<Time> = setting("introspection_timeout", Time::millis(1, LONGEST_WAIT), 5_000);
        /// Largest answer.
        MAX_BODY_SIZE: Setting<Count> =
            setting("introspection_max_body_size", Count::from(1).of(Unit::Bytes), 65_536);
    }
}
