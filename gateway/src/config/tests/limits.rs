//! Limits on failed logins and on clients that have not logged in, and revocations.

use std::path::PathBuf;
use std::time::Duration;

use super::*;

#[test]
fn limits_on_failed_logins_are_on_and_can_be_changed() {
    let general = load(SERVER, "").config.general;
    assert_eq!((general.login_failures_per_address, general.login_failures_per_address_burst), (600, 1_000));
    assert_eq!((general.login_failures_per_user, general.login_failures_per_user_burst), (60, 500));
    assert_eq!((general.login_failures_tracked, general.login_refusal_delay), (65_536, Duration::from_millis(50)));

    let keys = "[general]\nlogin_failures_per_address = 9223372036854775807\nlogin_failures_per_address_burst = 5\n\
                login_failures_per_user = 1\nlogin_failures_per_user_burst = 2\nlogin_failures_tracked = 3\n\
                login_refusal_delay = 0\n";
    let general = load(&format!("{keys}{SERVER}"), "").config.general;
    assert_eq!((general.login_failures_per_address, general.login_failures_per_address_burst), (usize::MAX, 5));
    assert_eq!((general.login_failures_per_user, general.login_failures_per_user_burst), (1, 2));
    assert_eq!((general.login_failures_tracked, general.login_refusal_delay), (3, Duration::ZERO));
}

#[test]
fn limits_on_cancel_requests_are_on_and_can_be_changed() {
    let read = |text: &str| {
        let general = load(&format!("{text}{SERVER}"), "").config.general;
        let address = (general.cancel_failures_per_address, general.cancel_failures_per_address_burst);
        (address, (general.cancel_failures, general.cancel_failures_burst))
    };
    assert_eq!(read(""), ((600, 1_000), (6_000, 10_000)));
    let keys = "[general]\ncancel_failures_per_address = 1\ncancel_failures_per_address_burst = 2\n\
                cancel_failures = 9223372036854775807\ncancel_failures_burst = 4\n";
    assert_eq!(read(keys), ((1, 2), (usize::MAX, 4)));
}

#[test]
fn bounds_of_clients_that_have_not_logged_in_follow_the_descriptors_or_the_file() {
    let general = load(SERVER, "").config.general;
    assert_eq!((general.max_unauthenticated_clients, general.max_unauthenticated_clients_per_address), (None, None));
    assert!(general.unauthenticated_limit_exempt.is_empty());

    let keys = "[general]\nmax_unauthenticated_clients = 20\nmax_unauthenticated_clients_per_address = 5\n\
                unauthenticated_limit_exempt = [\"192.0.2.7\", \"2001:db8::/32\"]\n";
    let general = load(&format!("{keys}{SERVER}"), "").config.general;
    assert_eq!(
        (general.max_unauthenticated_clients, general.max_unauthenticated_clients_per_address),
        (Some(20), Some(5))
    );
    let exempt: Vec<_> = general.unauthenticated_limit_exempt.iter().map(ToString::to_string).collect();
    assert_eq!(exempt, ["192.0.2.7/32", "2001:db8::/32"]);

    let message = error(&format!("[general]\nunauthenticated_limit_exempt = \"proxy\"\n{SERVER}"), "");
    assert!(
        message.contains("\"proxy\" in \"unauthenticated_limit_exempt\" must be an address or a network"),
        "{message}"
    );
}

#[test]
fn a_limit_that_lets_nobody_in_or_has_no_bound_is_refused() {
    for line in [
        "login_failures_per_address = 0",
        "max_unauthenticated_clients = 0",
        "max_unauthenticated_clients_per_address = 0",
        "login_failures_per_user_burst = 0",
        "login_failures_per_user_burst = 10000001",
        "login_failures_tracked = 9223372036854775807",
        "login_refusal_delay = 10001",
        "cancel_failures = 0",
        "cancel_failures_burst = 10000001",
    ] {
        let message = error(&format!("[general]\n{line}\n{SERVER}"), "");
        assert!(message.contains("must be a whole number"), "{message}");
    }
}

#[test]
fn revocations_may_have_a_file_and_have_a_bound() {
    let core = load(TOKENS, "").config.jwt.expect("token users").core;
    assert_eq!((core.revocation_file, core.max_revocations), (None, 100_000));
    let text = format!("{TOKENS}[jwt]\nrevocation_file = \"revoked.jsonl\"\nmax_revocations = 7\n");
    let core = load(&text, "").config.jwt.expect("token users").core;
    assert_eq!((core.revocation_file, core.max_revocations), (Some(PathBuf::from("revoked.jsonl")), 7));
    let message = error(&format!("{TOKENS}[jwt]\nmax_revocations = 0\n"), "");
    assert!(message.contains("max_revocations"), "{message}");
}
