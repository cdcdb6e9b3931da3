//! The janitor: once a second it closes server connections that are free for too long, too old or dead, opens those that
//! a pool should always have, and forgets subjects that left nothing behind.

use std::time::Duration;

use super::monitor;
use crate::app::state::App;

const PERIOD: Duration = Duration::from_secs(1);

/// Runs until the process ends.
pub(crate) async fn run(app: &'static App) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let state = app.state();
        monitor::start_missing(app, &state);
        // Not by way of all pools: there may be many without a connection.
        for node in state.registry.clusters().flat_map(|(_, cluster)| &cluster.nodes) {
            node.budget.occupied().iter().for_each(|pool| pool.tidy());
        }
        for set in state.registry.standing_sets() {
            for pool in &set.pools {
                if pool.is_short() && !pool.node.bans.is_banned() && !set.cluster.gate.is_closed() {
                    let pool = pool.clone();
                    // On its own: a server that does not answer must not keep the janitor from the others.
                    tokio::spawn(async move {
                        if let Err(error) = pool.open_one().await {
                            tracing::debug!(%error, "a connection ahead of need could not be made");
                        }
                    });
                }
            }
        }
        state.registry.clusters().for_each(|(_, cluster)| cluster.catalogue.tend());
        state.registry.forget_idle_subjects();
    }
}
