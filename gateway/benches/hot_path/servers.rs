//! A check-out and the check-in behind it.

use divan::Bencher;
use pgdog_jwt_gateway::bench::Pools;

use crate::common::Setup;
use crate::pools;

/// A pool of the subject's own.
#[divan::bench]
fn own_pool(bencher: Bencher<'_, '_>) {
    let setup = Setup::new(false, 10).unwrap();
    let alice = pools(&setup, "alice");
    setup.runtime.block_on(alice.check_out()).unwrap().check_in();
    bencher.bench_local(|| alice.try_check_out().unwrap().check_in());
}

/// A pool of many subjects, in which so many servers are free and take turns: the one that is wanted is the last that is
/// looked at.
#[divan::bench(args = [1, 10, 50])]
fn shared_pool(bencher: Bencher<'_, '_>, free: usize) {
    let setup = Setup::new(true, free).unwrap();
    let subjects: Vec<Pools> = (0..free).map(|number| pools(&setup, &format!("subject{number}"))).collect();
    let held: Vec<_> = subjects.iter().map(|one| setup.runtime.block_on(one.check_out()).unwrap()).collect();
    held.into_iter().for_each(|server| server.check_in());
    let mut turns = subjects.iter().cycle();
    bencher.bench_local(|| turns.next().unwrap().try_check_out().unwrap().check_in());
}

/// The only server takes on another identity each time, which the stand-in for PostgreSQL confirms: two system calls on
/// either side are part of it.
#[divan::bench]
fn another_subject(bencher: Bencher<'_, '_>) {
    let setup = Setup::new(true, 1).unwrap();
    let subjects = ["alice", "bob"].map(|name| pools(&setup, name));
    let mut turns = subjects.iter().cycle();
    bencher.bench_local(|| setup.runtime.block_on(turns.next().unwrap().check_out()).unwrap().check_in());
}
