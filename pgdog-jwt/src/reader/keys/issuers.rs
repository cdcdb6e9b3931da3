//! `[[jwt.issuers]]`. What an entry does not say, it has from the short form.

use super::{DAY, HOUR, LONGEST_FETCH, MOST_KEYS, YEAR};
use crate::config::{BoundTokens, IdentityMode};
use crate::reader::key::{Key, Setting, key, setting};
use crate::reader::kinds::{Count, FilePath, Filled, Flag, Hidden, NO_LIMIT, Special, Strings, Time, Unit, Word};
use crate::reader::presets::Preset;

/// What holds for a key that the short form has too.
const AS_THERE: &str = "as in `[jwt]`";

crate::keys! {
    /// One of any number of issuers.
    pub(in crate::reader) static ISSUERS: List = "[[jwt.issuers]]" {
        /// "iss" must be exactly this.
        ISSUER: Key<Filled> = key("issuer", Filled).or("required, but for some presets");
        /// Its metadata, below issuer, says where its keys are (OpenID Connect).
        DISCOVERY: Setting<Flag> = setting("discovery", Flag, false);
        /// Where its key set is: https, or http to a loopback address.
        JWKS_URL: Key<Filled> = key("jwks_url", Filled);
        /// The key set itself, as JSON.
        JWKS: Key<Filled> = key("jwks", Filled);
        /// A file with the key set.
        JWKS_FILE: Key<FilePath> = key("jwks_file", FilePath);
        /// PEM files with its keys.
        KEY_FILES: Key<Strings> = key("key_files", Strings);
        /// A directory of PEM files, which may come and go.
        KEY_DIRECTORY: Key<FilePath> = key("key_directory", FilePath);
        /// "aud" must hold one of these.
        AUDIENCES: Key<Strings> = key("audiences", Strings).or("`jwt_audience`");
        /// What its keys may be used with.
        ALGORITHMS: Key<Strings> = key("algorithms", Strings).or(AS_THERE);
        /// The claim that names the user.
        USERNAME_CLAIM: Key<Filled> = key("username_claim", Filled).or("`jwt_username_claim`");
        /// Its users are those whose names end so.
        USER_SUFFIX: Key<Filled> = key("user_suffix", Filled).or("`jwt_user_suffix`");
        /// How its subjects come to PostgreSQL.
        MODE: Key<Word<IdentityMode>> = key("mode", Word::ANY).or("as there");
        /// Its subjects only read, from replicas.
        READ_ONLY: Setting<Flag> = setting("read_only", Flag, false);
        /// Databases that its tokens open: names, or a prefix and "*".
        DATABASES: Key<Strings> = key("databases", Strings).or("all");
        /// Roles and accounts that its tokens lead to: names, or a prefix and "*".
        ROLES: Key<Strings> = key("roles", Strings).or("all");
        /// Where its users get a token.
        OAUTH_ISSUER: Key<Filled> = key("oauth_issuer", Filled).or("`issuer`").by_host();
        /// What they ask for there.
        OAUTH_SCOPE: Key<Filled> = key("oauth_scope", Filled).or(AS_THERE).by_host();
        /// How far clocks may differ.
        LEEWAY: Key<Time> = key("leeway", Time::seconds(0, HOUR)).or(AS_THERE);
        /// How far in the future `nbf` and `iat` may be.
        EARLY_LEEWAY: Key<Time> = key("early_leeway", Time::seconds(0, HOUR)).or(AS_THERE);
        /// How long after "iat" a token is taken.
        MAX_TOKEN_AGE: Key<Time> = key("max_token_age", Time::seconds(1, YEAR)).or(AS_THERE);
        /// Values of "typ" in the header.
        TOKEN_TYPES: Key<Strings> = key("token_types", Strings).or(AS_THERE);
        /// What becomes of tokens that are bound to a key.
        BOUND_TOKENS: Key<Word<BoundTokens>> = key("bound_tokens", Word::ANY).or(AS_THERE);
        /// Values of "azp" and "client_id".
        CLIENTS: Key<Strings> = key("clients", Strings).or(AS_THERE);
        /// Scopes that must all be there.
        REQUIRED_SCOPES: Key<Strings> = key("required_scopes", Strings).or(AS_THERE);
        /// Further claims.
        REQUIRED_CLAIMS: Key<Special> =
            key("required_claims", Special { type_name: "table", schema: super::claims_schema }).or(AS_THERE);
        /// How long fetched keys are used without asking again.
        JWKS_CACHE_TTL: Key<Time> = key("jwks_cache_ttl", Time::seconds(0, NO_LIMIT)).or("`jwt_jwks_cache_ttl`");
        /// How long known keys outlive an issuer that cannot be reached.
        JWKS_MAX_STALE: Key<Time> = key("jwks_max_stale", Time::seconds(0, YEAR)).or(AS_THERE);
        /// Least time between two fetches that unknown key ids cause.
        JWKS_MIN_REFRESH_INTERVAL: Key<Time> = key("jwks_min_refresh_interval", Time::seconds(0, DAY)).or(AS_THERE);
        /// Longest wait for a connection to the issuer.
        JWKS_CONNECT_TIMEOUT: Key<Time> = key("jwks_connect_timeout", Time::millis(1, LONGEST_FETCH)).or(AS_THERE);
        /// Longest fetch.
        JWKS_TIMEOUT: Key<Time> = key("jwks_timeout", Time::millis(1, LONGEST_FETCH)).or(AS_THERE);
        /// Largest key set.
        JWKS_MAX_BODY_SIZE: Key<Count> = key("jwks_max_body_size", Count::from(1).of(Unit::Bytes)).or(AS_THERE);
        /// Keys of a set that are looked at.
        JWKS_MAX_KEYS: Key<Count> = key("jwks_max_keys", Count::within(1, MOST_KEYS)).or(AS_THERE);
        /// The shortest time to live that it may ask for.
        JWKS_MIN_CACHE_TTL: Key<Time> = key("jwks_min_cache_ttl", Time::seconds(0, YEAR)).or(AS_THERE);
        /// The longest one.
        JWKS_MAX_CACHE_TTL: Key<Time> = key("jwks_max_cache_ttl", Time::seconds(0, YEAR)).or(AS_THERE);
        /// How it is reached: a proxy's URL, "none", or "environment".
        JWKS_PROXY: Key<Hidden> = key("jwks_proxy", Hidden).or(AS_THERE);
        /// The authorities that its certificate may be from, in PEM.
        JWKS_CA_FILE: Key<FilePath> = key("jwks_ca_file", FilePath);
        /// A file with a token that is sent with the fetch, to this issuer alone.
        JWKS_BEARER_TOKEN_FILE: Key<FilePath> = key("jwks_bearer_token_file", FilePath);
        /// What the tokens of a provider look like, and where its keys are.
        PRESET: Key<Word<Preset>> = key("preset", Word::ANY);
    }
}
