//! `[[jwt.role_mappings]]`.

use crate::reader::choices::PoolerMode;
use crate::reader::key::{Key, SecretKey, Setting, key, setting};
use crate::reader::kinds::{Count, Filled, Flag, Strings, Word};

/// The table in place of a name, which has these keys but for those that choose tokens.
pub(in crate::reader) const DEFAULT: &str = "[jwt.default_role_mapping]";

crate::keys! {
    /// From the roles in a token to the account that logs in to PostgreSQL, with mode = "service_account".
    pub(in crate::reader) static ROLE_MAPPINGS: List = "[[jwt.role_mappings]]" {
        /// Where the token's roles are.
        CLAIM: Key<Filled> = key("claim", Filled).or("`role` and `roles`");
        /// The role must be this, or one of these.
        VALUE: Key<Strings> = key("value", Strings);
        /// In place of value: a regular expression that the whole role must match.
        PATTERN: Key<Filled> = key("pattern", Filled);
        /// ASCII letters of the role in any case.
        IGNORE_CASE: Setting<Flag> = setting("ignore_case", Flag, false);
        /// The account.
        SERVER_USER: Key<Filled> = key("server_user", Filled).or("required");
        /// Its password.
        SERVER_PASSWORD: SecretKey = crate::secret!("server_password");
        /// What logs call the mapping's pool.
        NAME: Key<Filled> = key("name", Filled).or("`server_user`");
        /// A role that the account takes after its login.
        ROLE: Key<Filled> = key("role", Filled);
        /// The databases that the rule is for.
        DATABASES: Key<Strings> = key("databases", Strings).or("all");
        /// Only reads, and only from replicas.
        READ_ONLY: Key<Flag> = key("read_only", Flag).or("`jwt_user_auto_provision_read_only`, or the database's");
        /// Most server connections of the account's pool.
        POOL_SIZE: Key<Count> = key("pool_size", Count::from(1)).or("the database's").by_host();
        /// Pooler mode of that pool.
        POOLER_MODE: Key<Word<PoolerMode>> = key("pooler_mode", Word::ANY).or("the database's").by_host();
    }
}
