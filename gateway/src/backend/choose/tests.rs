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
    fn order(&self, user: &str, access: Access) -> Vec<usize> {
        let set = self.set(user);
        let mut tried = 0;
        let mut order = Vec::new();
        while let Some(at) = set.pick(set.view(access, tried)) {
            tried |= 1 << at;
            order.push(set.numbers[at]);
        }
        order
    }

    /// The same where chance or turn decides about the order.
    fn all(&self, user: &str, access: Access) -> Vec<usize> {
        let mut all = self.order(user, access);
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
        for access in [Access::Read, Access::Write] {
            for at in servers.order("reader", access) {
                let node = servers.node(at);
                assert!(!node.is_configured_primary() && !node.observed.is_primary(), "{chosen:?}, case {case}");
            }
        }
    }
}
