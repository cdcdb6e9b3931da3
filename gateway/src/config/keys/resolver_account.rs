//! `[resolver_account]`.

use pgdog_jwt::reader::{Filled, Key, SecretKey, key};

pgdog_jwt::keys! {
    /// Who runs resolvers.
    pub(in crate::config) static RESOLVER_ACCOUNT: Table = "[resolver_account]" {
        /// Its name. Required for resolvers.
        USER: Key<Filled> = key("user", Filled);
        /// Its password.
        PASSWORD: SecretKey = pgdog_jwt::secret!("password");
    }
}
