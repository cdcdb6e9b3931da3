//! Which servers are taken, in which order, by what they are and how they are.

use std::time::Duration;

use super::*;
use crate::backend::bans::BanReason;
use crate::backend::node::Node;
use crate::backend::registry::Registry;
use crate::config::{Config, Text};
use crate::net::tls::ClientTls;

const USERS: &str = "[[users]]\nname = \"app\"\npassword = \"x\"\nall_databases = true\n\
                     [[users]]\nname = \"reader\"\npassword = \"x\"\nall_databases = true\nread_only = true\n";

struct Servers {
    registry: Registry,
}

impl Servers {
    /// One server for each role; `general` is what the configuration says besides.
    fn new(roles: &[&str], general: &str) -> Self {
        let mut text = format!("[general]\n{general}\n");
        for (at, role) in roles.iter().enumerate() {
            let (role, weight) = role.split_once('*').unwrap_or((role, "255"));
            let port = 1 + at;
            text += &format!("[[databases]]\nname = \"db\"\nhost = \"127.0.0.1\"\nport = {port}\n");
            text += &format!("role = \"{role}\"\nlb_weight = {weight}\n");
        }
        let pgdog = Text { name: "pgdog.toml", text: &text };
        let users = Text { name: "users.toml", text: USERS };
        let config = Arc::new(Config::from_texts(pgdog, users, &|_| None).expect("a configuration").config);
        let tls = Arc::new(ClientTls::from_config(&config.general).expect("TLS"));
        Self { registry: Registry::build(config, &tls, None) }
    }

    fn set(&self, user: &str) -> Arc<PoolSet> {
        self.registry.for_user("db", user).expect("pools")
    }

    fn node(&self, at: usize) -> Arc<Node> {
        self.set("app").cluster.nodes[at].clone()
    }

    fn ban(&self, at: usize) {
        self.node(at).ban(BanReason::Unreachable, Duration::MAX);
    }

    /// The servers for a statement, in the order in which they are tried.
    fn order(&self, user: &str, wish: impl Into<Need>) -> Vec<usize> {
        let (set, wish) = (self.set(user), wish.into());
        let mut tried = 0;
        let mut order = Vec::new();
        while let Some(at) = set.pick(set.view(wish, Tried { all: tried, unfit: 0 })) {
            tried |= 1 << at;
            order.push(set.numbers[at]);
        }
        order
    }

    /// The same where chance or turn decides about the order.
    fn all(&self, user: &str, wish: impl Into<Need>) -> Vec<usize> {
        let mut all = self.order(user, wish);
        all.sort_unstable();
        all
    }
}

const THREE: [&str; 3] = ["primary", "replica", "replica"];

#[test]
fn writes_have_one_place_to_go_even_when_it_is_banned() {
    let servers = Servers::new(&THREE, "");
    servers.ban(0);
    assert_eq!(servers.order("app", Access::Write), [0]);
}

#[test]
fn banned_servers_are_tried_last_and_when_all_are_banned_all_are_tried() {
    let servers = Servers::new(&THREE, "");
    servers.ban(1);
    assert_eq!(servers.order("app", Access::Read).last(), Some(&1));
    (0..3).for_each(|at| servers.ban(at));
    assert_eq!(servers.all("app", Access::Read), [0, 1, 2]);
    assert_eq!(servers.all("reader", Access::Read), [1, 2]);
}

#[test]
fn read_write_split_decides_about_the_primary() {
    let split = |value: &str| Servers::new(&THREE, &format!("read_write_split = \"{value}\""));
    assert_eq!(split("include_primary").all("app", Access::Read), [0, 1, 2]);
    assert_eq!(split("exclude_primary").all("app", Access::Read), [1, 2]);
    assert_eq!(split("prefer_primary").order("app", Access::Read)[0], 0);

    let servers = split("include_primary_if_replica_banned");
    assert_eq!(servers.order("app", Access::Read)[2], 0);
    servers.ban(2);
    assert_eq!(servers.order("app", Access::Read)[2], 2);

    let alone = Servers::new(&["primary"], "read_write_split = \"exclude_primary\"");
    assert_eq!(alone.order("app", Access::Read), [0]);
}

#[test]
fn who_asks_for_a_replica_gets_the_primary_only_in_place_of_one() {
    for split in ["include_primary", "exclude_primary", "prefer_primary"] {
        let servers = Servers::new(&THREE, &format!("read_write_split = \"{split}\""));
        servers.ban(1);
        assert_eq!(servers.order("app", Access::Replica), [2, 1], "{split}");
    }
    let servers = Servers::new(&THREE, "read_write_split = \"include_primary_if_replica_banned\"");
    assert_eq!(servers.order("app", Access::Replica)[2], 0);
    assert_eq!(Servers::new(&["primary"], "").order("app", Access::Replica), [0]);
}

/// A read of a session that has written up to `position`.
fn after(position: u64) -> Need {
    Need { access: Access::Read, position, ..Access::Read.into() }
}

#[test]
fn who_wrote_reads_from_replicas_that_show_it() {
    for split in ["include_primary", "exclude_primary", "include_primary_if_replica_banned", "prefer_primary"] {
        let servers = Servers::new(&THREE, &format!("read_write_split = \"{split}\""));
        assert_eq!(servers.all("app", after(100)), [0], "{split}: nothing is known of replicas");
        servers.node(1).replay.note(99);
        servers.node(2).replay.note(100);
        let expected: &[usize] = if split == "exclude_primary" { &[2] } else { &[0, 2] };
        assert_eq!(servers.all("app", after(100)), expected, "{split}");
        servers.node(2).observe_at_login(true);
        assert_eq!(servers.all("app", after(100)), [0], "{split}: it may have been started again");
    }
    let servers = Servers::new(&["replica", "replica"], "");
    assert_eq!(servers.order("app", after(1)), [] as [usize; 0], "rather nothing than old rows");
    assert_eq!(servers.all("reader", after(1)), [0, 1], "who cannot write has nothing to wait for");
}

#[test]
fn a_replica_that_turns_out_to_be_unfit_does_not_keep_reads_from_the_primary() {
    let servers = Servers::new(&["primary", "replica"], "read_write_split = \"exclude_primary\"");
    servers.node(1).replay.note(100);
    let set = servers.set("app");
    let next = |unfit| set.pick(set.view(after(100), Tried { all: 0b10, unfit })).map(|at| set.numbers[at]);
    assert_eq!(next(0b10), Some(0), "it was promoted, or started again, while a connection was made");
    assert_eq!(next(0), None, "it is down: reads are not for the primary");
}

#[test]
fn a_wait_for_replicas_is_only_for_who_wants_them() {
    for (split, waits) in [
        ("include_primary", false),
        ("exclude_primary", true),
        ("include_primary_if_replica_banned", true),
        ("prefer_primary", false),
    ] {
        let servers = Servers::new(&THREE, &format!("read_write_split = \"{split}\""));
        let set = servers.set("app");
        assert_eq!(set.may_catch_up(after(100)), waits, "{split}");
        assert!(!set.may_catch_up(after(0)) && !servers.set("reader").may_catch_up(after(100)), "{split}");
        servers.node(1).replay.note(100);
        assert!(!set.may_catch_up(after(100)), "{split}");
    }
}

#[test]
fn weight_0_comes_after_all_others_but_before_banned_ones() {
    let general = "load_balancing_strategy = \"weighted_round_robin\"";
    let servers = Servers::new(&["primary*0", "replica*1", "replica*1"], general);
    servers.ban(1);
    assert_eq!(servers.order("app", Access::Read), [2, 0, 1]);
}

#[test]
fn a_lagging_replica_comes_last() {
    let servers = Servers::new(&THREE, "");
    servers.node(2).bans.set_lagging(true);
    assert_eq!(servers.order("app", Access::Read)[2], 2);
}

#[test]
fn nobody_knows_where_auto_servers_belong_until_they_say() {
    let servers = Servers::new(&["auto", "auto"], "");
    assert_eq!(servers.all("app", Access::Write), [0, 1]);
    servers.node(0).observe(true);
    servers.node(1).observe(false);
    assert_eq!(servers.order("app", Access::Write), [1]);
    assert_eq!(servers.order("reader", Access::Write), [0]);
}

#[test]
fn of_two_primaries_the_one_that_was_promoted_last_is_used_and_the_other_not_at_all() {
    let servers = Servers::new(&["auto", "auto", "auto"], "");
    for (at, timeline) in [(0, 1), (1, 2)] {
        servers.node(at).observe(false);
        servers.node(at).observed.note_timeline(timeline);
    }
    servers.node(2).observe(true);
    assert_eq!(servers.order("app", Access::Write), [1]);
    assert_eq!(servers.all("app", Access::Read), [1, 2]);
    assert_eq!(servers.order("reader", Access::Read), [2]);
}

/// S10, over every combination of roles, states and bans of three servers.
#[test]
fn a_read_only_identity_never_gets_a_server_that_is_known_to_be_a_primary() {
    let roles = ["primary", "replica", "auto"];
    for case in 0..27 * 27 * 2 {
        let digit = |place: u32| case / 3_usize.pow(place) % 3;
        let chosen: Vec<&str> = (0..3).map(|place| roles[digit(place)]).collect();
        if chosen.iter().filter(|role| **role == "primary").count() > 1 {
            continue;
        }
        let servers = Servers::new(&chosen, "");
        for at in 0..3 {
            match digit(3 + at as u32) {
                0 => {}
                state => servers.node(at).observe(state == 1),
            }
            if case >= 27 * 27 {
                servers.ban(at);
            }
        }
        for access in [Access::Read, Access::Replica, Access::Write] {
            for at in servers.order("reader", access) {
                let node = servers.node(at);
                assert!(!node.is_configured_primary() && !node.observed.is_primary(), "{chosen:?}, case {case}");
            }
        }
    }
}
