//! What clients ask and servers answer, as bytes: conversations that drivers have.

use super::postgres::{BOUND, CLOSED_AND_READY, COLUMNS, COMPLETE, PARAMETERS, PARSED, READY, ROW, frame};

/// What a client sends at once, and what it hears before it goes on.
pub(crate) struct Exchange {
    pub(crate) asks: Vec<u8>,
    /// What the server says, which the client hears behind what the gateway says by itself.
    pub(crate) answers: Vec<u8>,
    pub(crate) own: &'static [u8],
}

impl Exchange {
    fn new(asks: impl FnOnce(&mut Vec<u8>), answers: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        asks(&mut bytes);
        Self { asks: bytes, answers: answers.concat(), own: b"" }
    }
}

/// A simple query of one row.
pub(crate) fn simple() -> Exchange {
    Exchange::new(|out| query(out, "SELECT n FROM numbers WHERE id = 4711"), &[COLUMNS, ROW, COMPLETE, READY])
}

/// Prepares a statement by name, as drivers do before they use it many times.
pub(crate) fn prepare() -> Exchange {
    Exchange::new(ask_to_prepare, &[PARSED, PARAMETERS, COLUMNS, READY])
}

/// The same, on a server that holds the statement: the gateway answers Parse.
pub(crate) fn prepare_again() -> Exchange {
    Exchange { own: PARSED, ..Exchange::new(ask_to_prepare, &[PARAMETERS, COLUMNS, READY]) }
}

fn ask_to_prepare(out: &mut Vec<u8>) {
    parse(out, "S_1", TEXT);
    frame(out, b'D', &[b"SS_1\0"]);
    sync(out);
}

/// Runs it.
pub(crate) fn prepared() -> Exchange {
    Exchange::new(|out| run(out, "S_1"), &[BOUND, ROW, COMPLETE, READY])
}

/// Runs it so many times with one Sync behind each, all at once.
pub(crate) fn pipeline(count: usize) -> Exchange {
    Exchange::new(|out| (0..count).for_each(|_| run(out, "S_1")), &[BOUND, ROW, COMPLETE, READY].repeat(count))
}

/// Closes it: no server hears of it.
pub(crate) fn close() -> Exchange {
    let asks = |out: &mut Vec<u8>| {
        frame(out, b'C', &[b"SS_1\0"]);
        sync(out);
    };
    Exchange { own: CLOSED_AND_READY, ..Exchange::new(asks, &[]) }
}

/// A statement with parameters, prepared without a name each time.
pub(crate) fn unnamed() -> Exchange {
    let asks = |out: &mut Vec<u8>| {
        parse(out, "", TEXT);
        bind(out, "");
        frame(out, b'D', &[b"P\0"]);
        frame(out, b'E', &[b"\0\0\0\0\0"]);
        sync(out);
    };
    Exchange::new(asks, &[PARSED, BOUND, COLUMNS, ROW, COMPLETE, READY])
}

const TEXT: &str = "SELECT n FROM numbers WHERE id = $1 AND tenant = current_setting('app.tenant_id')";

fn query(out: &mut Vec<u8>, text: &str) {
    frame(out, b'Q', &[text.as_bytes(), b"\0"]);
}

fn parse(out: &mut Vec<u8>, name: &str, text: &str) {
    frame(out, b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0\0\x01\0\0\0\x17"]);
}

/// With one parameter of four bytes.
fn bind(out: &mut Vec<u8>, name: &str) {
    frame(out, b'B', &[b"\0", name.as_bytes(), b"\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\x12\x67\0\0"]);
}

/// Bind, Execute, Sync.
fn run(out: &mut Vec<u8>, name: &str) {
    bind(out, name);
    frame(out, b'E', &[b"\0\0\0\0\0"]);
    sync(out);
}

fn sync(out: &mut Vec<u8>) {
    frame(out, b'S', &[]);
}
