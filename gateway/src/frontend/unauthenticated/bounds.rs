//! How many clients may be here that have not logged in, and which descriptors are kept for what the others need.

use std::net::SocketAddr;

use super::table::Most;
use crate::app::descriptors;
use crate::config::{Config, Network};
use crate::frontend::login_limits::Prefix;

/// Descriptors that are kept in any case: for files, for issuers, for the ports for watching, for cancel requests.
const LEAST_RESERVE: usize = 64;

/// What the configuration says, or by default the number of descriptors.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) total: usize,
    pub(crate) per_address: usize,
    /// Addresses of which any number may come, as long as there is room for all.
    exempt: Vec<Network>,
    /// Clients have descriptors below this number. A process gets the lowest that is free, so whoever gets a higher one
    /// has found all below in use.
    pub(crate) descriptors: usize,
}

impl Bounds {
    pub(crate) fn of(config: &Config) -> Self {
        Self::within(config, descriptors::limit())
    }

    fn within(config: &Config, limit: usize) -> Self {
        let general = &config.general;
        let half = (limit / 2).max(1);
        let total = general.max_unauthenticated_clients.unwrap_or(half);
        Self {
            total,
            per_address: general.max_unauthenticated_clients_per_address.unwrap_or((total.min(half) / 4).max(1)),
            exempt: general.unauthenticated_limit_exempt.clone(),
            descriptors: limit.saturating_sub(reserve(config, limit)),
        }
    }

    /// Why fewer clients than `max_client_conn` can be here; `None`: there is room for them, or no such limit.
    pub(crate) fn shortage(&self, config: &Config) -> Option<String> {
        let (wanted, room) = (config.general.max_client_conn?, self.descriptors);
        (wanted > room).then(|| {
            format!("{wanted} clients do not fit into the {room} descriptors that are left for clients: raise the hard limit (LimitNOFILE, ulimit -Hn)")
        })
    }

    /// As what an address is counted; `None`: it is not.
    pub(super) fn counted(&self, address: Option<SocketAddr>) -> Option<Prefix> {
        let address = address?;
        let is_exempt = self.exempt.iter().any(|network| network.contains(address.ip()));
        (!is_exempt).then(|| Prefix::of(address))
    }

    pub(super) fn most(&self) -> Most {
        Most { total: self.total, per_address: self.per_address }
    }
}

/// A quarter, or what all servers may need together if that is less. No more than half, however few there are.
fn reserve(config: &Config, limit: usize) -> usize {
    let budgets = config.databases.iter().map(|server| config.server_budget(server));
    let servers = budgets.into_iter().try_fold(0_usize, |sum, budget| budget.map(|budget| sum.saturating_add(budget)));
    let needed = servers.unwrap_or(usize::MAX).saturating_add(LEAST_RESERVE);
    needed.min(limit / 4).max(LEAST_RESERVE).min(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Text;

    fn bounds(general: &str, server: &str, limit: usize) -> Bounds {
        let text = format!("[general]\n{general}\n[[databases]]\nname = \"a\"\nhost = \"b\"\n{server}\n");
        let pgdog = Text { name: "pgdog.toml", text: &text };
        let config = Config::from_texts(pgdog, Text { name: "users.toml", text: "" }, &|_| None).unwrap().config;
        Bounds::within(&config, limit)
    }

    #[test]
    fn by_default_bounds_are_shares_of_the_descriptors() {
        let bounds = bounds("", "", 20_000);
        assert_eq!((bounds.total, bounds.per_address, bounds.descriptors), (10_000, 2_500, 15_000));
    }

    #[test]
    fn what_is_configured_goes_before() {
        let both = "max_unauthenticated_clients = 100\nmax_unauthenticated_clients_per_address = 7";
        let both = bounds(both, "", 20_000);
        assert_eq!((both.total, both.per_address), (100, 7));
        assert_eq!(bounds("max_unauthenticated_clients = 100", "", 20_000).per_address, 25);
        let none = bounds("max_unauthenticated_clients = 9223372036854775807", "", 20_000);
        assert_eq!((none.total, none.per_address), (usize::MAX, 2_500));
    }

    #[test]
    fn a_budget_of_servers_says_how_many_descriptors_they_need() {
        assert_eq!(bounds("", "max_server_connections = 100", 20_000).descriptors, 20_000 - 164);
        assert_eq!(bounds("max_server_connections = 9223372036854775807", "", 20_000).descriptors, 15_000);
    }

    #[test]
    fn more_clients_than_descriptors_are_a_shortage() {
        let shortage = |most: usize| {
            let text = format!("[general]\nmax_client_conn = {most}\n[[databases]]\nname = \"a\"\nhost = \"b\"\n");
            let pgdog = Text { name: "pgdog.toml", text: &text };
            let config = Config::from_texts(pgdog, Text { name: "users.toml", text: "" }, &|_| None).unwrap().config;
            Bounds::within(&config, 20_000).shortage(&config)
        };
        assert_eq!(shortage(15_000), None);
        assert!(shortage(15_001).unwrap().starts_with("15001 clients do not fit into the 15000 descriptors"));
    }

    #[test]
    fn few_descriptors_leave_some_for_everybody() {
        assert_eq!(bounds("", "", 256).descriptors, 192);
        assert_eq!(bounds("", "", 200).descriptors, 136);
        assert_eq!(bounds("", "", 64).descriptors, 32);
        assert_eq!(bounds("", "", 1).total, 1);
    }

    #[test]
    fn exempt_addresses_are_not_counted() {
        let bounds = bounds("unauthenticated_limit_exempt = [\"10.0.0.0/8\", \"2001:db8::7\"]", "", 1_000);
        let counted = |text: &str| bounds.counted(Some(SocketAddr::new(text.parse().unwrap(), 1))).is_some();
        assert!(!counted("10.1.2.3") && !counted("::ffff:10.1.2.3") && !counted("2001:db8::7"));
        assert!(counted("192.0.2.1") && counted("2001:db8::8"));
        assert!(bounds.counted(None).is_none(), "a Unix socket has no address");
    }
}
