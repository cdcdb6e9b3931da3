//! `[[databases]]`: the servers, and the rules for a cluster of them.

use super::choices::Role;
use super::error::Spot;
use super::file::Report;
use super::model::Database;
use super::section::Section;

/// Reads one server. `None` when it has no name or no host, which is reported.
pub(super) fn database(section: &Section<'_>) -> Option<Database> {
    let name = section.filled("name");
    let host = section.filled("host");
    let shard = section.count("shard", 0).unwrap_or(0);
    if shard > 0 {
        let hint = "put a PgDog behind the gateway and name it as the only server";
        section.report.error(section.spot("shard"), format!("shard {shard}: sharding is PgDog's work; {hint}"));
    }
    let database = Database {
        name: name.clone().unwrap_or_default(),
        host: host.clone().unwrap_or_default(),
        port: section.port("port").unwrap_or(5432),
        role: section.choice("role").unwrap_or_default(),
        shard,
        database_name: section.filled("database_name"),
        user: section.filled("user"),
        password: section.secret("password"),
        pool_size: section.count("pool_size", 1),
        min_pool_size: section.count("min_pool_size", 0),
        max_server_connections: section.count("max_server_connections", 1),
        pooler_mode: section.choice("pooler_mode"),
        statement_timeout: section.millis("statement_timeout"),
        lock_timeout: section.millis("lock_timeout"),
        read_only: section.boolean("read_only"),
        lb_weight: section.integer("lb_weight", 0..=255).and_then(|number| u8::try_from(number).ok()).unwrap_or(255),
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
