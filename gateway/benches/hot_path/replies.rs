//! A large result: what one read brings is scanned by headers, and forwarded as it lies there.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use pgdog_jwt_gateway::bench::Replies;

use crate::common::postgres::frame;
use crate::common::{Setup, exchanges};
use crate::conversation;

/// A read, in bytes; less what is not a whole row.
const READ: usize = 32 * 1024;

/// DataRow messages of so many bytes.
#[divan::bench(args = [16, 64, 512, 8192])]
fn rows(bencher: Bencher<'_, '_>, size: usize) {
    let setup = Setup::new(false, 1).unwrap();
    let mut conversation = conversation(&setup, "alice");
    let value = vec![b'x'; size - 11];
    let mut row = Vec::new();
    frame(&mut row, b'D', &[b"\0\x01", &(value.len() as u32).to_be_bytes(), &value]);
    let rows = row.repeat(READ / row.len());
    conversation.ask(&exchanges::simple().asks).unwrap();
    bencher
        .with_inputs(|| Replies::read(&rows))
        .counter(BytesCount::new(rows.len()))
        .counter(ItemsCount::new(rows.len() / row.len()))
        .bench_local_values(|replies| conversation.answer(replies).unwrap());
}
