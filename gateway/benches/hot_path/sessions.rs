//! One conversation of a driver: the requests are read, judged, renamed and routed, a free server is checked out, the
//! replies are scanned, and the server is checked in.

use divan::Bencher;
use divan::counter::BytesCount;
use pgdog_jwt_gateway::bench::{Conversation, Replies};

use crate::common::Setup;
use crate::common::exchanges::{self, Exchange};
use crate::conversation;

fn converse(conversation: &mut Conversation, exchange: &Exchange) {
    conversation.ask(&exchange.asks).unwrap();
    let heard = conversation.answer(Replies::read(&exchange.answers)).unwrap();
    assert_eq!(heard, exchange.own.len() + exchange.answers.len());
}

fn measure(bencher: Bencher<'_, '_>, before: &[Exchange], measured: &[Exchange]) {
    let setup = Setup::new(false, 1).unwrap();
    let mut conversation = conversation(&setup, "alice");
    before.iter().chain(measured).for_each(|exchange| converse(&mut conversation, exchange));
    let size: usize = measured.iter().map(|exchange| exchange.asks.len() + exchange.answers.len()).sum();
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        measured.iter().for_each(|exchange| converse(&mut conversation, exchange));
    });
}

#[divan::bench]
fn simple_query(bencher: Bencher<'_, '_>) {
    measure(bencher, &[], &[exchanges::simple()]);
}

/// Bind, Execute, Sync: the name becomes the server's.
#[divan::bench]
fn prepared_statement(bencher: Bencher<'_, '_>) {
    measure(bencher, &[exchanges::prepare()], &[exchanges::prepared()]);
}

#[divan::bench]
fn pipeline_of_10(bencher: Bencher<'_, '_>) {
    measure(bencher, &[exchanges::prepare()], &[exchanges::pipeline(10)]);
}

/// Parse, Bind, Describe, Execute, Sync: no name, and nothing to rename.
#[divan::bench]
fn unnamed_statement(bencher: Bencher<'_, '_>) {
    measure(bencher, &[], &[exchanges::unnamed()]);
}

/// Close and Sync, then Parse, Describe and Sync: of a statement that another client has as well, so that servers hold it.
#[divan::bench]
fn prepare_again(bencher: Bencher<'_, '_>) {
    let setup = Setup::new(false, 1).unwrap();
    let mut other = conversation(&setup, "alice");
    converse(&mut other, &exchanges::prepare());
    let mut conversation = conversation(&setup, "alice");
    let (close, prepare) = (exchanges::close(), exchanges::prepare_again());
    converse(&mut conversation, &prepare);
    bencher.bench_local(|| {
        converse(&mut conversation, &close);
        converse(&mut conversation, &prepare);
    });
}
