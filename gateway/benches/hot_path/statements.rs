//! The class of a statement: what the guard says of it, and where it runs.

use divan::Bencher;
use divan::counter::BytesCount;
use pgdog_jwt_gateway::bench::Statements;

use crate::common::Setup;

/// `#` is a constant and `@` the end of a name, which may be another each time.
const SHAPES: [(&str, &str); 5] = [
    ("short", "SELECT n FROM numbers@ WHERE id = $1"),
    ("constants", "SELECT abalance FROM pgbench_accounts@ WHERE aid = # AND filler <> 'none'"),
    (
        "long",
        "SELECT o.id, o.placed_at, c.name, sum(i.price * i.quantity) AS total FROM orders@ o JOIN customers c ON c.id = \
         o.customer_id JOIN items i ON i.order_id = o.id WHERE o.placed_at > '2026-01-01' AND c.region = 'eu' AND o.state IN \
         (1, 2, 3) GROUP BY o.id, o.placed_at, c.name HAVING sum(i.price * i.quantity) > # ORDER BY total DESC LIMIT 100",
    ),
    (
        "many rows",
        "INSERT INTO events@ (id, kind, at) VALUES (#, 'seen', now()), (2, 'read', now()), (3, 'left', now())",
    ),
    ("setting", "SET app.page@ TO '#'"),
];

const NAMES: [&str; 5] = ["short", "constants", "long", "many rows", "setting"];

fn text(name: &str, constant: u32, end: &str) -> String {
    let shape = SHAPES.iter().find(|shape| shape.0 == name).unwrap().1;
    shape.replace('#', &constant.to_string()).replace('@', end)
}

fn statements() -> Statements {
    Statements::new(Setup::new(false, 1).unwrap().gateway)
}

/// The same text again.
#[divan::bench(args = NAMES)]
fn known(bencher: Bencher<'_, '_>, name: &str) {
    let (mut statements, text) = (statements(), text(name, 1, ""));
    assert!(statements.allow(text.as_bytes()));
    bencher.counter(BytesCount::of_str(&text)).bench_local(|| statements.allow(text.as_bytes()));
}

/// With another constant each time: the template is the same. That of a setting matters, so there is none.
#[divan::bench(args = ["constants", "long", "many rows", "setting"])]
fn other_constant(bencher: Bencher<'_, '_>, name: &str) {
    measure(bencher, |number| text(name, number, ""));
}

/// A text that nobody has sent before, which PostgreSQL's grammar has to read.
#[divan::bench(args = NAMES)]
fn new(bencher: Bencher<'_, '_>, name: &str) {
    measure(bencher, |number| text(name, 1, &number.to_string()));
}

fn measure(bencher: Bencher<'_, '_>, text: impl Fn(u32) -> String) {
    let mut statements = statements();
    assert!(statements.allow(text(0).as_bytes()));
    let mut number = 0;
    let next = || {
        number += 1;
        text(number)
    };
    bencher
        .with_inputs(next)
        .input_counter(BytesCount::of_str::<String>)
        .bench_local_refs(|text| statements.allow(text.as_bytes()));
}
