//! `[[databases]]`: the servers, and the rules for a cluster of them.

use pgdog_jwt::reader::{Env, Report, Section, Spot};

use super::choices::Role;
use super::keys::databases as keys;
use super::model::Database;

/// Reads one server. `None` when it has no name or no host, which is reported.
pub(super) fn database(section: &Section<'_>, env: Env<'_>) -> Option<Database> {
    let name = section.given(&keys::NAME);
    let host = section.given(&keys::HOST);
    let shard = section.value(&keys::SHARD);
    if shard > 0 {
        let hint = "put a PgDog behind the gateway and name it as the only server";
        section.report.error(section.spot("shard"), format!("shard {shard}: sharding is PgDog's work; {hint}"));
    }
    let database = Database {
        name: name.clone().unwrap_or_default(),
        host: host.clone().unwrap_or_default(),
        port: section.value(&keys::PORT),
        role: section.value(&keys::ROLE),
        shard,
        database_name: section.given(&keys::DATABASE_NAME),
        user: section.given(&keys::USER),
        password: section.secret(&keys::PASSWORD, env),
        pool_size: section.given(&keys::POOL_SIZE),
        min_pool_size: section.given(&keys::MIN_POOL_SIZE),
        max_server_connections: section.given(&keys::MAX_SERVER_CONNECTIONS),
        max_db_client_connections: section.given(&keys::MAX_DB_CLIENT_CONNECTIONS),
        idle_timeout: section.given(&keys::IDLE_TIMEOUT),
        server_lifetime: section.given(&keys::SERVER_LIFETIME),
        server_lifetime_jitter: section.given(&keys::SERVER_LIFETIME_JITTER),
        pooler_mode: section.given(&keys::POOLER_MODE),
        statement_timeout: section.given(&keys::STATEMENT_TIMEOUT),
        lock_timeout: section.given(&keys::LOCK_TIMEOUT),
        read_only: section.given(&keys::READ_ONLY),
        lb_weight: u8::try_from(section.value(&keys::LB_WEIGHT)).unwrap_or(u8::MAX),
    };
    for (key, value) in [("name", &name), ("host", &host)] {
        if value.is_none() {
            section.report.error(section.spot(key), format!("[[databases]] needs a \"{key}\""));
        }
    }
    (name.is_some() && host.is_some()).then_some(database)
}

/// A cluster has at most one primary.
pub(super) fn check_clusters(databases: &[(Database, Spot)], report: &Report) {
    for (index, (database, spot)) in databases.iter().enumerate() {
        let is_primary = |other: &Database| {
            other.role == Role::Primary && other.name == database.name && other.shard == database.shard
        };
        if !is_primary(database) {
            continue;
        }
        if let Some((_, first)) = databases.iter().take(index).find(|(other, _)| is_primary(other)) {
            let hint = "set role = \"replica\" for the servers that follow it";
            let place = first.position.map_or_else(String::new, |(line, _)| format!(" (the first is in line {line})"));
            report.error(spot.clone(), format!("database \"{}\" has two primaries{place}; {hint}", database.name));
        }
    }
}
