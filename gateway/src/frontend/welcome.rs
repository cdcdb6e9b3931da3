//! The end of a login: the parameters that the client is told, from a server that is the client's already. A role that
//! does not exist, or may not be assumed, ends the login here (S2).

use std::net::SocketAddr;

use super::grant::Who;
use super::login::Refused;
use super::sessions::Registration;
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::{Membership, NoServer};
use crate::backend::connect::ConnectError;
use crate::backend::greeting::{self, Greeting};
use crate::backend::identity::IdentityError;
use crate::backend::registry::NoPool;
use crate::backend::server::Server;
use crate::backend::settings::Settings;
use crate::net::stream::Stream;
use crate::stats::{About, Token};
use crate::wire::{PgError, message};

/// Codes with which PostgreSQL refuses a login, a role, or the right to it.
const IDENTITY_CODES: [&str; 5] = ["28000", "28P01", "22023", "42501", "42704"];

/// The parameters of a server with the client's settings: remembered, or asked of a server now.
pub(super) async fn parameters(
    pools: &Membership,
    settings: &Settings,
    who: &Who,
    user: &str,
) -> Result<Greeting, Refused> {
    let mut key = settings.clone();
    key.remove("application_name");
    // A read-only user is let in by a replica, not by the memory of one: it may have been promoted since (S10).
    // Nor by what other identities heard in its pools: PostgreSQL has to take each of them once (S2).
    let is_stranger = pools.spec.shared && !pools.identities.is_confirmed(pools.identity());
    let remembered = pools.greetings.lock().get(&key).filter(|_| !pools.spec.read_only && !is_stranger);
    if let Some(greeting) = remembered {
        return Ok(greeting);
    }
    let server = check_out(pools, settings).await.map_err(|error| refused(&error, who, user))?;
    let greeting = greeting::build(server.connection());
    server.check_in();
    pools.identities.note_confirmed(pools.identity());
    pools.greetings.lock().put(key, greeting.clone());
    Ok(greeting)
}

/// A server of any kind: the primary where there is one.
async fn check_out(pools: &Membership, settings: &Settings) -> Result<Server, NoServer> {
    let server = pools.check_out_any(&pools.wish).await?;
    let limit = server.slot.pool().spec.limits.connect_timeout;
    let settings = std::sync::Arc::new(settings.clone());
    match tokio::time::timeout(limit, server.confirm(pools.identity(), &settings)).await {
        Ok(Ok(server)) => Ok(server),
        Ok(Err(error)) => Err(NoServer::Checkout(error.into())),
        Err(_) => Err(NoServer::Checkout(CheckoutError::ConnectTimeout(limit))),
    }
}

/// `user` is what the client typed: no refusal tells more than it said itself (S6).
pub(super) fn refused(error: &NoServer, who: &Who, user: &str) -> Refused {
    let detail = error.to_string();
    let identity = |reason| match who {
        Who::Token(_) => Refused::identity(reason, user),
        Who::User(_) => Refused::new(reason, error.for_client()),
    };
    let refused = match error {
        NoServer::Paused(_) => Refused::new("paused", error.for_client()),
        NoServer::Checkout(CheckoutError::Identity(IdentityError::Privileged(_))) => identity("role_privileged"),
        NoServer::Checkout(CheckoutError::Identity(IdentityError::Refused(_) | IdentityError::Mismatch { .. })) => {
            identity("role_refused")
        }
        NoServer::Checkout(CheckoutError::Connect(ConnectError::Refused(fields)))
            if IDENTITY_CODES.contains(&fields.code.as_str()) =>
        {
            identity("role_refused")
        }
        NoServer::Checkout(CheckoutError::Identity(IdentityError::Setting(_))) => {
            Refused::new("startup_parameter", error.for_client())
        }
        NoServer::NoReplica | NoServer::NoStandby | NoServer::ReplicaDown(_) => {
            Refused::new("no_replica", error.for_client())
        }
        _ => Refused::new("no_server", error.for_client()),
    };
    refused.detail(detail)
}

/// The refusal for a login without a pool.
pub(super) fn no_pool(error: NoPool, user: &str, database: &str) -> Refused {
    let refused = match error {
        NoPool::UnknownDatabase => Refused::new(
            "unknown_database",
            PgError::fatal("3D000", format!("database \"{database}\" does not exist"))
                .hint("Databases are listed in pgdog.toml."),
        ),
        NoPool::NotProvisioned => Refused::identity("not_provisioned", user),
        NoPool::UnknownUser => Refused::identity("unknown_user", user),
        NoPool::TooMany => Refused::new(
            "too_many_pools",
            PgError::fatal("53300", "too many token subjects are active")
                .hint("Raise max_pools in [jwt], or wait until other subjects are idle."),
        ),
    };
    refused.detail(error.to_string())
}

/// The refusal for a session beyond the limit that the token sets: PostgreSQL's own words.
pub(super) fn too_many_sessions(user: &str) -> Refused {
    Refused::new("too_many_sessions", PgError::fatal("53300", format!("too many connections for role \"{user}\"")))
}

/// Who the client is, for those who look after the gateway.
pub(super) fn about(
    stream: &Stream,
    address: Option<SocketAddr>,
    who: &Who,
    pools: &Membership,
    settings: &Settings,
) -> About {
    let token = who.grant().map(|grant| Token {
        subject: grant.subject.clone(),
        issuer: grant.issuer.clone(),
        role: pools.identity().role.clone(),
        read_only: pools.spec.read_only,
        expires_at: grant.expires_at,
    });
    About {
        user: who.user().to_owned(),
        database: pools.key.database.clone(),
        application_name: settings.get("application_name").unwrap_or_default().to_owned(),
        address,
        tls: stream.is_tls(),
        mode: Some(pools.mode),
        token,
    }
}

/// All that the client is told once it is in.
pub(super) fn greeting(parameters: &Greeting, settings: &Settings, registration: &Registration) -> Vec<u8> {
    let mut out = Vec::with_capacity(parameters.messages.len() + 128);
    message::authentication_ok(&mut out);
    out.extend_from_slice(&parameters.messages);
    let name = settings.get("application_name").unwrap_or_default();
    message::parameter_status(&mut out, "application_name", name);
    message::backend_key_data(&mut out, registration.process(), registration.key());
    message::ready_for_query(&mut out, b'I');
    out
}
