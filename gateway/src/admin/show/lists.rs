//! SHOW DATABASES, USERS, LISTS, STATE and PREPARED.

use std::sync::Arc;

use crate::admin::table::{Kind, Table, Value};
use crate::app::state::Generation;
use crate::backend::gate;
use crate::backend::statements;
use crate::config::{Choice, Config, Databases, User};
use crate::frontend::{sessions, unauthenticated};
use crate::stats::State;

/// Characters of a statement that are shown.
const MAX_TEXT: usize = 500;

pub(super) fn databases(state: &Generation) -> Table {
    let mut table = Table::new(&[
        ("name", Kind::Text),
        ("host", Kind::Text),
        ("port", Kind::Int),
        ("database", Kind::Text),
        ("role", Kind::Text),
        ("force_user", Kind::Text),
        ("pool_size", Kind::Int),
        ("min_pool_size", Kind::Int),
        ("pool_mode", Kind::Text),
        ("current_connections", Kind::Int),
        ("lb_weight", Kind::Int),
        ("paused", Kind::Bool),
        ("disabled", Kind::Bool),
        ("online", Kind::Bool),
        ("max_server_connections", Kind::Int),
        ("server_connections", Kind::Int),
        ("cl_waiting_for_budget", Kind::Int),
    ]);
    let general = &state.config.general;
    let sets = state.registry.sets();
    for database in &state.config.databases {
        let is_this = |host: &str, port: u16| host == database.host && port == database.port;
        let nodes = state.registry.cluster(&database.name).map(|cluster| cluster.nodes.as_slice()).unwrap_or_default();
        let node = nodes.iter().find(|node| is_this(&node.address.host, node.address.port));
        let budget = node.map(|node| node.budget.view());
        let pools = sets.iter().filter(|set| set.key.database == database.name).flat_map(|set| &set.pools);
        let connections: usize =
            pools.filter(|pool| is_this(&pool.node.address.host, pool.node.address.port)).map(|pool| pool.size()).sum();
        table.push(vec![
            Value::text(&database.name),
            Value::text(&database.host),
            Value::int(database.port),
            Value::text(database.server_database()),
            Value::text(database.role.word()),
            Value::maybe(database.user.as_deref()),
            Value::int(database.pool_size.unwrap_or(general.default_pool_size)),
            Value::int(database.min_pool_size.unwrap_or(general.min_pool_size)),
            Value::text(database.pooler_mode.unwrap_or(general.pooler_mode).word()),
            Value::int(connections),
            Value::int(database.lb_weight),
            Value::Bool(gate::of(&database.name).is_closed()),
            Value::Bool(gate::of(&database.name).is_disabled()),
            Value::Bool(node.is_some_and(|node| !node.bans.is_banned())),
            budget.as_ref().and_then(|budget| budget.limit).map_or(Value::Null, Value::int),
            budget.as_ref().map_or(Value::Null, |budget| Value::int(budget.used)),
            budget.as_ref().map_or(Value::Null, |budget| Value::int(budget.waiting)),
        ]);
    }
    table
}

pub(super) fn users(config: &Config) -> Table {
    let mut table = Table::new(&[
        ("name", Kind::Text),
        ("databases", Kind::Text),
        ("login", Kind::Text),
        ("server_user", Kind::Text),
        ("pool_size", Kind::Int),
        ("pool_mode", Kind::Text),
        ("read_only", Kind::Bool),
        ("current_clients", Kind::Int),
    ]);
    let clients = sessions::all();
    for user in &config.users {
        let databases = match &user.databases {
            Databases::All => "*".to_owned(),
            Databases::Some(names) => names.join(", "),
        };
        let here = |about: &crate::stats::About| about.user == user.name && user.databases.contains(&about.database);
        table.push(vec![
            Value::text(&user.name),
            Value::text(databases),
            Value::text(login(config, user)),
            Value::maybe(user.server_user.as_deref()),
            user.pool_size.map_or(Value::Null, Value::int),
            Value::maybe(user.pooler_mode.map(Choice::word)),
            user.read_only.map_or(Value::Null, Value::Bool),
            Value::int(clients.iter().filter(|(_, card)| here(&card.about)).count()),
        ]);
    }
    table
}

/// How a user logs in.
fn login(config: &Config, user: &User) -> &'static str {
    match &config.jwt {
        Some(_) if !user.has_password() => "token",
        Some(jwt) => jwt.password_auth_type.word(),
        None => config.general.auth_type.word(),
    }
}

pub(super) fn lists(state: &Generation) -> Table {
    let clients = sessions::all();
    let sets = state.registry.sets();
    let pools = || sets.iter().flat_map(|set| &set.pools);
    let (idle, size) =
        pools().map(|pool| pool.view()).fold((0, 0), |(idle, size), view| (idle + view.idle.len(), size + view.size));
    let in_state = |wanted: State| clients.iter().filter(|(_, card)| card.state() == wanted).count();
    let tokens = state.authenticator.as_ref().map_or(0, |authenticator| authenticator.cache_stats().size);
    let rows = [
        ("databases", state.config.database_names().len()),
        ("users", state.config.users.len()),
        ("pools", pools().count()),
        ("subject_pools", state.registry.subjects()),
        ("used_clients", clients.len()),
        ("login_clients", unauthenticated::clients()),
        ("active_clients", in_state(State::Active)),
        ("waiting_clients", in_state(State::Waiting)),
        ("pinned_clients", in_state(State::Pinned)),
        ("free_servers", idle),
        ("used_servers", size.saturating_sub(idle)),
        ("prepared_statements", statements::all().len()),
        ("verified_tokens", tokens),
    ];
    let mut table = Table::new(&[("list", Kind::Text), ("items", Kind::Int)]);
    for (name, count) in rows {
        table.push(vec![Value::text(name), Value::int(count)]);
    }
    table
}

/// PgBouncer's word for what the process as a whole does.
pub(super) fn state(config: &Config) -> Table {
    let names = config.database_names();
    let is_paused = !names.is_empty() && names.into_iter().all(|name| gate::of(name).is_closed());
    let mut table = Table::new(&[("key", Kind::Text), ("value", Kind::Text)]);
    for (name, holds) in [("active", !is_paused), ("paused", is_paused), ("suspended", false)] {
        table.push(vec![Value::text(name), Value::text(if holds { "yes" } else { "no" })]);
    }
    table
}

pub(super) fn prepared() -> Table {
    let columns = [("name", Kind::Text), ("statement", Kind::Text), ("used_by", Kind::Int), ("memory_used", Kind::Int)];
    let mut table = Table::new(&columns);
    for statement in statements::all() {
        table.push(vec![
            Value::text(statement.server_name()),
            Value::text(shown(&String::from_utf8_lossy(statement.text()))),
            // The list itself holds one.
            Value::int(Arc::strong_count(&statement).saturating_sub(1)),
            Value::int(statement.text().len() + statement.types().len()),
        ]);
    }
    table
}

/// A statement on one line. One that sets a password is not shown.
fn shown(text: &str) -> String {
    if text.to_ascii_lowercase().contains("password") {
        return "(not shown: it is about a password)".to_owned();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_shown_on_one_line_without_passwords() {
        assert_eq!(shown("SELECT\n  1"), "SELECT 1");
        assert!(!shown("ALTER ROLE a PASSWORD 'hunter2'").contains("hunter2"));
        assert_eq!(shown(&"ä".repeat(501)).chars().count(), 501);
    }
}
