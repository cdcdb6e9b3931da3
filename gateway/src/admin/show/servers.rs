//! SHOW SERVERS: the connections to PostgreSQL, and who holds them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crate::admin::table::{Kind, Table, Value};
use crate::backend::pool::Pool;
use crate::backend::registry::Registry;
use crate::frontend::sessions;
use crate::stats::{self, Card, ServerCard, State};

/// Clients by the server that they hold.
pub(super) type Holders = HashMap<u64, (u32, Arc<Card>)>;

pub(super) fn holders() -> Holders {
    let held = |(process, card): (u32, Arc<Card>)| {
        let server = card.server.get();
        (server != 0).then_some((server, (process, card)))
    };
    sessions::all().into_iter().filter_map(held).collect()
}

pub(super) fn servers(registry: &Registry, database: Option<&str>) -> Table {
    let mut table = Table::new(&[
        ("id", Kind::Int),
        ("database", Kind::Text),
        ("user", Kind::Text),
        ("addr", Kind::Text),
        ("port", Kind::Int),
        ("role", Kind::Text),
        ("state", Kind::Text),
        ("remote_pid", Kind::Int),
        ("tls", Kind::Bool),
        ("connect_time", Kind::Time),
        ("request_time", Kind::Time),
        ("age", Kind::Int),
        ("transactions", Kind::Int),
        ("queries", Kind::Int),
        ("prepared_statements", Kind::Int),
        ("close_needed", Kind::Bool),
        ("client_id", Kind::Int),
        ("application_name", Kind::Text),
    ]);
    let holders = holders();
    let mut sets = registry.sets();
    sets.sort_by(|one, other| (&one.key.database, &one.key.user).cmp(&(&other.key.database, &other.key.user)));
    for set in sets.iter().filter(|set| database.is_none_or(|name| set.key.database == name)) {
        for pool in &set.pools {
            let idle = pool.view().idle;
            for card in pool.stats.seats.cards() {
                let state = state(&card, &idle, &holders);
                table.push(server(&set.key.database, &set.key.user, pool, &card, state, holders.get(&card.id)));
            }
        }
    }
    table
}

/// What a connection is doing, as far as its holder says.
pub(super) fn state(card: &ServerCard, idle: &[u64], holders: &Holders) -> &'static str {
    match holders.get(&card.id) {
        Some((_, client)) if client.state() == State::IdleInTransaction => State::IdleInTransaction.name(),
        Some((_, client)) if client.state() == State::Pinned => State::Pinned.name(),
        Some(_) => State::Active.name(),
        None if idle.contains(&card.id) => State::Idle.name(),
        // On its way to a client, or cleaned after one.
        None => State::Active.name(),
    }
}

fn server(
    database: &str,
    user: &str,
    pool: &Pool,
    card: &ServerCard,
    state: &'static str,
    holder: Option<&(u32, Arc<Card>)>,
) -> Vec<Value> {
    let age = SystemTime::now().duration_since(card.connected_at).unwrap_or_default();
    vec![
        Value::int(card.id),
        Value::text(database),
        Value::text(user),
        Value::text(&pool.node.address.host),
        Value::int(pool.node.address.port),
        Value::text(pool.node.role_name()),
        Value::text(state),
        Value::int(card.process),
        Value::Bool(card.tls),
        Value::Time(card.connected_at),
        Value::time(stats::moment(card.last_request.get())),
        Value::int(age.as_secs()),
        Value::int(card.transactions.get()),
        Value::int(card.queries.get()),
        Value::int(card.prepared.load(Ordering::Relaxed)),
        Value::Bool(card.is_retired()),
        holder.map_or(Value::Null, |(process, _)| Value::int(*process)),
        Value::maybe(holder.map(|(_, client)| &*client.about.application_name)),
    ]
}

/// Servers that get no reads while there is another.
pub(super) fn bans(registry: &Registry) -> Table {
    let mut table = Table::new(&[
        ("id", Kind::Int),
        ("database", Kind::Text),
        ("addr", Kind::Text),
        ("port", Kind::Int),
        ("role", Kind::Text),
        ("reason", Kind::Text),
        ("until", Kind::Time),
    ]);
    let mut clusters: Vec<_> = registry.clusters().collect();
    clusters.sort_by_key(|(database, _)| *database);
    for (database, cluster) in clusters {
        for node in &cluster.nodes {
            for (reason, left) in node.bans.current() {
                let until = left.and_then(|left| SystemTime::now().checked_add(left));
                table.push(vec![
                    Value::int(node.number),
                    Value::text(database),
                    Value::text(&node.address.host),
                    Value::int(node.address.port),
                    Value::text(node.role_name()),
                    Value::text(reason.to_string()),
                    Value::time(until),
                ]);
            }
        }
    }
    table
}
