//! `[jwt]`.

use super::{DAY, HOUR, LONGEST_FETCH, MOST_KEYS, YEAR};
use crate::config::{BoundTokens, DEFAULT_MAX_REVOCATIONS, DEFAULT_TOKEN_CACHE_SIZE, UserMatch};
use crate::reader::choices::{AuthType, ClientFlow, Guard, SharedRoles};
use crate::reader::key::{Key, Setting, key, setting};
use crate::reader::kinds::{Count, FilePath, Filled, Flag, Hidden, NO_LIMIT, Special, Strings, Time, Unit, Word};
use crate::reader::life::{OnExpiry, Replay};

/// Most verified tokens that may be remembered (S9).
const MAX_TOKEN_CACHE_SIZE: i64 = 10_000_000;
/// In milliseconds: longer, and the end of a token would mean little.
const LONGEST_GRACE: i64 = 1_000 * DAY;
/// Largest statement that the guard reads, in bytes.
pub(in crate::reader) const MAX_STATEMENT: i64 = 16 << 20;
const MAX_WORDS: i64 = 100_000;

crate::keys! {
    /// What the "jwt_" keys of [general] cannot say of tokens.
    pub(in crate::reader) static JWT: Table = "[jwt]" {
        /// "iss" must be exactly this.
        ISSUER: Key<Filled> = key("issuer", Filled);
        /// The signature algorithms that are taken. "none" and HMAC do not exist.
        ALGORITHMS: Setting<Strings> = setting("algorithms", Strings, &["RS256", "ES256", "EdDSA"]);
        /// How far clocks may differ when "exp", "nbf" and "iat" are compared.
        LEEWAY: Setting<Time> = setting("leeway", Time::seconds(0, HOUR), 0);
        /// How far in the future `nbf` and `iat` may be, where that is more than the leeway.
        EARLY_LEEWAY: Setting<Time> = setting("early_leeway", Time::seconds(0, HOUR), 5);
        /// A token whose "iat" is longer ago is refused, and so is one without.
        MAX_TOKEN_AGE: Key<Time> = key("max_token_age", Time::seconds(1, YEAR));
        /// Values of "typ" in the header.
        TOKEN_TYPES: Key<Strings> = key("token_types", Strings).or("`JWT`, `JOSE`, `at+jwt`, or none");
        /// What becomes of tokens that are bound to a key.
        BOUND_TOKENS: Setting<Word<BoundTokens>> = setting("bound_tokens", Word::ANY, BoundTokens::Refuse);
        /// Values of "azp" and "client_id".
        CLIENTS: Key<Strings> = key("clients", Strings).or("any");
        /// Scopes that must all be in "scope" or "scp".
        REQUIRED_SCOPES: Key<Strings> = key("required_scopes", Strings);
        /// Further claims that a token must have.
        REQUIRED_CLAIMS: Key<Special> =
            key("required_claims", Special { type_name: "table", schema: super::claims_schema });
        /// Largest token; a larger one is refused before it is parsed.
        MAX_TOKEN_SIZE: Setting<Count> = setting("max_token_size", Count::from(1).of(Unit::Bytes), 16_384);
        /// Most verified tokens that are remembered.
        TOKEN_CACHE_SIZE: Setting<Count> = setting(
            "token_cache_size",
            Count::within(0, MAX_TOKEN_CACHE_SIZE),
            DEFAULT_TOKEN_CACHE_SIZE as i64
        );
        /// Where revocations are kept and read from. Without it they end with the process.
        REVOCATION_FILE: Key<FilePath> = key("revocation_file", FilePath);
        /// Most revocations that may hold at a time.
        MAX_REVOCATIONS: Setting<Count> = setting("max_revocations", Count::from(1), DEFAULT_MAX_REVOCATIONS as i64);
        /// Whether the user that the client typed must be the token's, or the token decides.
        USER_MATCH: Setting<Word<UserMatch>> = setting("user_match", Word::ANY, UserMatch::Exact);
        /// Take tokens over connections without TLS from other machines.
        ALLOW_PLAINTEXT: Setting<Flag> = setting("allow_plaintext", Flag, false).by_host();
        /// How token users show their token.
        CLIENT_FLOW: Setting<Word<ClientFlow>> = setting("client_flow", Word::ANY, ClientFlow::Password).by_host();
        /// For OAUTHBEARER: where clients that have no token yet get one.
        OAUTH_ISSUER: Key<Filled> = key("oauth_issuer", Filled).or("`issuer`").by_host();
        /// For OAUTHBEARER: the scopes that those clients ask for, separated by spaces.
        OAUTH_SCOPE: Key<Filled> = key("oauth_scope", Filled).or("`required_scopes`, or `\"openid\"`").by_host();
        /// How users of the host's own that have a password prove themselves.
        PASSWORD_AUTH_TYPE: Setting<Word<AuthType>> =
            setting("password_auth_type", Word::ANY, AuthType::Scram).by_host();
        /// Subjects share the pools of jwt_server_user, in which the identity follows the client.
        SHARED_POOL: Setting<Flag> = setting("shared_pool", Flag, false).by_host();
        /// How long the settings that are attached to a role are not asked for again.
        ROLE_SETTINGS_TTL: Setting<Time> = setting("role_settings_ttl", Time::seconds(0, DAY), 30).by_host();
        /// Most provisioned pools.
        MAX_POOLS: Setting<Count> = setting("max_pools", Count::from(1), 1_000).by_host();
        /// Roles that no token becomes: exact names, or a prefix and "*".
        DENY_ROLES: Setting<Strings> = setting("deny_roles", Strings, &["postgres", "pg_*"]);
        /// Let tokens become roles with SUPERUSER or BYPASSRLS.
        ALLOW_PRIVILEGED_ROLES: Setting<Flag> = setting("allow_privileged_roles", Flag, false).by_host();
        /// How much a guarded session may do.
        GUARD: Setting<Word<Guard>> = setting("guard", Word::ANY, Guard::Strict).by_host();
        /// Whether the standard guard may stand where several subjects are one role.
        STANDARD_GUARD_ON_SHARED_ROLES: Setting<Word<SharedRoles>> =
            setting("standard_guard_on_shared_roles", Word::ANY, SharedRoles::Refuse).by_host();
        /// Largest statement that the guard reads; a larger one is refused.
        MAX_STATEMENT_SIZE: Setting<Count> =
            setting("max_statement_size", Count::from(1).of(Unit::Bytes), MAX_STATEMENT).by_host();
        /// Most words, constants and signs of a statement that the guard reads; one with more is refused.
        MAX_STATEMENT_WORDS: Setting<Count> = setting("max_statement_words", Count::from(1), MAX_WORDS).by_host();
        /// The name of every session in PostgreSQL, with %u, %i, %a, %d and %r filled in.
        APPLICATION_NAME: Key<Filled> = key("application_name", Filled).by_host();
        /// What becomes of a session when its token ends.
        ON_EXPIRY: Setting<Word<OnExpiry>> = setting("on_expiry", Word::ANY, OnExpiry::Disconnect).by_host();
        /// How long what runs when the token ends may go on before it is cancelled.
        EXPIRY_GRACE: Setting<Time> = setting("expiry_grace", Time::millis(0, LONGEST_GRACE), 10_000).by_host();
        /// Most sessions of one subject at a time; 0 is any number.
        MAX_SESSIONS_PER_SUBJECT: Setting<Count> = setting("max_sessions_per_subject", Count::from(0), 0).by_host();
        /// Most sessions of one token at a time; 0 is any number.
        MAX_SESSIONS_PER_TOKEN: Setting<Count> = setting("max_sessions_per_token", Count::from(0), 0).by_host();
        /// Whether a token counts only from the address that used it first.
        REPLAY: Setting<Word<Replay>> = setting("replay", Word::ANY, Replay::Anywhere).by_host();
        /// More PEM files beside jwt_public_key_file.
        KEY_FILES: Key<Strings> = key("key_files", Strings);
        /// While the issuer cannot be reached, how long keys from the last good fetch keep working.
        JWKS_MAX_STALE: Setting<Time> = setting("jwks_max_stale", Time::seconds(0, YEAR), DAY);
        /// Least time between two fetches that unknown key ids cause.
        JWKS_MIN_REFRESH_INTERVAL: Setting<Time> = setting("jwks_min_refresh_interval", Time::seconds(0, DAY), 30);
        /// Longest wait for a connection to the issuer.
        JWKS_CONNECT_TIMEOUT: Setting<Time> = setting("jwks_connect_timeout", Time::millis(1, LONGEST_FETCH), 2_000);
        /// Longest fetch.
        JWKS_TIMEOUT: Setting<Time> = setting("jwks_timeout", Time::millis(1, LONGEST_FETCH), 5_000);
        /// Largest key set.
        JWKS_MAX_BODY_SIZE: Setting<Count> =
            setting("jwks_max_body_size", Count::within(1, NO_LIMIT).of(Unit::Bytes), 1_048_576);
        /// Keys of a set that are looked at.
        JWKS_MAX_KEYS: Setting<Count> = setting("jwks_max_keys", Count::within(1, MOST_KEYS), 100);
        /// The shortest time to live that an issuer may ask for.
        JWKS_MIN_CACHE_TTL: Setting<Time> = setting("jwks_min_cache_ttl", Time::seconds(0, YEAR), 60);
        /// The longest one; less than jwt_jwks_cache_ttl means that.
        JWKS_MAX_CACHE_TTL: Setting<Time> = setting("jwks_max_cache_ttl", Time::seconds(0, YEAR), 0);
        /// How the issuer is reached: a proxy's URL, "none", or "environment".
        JWKS_PROXY: Setting<Hidden> = setting("jwks_proxy", Hidden, "none");
        /// The authorities that the issuer's certificate may be from, in PEM.
        JWKS_CA_FILE: Key<FilePath> = key("jwks_ca_file", FilePath);
        /// A file with a token that is sent with the fetch.
        JWKS_BEARER_TOKEN_FILE: Key<FilePath> = key("jwks_bearer_token_file", FilePath);
        /// The account for tokens that no role mapping is for: the name of a mapping, or a table with the keys of one.
        DEFAULT_ROLE_MAPPING: Key<Special> =
            key("default_role_mapping", Special { type_name: "name or table", schema: super::default_mapping_schema });
    }
}
