//! `[general]`: the ten keys of PgDog pull request 1084.

use crate::reader::key::{Key, SecretKey, Setting, key, setting};
use crate::reader::kinds::{FilePath, Filled, Flag, NO_LIMIT, Strings, Time};

crate::keys! {
    /// One issuer, and the account of token users, as PgDog pull request 1084 has them.
    pub(in crate::reader) static GENERAL: Table = "[general]" {
        /// PEM file with the issuer's public key or certificate. It goes before jwt_jwks_url.
        PUBLIC_KEY_FILE: Key<FilePath> = key("jwt_public_key_file", FilePath);
        /// Where the issuer publishes its keys: https, or http to a loopback address.
        JWKS_URL: Key<Filled> = key("jwt_jwks_url", Filled);
        /// How long fetched keys are used without asking again, where the issuer does not ask for less.
        JWKS_CACHE_TTL: Setting<Time> = setting("jwt_jwks_cache_ttl", Time::seconds(0, NO_LIMIT), 300);
        /// "aud" must hold one of these.
        AUDIENCE: Key<Strings> = key("jwt_audience", Strings);
        /// The claim that names the user: an exact name, or a path with dots.
        USERNAME_CLAIM: Setting<Filled> = setting("jwt_username_claim", Filled, "sub");
        /// The account that logs in to PostgreSQL for token users.
        SERVER_USER: Key<Filled> = key("jwt_server_user", Filled);
        /// Its password.
        SERVER_PASSWORD: SecretKey = crate::secret!("jwt_server_password");
        /// Only users whose names end so come with a token.
        USER_SUFFIX: Key<Filled> = key("jwt_user_suffix", Filled);
        /// Subjects that the configuration does not name get pools of their own.
        USER_AUTO_PROVISION: Setting<Flag> = setting("jwt_user_auto_provision", Flag, false);
        /// Such subjects only read, from replicas.
        USER_AUTO_PROVISION_READ_ONLY: Setting<Flag> = setting("jwt_user_auto_provision_read_only", Flag, false);
    }
}
