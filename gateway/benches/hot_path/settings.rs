//! The difference between the settings that a server has and those of the session that it is for.

use divan::Bencher;
use pgdog_jwt_gateway::bench::Settings;

const SESSION: [(&str, &str); 8] = [
    ("application_name", "orders"),
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO, MDY"),
    ("extra_float_digits", "3"),
    ("intervalstyle", "iso_8601"),
    ("search_path", "orders, public"),
    ("statement_timeout", "30s"),
    ("timezone", "Europe/Berlin"),
];

/// Those of a session of which so many are others.
fn with_others(count: usize) -> Settings {
    SESSION.iter().enumerate().map(|(at, (name, value))| (*name, if at < count { "another" } else { *value })).collect()
}

/// Whether they are the same, as every check-out asks.
#[divan::bench]
fn same(bencher: Bencher<'_, '_>) {
    let (has, wanted) = (with_others(0), with_others(0));
    bencher.bench_local(|| divan::black_box(&has) == divan::black_box(&wanted));
}

/// The SQL that makes one of the other.
#[divan::bench(args = [0, 1, 8])]
fn differing(bencher: Bencher<'_, '_>, count: usize) {
    difference(bencher, &with_others(count), &with_others(0));
}

/// The same, from a server that has none of them.
#[divan::bench]
fn all_new(bencher: Bencher<'_, '_>) {
    difference(bencher, &[].into_iter().collect(), &with_others(0));
}

fn difference(bencher: Bencher<'_, '_>, has: &Settings, wanted: &Settings) {
    bencher.bench_local(|| has.difference(wanted));
}
