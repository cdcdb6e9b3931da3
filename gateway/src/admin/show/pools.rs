//! SHOW POOLS: one row for each server that a user's pools reach.

use super::servers::{holders, state};
use crate::admin::table::{Kind, Table, Value};
use crate::backend::registry::Registry;
use crate::config::Choice;
use crate::stats::State;

pub(super) fn pools(registry: &Registry, database: Option<&str>) -> Table {
    let mut table = Table::new(&[
        ("id", Kind::Int),
        ("database", Kind::Text),
        ("user", Kind::Text),
        ("addr", Kind::Text),
        ("port", Kind::Int),
        ("shard", Kind::Int),
        ("role", Kind::Text),
        ("cl_waiting", Kind::Int),
        ("sv_idle", Kind::Int),
        ("sv_active", Kind::Int),
        ("sv_idle_xact", Kind::Int),
        ("sv_total", Kind::Int),
        ("pool_size", Kind::Int),
        ("min_pool_size", Kind::Int),
        ("maxwait", Kind::Int),
        ("maxwait_us", Kind::Int),
        ("pool_mode", Kind::Text),
        ("paused", Kind::Bool),
        ("banned", Kind::Bool),
        ("online", Kind::Bool),
        ("problem", Kind::Text),
    ]);
    let holders = holders();
    let mut sets = registry.sets();
    sets.sort_by(|one, other| (&one.key.database, &one.key.user).cmp(&(&other.key.database, &other.key.user)));
    for set in sets.iter().filter(|set| database.is_none_or(|name| set.key.database == name)) {
        for pool in &set.pools {
            let view = pool.view();
            let cards = pool.stats.seats.cards();
            let in_transaction = cards
                .iter()
                .filter(|card| state(card, &view.idle, &holders) == State::IdleInTransaction.name())
                .count();
            let idle = view.idle.len();
            let wait = view.longest_wait;
            table.push(vec![
                Value::int(pool.node.number),
                Value::text(&set.key.database),
                Value::text(&set.key.user),
                Value::text(&pool.node.address.host),
                Value::int(pool.node.address.port),
                Value::int(0),
                Value::text(pool.node.role_name()),
                Value::int(view.waiting),
                Value::int(idle),
                Value::int(view.size.saturating_sub(idle)),
                Value::int(in_transaction),
                Value::int(view.size),
                Value::int(pool.spec.size),
                Value::int(pool.spec.min_size),
                Value::int(wait.as_secs()),
                Value::int(wait.as_micros()),
                Value::text(set.spec.mode.word()),
                Value::Bool(set.cluster.gate.is_closed()),
                Value::Bool(pool.node.bans.keeps_reads_away()),
                Value::Bool(!pool.node.bans.is_banned()),
                Value::maybe(pool.problem().as_deref()),
            ]);
        }
    }
    table
}
