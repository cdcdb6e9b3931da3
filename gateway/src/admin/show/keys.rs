//! SHOW KEYS: issuers and the public keys that are known of them.

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
    vec![
        Value::maybe(issuer.issuer.as_deref()),
        Value::text(&issuer.source),
        Value::maybe(key.and_then(|key| key.kid.as_deref())),
        Value::maybe(algorithms.as_deref()),
        issuer.age.map_or(Value::Null, |age| Value::int(age.as_secs())),
        Value::int(issuer.fetches),
        Value::int(issuer.failures),
        Value::maybe(problem),
    ]
}
