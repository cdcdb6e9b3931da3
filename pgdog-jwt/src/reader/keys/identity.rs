//! `[jwt.identity]`.

use crate::config::IdentityMode;
use crate::reader::choices::LoginAuth;
use crate::reader::key::{SecretKey, Setting, setting};
use crate::reader::kinds::{Flag, Word};

crate::keys! {
    /// How a session becomes its subject on PostgreSQL.
    pub(in crate::reader) static IDENTITY: Table = "[jwt.identity]" {
        /// Who logs in to PostgreSQL, and what it becomes there.
        MODE: Setting<Word<IdentityMode>> = setting("mode", Word::ANY, IdentityMode::Role);
        /// With mode = "login": how the host proves itself.
        LOGIN_AUTH: Setting<Word<LoginAuth>> = setting("login_auth", Word::ANY, LoginAuth::Certificate).by_host();
        /// With login_auth = "password": what PostgreSQL takes for every subject.
        LOGIN_PASSWORD: SecretKey = crate::secret!("login_password").by_host();
        /// Role mappings may also stand in the environment.
        ROLE_MAPPINGS_FROM_ENV: Setting<Flag> = setting("role_mappings_from_env", Flag, false);
    }
}
