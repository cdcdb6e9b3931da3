//! The whole of it, for a host that reads the rest of its configuration itself.

use super::choices::AuthType;
use super::file::{File, Report};
use super::jwt::{Sections, jwt};
use super::key::{Setting, setting};
use super::kinds::Word;
use super::model::Jwt;
use super::section::Section;
use super::shared_roles::check_shared_roles;
use super::surroundings::Surroundings;
use crate::config::{ConfigError, Problem};

/// How clients prove who they are.
const AUTH_TYPE: Setting<Word<AuthType>> = setting("auth_type", Word::ANY, AuthType::Scram);

/// What a file says of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Present exactly when `auth_type` in `[general]` is `jwt`.
    pub jwt: Option<Jwt>,
    /// What the owner should know.
    pub warnings: Vec<Problem>,
}

/// Reads `auth_type` and the `jwt_` keys of `[general]`, and all of `[jwt]`. Other sections, and other keys of `[general]`, are
/// the host's. `file` is `None` when it could not be parsed, which is in the report already.
///
/// # Errors
/// Everything that is wrong with it: unknown keys, values that cannot work, and keys that the host cannot honour.
pub fn read(file: Option<&File>, around: &Surroundings<'_>, report: Report) -> Result<Reading, ConfigError> {
    let jwt = file.and_then(|file| read_sections(file, around, &report));
    let errors = sorted(report.errors.into_inner());
    match errors.is_empty() {
        true => Ok(Reading { jwt, warnings: sorted(report.warnings.into_inner()) }),
        false => Err(ConfigError { problems: errors }),
    }
}

fn read_sections(file: &File, around: &Surroundings<'_>, report: &Report) -> Option<Jwt> {
    let table = |name: &str, label| Section::new(report, label, Some(file), file.root().get(name));
    let general = table("general", "[general]").with_env(around.env);
    let own = table("jwt", "[jwt]");
    let identity = own.table("identity", "[jwt.identity]");
    let auth_type = general.value(&AUTH_TYPE);
    let jwt = jwt(Sections { general: &general, own: &own, identity: &identity }, auth_type, around);
    if let Some(jwt) = &jwt {
        check_shared_roles(&own, &jwt.host, &jwt.core.shared_roles());
    }
    identity.finish(&[]);
    own.finish(&[]);
    jwt
}

/// In the order of the file.
fn sorted(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.spot.position);
    problems
}
