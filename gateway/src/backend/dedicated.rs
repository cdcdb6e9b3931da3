//! A server connection for one session alone: outside of the pool, never shared, closed at the end. Replication needs it:
//! what such a connection is, is said in its start-up packet and cannot be taken back.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgdog_jwt::config::Secret;
use pgdog_jwt_guard::Access;

use super::checkout_error::CheckoutError;
use super::cluster::{NoServer, PoolSet};
use super::connect::{self, ConnectError, ServerLogin};
use super::connection::Connection;
use super::conversation::ConversationError;
use super::identity::{Identity, IdentityError, answered};
use super::identity_sql::who_as_text;
use super::nonce::Nonce;
use super::pool::Pool;
use super::settings::Settings;

/// Asks, after [`WHO`], whether PostgreSQL would let the role replicate if it logged in itself.
const MAY_REPLICATE: &str = "SELECT r.rolreplication OR r.rolsuper FROM pg_catalog.pg_roles r \
                             WHERE r.rolname OPERATOR(pg_catalog.=) current_user";

/// See the module.
pub(crate) struct Dedicated {
    pub(crate) connection: Connection,
    /// The pool whose server and account it has.
    pub(crate) pool: Arc<Pool>,
    /// Who PostgreSQL says it is, where that was asked.
    pub(crate) role: Option<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDedicated {
    #[error(transparent)]
    NoServer(#[from] NoServer),
    /// The account could replicate; the role that it has taken for the session could not.
    #[error("role {0:?} has no REPLICATION attribute")]
    NoReplication(String),
}

impl From<CheckoutError> for NotDedicated {
    fn from(error: CheckoutError) -> Self {
        Self::NoServer(NoServer::Checkout(error))
    }
}

impl PoolSet {
    /// A replication connection to the server for writes, with the settings in its start-up packet. `replication` is that
    /// packet's parameter.
    ///
    /// The identity of a session that came with a token is confirmed before anything of the client's is sent (S1), and so is that its role
    /// may replicate: PostgreSQL has only asked that of the account that logged in. Both are SQL, so `replication` must be
    /// `database` for those.
    pub(crate) async fn dedicate(
        &self,
        identity: &Identity,
        replication: &str,
        settings: &Settings,
    ) -> Result<Dedicated, NotDedicated> {
        self.cluster.gate.pass().await.map_err(NoServer::Paused)?;
        let pool = self.pools.iter().find(|pool| self.allows(pool, Access::Write)).ok_or(NoServer::NoPrimary)?;
        let limit = pool.spec.limits.connect_timeout;
        match tokio::time::timeout(limit, open(pool, identity, replication, settings)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CheckoutError::ConnectTimeout(limit).into()),
        }
    }
}

async fn open(
    pool: &Arc<Pool>,
    identity: &Identity,
    replication: &str,
    settings: &Settings,
) -> Result<Dedicated, NotDedicated> {
    let mut connection = match log_in(pool, identity, replication, settings).await {
        Ok(connection) => connection,
        Err(error) => {
            if error.is_unreachable() {
                pool.node.failures.fetch_add(1, Ordering::Relaxed);
            }
            return Err(CheckoutError::from(error).into());
        }
    };
    pool.node.reached();
    pool.node.connects.fetch_add(1, Ordering::Relaxed);
    connection.seat = Some(pool.stats.seats.take(connection.process, connection.is_tls(), Arc::default()));
    let is_token = identity.watched || identity.subject.is_some() || identity.login.is_some();
    let role = if is_token { Some(confirm(&mut connection, &pool.spec.user, identity).await?) } else { None };
    Ok(Dedicated { connection, pool: pool.clone(), role })
}

/// Makes sure of the identity, and that it may replicate; gives the role.
async fn confirm(connection: &mut Connection, login: &str, identity: &Identity) -> Result<String, NotDedicated> {
    let refused = |error: IdentityError| NotDedicated::from(CheckoutError::Identity(error));
    if connection.hides_quotes() {
        return Err(refused(IdentityError::HidesQuotes));
    }
    let lost = |error: ConversationError| refused(error.into());
    let nonce = Nonce::new().map_err(lost)?;
    let answer = connection.query(&who_as_text(&nonce)).await.map_err(lost)?;
    let who = answered(&answer, &nonce).map_err(refused)?;
    let is_wanted = who.must_be(Some(identity.role.as_deref().unwrap_or(login)), Some(login));
    is_wanted.map_err(|mistaken| refused(mistaken.into()))?;
    // A replication connection may be to either kind of server.
    who.must_be_allowed(identity.allow_privileged, false).map_err(|mistaken| refused(mistaken.into()))?;
    let role = who.role.to_owned();
    let may = connection.query(MAY_REPLICATE).await.map_err(lost)?;
    if may.value(0) == "t" { Ok(role) } else { Err(NotDedicated::NoReplication(role)) }
}

async fn log_in(
    pool: &Pool,
    identity: &Identity,
    replication: &str,
    settings: &Settings,
) -> Result<Connection, ConnectError> {
    let permit = pool.node.connecting.acquire().await;
    let _permit = permit.map_err(|_| ConnectError::unreachable(io::ErrorKind::NotConnected.into()))?;
    let own = pool.spec.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut parameters: Vec<(&str, &str)> = own.filter(|(name, _)| settings.get(name).is_none()).collect();
    parameters.extend(settings.iter());
    parameters.extend(identity.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    if let Some(role) = &identity.role {
        parameters.push(("role", role));
    }
    parameters.push(("replication", replication));
    let password = pool.spec.password.as_ref().map(Secret::latest);
    let login = ServerLogin {
        user: &pool.spec.user,
        password: password.as_ref().map(Secret::expose),
        proof: &pool.spec.proof,
        database: &pool.spec.database,
        parameters: &parameters,
    };
    let tls = pool.node.tls.load_full();
    Ok(Connection::new(connect::connect(&pool.node.address, login, &tls, &pool.node.tcp).await?))
}
