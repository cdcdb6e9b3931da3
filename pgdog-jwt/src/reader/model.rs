//! What the token settings say: the core's part, and what the host itself has to do.

use std::time::Duration;

use super::application_name::NameTemplate;
use super::choices::{AuthType, Guard, LoginAuth, PoolerMode, SharedRoles};
use super::client_flow::Oauth;
use super::life::Life;
use super::presets::FilledIn;
use crate::config::{JwtConfig, Secret};

/// The policy for token users: `[jwt]` and the `jwt_` keys of `[general]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Jwt {
    /// What [`Authenticator::new`](crate::Authenticator::new) is given.
    pub core: JwtConfig,
    /// What the host has to enforce.
    pub host: HostSettings,
}

/// The settings that only a host can honour: the core decides who a client is, the host what becomes of its session.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSettings {
    /// Whether the first issuer is that of the `jwt_` keys.
    pub has_short_form: bool,
    /// What presets have filled in.
    pub presets: Vec<FilledIn>,
    /// Take tokens over connections without TLS that are neither loopback nor a Unix socket.
    pub allow_plaintext: bool,
    /// How clients show their tokens, and where they get them.
    pub oauth: Oauth,
    /// How users of the host's own that have a password prove themselves. Never [`AuthType::Jwt`].
    pub password_auth_type: AuthType,
    /// Subjects share pools, in which the identity follows the client.
    pub shared_pool: bool,
    /// Who has accounts by role mappings, what the mappings say of their pools.
    pub account_pools: Vec<AccountPool>,
    /// Role mappings may stand in the environment.
    pub role_mappings_from_env: bool,
    /// How long the settings that are attached to a role are not asked for again.
    pub role_settings_ttl: Duration,
    /// Most pools that logins may provision.
    pub max_pools: usize,
    /// Largest password message accepted, in bytes.
    pub max_password_size: usize,
    /// Let tokens become roles with SUPERUSER or BYPASSRLS.
    pub allow_privileged_roles: bool,
    /// How much a guarded session may do.
    pub guard: Guard,
    /// Whether the standard guard is enough where a role is shared.
    pub shared_roles: SharedRoles,
    /// How subjects that log in to PostgreSQL themselves are let in there.
    pub login: SubjectLogin,
    /// Largest statement text that the guard reads, in bytes; a longer one is refused in a guarded session.
    pub max_statement_size: usize,
    /// Most words, constants and signs of a text that the guard reads; one with more is refused in a guarded session.
    pub max_statement_words: usize,
    /// How long a session lasts with its token.
    pub life: Life,
    /// What sessions are called in PostgreSQL; `None`: as their clients say.
    pub application_name: Option<NameTemplate>,
}

impl HostSettings {
    /// The preset of this issuer, if it has one.
    pub fn preset_of(&self, issuer: Option<&str>) -> Option<&FilledIn> {
        self.presets.iter().find(|filled| Some(filled.issuer.as_str()) == issuer)
    }
}

/// What a role mapping says of the pool of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPool {
    /// The mapping's name.
    pub name: String,
    /// Most connections of the pool.
    pub pool_size: Option<usize>,
    /// How long a client keeps a connection of it.
    pub pooler_mode: Option<PoolerMode>,
}

/// How the host logs in as a subject (`mode = "login"`).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SubjectLogin {
    /// What proves to PostgreSQL that the host may.
    pub auth: LoginAuth,
    /// The password for all of them.
    pub password: Option<Secret>,
}
