//! Whether a live session may go on with a new token: the token is judged as at a login, and what it makes of the session
//! must be what the session is. Its claims may differ, and with them the variables and proofs that go to servers; who the
//! session is, where it runs and whether it may write may not.

use std::net::SocketAddr;
use std::sync::Arc;

use pgdog_jwt::config::Secret;
use pgdog_jwt::{AuthContext, AuthDecision, AuthGrant, Credential};

use super::Rules;
use crate::app::state::{App, Generation};
use crate::backend::cluster::{Membership, PoolKey, PoolSet};
use crate::backend::identity::Identity;
use crate::frontend::grant::Who;
use crate::frontend::limits::Seat;
use crate::frontend::refused::{LIMITED, Refused};
use crate::frontend::{login_limits, provision, tenant, token_limits, welcome};
use crate::wire::PgError;

/// What is asked, and by whom.
pub(super) struct Asking {
    pub(super) app: &'static App,
    /// The user of the start-up packet.
    pub(super) typed: Box<str>,
    pub(super) database: String,
    pub(super) token: Secret,
    pub(super) address: Option<SocketAddr>,
    pub(super) tls: bool,
    pub(super) certificate: Option<String>,
    pub(super) tenant: Option<String>,
    /// What the session is now.
    pub(super) before: AuthGrant,
    pub(super) key: PoolKey,
    pub(super) identity: Arc<Identity>,
    pub(super) rules: Rules,
    /// The pools of the server that it holds.
    pub(super) held: Option<Arc<PoolSet>>,
}

/// What the session is from now on.
pub(super) struct Renewed {
    pub(super) who: Who,
    pub(super) pools: Membership,
    pub(super) generation: Arc<Generation>,
    /// Its place among the sessions of the token, where that is another token.
    pub(super) seat: Option<Seat>,
}

/// Takes no longer than a login may.
pub(super) async fn judge(asking: Asking) -> Result<Renewed, Refused> {
    let limit = asking.app.state().config.general.client_login_timeout;
    let timed_out = || {
        let error = PgError::error("57014", "the token could not be checked in time");
        Refused::new("login_timeout", error.hint("The session goes on with the token that it has. Try again."))
    };
    let (app, address, typed) = (asking.app, asking.address, asking.typed.clone());
    let outcome = match tokio::time::timeout(limit, decide(asking)).await {
        Ok(decided) => decided,
        Err(_) => Err(timed_out()),
    };
    if let Err(refused) = &outcome
        && refused.is_failure()
    {
        let config = app.state().config.clone();
        login_limits::failed(&config.general, address, tenant::split(&config, &typed).user);
    }
    outcome
}

async fn decide(asking: Asking) -> Result<Renewed, Refused> {
    let generation = asking.app.state();
    let name = tenant::split(&generation.config, &asking.typed);
    let user = name.user;
    if login_limits::check(&generation.config.general, asking.address, user).is_err() {
        // As a login would be, without a look at the token.
        return Err(Refused::identity(LIMITED, user));
    }
    let grant = verify(&asking, user, &generation).await?;
    if (&grant.issuer, &grant.subject) != (&asking.before.issuer, &asking.before.subject) {
        let error = PgError::error("28000", "the new token is for another subject than the session's")
            .hint("Log in with it to be somebody else.");
        return Err(Refused::new("other_subject", error).detail(format!("it is for {:?}", grant.subject)));
    }
    let changes_token = !is_same_token(&grant, &asking.before);
    let opened = tenant::reopen(Who::Token(grant.into()), name, &asking.database, &generation).await;
    let who = opened.map_err(|(refused, _)| refused)?;
    let database = &asking.database;
    let pools = who.pools(&generation.registry, database).map_err(|error| welcome::no_pool(error, user, database))?;
    check(&asking, &who, &pools, &generation).map_err(|refused| *refused)?;
    provision::provision(generation.provisioner.as_deref(), &pools, &who, user).await?;
    let address = asking.address.map(|address| address.ip());
    let life = generation.config.jwt.as_ref().map(|jwt| jwt.life).filter(|_| changes_token);
    let seat = match (life, who.grant()) {
        (Some(life), Some(grant)) => token_limits::of_token(&life, grant, user, address).map_err(|refused| *refused)?,
        _ => None,
    };
    Ok(Renewed { who, pools, generation, seat })
}

/// The token by itself, as at a login.
async fn verify(asking: &Asking, user: &str, generation: &Generation) -> Result<Box<AuthGrant>, Refused> {
    let Some(authenticator) = &generation.authenticator else {
        return Err(Refused::credential("not_a_token_user", "28000", user));
    };
    let context = AuthContext {
        user,
        database: &asking.database,
        credential: Credential::new(asking.token.expose().as_bytes()),
        client_addr: asking.address.map(|address| address.ip()),
        tls: asking.tls,
        tls_identity: asking.certificate.as_deref(),
    };
    match authenticator.authenticate(context).await {
        AuthDecision::Allow(grant) => Ok(grant),
        AuthDecision::Deny(reason) => Err(Refused::credential(reason.code(), "28000", user).detail(reason.to_string())),
        AuthDecision::Skip => Err(Refused::credential("not_a_token_user", "28000", user)),
    }
}

fn is_same_token(one: &AuthGrant, other: &AuthGrant) -> bool {
    let name = |grant: &AuthGrant| (grant.token_id.clone(), grant.fingerprint);
    name(one) == name(other)
}

/// Whether the session would be what it is.
fn check(asking: &Asking, who: &Who, pools: &Membership, generation: &Generation) -> Result<(), Box<Refused>> {
    let refused = |detail: &'static str| {
        let error =
            PgError::error("0A000", "the new token does not fit this session: it differs in more than its claims")
                .detail(detail)
                .hint("Log in with it.");
        Box::new(Refused::new("other_session", error).detail(detail))
    };
    let same_key = PoolKey { token: asking.key.token, ..pools.key.clone() } == asking.key;
    let same_mode = who.grant().is_some_and(|grant| grant.mode == asking.before.mode);
    if !same_key || !same_mode || who.user() != asking.before.user || who.tenant() != asking.tenant.as_deref() {
        return Err(refused("It gives another user, role, account or tenant, or another right to write."));
    }
    // Whether statements are recorded is no matter of the token.
    if Rules::new(generation, who, pools).reading(asking.rules.reads_sql) != asking.rules {
        return Err(refused("It gives another pool mode, or the configuration has changed."));
    }
    let bare = |identity: &Identity| Identity { variables: Arc::default(), proven: None, ..identity.clone() };
    if bare(pools.identity()) != bare(&asking.identity) {
        return Err(refused("It gives another identity on the server."));
    }
    let names = |identity: &Identity| identity.variables.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let (new, old) = (names(pools.identity()), names(&asking.identity));
    let stays = old.iter().all(|name| new.contains(name));
    let proves = |identity: &Identity| identity.proven.is_some();
    match &asking.held {
        // Nobody would take them off the connection.
        Some(_) if !stays || proves(pools.identity()) != proves(&asking.identity) => {
            Err(refused("It does not give all variables that the session has on the server connection that it holds."))
        }
        Some(held) if !Arc::ptr_eq(held, pools) => Err(refused(
            "The session holds a server connection that belongs to the token it has: pooler_mode = \"transaction\" \
             gives it back after each transaction.",
        )),
        _ => Ok(()),
    }
}
