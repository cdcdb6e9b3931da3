//! `[admin]`.

use pgdog_jwt::reader::{Filled, NO_LIMIT, SecretKey, Setting, Time, setting};

pgdog_jwt::keys! {
    /// The admin database.
    pub(in crate::config) static ADMIN: Table = "[admin]" {
        /// Name of the admin database.
        NAME: Setting<Filled> = setting("name", Filled, "admin");
        /// Its only user.
        USER: Setting<Filled> = setting("user", Filled, "admin");
        /// Without one nobody can log in to it.
        PASSWORD: SecretKey = pgdog_jwt::secret!("password");
        /// How long a client waits while its database is paused, and PAUSE for connections that are in use.
        PAUSE_TIMEOUT: Setting<Time> = setting("pause_timeout", Time::millis(0, NO_LIMIT), 120_000);
    }
}
