//! The statements of `vectors`, read by pg_query.
#![cfg(feature = "pg_query")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails shall stop")]

use pgdog_jwt_guard::vectors::{self, Expected};
use pgdog_jwt_guard::{Classifier, ParseError, Parser, PgQuery, Tree, Verdict};

/// Deeply nested texts are read by a recursive grammar.
fn with_a_large_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(8 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn every_statement_is_judged_as_its_vector_says() {
    with_a_large_stack(|| {
        let failures = vectors::failures(&PgQuery).unwrap();
        let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), texts.join("\n\n"));
    });
}

/// They are attacks only if the parser reads them; a typing error would hide a gap.
#[test]
fn attacks_are_refused_for_what_they_do() {
    with_a_large_stack(|| {
        let unreadable = "statement cannot be read";
        for vector in vectors::all().unwrap() {
            let is_short = vector.sql.len() < 5_000;
            let is_meant = matches!(&vector.expected, Expected::Refuse { message: None, .. });
            if is_short && is_meant {
                let verdict = Classifier::new(vector.policy, &PgQuery).classify(&vector.sql).verdict;
                let is_read = !matches!(verdict, Verdict::Refuse(refusal) if refusal.message == unreadable);
                assert!(is_read, "{}", String::from_utf8_lossy(&vector.sql));
            }
        }
    });
}

#[test]
fn there_are_vectors_of_each_kind() {
    let all = vectors::all().unwrap();
    let count = |is: fn(&Expected) -> bool| all.iter().filter(|vector| is(&vector.expected)).count();
    assert!(count(|it| matches!(it, Expected::Refuse { .. })) > 1_000);
    assert!(count(|it| *it == Expected::Allow) > 500);
    assert!(count(|it| *it == Expected::Barrier) > 5);
}

/// Sees the first statement of a text alone.
struct Careless;

impl Parser for Careless {
    fn parse(&self, sql: &str) -> Result<Vec<Tree>, ParseError> {
        PgQuery.parse(sql).map(|statements| statements.into_iter().take(1).collect())
    }
}

#[test]
fn a_parser_that_overlooks_something_is_found_out() {
    with_a_large_stack(|| {
        let failures = vectors::failures(&Careless).unwrap();
        let let_through = |sql: &[u8]| {
            failures.iter().any(|failure| failure.vector.sql == sql && failure.found.verdict == Verdict::Allow)
        };
        assert!(let_through(b"SELECT 1; SET ROLE bob") && !let_through(b"SET ROLE bob"));
    });
}
