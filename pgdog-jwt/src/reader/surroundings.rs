//! What the token settings must agree with in the rest of the host's configuration.

use super::section::Env;

/// What a host says of the rest of its configuration.
#[derive(Clone)]
pub struct Surroundings<'a> {
    /// The users that the host knows by name, whichever way they log in. An account of the host's own that is among them may
    /// be a token's role; any other may not (S13).
    pub users: Vec<&'a str>,
    /// The PostgreSQL servers, by database.
    pub servers: Vec<Server<'a>>,
    /// The environment.
    pub env: Env<'a>,
}

/// One PostgreSQL server.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// The database as clients call it; servers of one name are one cluster.
    pub database: &'a str,
    /// Whether it is certain to be the primary, which read-only subjects never reach (S10).
    pub is_primary: bool,
    /// The account that the host logs in with, where the configuration of the server says so.
    pub account: Option<&'a str>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn has_user(&self, name: &str) -> bool {
        self.users.contains(&name)
    }

    /// The databases, in their order; a name may be there more than once.
    pub(super) fn databases(&self) -> impl Iterator<Item = &'a str> {
        self.servers.iter().map(|server| server.database)
    }

    /// Those that have no place for read-only subjects, each once.
    pub(super) fn without_replica(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = Vec::new();
        for name in self.databases() {
            let is_served = self.servers.iter().any(|server| server.database == name && !server.is_primary);
            if !is_served && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
