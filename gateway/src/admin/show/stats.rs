//! SHOW STATS: totals of each database since the process began, averages over the last half minute. Times are in
//! milliseconds.

use crate::admin::averages;
use crate::admin::table::{Kind, Table, Value};
use crate::frontend::sessions;

pub(super) fn stats(database: Option<&str>) -> Table {
    let mut table = Table::new(&[
        ("database", Kind::Text),
        ("total_xact_count", Kind::Int),
        ("total_query_count", Kind::Int),
        ("total_server_assignment_count", Kind::Int),
        ("total_received", Kind::Int),
        ("total_sent", Kind::Int),
        ("total_xact_time", Kind::Float),
        ("total_query_time", Kind::Float),
        ("total_wait_time", Kind::Float),
        ("total_errors", Kind::Int),
        ("avg_xact_count", Kind::Float),
        ("avg_query_count", Kind::Float),
        ("avg_server_assignment_count", Kind::Float),
        ("avg_recv", Kind::Float),
        ("avg_sent", Kind::Float),
        ("avg_xact_time", Kind::Float),
        ("avg_query_time", Kind::Float),
        ("avg_wait_time", Kind::Float),
        ("avg_errors", Kind::Float),
    ]);
    for (totals, sums) in sessions::sums() {
        if database.is_some_and(|name| name != totals.database) {
            continue;
        }
        let (recent, seconds) = averages::recent(&totals.database, &sums);
        let per_second = |count: u64| Value::Float(count as f64 / seconds);
        let each = |nanos: u64, count: u64| Value::Float(nanos as f64 / 1e6 / count.max(1) as f64);
        table.push(vec![
            Value::text(&totals.database),
            Value::int(sums.transactions),
            Value::int(sums.queries),
            Value::int(sums.checkouts),
            Value::int(sums.received),
            Value::int(sums.sent),
            Value::millis(sums.transaction_nanos),
            Value::millis(sums.query_nanos),
            Value::millis(sums.wait_nanos),
            Value::int(sums.errors),
            per_second(recent.transactions),
            per_second(recent.queries),
            per_second(recent.checkouts),
            per_second(recent.received),
            per_second(recent.sent),
            each(recent.transaction_nanos, recent.transactions),
            each(recent.query_nanos, recent.queries),
            each(recent.wait_nanos, recent.checkouts),
            per_second(recent.errors),
        ]);
    }
    table
}
