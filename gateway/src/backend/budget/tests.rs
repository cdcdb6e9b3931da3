//! Who gets room, in which order, and that none of it is lost.

use std::time::Duration;

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;

use super::*;
use crate::backend::registry::Registry;
use crate::backend::slot::Waiter;
use crate::config::{Config, Text};
use crate::net::tls::ClientTls;

const USERS: &str = "[[users]]\nname = \"a\"\npassword = \"x\"\nall_databases = true\npool_size = 2\n\
                     [[users]]\nname = \"b\"\npassword = \"x\"\nall_databases = true\n\
                     [[users]]\nname = \"c\"\npassword = \"x\"\nall_databases = true\n";

/// Three pools of one server.
struct Pools {
    registry: Registry,
}

impl Pools {
    fn new(limit: usize) -> Self {
        let text = format!(
            "[general]\nmax_server_connections = 99\n[[databases]]\nname = \"db\"\nhost = \"127.0.0.1\"\n\
             max_server_connections = {limit}\n"
        );
        let pgdog = Text { name: "pgdog.toml", text: &text };
        let users = Text { name: "users.toml", text: USERS };
        let config = Arc::new(Config::from_texts(pgdog, users, &|_| None).expect("a configuration").config);
        let tls = Arc::new(ClientTls::from_config(&config.general).expect("TLS"));
        Self { registry: Registry::build(config, &tls, None) }
    }

    fn of(&self, user: &str) -> Arc<Pool> {
        self.registry.for_user("db", user).expect("pools").pools[0].clone()
    }

    fn budget(&self) -> Arc<Budget> {
        self.of("a").node.budget.clone()
    }

    fn take(&self, user: &str) -> Option<Slot> {
        self.budget().take(&self.of(user))
    }

    /// A client of the pool that waits from now on.
    fn wait(&self, user: &str) -> Receiver<Handover> {
        let pool = self.of(user);
        let (sender, receiver) = oneshot::channel();
        pool.inner.lock().waiters.push_back(Waiter { arrived: Instant::now(), worker: 0, sender });
        std::thread::sleep(Duration::from_millis(1));
        self.budget().enlist(&pool);
        receiver
    }

    fn numbers(&self) -> (Option<usize>, usize, usize) {
        let view = self.budget().view();
        (view.limit, view.used, view.waiting)
    }
}

fn slot(receiver: &mut Receiver<Handover>) -> Option<Slot> {
    match receiver.try_recv() {
        Ok(Handover::Slot(slot)) => Some(slot),
        Ok(Handover::Server(_)) => panic!("there are no connections here"),
        Err(TryRecvError::Empty) => None,
        Err(TryRecvError::Closed) => panic!("the waiter was forgotten"),
    }
}

#[test]
fn a_slot_gives_its_share_back_when_it_is_dropped() {
    let pools = Pools::new(2);
    let first = pools.take("a");
    let second = pools.take("b");
    assert!(first.is_some() && second.is_some());
    assert!(pools.take("c").is_none());
    assert_eq!(pools.numbers(), (Some(2), 2, 0));
    drop(first);
    assert_eq!(pools.numbers(), (Some(2), 1, 0));
    assert!(pools.take("c").is_some_and(|slot| slot.pool().spec.user == "c"));
    assert_eq!(pools.numbers(), (Some(2), 1, 0));
}

#[test]
fn a_pool_has_its_own_limit_besides() {
    let pools = Pools::new(5);
    let slots = [pools.take("a"), pools.take("a")];
    assert!(slots.iter().all(Option::is_some));
    assert!(pools.take("a").is_none());
    // Who waits for a full pool does not wait for the budget, and keeps nobody from it.
    let mut waiting = pools.wait("a");
    assert_eq!(pools.numbers(), (Some(5), 2, 0));
    assert!(pools.take("b").is_some());
    drop(slots);
    assert!(slot(&mut waiting).is_some());
}

#[test]
fn who_came_first_is_served_first_whichever_pool_it_is_of() {
    let pools = Pools::new(1);
    let mut held = pools.take("a");
    let mut queue = ["b", "a", "c", "b"].map(|user| (user, pools.wait(user)));
    assert_eq!(pools.numbers(), (Some(1), 1, 4));
    assert!(pools.take("c").is_none(), "nobody goes past the queue");
    for (user, receiver) in &mut queue {
        assert!(slot(receiver).is_none());
        drop(held.take());
        held = slot(receiver);
        assert_eq!(held.as_ref().map(|slot| slot.pool().spec.user.clone()).as_deref(), Some(*user));
    }
    assert_eq!(pools.numbers(), (Some(1), 1, 0));
}

#[test]
fn a_place_in_the_queue_that_was_left_costs_nobody_a_turn() {
    let pools = Pools::new(1);
    let held = pools.take("a");
    let leaver = pools.wait("b");
    let mut next = pools.wait("c");
    let granted_and_left = pools.wait("a");
    drop(leaver);
    drop(held);
    let held = slot(&mut next);
    assert!(held.is_some());
    drop(held);
    // It has its slot by now, and never looks.
    drop(granted_and_left);
    assert_eq!(pools.numbers(), (Some(1), 0, 0));
    assert!(!pools.budget().is_pressed());
}

#[test]
fn a_closed_pool_neither_takes_nor_keeps_a_share() {
    let pools = Pools::new(1);
    let held = pools.take("a");
    let mut waiting = pools.wait("b");
    pools.of("b").close();
    drop(held);
    assert!(matches!(waiting.try_recv(), Err(TryRecvError::Closed)));
    assert_eq!(pools.numbers(), (Some(1), 0, 0));
    assert!(pools.take("b").is_none());
    assert!(pools.take("c").is_some());
}

#[test]
fn another_limit_counts_at_once() {
    let pools = Pools::new(1);
    let held = pools.take("a");
    let mut waiting = [pools.wait("b"), pools.wait("c")];
    pools.budget().set_limit(Some(2));
    let second = slot(&mut waiting[0]);
    assert!(second.is_some() && slot(&mut waiting[1]).is_none());

    pools.budget().set_limit(Some(1));
    assert!(pools.budget().is_pressed(), "one connection is too many");
    drop(held);
    assert!(slot(&mut waiting[1]).is_none());

    pools.budget().set_limit(None);
    assert!(slot(&mut waiting[1]).is_some());
    assert!(!pools.budget().is_limited());
}

#[test]
fn pools_are_listed_while_they_have_connections() {
    let pools = Pools::new(3);
    let held = (pools.take("a"), pools.take("a"), pools.take("b"));
    let occupied = || pools.budget().occupied().iter().map(|pool| pool.spec.user.clone()).collect::<Vec<_>>();
    assert_eq!(occupied(), ["a", "b"]);
    drop(held.0);
    assert_eq!(occupied(), ["a", "b"]);
    drop(held.1);
    assert_eq!(occupied(), ["b"]);
    let again = pools.take("a");
    assert_eq!(occupied(), ["b", "a"]);
    drop((again, held.2));
    assert!(occupied().is_empty());
}
