use std::net::SocketAddr;

use super::*;

const MOST: Most = Most { total: 4, per_address: 2 };

fn table() -> &'static Mutex<Table> {
    Box::leak(Box::default())
}

fn address(last: u8) -> Option<Prefix> {
    Some(Prefix::of(SocketAddr::new([192, 0, 2, last].into(), 1)))
}

fn take(table: &'static Mutex<Table>, last: u8) -> Result<Place, Bound> {
    Place::take(table, address(last), MOST, true)
}

fn ask(table: &'static Mutex<Table>, last: u8, bound: Bound) -> Option<oneshot::Receiver<Place>> {
    Place::ask(table, address(last), MOST, bound)
}

fn bound(taken: Result<Place, Bound>) -> Option<Bound> {
    taken.err()
}

#[test]
fn there_is_a_bound_for_all_and_one_for_an_address() {
    let table = table();
    let _here = [take(table, 1).unwrap(), take(table, 1).unwrap(), take(table, 2).unwrap()];
    assert_eq!(bound(take(table, 1)), Some(Bound::Address));
    let last = take(table, 3).unwrap();
    assert_eq!(bound(take(table, 2)), Some(Bound::Total));
    assert_eq!(bound(Place::take(table, None, MOST, true)), Some(Bound::Total), "without an address as well");
    drop(last);
    assert_eq!(bound(Place::take(table, address(3), MOST, false)), Some(Bound::Descriptors));
    assert!(take(table, 2).is_ok());
}

#[test]
fn nothing_is_left_of_those_who_left() {
    let table = table();
    let mut heard = take(table, 1).unwrap();
    heard.work();
    drop((heard, take(table, 2).unwrap()));
    let table = table.lock();
    assert_eq!((table.clients, table.addresses.len()), (0, 0));
    assert!(table.silent.is_empty() && table.silent_of_address.is_empty() && table.asked.is_empty());
}

#[test]
fn the_one_who_has_been_silent_for_longest_is_asked() {
    let table = table();
    let (mut first, second, other) = (take(table, 1).unwrap(), take(table, 1).unwrap(), take(table, 2).unwrap());
    first.wait();
    let _asked = [ask(table, 1, Bound::Address).unwrap(), ask(table, 3, Bound::Total).unwrap()];
    assert!(second.bell.is_rung() && other.bell.is_rung() && !first.bell.is_rung(), "the first has said something");
}

#[test]
fn an_address_makes_room_for_itself_alone() {
    let table = table();
    let (older, own) = (take(table, 1).unwrap(), take(table, 2).unwrap());
    let _asked = ask(table, 2, Bound::Address).unwrap();
    assert!(own.bell.is_rung() && !older.bell.is_rung());
    assert!(ask(table, 2, Bound::Address).is_none(), "each is asked once");
}

#[test]
fn one_for_whom_the_gateway_works_is_not_asked() {
    let table = table();
    let mut place = take(table, 1).unwrap();
    place.work();
    assert!(ask(table, 1, Bound::Address).is_none() && ask(table, 2, Bound::Total).is_none());
    place.wait();
    assert!(ask(table, 2, Bound::Total).is_some());
}

#[test]
fn a_place_goes_to_the_one_it_was_asked_for() {
    let table = table();
    let places = [1, 1, 2].map(|last| take(table, last).unwrap());
    let last = Place::take(table, None, MOST, true).unwrap();
    let mut asked = ask(table, 3, Bound::Total).unwrap();
    drop(places);
    let place = asked.try_recv().expect("its place");
    assert_eq!(place.address, address(3));
    assert!(place.is_silent() && !place.bell.is_rung());
    assert_eq!(table.lock().clients, 2);
    assert_eq!(table.lock().addresses.len(), 1);
    drop((place, last));
    assert_eq!(table.lock().clients, 0);
}

#[test]
fn one_who_is_heard_in_time_stays() {
    let table = table();
    let mut place = take(table, 1).unwrap();
    for heard in [Place::work, Place::wait] {
        let mut asked = ask(table, 1, Bound::Address).unwrap();
        assert!(place.bell.is_rung());
        heard(&mut place);
        assert!(!place.bell.is_rung());
        assert_eq!(asked.try_recv().err(), Some(oneshot::error::TryRecvError::Closed));
        place.wait();
    }
    assert_eq!(table.lock().clients, 1);
}

#[test]
fn a_place_that_nobody_waits_for_any_more_is_free() {
    let table = table();
    let place = take(table, 1).unwrap();
    drop(ask(table, 2, Bound::Total));
    drop(place);
    let table = table.lock();
    assert_eq!((table.clients, table.silent.len(), table.asked.len()), (0, 0, 0));
}

#[test]
fn an_address_that_waits_for_others_gets_no_more_than_its_share() {
    let table = table();
    let older = [2, 3, 4, 5].map(|last| take(table, last).unwrap());
    let asked = [(); 3].map(|()| ask(table, 1, Bound::Total).unwrap());
    drop(older);
    let got = asked.map(|mut asked| asked.try_recv().ok());
    assert_eq!(got.iter().flatten().count(), MOST.per_address);
    assert_eq!(table.lock().clients, MOST.per_address);
}
