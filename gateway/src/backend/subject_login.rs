//! Pools whose connections log in as the subject itself. PostgreSQL then keeps each of them what it is: there is no other
//! account behind it that SQL could lead back to.

use std::sync::Arc;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::{IdentityMode, Secret};

use super::cluster::PoolSetSpec;
use super::connect::{Bearer, Proof};
use super::identity::Identity;
use super::plan;
use super::pool::PoolSpec;
use crate::config::{Config, Database, LoginAuth, User};

/// What proves to PostgreSQL that the gateway may log in as the subject; `None` where the subject does not log in itself.
pub(super) fn proof(config: &Config, grant: &AuthGrant) -> Option<Proof> {
    match grant.mode {
        IdentityMode::Role | IdentityMode::ServiceAccount => None,
        IdentityMode::Login => match config.jwt.as_ref().map(|jwt| jwt.login.auth) {
            Some(LoginAuth::Certificate) | None => Some(Proof::Certificate),
            Some(LoginAuth::Password | LoginAuth::Trust) => Some(Proof::Password),
        },
        IdentityMode::Passthrough => {
            // Without it nothing is let in: there is no other way for this mode.
            let token = grant.token.clone().unwrap_or_else(|| Secret::new(""));
            Some(Proof::Token(Bearer { token, expires_at: grant.expires_at }))
        }
    }
}

/// The pools of a subject. `user` is its users.toml entry, if it has one, which says how large they are and whether they
/// are read-only; an account in it is for those who come with a password. With them, who the session is there.
pub(super) fn pools(
    config: &Config,
    servers: &[&Database],
    user: Option<&User>,
    grant: &AuthGrant,
    proof: &Proof,
) -> (PoolSetSpec, Identity) {
    let login = grant.server_user.as_deref().unwrap_or(&grant.user);
    let secret = config.jwt.as_ref().filter(|jwt| jwt.login.auth == LoginAuth::Password);
    let secret = secret.and_then(|jwt| jwt.login.password.as_ref()).filter(|_| *proof == Proof::Password);
    let read_only = plan::reads_only(config, servers, user, grant);
    let session = Identity {
        login: Some(login.to_owned()),
        allow_privileged: config.jwt.as_ref().is_some_and(|jwt| jwt.allow_privileged_roles),
        read_only,
        watched: read_only || grant.guarded,
        variables: grant.settings.as_slice().into(),
        proven: plan::proven(config, servers, grant),
        ..Identity::default()
    };
    // What connections are when they are made. Variables come with each session.
    let identity = Arc::new(Identity { variables: Arc::default(), proven: None, ..session.clone() });
    let shared = config.jwt.as_ref().is_some_and(|jwt| jwt.core.carries_claims());
    let pool = |server: &&Database| PoolSpec {
        proof: proof.clone(),
        shared,
        ..plan::pool(config, server, user, login, secret, &identity)
    };
    let pools = servers.iter().map(pool).collect();
    (PoolSetSpec { shared, ..plan::set(config, servers, user, identity, pools) }, session)
}
