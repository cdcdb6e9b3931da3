//! The commands that change something: reload, reconnect, pause, resume, ban, disable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::run::Outcome;
use crate::app::{self, state::App};
use crate::backend::cluster::PoolSet;
use crate::backend::gate;
use crate::wire::PgError;

/// How often PAUSE looks whether servers are still in use.
const LOOK: Duration = Duration::from_millis(20);

pub(super) async fn reload(app: &'static App) -> Result<Outcome, PgError> {
    match app::reload(app).await {
        Ok(warnings) => Ok(Outcome { notices: warnings, ..Outcome::tag("RELOAD") }),
        Err(reason) => Err(PgError::error("F0000", "the configuration is refused, the old one stays").detail(reason)),
    }
}

/// Replaces the connections of one database or of all: free ones now, others when they are given back.
pub(super) fn reconnect(app: &'static App, database: Option<&str>) -> Result<Outcome, PgError> {
    for set in sets(app, database)? {
        set.pools.iter().for_each(|pool| pool.reconnect());
        set.role_settings.forget();
    }
    Ok(Outcome::tag("RECONNECT"))
}

/// Lets no server out any more, waits for those that are out, and closes all.
pub(super) async fn pause(app: &'static App, database: Option<&str>) -> Result<Outcome, PgError> {
    let limit = app.state().config.admin.pause_timeout;
    sets(app, database)?;
    for name in names(app, database) {
        gate::of(&name).close(limit);
    }
    let started = Instant::now();
    loop {
        let sets = sets(app, database)?;
        let pools = || sets.iter().flat_map(|set| &set.pools);
        pools().for_each(|pool| pool.reconnect());
        let busy: usize = pools().map(|pool| pool.size()).sum();
        let still_paused = names(app, database).iter().all(|name| gate::of(name).is_closed());
        if busy == 0 || !still_paused || app.is_draining() {
            return Ok(Outcome::tag("PAUSE"));
        }
        if started.elapsed() > limit {
            let text = format!("{busy} server connections are still in use after {} ms", limit.as_millis());
            return Err(PgError::error("55006", text)
                .hint("Clients keep waiting until RESUME. SHOW CLIENTS says who holds a server."));
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) fn resume(app: &'static App, database: Option<&str>) -> Result<Outcome, PgError> {
    sets(app, database)?;
    for name in names(app, database) {
        gate::of(&name).open();
    }
    Ok(Outcome::tag("RESUME"))
}

/// Bans servers, or ends their bans: one by its address or number in all databases, or the replicas of a database or of
/// all. The tag says how many there are.
pub(super) fn ban(app: &'static App, whom: Option<&str>, banned: bool) -> Result<Outcome, PgError> {
    let state = app.state();
    let mut count = 0;
    for (database, cluster) in state.registry.clusters() {
        for node in &cluster.nodes {
            let is_server = |name: &str| node.address.to_string() == name || node.number.to_string() == name;
            let is_meant = match whom {
                Some(name) if is_server(name) => true,
                Some(name) if name != database => false,
                // Whoever names no server means those that have equals; a ban that is there can be ended anywhere.
                _ => node.is_replica() || !banned,
            };
            if is_meant {
                node.set_banned(banned);
                count += 1;
            }
        }
    }
    match count {
        0 => Err(PgError::error("42704", "there is no such server")
            .hint("SHOW DATABASES lists hosts and ports, SHOW POOLS ids. A database must have a replica.")),
        count => Ok(Outcome::tag(&format!("{} {count}", if banned { "BAN" } else { "UNBAN" }))),
    }
}

/// Waits until no connection is left that is to be closed when it is given back.
pub(super) async fn wait_close(app: &'static App, database: Option<&str>) -> Result<Outcome, PgError> {
    let limit = app.state().config.admin.pause_timeout;
    let started = Instant::now();
    loop {
        let sets = sets(app, database)?;
        let cards = sets.iter().flat_map(|set| &set.pools).flat_map(|pool| pool.stats.seats.cards());
        let left = cards.filter(|card| card.is_retired()).count();
        if left == 0 || app.is_draining() {
            return Ok(Outcome::tag("WAIT_CLOSE"));
        }
        if started.elapsed() > limit {
            let text = format!("{left} server connections are still to be closed after {} ms", limit.as_millis());
            return Err(
                PgError::error("55006", text).hint("SHOW SERVERS says in close_needed which, and who holds them.")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Refuses new clients of a database, or lets them in again.
pub(super) fn set_disabled(app: &'static App, database: &str, disabled: bool) -> Result<Outcome, PgError> {
    sets(app, Some(database))?;
    gate::of(database).set_disabled(disabled);
    Ok(Outcome::tag(if disabled { "DISABLE" } else { "ENABLE" }))
}

/// The databases that are meant.
fn names(app: &'static App, database: Option<&str>) -> Vec<String> {
    match database {
        Some(name) => vec![name.to_owned()],
        None => app.state().config.database_names().into_iter().map(str::to_owned).collect(),
    }
}

/// The pools of the databases that are meant.
pub(super) fn sets(app: &'static App, database: Option<&str>) -> Result<Vec<Arc<PoolSet>>, PgError> {
    let state = app.state();
    if let Some(name) = database
        && state.registry.cluster(name).is_none()
    {
        let text = format!("database \"{name}\" is not configured");
        return Err(PgError::error("3D000", text).hint("SHOW DATABASES lists what is."));
    }
    let is_meant = |set: &Arc<PoolSet>| database.is_none_or(|name| set.key.database == name);
    Ok(state.registry.sets().into_iter().filter(is_meant).collect())
}
