//! Who may replicate.

use pgdog_jwt::config::IdentityMode;

use super::Kind;
use crate::app::state::Generation;
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::{Membership, NoServer};
use crate::backend::connect::ConnectError;
use crate::backend::dedicated::{Dedicated, NotDedicated};
use crate::backend::settings::Settings;
use crate::config::{Guard, PoolerMode};
use crate::frontend::grant::Who;
use crate::frontend::refused::Refused;
use crate::frontend::welcome;
use crate::wire::PgError;

/// Opens the client's own connection to the server, where the client may have one.
pub(in crate::frontend) async fn admit(
    kind: Kind,
    pools: &Membership,
    settings: &Settings,
    who: &Who,
    user: &str,
    generation: &Generation,
) -> Result<Dedicated, Refused> {
    check(kind, pools, who, generation).map_err(|error| Refused::told("replication", error))?;
    let dedicated = pools.dedicate(pools.identity(), kind.value(), settings).await.map_err(|error| match error {
        NotDedicated::NoReplication(_) => not_permitted().detail(error.to_string()),
        NotDedicated::NoServer(NoServer::Checkout(CheckoutError::Connect(ConnectError::Refused(ref fields))))
            if fields.code == "42501" =>
        {
            not_permitted().detail(fields.message.clone())
        }
        NotDedicated::NoServer(error) => welcome::refused(&error, who, user),
    })?;
    // What the token says is asked once more, past the pools: this connection is not checked again.
    let account =
        |grant: &pgdog_jwt::AuthGrant| grant.account.as_ref().map(|account| account.rule().server_user.clone());
    let wanted = who.grant().and_then(|grant| grant.server_role.clone().or_else(|| account(grant)));
    if who.grant().is_some() && (wanted.is_none() || wanted != dedicated.role) {
        return Err(Refused::identity("role_refused", user));
    }
    Ok(dedicated)
}

fn check(kind: Kind, pools: &Membership, who: &Who, generation: &Generation) -> Result<(), PgError> {
    if pools.mode != PoolerMode::Session {
        return Err(PgError::fatal("0A000", "replication connections need pooler_mode = \"session\"")
            .hint("Set it for this user or database, or connect to PostgreSQL itself."));
    }
    if pools.spec.read_only {
        return Err(PgError::fatal("25006", "a read-only user may not replicate")
            .hint("Replication reads from the primary, where read-only users may not be."));
    }
    if matches!(who, Who::Scoped(_)) {
        // It reads past row-level security, which the session's variables are for.
        return Err(PgError::fatal("42501", "sessions with a tenant or with resolvers may not replicate")
            .hint("Use a user that is exempt: see bypass_users in [tenants]."));
    }
    let Some(grant) = who.grant() else { return Ok(()) };
    if grant.mode == IdentityMode::Passthrough {
        return Err(PgError::fatal("0A000", "replication connections are not for mode = \"passthrough\"")
            .hint("They would outlive the token. Use a user of users.toml with a password."));
    }
    if kind == Kind::Physical {
        // It hands over the files of all databases, and takes no SQL by which the identity could be confirmed.
        return Err(PgError::fatal("42501", "physical replication is not for users that come with a token")
            .hint("Use replication=database, or a user of users.toml with a password."));
    }
    if who.watch(&generation.config, false).is_guarded()
        && generation.config.jwt.as_ref().is_none_or(|jwt| jwt.guard != Guard::Strict)
    {
        return Err(PgError::fatal("0A000", "users that come with a token may replicate only with guard = \"strict\"")
            .hint("Set it in [jwt]."));
    }
    Ok(())
}

fn not_permitted() -> Refused {
    let error = PgError::fatal("42501", "permission denied to replicate")
        .hint("Both the role and the account that the gateway logs in with need the REPLICATION attribute.");
    Refused::told("replication", error)
}
