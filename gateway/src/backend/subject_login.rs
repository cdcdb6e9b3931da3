//! Pools whose connections log in as the subject itself. PostgreSQL then keeps each of them what it is: there is no other
//! account behind it that SQL could lead back to.

use std::sync::Arc;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::{IdentityMode, Secret};

use super::cluster::PoolSetSpec;
use super::connect::{Bearer, Proof};
use super::identity::{Identity, Subject};
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

/// Who the session of a subject is. `user` is its users.toml entry, if it has one, which says whether it is read-only.
pub(super) fn session_of(config: &Config, servers: &[&Database], user: Option<&User>, grant: &AuthGrant) -> Identity {
    let read_only = plan::reads_only(config, servers, user, grant);
    Identity {
        login: Some(login_of(grant).to_owned()),
        allow_privileged: config.jwt.as_ref().is_some_and(|jwt| jwt.allow_privileged_roles),
        read_only,
        watched: read_only || grant.guarded || config.is_shared(grant),
        variables: grant.settings.as_slice().into(),
        proven: plan::proven(config, servers, grant),
        subject: config.is_shared(grant).then(|| Subject::of(grant)),
        ..Identity::default()
    }
}

fn login_of(grant: &AuthGrant) -> &str {
    grant.server_user.as_deref().unwrap_or(&grant.user)
}

/// The pools of a subject, with connections of this identity. `user` says how large they are; an account in it is for those
/// who come with a password.
pub(super) fn pools(
    config: &Config,
    servers: &[&Database],
    user: Option<&User>,
    grant: &AuthGrant,
    proof: &Proof,
    identity: Arc<Identity>,
) -> PoolSetSpec {
    let login = login_of(grant);
    let secret = config.jwt.as_ref().filter(|jwt| jwt.login.auth == LoginAuth::Password);
    let secret = secret.and_then(|jwt| jwt.login.password.as_ref()).filter(|_| *proof == Proof::Password);
    let shared = plan::serves_many(config, grant);
    let pool = |server: &&Database| PoolSpec {
        proof: proof.clone(),
        shared,
        ..plan::pool(config, server, user, login, secret, &identity)
    };
    let pools = servers.iter().map(pool).collect();
    PoolSetSpec { shared, ..plan::set(config, servers, user, identity, pools) }
}
