//! Whether the resolvers can run, asked of the databases in the background: they may be down when the gateway starts.

use std::sync::Arc;

use tracing::{info, warn};

use super::{Failure, run};
use crate::app::state::Generation;
use crate::backend::cluster::PoolSet;
use crate::config::Resolver;

/// Prepares every query on every database that it is for, and logs what does not fit.
pub(crate) async fn verify(generation: Arc<Generation>) {
    let config = &generation.config;
    for database in config.database_names() {
        let Some(pools) = generation.registry.for_resolvers(database) else { continue };
        for resolver in config.resolvers.iter().filter(|resolver| resolver.serves(database)) {
            let asked = tokio::time::timeout(config.general.connect_timeout, prepare(resolver, pools)).await;
            match asked.unwrap_or(Err(Failure::Timeout)) {
                Ok(None) => info!(event = "resolver", resolver = resolver.name, database, "resolver is ready"),
                Ok(Some(reason)) => {
                    warn!(event = "resolver", resolver = resolver.name, database, reason, "resolver cannot work");
                }
                Err(failure) => {
                    warn!(event = "resolver", resolver = resolver.name, database, reason = %failure, "resolver cannot work");
                }
            }
        }
    }
}

/// What does not fit, if anything.
async fn prepare(resolver: &Resolver, pools: &Arc<PoolSet>) -> Result<Option<String>, Failure> {
    let mut server = run::check_out(pools).await?;
    let answer = server.ask(&resolver.query, None).await;
    if server.is_clean() {
        server.check_in();
    }
    let answer = answer?;
    let given = resolver.params.len();
    if answer.parameters != given {
        return Ok(Some(format!("the query has {} parameters, \"params\" has {given}", answer.parameters)));
    }
    let missing = resolver.inject.iter().find(|(_, column)| !answer.columns().contains(column));
    Ok(missing.map(|(_, column)| format!("the result has no column \"{column}\"")))
}
