//! The start-up packet and the FunctionCall message.

use super::*;

fn refuses(name: &str, value: &str) -> bool {
    policy(GuardMode::Strict).refused_startup_parameter(name, value).is_some()
}

#[test]
fn identity_does_not_come_from_the_start_up_packet() {
    for (name, value) in [
        ("role", "bob"),
        ("ROLE", "bob"),
        ("session_authorization", "bob"),
        ("app.tenant", "x"),
        ("JWT.sub", "x"),
        ("orochi.user_id", "1"),
        ("default_transaction_read_only", "off"),
        ("standard_conforming_strings", "off"),
        ("client_encoding", "SJIS"),
        ("client_encoding", "'gbk'"),
        ("client_encoding", ""),
        ("options", "-c role=bob"),
        ("options", "-crole=bob"),
        ("options", "--role=bob"),
        ("options", "-c geqo=off -c role=bob"),
        ("options", "-c\trole=bob"),
        ("options", "-c \\role=bob"),
        ("options", "-c ro\\le=bob"),
        ("options", "--session-authorization=bob"),
        ("options", "-c session-authorization=bob"),
        ("options", "--App.Tenant=x"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-c client_encoding=big5"),
        ("options", "-e"),
        ("options", "-ec role=bob"),
        ("options", "-c"),
        ("options", "role=bob"),
        ("options", "--"),
        ("options", "-c geqo"),
        ("options", "\u{b}-c\u{c}role=bob"),
        ("OPTIONS2.x", ""),
    ] {
        assert_eq!(refuses(name, value), name != "OPTIONS2.x", "{name} = {value}");
    }
}

#[test]
fn other_parameters_pass() {
    for (name, value) in [
        ("user", "role"),
        ("database", "app.tenant"),
        ("replication", "database"),
        ("application_name", "role"),
        ("client_encoding", "UTF8"),
        ("client_encoding", "'utf-8'"),
        ("client_encoding", "LATIN1"),
        ("DateStyle", "ISO"),
        ("TimeZone", "UTC"),
        ("search_path", "x"),
        ("standard_conforming_strings", "on"),
        ("_pq_.x", "1"),
        ("options", ""),
        ("options", "  "),
        ("options", "-c geqo=off --statement-timeout=5min -csearch_path=a\\ b"),
        ("options", "-c application_name=-c\\ role=bob"),
        ("options", "-c a.b=role=bob"),
    ] {
        assert!(!refuses(name, value), "{name} = {value}");
    }
}

#[test]
fn only_large_objects_may_be_called_by_object_id() {
    let allowed: Vec<u32> = (0..100_000).filter(|oid| functions::refused_call(*oid).is_none()).collect();
    assert_eq!(allowed, [715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172]);
}
