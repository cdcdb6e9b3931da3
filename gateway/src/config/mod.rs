//! Reading `pgdog.toml`, `users.toml` and the environment into one value.
//!
//! Loading is pure: it reads the two files, keys that they name, and what it is given, runs the programs that print secrets, and
//! changes nothing. It either returns a complete
//! configuration or everything that is wrong with it, so a reload is all or nothing (S12).

mod audit;
mod choices;
mod databases;
pub(crate) mod environment;
mod general;
mod identity;
pub(crate) mod keys;
mod load;
mod model;
mod networks;
mod permissions;
mod proof;
mod protection;
mod provisioning;
mod resolvers;
mod scope;
mod shared;
mod tenants;
mod unused;
mod users;

#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::path::Path;

pub(crate) use audit::Audit;
#[allow(unused_imports, reason = "the configuration's vocabulary, for the other modules of the gateway")]
pub(crate) use choices::{
    AuditDestination, AuditFailure, LoadBalancingStrategy, LogFormat, PassthroughAuth, PreparedStatements,
    ReadWriteSplit, ReadWriteStrategy, Role, ServerCleaning, StatementAudit, TlsVerify, ValidUntil,
};
#[allow(unused_imports, reason = "the configuration's vocabulary, for the other modules of the gateway")]
pub(crate) use model::{Admin, Config, Database, Databases, General, Jwt, Proof, Tcp, User};
pub(crate) use networks::Network;
#[allow(unused_imports, reason = "the configuration's vocabulary, for the other modules of the gateway")]
pub(crate) use pgdog_jwt::reader::{
    AccountPool, AuthType, Choice, ClientFlow, ConfigError, Env, Guard, Life, LoginAuth, NameParts, NameTemplate,
    OnExpiry, PoolerMode, Problem, Replay, SharedRoles, Spot, SubjectLogin,
};
pub(crate) use provisioning::Provisioning;
pub(crate) use resolvers::{OnNull, Param, Resolver, ResolverAccount};
pub(crate) use scope::Scope;
pub(crate) use tenants::Tenants;

use load::read;
use pgdog_jwt::reader::Report;

/// A configuration, and what its owner should know about it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    pub(crate) warnings: Vec<Problem>,
}

/// A file's name for messages, and its text.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

impl Config {
    /// Reads both files. A missing `users.toml` counts as empty unless it is required.
    ///
    /// # Errors
    /// Everything that one pass finds wrong, each with file and line.
    pub(crate) fn load(
        pgdog_toml: &Path,
        users_toml: &Path,
        users_required: bool,
        env: Env<'_>,
    ) -> Result<Loaded, ConfigError> {
        let pgdog = read_file(pgdog_toml);
        let users = match std::fs::read_to_string(users_toml) {
            Err(error) if error.kind() == ErrorKind::NotFound && !users_required => Ok(String::new()),
            _ => read_file(users_toml),
        };
        match (pgdog, users) {
            (Ok(pgdog), Ok(users)) => {
                let names = (pgdog_toml.display().to_string(), users_toml.display().to_string());
                Self::from_texts(Text { name: &names.0, text: &pgdog }, Text { name: &names.1, text: &users }, env)
            }
            (pgdog, users) => Err(ConfigError { problems: pgdog.err().into_iter().chain(users.err()).collect() }),
        }
    }

    /// The same from strings.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn from_texts(pgdog: Text<'_>, users: Text<'_>, env: Env<'_>) -> Result<Loaded, ConfigError> {
        let report = Report::default();
        let config = read(pgdog, users, env, &report);
        let sorted = |mut problems: Vec<Problem>| {
            problems.sort_by_key(|problem| (problem.spot.file == users.name, problem.spot.position));
            problems
        };
        let errors = sorted(report.errors.into_inner());
        match config {
            Some(config) if errors.is_empty() => Ok(Loaded { config, warnings: sorted(report.warnings.into_inner()) }),
            _ => Err(ConfigError { problems: errors }),
        }
    }
}

fn read_file(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path).map_err(|error| Problem {
        spot: Spot::whole(path.display().to_string()),
        reason: match error.kind() {
            ErrorKind::NotFound => "there is no such file".to_owned(),
            ErrorKind::InvalidData => "the file is not UTF-8 text".to_owned(),
            _ => error.to_string(),
        },
    })
}
