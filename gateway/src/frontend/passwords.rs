//! The passwords of users.toml, by user: derived once for a configuration, because SCRAM takes milliseconds.

use super::methods::Candidates;
use crate::config::{Config, User};

/// One entry for each user of the configuration, in its order.
pub(crate) struct Passwords(Vec<Candidates>);

impl Passwords {
    pub(crate) fn new(config: &Config) -> Self {
        Self(config.users.iter().map(candidates).collect())
    }

    /// The passwords of this entry of `config.users`.
    pub(crate) fn of(&self, config: &Config, user: &User) -> Option<&Candidates> {
        let at = config.users.iter().position(|known| std::ptr::eq(known, user))?;
        self.0.get(at)
    }
}

fn candidates(user: &User) -> Candidates {
    let plain = user
        .passwords
        .iter()
        .fold(Candidates::none(), |candidates, password| candidates.with_password(password.expose()));
    match &user.password_hash {
        // The loader has checked its form.
        Some(hash) => plain.with_hash(hash.expose()).unwrap_or_default(),
        None => plain,
    }
}
