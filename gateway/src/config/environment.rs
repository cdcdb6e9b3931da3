//! Variables of the environment that nobody reads: a misspelt one would otherwise be a setting that does not hold.

use std::collections::BTreeSet;

use pgdog_jwt::reader::{self, Problem, SectionKeys, Spot, nearest};

use super::keys::general::GENERAL;
use super::unused;

const PREFIX: &str = "PGDOG_";

/// Variables that scripts and other programs have for themselves: by their names, or by how they begin.
const OF_OTHERS: [&str; 6] =
    ["PGDOG_BIN", "PGDOG_BIN_PATH", "PGDOG_DSN", "PGDOG_JWT_BIN", "PGDOG_PID", "PGDOG_VERSION"];
const BEGINNINGS_OF_OTHERS: [&str; 1] = ["PGDOG_JWT_TEST_"];

/// What is wrong with the environment, given by names and values. `read`: the variables that were asked for.
pub(crate) fn problems(variables: impl Iterator<Item = (String, String)>, read: &BTreeSet<String>) -> Vec<Problem> {
    let mut names: Vec<String> = variables
        .filter(|(name, value)| !value.is_empty() && name.starts_with(PREFIX) && !is_of_kubernetes(name, value))
        .map(|(name, _)| name)
        .filter(|name| !read.contains(name) && !is_of_others(name))
        .collect();
    names.sort_unstable();
    names.into_iter().filter_map(problem).collect()
}

fn problem(name: String) -> Option<Problem> {
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let own = || [&GENERAL, reader::GENERAL].into_iter().flat_map(SectionKeys::keys);
    if own().any(|known| known.name() == key) {
        // The file says it, and goes before the environment.
        return None;
    }
    let reason = if unused::GENERAL.contains(&key.as_str()) {
        "this variable is not used here".to_owned()
    } else {
        let names: Vec<String> = own().map(|known| format!("{PREFIX}{}", known.name().to_ascii_uppercase())).collect();
        let known = names.iter().map(String::as_str).chain([reader::LOGIN_PASSWORD_VARIABLE]);
        format!("unknown variable{}", nearest(&name, known))
    };
    Some(Problem { spot: Spot::whole(name), reason })
}

fn is_of_others(name: &str) -> bool {
    OF_OTHERS.contains(&name) || BEGINNINGS_OF_OTHERS.iter().any(|beginning| name.starts_with(beginning))
}

/// What Kubernetes, and Docker before it, make in every container of a service whose name begins with "pgdog": its address,
/// under several names (Kubernetes documentation, "Discovering services").
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let name = ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
    let is_port_of = |protocol: &str| {
        let number = name.strip_suffix(protocol).and_then(|rest| rest.rsplit_once("_PORT_"));
        number.is_some_and(|(_, number)| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_address || ["_TCP", "_UDP", "_SCTP"].into_iter().any(is_port_of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let read = BTreeSet::from(["PGDOG_OWN_SECRET".to_owned()]);
        problems(variables, &read).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_variable_that_nobody_reads_is_named_and_its_value_is_not() {
        let said =
            found(&[("PGDOG_CHECKOUT_TIMOUT", "hunter2"), ("PGDOG_DRY_RUN", "true"), ("PGDOG_NONSENSE_OF_ALL", "x")]);
        assert_eq!(
            said,
            [
                "PGDOG_CHECKOUT_TIMOUT: unknown variable; did you mean \"PGDOG_CHECKOUT_TIMEOUT\"?",
                "PGDOG_DRY_RUN: this variable is not used here",
                "PGDOG_NONSENSE_OF_ALL: unknown variable",
            ]
        );
    }

    #[test]
    fn what_is_read_or_belongs_to_others_is_left_alone() {
        let none: [&str; 0] = [];
        let variables = [
            ("PGDOG_PORT", "6432"),
            ("PGDOG_OWN_SECRET", "x"),
            ("PGDOG_JWT_BIN", "x"),
            ("PGDOG_JWT_TEST_GATEWAY", "x"),
            ("PGDOG_NOTHING", ""),
            ("PGDOGS", "x"),
            ("PATH", "x"),
        ];
        assert_eq!(found(&variables), none);
    }

    #[test]
    fn the_names_that_kubernetes_gives_a_service_are_left_alone() {
        let none: [&str; 0] = [];
        let variables = [
            ("PGDOG_SERVICE_HOST", "10.0.0.1"),
            ("PGDOG_SERVICE_PORT", "6432"),
            ("PGDOG_SERVICE_PORT_POSTGRES", "6432"),
            ("PGDOG_PORT", "tcp://10.0.0.1:6432"),
            ("PGDOG_PORT_6432_TCP", "tcp://10.0.0.1:6432"),
            ("PGDOG_PORT_6432_TCP_PROTO", "tcp"),
            ("PGDOG_PORT_6432_TCP_PORT", "6432"),
            ("PGDOG_PORT_6432_TCP_ADDR", "10.0.0.1"),
            ("PGDOG_JWT_SERVICE_HOST", "10.0.0.1"),
            ("PGDOG_JWT_PORT", "tcp://10.0.0.1:6432"),
            ("PGDOG_JWT_PORT_53_UDP", "udp://10.0.0.1:53"),
        ];
        assert_eq!(found(&variables), none);
        assert_eq!(found(&[("PGDOG_PORT_OF_MINE_TCP", "1")]).len(), 1);
    }
}
