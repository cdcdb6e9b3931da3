//! The end of a login: what the client is told, and why it is turned away. A role that does not exist, or may not be
//! assumed, ends the login here (S2).

use std::net::SocketAddr;
use std::sync::Arc;

use super::certificate;
use super::grant::Who;
use super::parameters::Parameters;
use super::refused::Refused;
use super::sessions::Registration;
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::{Membership, NoServer};
use crate::backend::connect::ConnectError;
use crate::backend::identity::IdentityError;
use crate::backend::registry::NoPool;
use crate::backend::settings::Settings;
use crate::net::stream::Stream;
use crate::stats::{About, Account, Token};
use crate::wire::{PgError, message};

/// Codes with which PostgreSQL refuses a login, a role, or the right to it.
const IDENTITY_CODES: [&str; 5] = ["28000", "28P01", "22023", "42501", "42704"];

/// `user` is what the client typed: no refusal tells more than it said itself (S6).
pub(super) fn refused(error: &NoServer, who: &Who, user: &str) -> Refused {
    let detail = error.to_string();
    let identity = |reason| match who.grant() {
        Some(_) => Refused::identity(reason, user),
        None => Refused::new(reason, error.for_client()),
    };
    let refused = match error {
        NoServer::Paused(_) => Refused::new("paused", error.for_client()),
        NoServer::Checkout(CheckoutError::Identity(IdentityError::NoProof(_))) => identity("no_proof"),
        NoServer::Checkout(CheckoutError::Identity(IdentityError::Privileged(_))) => identity("role_privileged"),
        NoServer::Checkout(CheckoutError::Identity(IdentityError::Refused(_) | IdentityError::Mismatch { .. })) => {
            identity("role_refused")
        }
        // Who logs in is the gateway: that is nobody's attempt to get in.
        NoServer::Checkout(CheckoutError::Connect(connecting))
            if connecting.is_login_refused() && !who.grant().is_some_and(|grant| grant.mode.is_kept_by_server()) =>
        {
            Refused::new("server_login_refused", error.for_client())
        }
        NoServer::Checkout(CheckoutError::Connect(ConnectError::Refused(fields)))
            if IDENTITY_CODES.contains(&fields.code.as_str()) =>
        {
            identity("role_refused")
        }
        NoServer::Checkout(CheckoutError::Connect(ConnectError::TokenRefused { .. })) => identity("token_refused"),
        NoServer::Checkout(CheckoutError::TokenExpired) => identity("expired"),
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
            // Who looks after the gateway knows where databases are listed: the event of the login has it.
            PgError::fatal("3D000", format!("database \"{database}\" does not exist")),
        ),
        NoPool::NotProvisioned => Refused::identity("not_provisioned", user),
        NoPool::NoAccount => Refused::identity("no_role_mapping", user),
        NoPool::ModeChanged | NoPool::NoToken => Refused::identity("no_identity", user),
        NoPool::UnknownUser => Refused::identity("unknown_user", user),
        NoPool::OtherScope => Refused::identity("other_scope", user),
        NoPool::TooMany => Refused::new(
            "too_many_pools",
            PgError::fatal("53300", "too many token subjects are active")
                .hint("Raise max_pools in [jwt], or wait until other subjects are idle."),
        ),
    };
    refused.detail(error.to_string())
}

/// The refusal for a client of a database that the administrator has disabled.
pub(super) fn disabled(database: &str) -> Refused {
    let text = format!("database \"{database}\" is not accepting connections");
    Refused::new(
        "database_disabled",
        PgError::fatal("57P03", text).hint("The administrator has said DISABLE: try again later."),
    )
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
    let account = Account {
        user: who.user().to_owned(),
        tenant: who.tenant().map(str::to_owned),
        database: pools.key.database.clone(),
        pool: Some(pools.key.user.clone()),
        mode: Some(pools.mode),
        token: token(who, pools).map(Arc::new),
    };
    About {
        account: pools.account.share(Arc::new(account)),
        application_name: settings.get("application_name").unwrap_or_default().into(),
        address,
        encryption: certificate::encryption(stream),
    }
}

/// What the token of a session says, for those who look after the gateway.
pub(super) fn token(who: &Who, pools: &Membership) -> Option<Token> {
    who.grant().map(|grant| Token {
        subject: grant.subject.clone(),
        issuer: grant.issuer.clone(),
        token_id: grant.token_id.clone(),
        issued_at: grant.issued_at,
        role: pools.identity().subject().map(str::to_owned),
        account: grant.account.as_ref().map(|account| account.rule().server_user.clone()),
        read_only: pools.spec.read_only,
        expires_at: grant.expires_at,
    })
}

/// All that the client is told once it is in.
pub(super) fn greeting(parameters: &Parameters, registration: &Registration) -> Vec<u8> {
    let Parameters { greeting, settings, warnings } = parameters;
    let mut out = Vec::with_capacity(greeting.messages.len() + warnings.len() + 128);
    message::authentication_ok(&mut out);
    out.extend_from_slice(warnings);
    out.extend_from_slice(&greeting.messages);
    let name = settings.get("application_name").unwrap_or_default();
    message::parameter_status(&mut out, "application_name", &greeting.application_name(name));
    message::backend_key_data(&mut out, registration.process(), registration.key());
    message::ready_for_query(&mut out, b'I');
    out
}
