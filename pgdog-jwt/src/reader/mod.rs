//! Reading the token settings of PgDog's `pgdog.toml`: the ten `jwt_` keys of `[general]` (PgDog pull request 1084) and all of
//! `[jwt]`, from TOML and the environment, for every host alike.
//!
//! A pass over a file finds everything that is wrong with it, each problem with file and line where the host has the text.
//! Nothing is changed by it. It reads the files that keys name, if they hold secrets, and runs the programs that print some.
//!
//! [`read`](fn@read) gives a [`Jwt`]: the core's [`JwtConfig`](crate::JwtConfig), and [`HostSettings`] for the host to enforce. A
//! host says what it can honour ([`Host`]); a key beyond that is an error, as is a key that nobody knows.
//!
//! A host that has parsed its file already:
//!
//! ```
//! use pgdog_jwt::Authenticator;
//! use pgdog_jwt::reader::{File, Host, Report, Server, Surroundings, read};
//!
//! let parsed: toml::Table = toml::from_str(
//!     r#"
//!     [general]
//!     auth_type = "jwt"
//!     jwt_jwks_url = "https://issuer.example/.well-known/jwks.json"
//!     jwt_audience = "database"
//!     jwt_server_user = "pooler"
//!
//!     [jwt]
//!     issuer = "https://issuer.example"
//!     max_pools = 200
//!     "#,
//! )?;
//! let report = Report::of(Host {
//!     name: "my pooler",
//!     honours: Some(&[("[jwt]", "max_pools")]),
//!     refuses: &[("mode", "passthrough")],
//! });
//! let around = Surroundings {
//!     users: vec!["reports"],
//!     servers: vec![Server { database: "app", is_primary: true, account: None }],
//!     env: &|name| std::env::var(name).ok(),
//! };
//! let file = File::of_value("pooler.toml", &parsed, &report);
//! let reading = read(file.as_ref(), &around, report)?;
//! reading.warnings.iter().for_each(|warning| eprintln!("{warning}"));
//! if let Some(jwt) = reading.jwt {
//!     assert_eq!(jwt.host.max_pools, 200);
//!     let authenticator = Authenticator::new(jwt.core)?;
//!     assert!(authenticator.is_token_user("alice"));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A host that reads further keys of `[jwt]` itself uses [`jwt`](fn@jwt) and the same [`Section`].

mod application_name;
mod choices;
mod client_flow;
mod file;
mod findings;
mod host;
mod identity_rules;
mod introspection;
mod issuers;
mod jwt;
mod key;
mod key_sources;
mod keys;
mod kinds;
mod life;
mod model;
mod nearest;
mod presets;
mod read;
mod required_claims;
mod role_mappings;
mod role_mappings_env;
mod schema;
mod secrets;
mod section;
mod session;
mod shared_roles;
mod surroundings;
mod user_mappings;

#[cfg(test)]
mod tests;

pub use application_name::{NameParts, NameTemplate};
pub use choices::{AuthType, Choice, ClientFlow, Guard, LoginAuth, PoolerMode, SharedRoles};
pub use client_flow::{Discovery, Oauth};
pub use file::{Entry, File, Report, tables};
pub use host::Host;
pub use jwt::{LOGIN_PASSWORD_VARIABLE, Sections, jwt};
pub use key::{Absent, Declared, Key, SecretKey, SectionKeys, Setting, Shape, key, setting};
pub use keys::{GENERAL, SECTIONS};
pub use kinds::{
    Count, FilePath, Filled, Flag, Hidden, Kind, NO_LIMIT, Port, Program, Special, Strings, Text, Time, Unit, Word,
};
pub use life::{Life, OnExpiry, Replay};
pub use model::{AccountPool, HostSettings, Jwt, SubjectLogin};
pub use nearest::nearest;
pub use presets::{FilledIn, Preset};
pub use read::{Reading, read};
pub use schema::{not_shown, schema, table, undocumented};
pub use section::{Env, Section};
pub use shared_roles::check_shared_roles;
pub use surroundings::{Server, Surroundings};

pub use crate::config::{ConfigError, Problem, Spot, check_url};
