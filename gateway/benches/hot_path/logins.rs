//! From a token to pools: what a login needs beside the exchange of messages.

use divan::Bencher;

use crate::common::{DATABASE, Setup};
use crate::subject;

/// Who a token is for that has come before.
#[divan::bench]
fn known_token(bencher: Bencher<'_, '_>) {
    let setup = Setup::new(false, 1).unwrap();
    let token = setup.token("alice").unwrap();
    let identify = || setup.runtime.block_on(setup.gateway.identify("alice", DATABASE, &token)).unwrap();
    identify();
    bencher.bench_local(identify);
}

/// The pools of a subject, where so many subjects have some.
#[divan::bench(args = [1, 1000])]
fn own_pools(bencher: Bencher<'_, '_>, subjects: usize) {
    pools(bencher, false, subjects);
}

/// The pools that all subjects share, and the subject's identity in them.
#[divan::bench(args = [1, 1000])]
fn shared_pools(bencher: Bencher<'_, '_>, subjects: usize) {
    pools(bencher, true, subjects);
}

fn pools(bencher: Bencher<'_, '_>, shared: bool, subjects: usize) {
    let setup = Setup::new(shared, 1).unwrap();
    let subjects: Vec<_> = (0..subjects).map(|number| subject(&setup, &format!("subject{number}"))).collect();
    // Somebody of each is logged in, as it is with every login but the first.
    let _held: Vec<_> = subjects.iter().map(|subject| setup.gateway.pools(subject).unwrap()).collect();
    let mut turns = subjects.iter().cycle();
    bencher.bench_local(|| setup.gateway.pools(turns.next().unwrap()).unwrap());
}
