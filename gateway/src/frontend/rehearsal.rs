//! A login without a client and without a server connection of its own: what would become of it, by the code that decides
//! about real ones.

use std::sync::Arc;

use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Credential, Step};

use super::grant::Who;
use super::identify::is_token_user;
use super::refused::Refused;
use super::{tenant, welcome};
use crate::app::state::Generation;
use crate::backend::cluster::{Membership, NoServer};

/// What a login comes to.
pub(crate) struct Rehearsal {
    /// The checks of the token, as far as they went.
    pub(crate) steps: Vec<Step>,
    pub(crate) outcome: Result<Admitted, Refusal>,
}

/// A client that PostgreSQL has the last word about.
pub(crate) struct Admitted {
    pub(crate) who: Who,
    pub(crate) pools: Membership,
}

/// As in the audit log.
pub(crate) struct Refusal {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let said = || refused.error.as_ref().map(|error| error.message.to_string());
        Self { reason: refused.reason, detail: refused.detail.clone().or_else(said).unwrap_or_default() }
    }
}

/// Goes through the login of a client that types this user name, over TLS, and shows this token. Resolvers run.
pub(crate) async fn rehearse(
    typed: &str,
    database: &str,
    token: &str,
    generation: &Arc<Generation>,
    authenticator: &Authenticator,
) -> Rehearsal {
    let config = &generation.config;
    let name = tenant::split(config, typed);
    let other_method =
        || Refusal { reason: "not_a_token_user", detail: "users of this name do not log in by token".to_owned() };
    let entry = config.user(name.user, database);
    if !config.jwt.as_ref().is_some_and(|jwt| is_token_user(jwt, name.user, entry)) {
        return Rehearsal { steps: Vec::new(), outcome: Err(other_method()) };
    }
    let context = AuthContext {
        user: name.user,
        database,
        credential: Credential::new(token.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    let explanation = authenticator.explain(context).await;
    let failed = explanation.steps.last().and_then(|step| step.outcome.clone().err());
    let grant = match (explanation.decision, failed) {
        (AuthDecision::Allow(grant), None) => Ok(grant),
        (AuthDecision::Deny(reason), _) | (_, Some(reason)) => {
            Err(Refusal { reason: reason.code(), detail: reason.to_string() })
        }
        (AuthDecision::Skip, None) => Err(other_method()),
    };
    let outcome = match grant {
        Err(refusal) => Err(refusal),
        Ok(grant) => match tenant::open(Who::Token(grant.into()), name, database, generation).await {
            Err((refused, _)) => Err(refused.into()),
            Ok((who, _seat)) => match who.pools(&generation.registry, database) {
                // As far as the files say.
                Ok(pools) if pools.pools.is_empty() && pools.spec.read_only => {
                    Err(welcome::refused(&NoServer::NoReplica, &who, name.user).into())
                }
                Ok(pools) => Ok(Admitted { who, pools }),
                Err(error) => Err(welcome::no_pool(error, name.user, database).into()),
            },
        },
    };
    Rehearsal { steps: explanation.steps, outcome }
}
