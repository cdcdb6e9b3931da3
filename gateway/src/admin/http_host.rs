//! Whether a request over HTTP is meant for this host. A web page can make a browser ask an address that the page's own
//! name has come to mean (DNS rebinding), and read the answer; the browser then says that name in `Host`. So on a loopback
//! address, which only this machine reaches, a request must be for a name that no stranger can own.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

use crate::config::General;

/// Whether a request that came in at this address is for a host that may be asked for. What names no host is of no browser.
pub(super) fn is_meant<B>(request: &Request<B>, at: Option<IpAddr>, general: &General) -> bool {
    let is_local = at.is_none_or(|at| at.to_canonical().is_loopback());
    if general.http_hosts.is_none() && !is_local {
        return true;
    }
    let mut named = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let (first, second) = (named.next(), named.next());
    let target = request.uri().authority().map(|authority| authority.as_str());
    second.is_none() && [first, target].into_iter().flatten().all(|host| is_known(name_of(host), general))
}

fn is_known(name: &str, general: &General) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is = |known: &str| match known.strip_prefix('*') {
        Some(end) => name.strip_suffix(end).is_some_and(|begin| !begin.is_empty()),
        None => name == known.to_ascii_lowercase(),
    };
    // An address means itself, and `localhost` this machine (RFC 6761, section 6.3).
    name.parse::<IpAddr>().is_ok()
        || ["localhost", "*.localhost", &general.openmetrics_host, &general.host].into_iter().any(is)
        || general.http_hosts.iter().flatten().any(|known| is(known))
}

/// Without the port, and without the brackets of an IPv6 address.
fn name_of(host: &str) -> &str {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']'))
        && (port.is_empty() || port.starts_with(':'))
    {
        return address;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Text};

    fn general(line: &str) -> General {
        let pgdog = format!("[general]\nauth_type = \"scram\"\n{line}\n[[databases]]\nname = \"a\"\nhost = \"h\"\n");
        let text = |name, text| Text { name, text };
        let loaded = Config::from_texts(text("pgdog.toml", &pgdog), text("users.toml", ""), &|_| None);
        loaded.expect("a configuration").config.general
    }

    fn is_served(host: &str, at: &str, general: &General) -> bool {
        let request = Request::builder().uri("/metrics").header(HOST, host).body(()).unwrap();
        is_meant(&request, at.parse().ok(), general)
    }

    #[test]
    fn on_loopback_only_names_that_nobody_can_own_are_served() {
        let general = general("");
        for at in ["127.0.0.1", "127.0.0.9", "::1", "::ffff:127.0.0.1"] {
            for host in [
                "localhost",
                "LOCALHOST:9090",
                "a.localhost:1",
                "127.0.0.1:9090",
                "127.0.0.1",
                "[::1]:9090",
                "10.1.2.3",
            ] {
                assert!(is_served(host, at, &general), "{host} at {at}");
            }
            for host in [
                "evil.example",
                "evil.example:9090",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "notlocalhost",
                ".localhost",
                "",
                ":9090",
                "[::1].evil.example",
                "evil.example:80:localhost",
            ] {
                assert!(!is_served(host, at, &general), "{host} at {at}");
            }
        }
    }

    #[test]
    fn elsewhere_any_name_is_served_unless_there_is_a_list() {
        assert!(is_served("pgdog-jwt.db.svc:9090", "10.1.2.3", &general("")));
        let listed = general("http_hosts = [\"Metrics.internal\", \"*.svc.cluster.local\"]");
        for at in ["10.1.2.3", "127.0.0.1"] {
            for host in ["metrics.internal:9090", "a.db.svc.cluster.local", "localhost", "10.1.2.3:9090"] {
                assert!(is_served(host, at, &listed), "{host} at {at}");
            }
            for host in ["evil.example", "svc.cluster.local", "a.metrics.internal", "a.svc.cluster.local.evil.example"]
            {
                assert!(!is_served(host, at, &listed), "{host} at {at}");
            }
        }
        assert!(is_served("metrics.test", "127.0.0.1", &general("openmetrics_host = \"metrics.test\"")));
    }

    #[test]
    fn a_second_host_or_one_in_the_target_does_not_get_around_it() {
        let general = general("");
        let at = "127.0.0.1".parse().ok();
        let two = Request::builder().uri("/metrics").header(HOST, "localhost").header(HOST, "evil.example");
        assert!(!is_meant(&two.body(()).unwrap(), at, &general));
        let absolute = Request::builder().uri("http://evil.example/metrics").header(HOST, "localhost");
        assert!(!is_meant(&absolute.body(()).unwrap(), at, &general));
        let none = Request::builder().uri("/metrics").body(()).unwrap();
        assert!(is_meant(&none, at, &general), "no browser leaves it out");
    }
}
