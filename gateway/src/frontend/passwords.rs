//! The passwords of users.toml, by user: derived once for a configuration, because SCRAM takes milliseconds.

use pgdog_jwt::config::Secret;

use super::methods::Candidates;
use crate::config::{Config, User};

pub(crate) struct Passwords {
    /// One entry for each user of the configuration, in its order.
    users: Vec<Candidates>,
    admin: Candidates,
}

impl Passwords {
    pub(crate) fn new(config: &Config) -> Self {
        let admin = config.admin.password.as_ref().map(Secret::latest);
        Self {
            users: config.users.iter().map(candidates).collect(),
            admin: admin.map_or_else(Candidates::none, |password| Candidates::none().with_password(password.expose())),
        }
    }

    /// The administrator's; none when none is configured, and then nobody is let in.
    pub(crate) fn of_admin(&self) -> &Candidates {
        &self.admin
    }

    /// The passwords of this entry of `config.users`.
    pub(crate) fn of(&self, config: &Config, user: &User) -> Option<&Candidates> {
        let at = config.users.iter().position(|known| std::ptr::eq(known, user))?;
        self.users.get(at)
    }
}

fn candidates(user: &User) -> Candidates {
    let plain = user
        .passwords
        .iter()
        .fold(Candidates::none(), |candidates, password| candidates.with_password(password.latest().expose()));
    match &user.password_hash {
        // The loader has checked its form; one that a program printed since lets nobody in if it is none.
        Some(hash) => plain.with_hash(hash.latest().expose()).unwrap_or_default(),
        None => plain,
    }
}
