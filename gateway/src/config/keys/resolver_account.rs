//! `[resolver_account]`.

use pgdog_jwt::reader::{FilePath, Filled, Hidden, Key, key};

pgdog_jwt::keys! {
    /// Who runs resolvers.
    pub(in crate::config) static RESOLVER_ACCOUNT: Table = "[resolver_account]" {
        /// Its name. Required for resolvers.
        USER: Key<Filled> = key("user", Filled);
        /// Its password.
        PASSWORD: Key<Hidden> = key("password", Hidden);
        /// The variable of the environment that holds it.
        PASSWORD_ENV: Key<Filled> = key("password_env", Filled);
        /// The file that holds it; read again on reload.
        PASSWORD_FILE: Key<FilePath> = key("password_file", FilePath);
    }
}
