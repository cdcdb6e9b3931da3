//! SHOW STATS and its parts: totals of each database since the process began, averages over the last half minute. Columns are
//! PgBouncer's, in its order; what it does not have comes last. Times are in milliseconds.

use crate::admin::averages;
use crate::admin::table::{Kind, Table, Value};
use crate::frontend::sessions;
use crate::stats::Sums;

/// Columns of totals, and as many of averages.
const COUNT: usize = 12;

const DATABASE: (&str, Kind) = ("database", Kind::Text);

const TOTALS: [(&str, Kind); COUNT] = [
    ("total_server_assignment_count", Kind::Int),
    ("total_xact_count", Kind::Int),
    ("total_query_count", Kind::Int),
    ("total_received", Kind::Int),
    ("total_sent", Kind::Int),
    ("total_xact_time", Kind::Float),
    ("total_query_time", Kind::Float),
    ("total_wait_time", Kind::Float),
    ("total_client_parse_count", Kind::Int),
    ("total_server_parse_count", Kind::Int),
    ("total_bind_count", Kind::Int),
    ("total_client_login_count", Kind::Int),
];

const AVERAGES: [&str; COUNT] = [
    "avg_server_assignment_count",
    "avg_xact_count",
    "avg_query_count",
    "avg_recv",
    "avg_sent",
    "avg_xact_time",
    "avg_query_time",
    "avg_wait_time",
    "avg_client_parse_count",
    "avg_server_parse_count",
    "avg_bind_count",
    "avg_client_login_count",
];

/// SHOW STATS_TOTALS and SHOW STATS_AVERAGES have other names than SHOW STATS for the same.
const PART: [&str; COUNT] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
    "client_parse_count",
    "server_parse_count",
    "bind_count",
    "client_login_count",
];

/// From here on, PgBouncer calls averages in SHOW STATS_AVERAGES as it does in SHOW STATS.
const AVERAGES_ALIKE: usize = 8;

/// SHOW TOTALS has names of its own for some.
const SUMMED: [&str; COUNT] = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "client_bytes",
    "server_bytes",
    "xact_time",
    "query_time",
    "wait_time",
    "ps_client_parse_count",
    "ps_server_parse_count",
    "ps_bind_count",
    "client_login_count",
];

/// What a database has done.
struct Done {
    database: String,
    sums: Sums,
    recent: Sums,
    /// How long that took.
    seconds: f64,
}

pub(super) fn stats(database: Option<&str>) -> Table {
    let averages = AVERAGES.map(|name| (name, Kind::Float));
    let errors = [("total_errors", Kind::Int), ("avg_errors", Kind::Float)];
    let columns: Vec<_> = [DATABASE].into_iter().chain(TOTALS).chain(averages).chain(errors).collect();
    table(&columns, database, |done| {
        let errors = [Value::int(done.sums.errors), done.per_second(done.recent.errors)];
        done.totals().into_iter().chain(done.averages()).chain(errors).collect()
    })
}

pub(super) fn totals(database: Option<&str>) -> Table {
    let columns = PART.iter().zip(TOTALS).map(|(name, (_, kind))| (*name, kind));
    let columns: Vec<_> = [DATABASE].into_iter().chain(columns).collect();
    table(&columns, database, |done| done.totals().to_vec())
}

pub(super) fn averages(database: Option<&str>) -> Table {
    let alike = AVERAGES.iter().skip(AVERAGES_ALIKE);
    let names = PART.iter().take(AVERAGES_ALIKE).chain(alike).map(|name| (*name, Kind::Float));
    let columns: Vec<_> = [DATABASE].into_iter().chain(names).collect();
    table(&columns, database, |done| done.averages().to_vec())
}

/// SHOW TOTALS: all databases together, one number a row.
pub(super) fn summed() -> Table {
    let mut all = Done { database: String::new(), sums: Sums::default(), recent: Sums::default(), seconds: f64::MAX };
    for done in each() {
        all.sums += done.sums;
        all.recent += done.recent;
        all.seconds = done.seconds;
    }
    let mut table = Table::new(&[("name", Kind::Text), ("value", Kind::Int)]);
    for (prefix, values) in [("total", all.totals()), ("avg", all.averages())] {
        for (name, value) in SUMMED.iter().zip(values) {
            let value = match value {
                Value::Float(number) => Value::int(number.round() as i64),
                other => other,
            };
            table.push(vec![Value::text(format!("{prefix}_{name}")), value]);
        }
    }
    table
}

fn table(columns: &[(&'static str, Kind)], database: Option<&str>, row: impl Fn(&Done) -> Vec<Value>) -> Table {
    let mut table = Table::new(columns);
    for done in each().filter(|done| database.is_none_or(|name| name == done.database)) {
        table.push([Value::text(&done.database)].into_iter().chain(row(&done)).collect());
    }
    table
}

fn each() -> impl Iterator<Item = Done> {
    sessions::sums().into_iter().map(|(totals, sums)| {
        let (recent, seconds) = averages::recent(&totals.database, &sums);
        Done { database: totals.database.clone(), sums, recent, seconds }
    })
}

impl Done {
    fn totals(&self) -> [Value; COUNT] {
        let sums = &self.sums;
        [
            Value::int(sums.checkouts),
            Value::int(sums.transactions),
            Value::int(sums.queries),
            Value::int(sums.received),
            Value::int(sums.sent),
            Value::millis(sums.transaction_nanos),
            Value::millis(sums.query_nanos),
            Value::millis(sums.wait_nanos),
            Value::int(sums.client_parses),
            Value::int(sums.server_parses),
            Value::int(sums.binds),
            Value::int(sums.logins),
        ]
    }

    fn averages(&self) -> [Value; COUNT] {
        let recent = &self.recent;
        [
            self.per_second(recent.checkouts),
            self.per_second(recent.transactions),
            self.per_second(recent.queries),
            self.per_second(recent.received),
            self.per_second(recent.sent),
            millis_each(recent.transaction_nanos, recent.transactions),
            millis_each(recent.query_nanos, recent.queries),
            millis_each(recent.wait_nanos, recent.checkouts),
            self.per_second(recent.client_parses),
            self.per_second(recent.server_parses),
            self.per_second(recent.binds),
            self.per_second(recent.logins),
        ]
    }

    fn per_second(&self, count: u64) -> Value {
        Value::Float(count as f64 / self.seconds)
    }
}

fn millis_each(nanos: u64, count: u64) -> Value {
    Value::Float(nanos as f64 / 1e6 / count.max(1) as f64)
}
