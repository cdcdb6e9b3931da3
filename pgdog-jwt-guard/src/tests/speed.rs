//! What a class costs. Not checked against limits: run with `--release -- --ignored --nocapture speed`.

use std::hint::black_box;
use std::time::Instant;

use super::*;

fn time(name: &str, rounds: u32, mut work: impl FnMut(u32)) {
    work(0);
    let start = Instant::now();
    for round in 0..rounds {
        work(round);
    }
    println!("{name}: {:?}", start.elapsed() / rounds);
}

#[test]
#[ignore = "prints timings"]
fn timings() {
    let mut classifier = classifier(GuardMode::Strict);
    let pgbench: Vec<String> =
        (0..1000).map(|n| format!("SELECT abalance FROM pgbench_accounts WHERE aid = {};", n * 97)).collect();
    time("pgbench select, hit", 2_000_000, |n| {
        _ = black_box(classifier.classify(pgbench[n as usize % 1000].as_bytes()))
    });
    let long = format!(
        "SELECT {} FROM \"orders\" AS \"o\" WHERE \"o\".\"id\" = 12345 AND \"o\".\"state\" = 'open'",
        "\"o\".\"customer_name\", ".repeat(20) + "1"
    );
    time(&format!("{} bytes, hit", long.len()), 500_000, |_| _ = black_box(classifier.classify(long.as_bytes())));
    let exact = "SET statement_timeout = 5000";
    time("SET, hit", 500_000, |_| _ = black_box(classifier.classify(exact.as_bytes())));
    let policy = policy(GuardMode::Strict);
    time("pgbench select, miss", 20_000, |n| {
        _ = black_box(judge(pgbench[n as usize % 1000].as_bytes(), &policy, &PgQuery).class)
    });
    time(&format!("{} bytes, miss", long.len()), 5_000, |_| {
        _ = black_box(judge(long.as_bytes(), &policy, &PgQuery).class)
    });
    let rows = |row: &str| format!("INSERT INTO t VALUES {row}{}", format!(",{row}").repeat((1 << 20) / row.len()));
    let regular = rows("(12345, 'some text', 1.5)");
    time("1 MiB INSERT", 20, |_| _ = black_box(classifier.classify(regular.as_bytes())));
    let irregular = rows("(12345, U&'some text', 1.5)");
    time("1 MiB INSERT without a template", 3, |_| _ = black_box(classifier.classify(irregular.as_bytes())));
}
