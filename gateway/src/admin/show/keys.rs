//! SHOW KEYS: issuers and the public keys that are known of them.

use std::time::Duration;

use pgdog_jwt::{Authenticator, IssuerStatus, KeyStatus};

use crate::admin::table::{Kind, Table, Value};

pub(super) fn keys(authenticator: Option<&Authenticator>) -> Table {
    let mut table = Table::new(&[
        ("issuer", Kind::Text),
        ("source", Kind::Text),
        ("kid", Kind::Text),
        ("algorithms", Kind::Text),
        ("age", Kind::Int),
        ("fetches", Kind::Int),
        ("failures", Kind::Int),
        ("problem", Kind::Text),
        ("kind", Kind::Text),
        ("state", Kind::Text),
        ("ttl", Kind::Int),
        ("next_refresh", Kind::Int),
        ("etag", Kind::Text),
        ("unchanged", Kind::Int),
    ]);
    for issuer in authenticator.map(Authenticator::status).unwrap_or_default() {
        for key in &issuer.keys {
            table.push(row(&issuer, Some(key), issuer.last_error.as_deref()));
        }
        for skipped in &issuer.skipped {
            table.push(row(&issuer, None, Some(skipped)));
        }
        if issuer.keys.is_empty() {
            let problem = issuer.last_error.as_deref().unwrap_or("no keys yet: they are fetched when they are needed");
            table.push(row(&issuer, None, Some(problem)));
        }
    }
    table
}

fn row(issuer: &IssuerStatus, key: Option<&KeyStatus>, problem: Option<&str>) -> Vec<Value> {
    let algorithms =
        key.map(|key| key.algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", "));
    let seconds = |duration: Option<Duration>| duration.map_or(Value::Null, |duration| Value::int(duration.as_secs()));
    vec![
        Value::maybe(issuer.issuer.as_deref()),
        Value::text(&issuer.source),
        Value::maybe(key.and_then(|key| key.kid.as_deref())),
        Value::maybe(algorithms.as_deref()),
        seconds(issuer.age),
        Value::int(issuer.fetches),
        Value::int(issuer.failures),
        Value::maybe(problem),
        Value::text(issuer.kind),
        Value::text(issuer.state.word()),
        seconds(issuer.ttl),
        seconds(issuer.next_refresh),
        Value::maybe(issuer.etag.as_deref()),
        Value::int(issuer.unchanged),
    ]
}
