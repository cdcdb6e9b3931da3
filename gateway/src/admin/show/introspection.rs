//! SHOW INTROSPECTION: issuers that are asked about tokens, and how that goes.

use pgdog_jwt::{Authenticator, IntrospectionStatus};

use crate::admin::table::{Kind, Table, Value};

pub(super) fn introspection(authenticator: Option<&Authenticator>) -> Table {
    let mut table = Table::new(&[
        ("issuer", Kind::Text),
        ("url", Kind::Text),
        ("client_auth", Kind::Text),
        ("active", Kind::Int),
        ("inactive", Kind::Int),
        ("running", Kind::Int),
        ("requests", Kind::Int),
        ("failures", Kind::Int),
        ("paused", Kind::Text),
        ("problem", Kind::Text),
    ]);
    for issuer in authenticator.map(Authenticator::introspection_status).unwrap_or_default() {
        table.push(row(&issuer));
    }
    table
}

fn row(issuer: &IntrospectionStatus) -> Vec<Value> {
    vec![
        Value::maybe(issuer.issuer.as_deref()),
        Value::text(&issuer.url),
        Value::text(issuer.client_auth),
        Value::int(issuer.active),
        Value::int(issuer.inactive),
        Value::int(issuer.running),
        Value::int(issuer.requests),
        Value::int(issuer.failures),
        Value::text(if issuer.is_paused { "yes" } else { "no" }),
        Value::maybe(issuer.last_error.as_deref()),
    ]
}
