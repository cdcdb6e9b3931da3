//! Metrics as OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec/). Labels are databases, servers,
//! issuers and words of fixed lists: their number is bounded by the configuration, never by who logs in.

mod refusals;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::UNIX_EPOCH;

use pgdog_jwt::{IssuerStatus, KeyState};

use super::process::process;
use crate::app::descriptors;
use crate::app::state::{App, Generation};
use crate::audit;
use crate::frontend::sessions;
use crate::stats::{self, State, Sums, Totals, events};

/// Before every name, unless the configuration says something else.
const NAMESPACE: &str = "pgdog_jwt_";

/// A text that grows, one metric after the other.
struct Page {
    text: String,
    namespace: String,
}

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let namespace = &self.namespace;
        let _ = write!(self.text, "# TYPE {namespace}{name} {kind}\n# HELP {namespace}{name} {help}\n");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl std::fmt::Display) {
        let _ = write!(self.text, "{}{name}", self.namespace);
        for (at, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"{}\"", if at == 0 { '{' } else { ',' }, escaped(value));
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A counter with one value for each database.
    fn of_databases(&mut self, name: &str, help: &str, sums: &[Database], value: impl Fn(&Sums) -> f64) {
        self.family(name, "counter", help);
        for (totals, sums) in sums {
            self.sample(&format!("{name}_total"), &[("database", &totals.database)], value(sums));
        }
    }
}

type Database = (std::sync::Arc<Totals>, Sums);

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// All metrics at this moment.
pub(super) fn render(app: &'static App) -> String {
    let state = app.state();
    let namespace = state.config.general.openmetrics_namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
    let mut page = Page { text: String::with_capacity(16 * 1024), namespace };
    clients(&mut page);
    servers(&mut page, &state);
    databases(&mut page);
    logins(&mut page);
    refusals::limits(&mut page);
    refusals::unauthenticated(&mut page);
    refusals::revocations(&mut page, app);
    keys(&mut page, &state);
    introspection(&mut page, &state);
    verified_tokens(&mut page, &state);
    limited_tokens(&mut page);
    resolvers(&mut page, &state);
    audit(&mut page);
    gateway(&mut page);
    page.text.push_str("# EOF\n");
    page.text
}

fn resolvers(page: &mut Page, state: &Generation) {
    for (name, help, count) in crate::resolvers::counts() {
        page.family(name, "counter", help);
        page.sample(&format!("{name}_total"), &[], count);
    }
    page.family("resolver_cache_results", "gauge", "Results of resolvers that are known.");
    page.sample("resolver_cache_results", &[], state.resolved.len());
}

fn clients(page: &mut Page) {
    let mut counts: BTreeMap<(String, usize), u64> = BTreeMap::new();
    for totals in stats::all_totals() {
        for at in 0..State::ALL.len() {
            counts.insert((totals.database.clone(), at), 0);
        }
    }
    for (_, card) in sessions::all() {
        let at = State::ALL.iter().position(|state| *state == card.state()).unwrap_or(0);
        *counts.entry((card.about.database.clone(), at)).or_default() += 1;
    }
    page.family("clients", "gauge", "Clients that are logged in, by what they do.");
    for ((database, at), count) in counts {
        let state = State::ALL.get(at).map_or("", |state| state.name());
        page.sample("clients", &[("database", &database), ("state", state)], count);
    }
}

fn servers(page: &mut Page, state: &Generation) {
    // By database, address and role: all pools of all users together.
    let mut pools: BTreeMap<String, u64> = BTreeMap::new();
    let mut here: BTreeMap<(String, String, &str), (usize, usize, usize)> = BTreeMap::new();
    for name in state.config.database_names() {
        pools.insert(name.to_owned(), 0);
        for node in state.registry.cluster(name).map(|cluster| cluster.nodes.as_slice()).unwrap_or_default() {
            here.insert((name.to_owned(), node.address.to_string(), node.role_name()), (0, 0, 0));
        }
    }
    for set in state.registry.sets() {
        *pools.entry(set.key.database.clone()).or_default() += 1;
        for pool in &set.pools {
            let view = pool.view();
            let key = (set.key.database.clone(), pool.node.address.to_string(), pool.node.role_name());
            let (idle, used, waiting) = here.entry(key).or_default();
            *idle += view.idle.len();
            *used += view.size.saturating_sub(view.idle.len());
            *waiting += view.waiting;
        }
    }
    page.family("servers", "gauge", "Connections to PostgreSQL, by whether a client uses them.");
    for ((database, address, role), (idle, used, _)) in &here {
        for (state, count) in [("idle", idle), ("active", used)] {
            let labels = [("database", database.as_str()), ("server", address), ("role", role), ("state", state)];
            page.sample("servers", &labels, count);
        }
    }
    page.family("clients_waiting", "gauge", "Clients in the queue for a connection to this server.");
    for ((database, address, role), (_, _, waiting)) in &here {
        page.sample("clients_waiting", &[("database", database), ("server", address), ("role", role)], waiting);
    }
    page.family("pools", "gauge", "Users and subjects that have pools.");
    for (database, count) in &pools {
        page.sample("pools", &[("database", database)], count);
    }
    page.family("paused", "gauge", "1: the database is paused.");
    for name in pools.keys() {
        let paused = state.registry.cluster(name).is_some_and(|cluster| cluster.gate.is_closed());
        page.sample("paused", &[("database", name)], u8::from(paused));
    }
    nodes(page, state);
}

fn nodes(page: &mut Page, state: &Generation) {
    let mut nodes = Vec::new();
    for name in state.config.database_names() {
        for node in state.registry.cluster(name).map(|cluster| cluster.nodes.as_slice()).unwrap_or_default() {
            nodes.push((name, node.address.to_string(), node.clone()));
        }
    }
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(std::sync::atomic::Ordering::Relaxed);
    page.family("server_up", "gauge", "0: the server is banned, because it did not answer or failed a check.");
    for (database, address, node) in &nodes {
        let labels = [("database", *database), ("server", address.as_str()), ("role", node.role_name())];
        page.sample("server_up", &labels, u8::from(!node.bans.is_banned()));
    }
    page.family("server_lagging", "gauge", "1: the replica lags too far behind to get reads.");
    for (database, address, node) in &nodes {
        let labels = [("database", *database), ("server", address.as_str()), ("role", node.role_name())];
        page.sample("server_lagging", &labels, u8::from(node.bans.is_lagging()));
    }
    page.family("server_budget", "gauge", "Most connections of all pools to the server together; none: no limit.");
    for (database, address, node) in &nodes {
        if let Some(limit) = node.budget.view().limit {
            page.sample("server_budget", &[("database", database), ("server", address)], limit);
        }
    }
    page.family("server_budget_used", "gauge", "Connections of all pools to the server, also those being made.");
    for (database, address, node) in &nodes {
        page.sample("server_budget_used", &[("database", database), ("server", address)], node.budget.view().used);
    }
    page.family("server_budget_waiting", "gauge", "Clients that only the budget of the server keeps waiting.");
    for (database, address, node) in &nodes {
        page.sample(
            "server_budget_waiting",
            &[("database", database), ("server", address)],
            node.budget.view().waiting,
        );
    }
    page.family("server_banned", "gauge", "1: the administrator has banned the server.");
    for (database, address, node) in &nodes {
        let labels = [("database", *database), ("server", address.as_str()), ("role", node.role_name())];
        page.sample("server_banned", &labels, u8::from(node.bans.is_manual()));
    }
    page.family("server_bans", "counter", "Bans that began, by their reason.");
    for (database, address, node) in &nodes {
        for (reason, count) in node.bans.counts() {
            let labels = [("database", *database), ("server", address.as_str()), ("reason", reason.name())];
            page.sample("server_bans_total", &labels, count);
        }
    }
    page.family("server_connects", "counter", "Connections to PostgreSQL that were tried, by what came of it.");
    for (database, address, node) in &nodes {
        for (outcome, counter) in
            [("connected", &node.connects), ("unreachable", &node.failures), ("refused", &node.refusals)]
        {
            let labels = [("database", *database), ("server", address.as_str()), ("outcome", outcome)];
            page.sample("server_connects_total", &labels, count(counter));
        }
    }
}

fn databases(page: &mut Page) {
    let sums = sessions::sums();
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    page.of_databases("queries", "Requests that ran a statement.", &sums, |sums| sums.queries as f64);
    page.of_databases("transactions", "Transactions that ended.", &sums, |sums| sums.transactions as f64);
    page.of_databases("checkouts", "Times that a server was given to a client.", &sums, |sums| sums.checkouts as f64);
    page.of_databases("query_seconds", "Time in which servers owed an answer.", &sums, |sums| {
        seconds(sums.query_nanos)
    });
    page.of_databases("transaction_seconds", "Time of transactions, idle or not.", &sums, |sums| {
        seconds(sums.transaction_nanos)
    });
    page.of_databases("received_bytes", "Bytes from clients.", &sums, |sums| sums.received as f64);
    page.of_databases("sent_bytes", "Bytes to clients.", &sums, |sums| sums.sent as f64);
    page.of_databases("client_errors", "Errors that clients heard.", &sums, |sums| sums.errors as f64);
    page.of_databases("pins", "Times that a session became bound to its server.", &sums, |sums| sums.pins as f64);
    page.family("checkout_wait_seconds", "histogram", "Waits of clients that found no free server.");
    for (totals, _) in &sums {
        let database = totals.database.as_str();
        let mut all = 0;
        for (bound, count) in totals.waits.cumulative() {
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
            page.sample("checkout_wait_seconds_bucket", &[("database", database), ("le", &bound)], count);
            all = count;
        }
        page.sample("checkout_wait_seconds_count", &[("database", database)], all);
        page.sample("checkout_wait_seconds_sum", &[("database", database)], totals.waits.seconds());
    }
    page.family("errors", "counter", "Errors that clients heard, by class of SQLSTATE and by whose they were.");
    for (origin, class, count) in events::errors() {
        page.sample("errors_total", &[("class", class), ("origin", origin.name())], count);
    }
}

fn logins(page: &mut Page) {
    page.family("logins", "counter", "Logins, by decision and reason.");
    for (reason, count) in events::logins() {
        let decision = if reason.is_some() { "refused" } else { "accepted" };
        page.sample("logins_total", &[("decision", decision), ("reason", reason.unwrap_or(""))], count);
    }
    page.family("role_changes", "counter", "Changes to roles of subjects, by what was done.");
    for (action, count) in events::role_changes() {
        page.sample("role_changes_total", &[("action", action)], count);
    }
}

fn keys(page: &mut Page, state: &Generation) {
    let Some(authenticator) = &state.authenticator else { return };
    let issuers = authenticator.status();
    let named = |issuer: &IssuerStatus| issuer.issuer.clone().unwrap_or_default();
    page.family("keys", "gauge", "Public keys that are known of an issuer.");
    for issuer in &issuers {
        page.sample("keys", &[("issuer", &named(issuer))], issuer.keys.len());
    }
    page.family("keys_age_seconds", "gauge", "Age of the key set.");
    for issuer in &issuers {
        if let Some(age) = issuer.age {
            page.sample("keys_age_seconds", &[("issuer", &named(issuer))], age.as_secs_f64());
        }
    }
    page.family("keys_usable", "gauge", "Whether logins can go by the keys of an issuer: 1 or 0.");
    for issuer in &issuers {
        let usable = matches!(issuer.state, KeyState::Fresh | KeyState::Stale);
        page.sample("keys_usable", &[("issuer", &named(issuer))], u8::from(usable));
    }
    page.family("key_fetches", "counter", "Fetches of key sets, by what came of them.");
    for issuer in &issuers {
        let fetched = issuer.fetches.saturating_sub(issuer.unchanged);
        for (outcome, count) in [("fetched", fetched), ("unchanged", issuer.unchanged), ("failed", issuer.failures)] {
            page.sample("key_fetches_total", &[("issuer", &named(issuer)), ("outcome", outcome)], count);
        }
    }
}

/// Issuers that are asked about tokens.
fn introspection(page: &mut Page, state: &Generation) {
    let Some(authenticator) = &state.authenticator else { return };
    let issuers = authenticator.introspection_status();
    let named = |issuer: &pgdog_jwt::IntrospectionStatus| issuer.issuer.clone().unwrap_or_default();
    page.family("introspection_cache_entries", "gauge", "Tokens whose state at their issuer is remembered.");
    for issuer in &issuers {
        for (state, count) in [("active", issuer.active), ("inactive", issuer.inactive)] {
            page.sample("introspection_cache_entries", &[("issuer", &named(issuer)), ("state", state)], count);
        }
    }
    page.family("introspection_running", "gauge", "Questions about tokens that are on their way.");
    for issuer in &issuers {
        page.sample("introspection_running", &[("issuer", &named(issuer))], issuer.running);
    }
    page.family("introspection_requests", "counter", "Questions about tokens, by what came of them.");
    for issuer in &issuers {
        let answered = issuer.requests.saturating_sub(issuer.failures);
        for (outcome, count) in [("answered", answered), ("failed", issuer.failures)] {
            page.sample("introspection_requests_total", &[("issuer", &named(issuer)), ("outcome", outcome)], count);
        }
    }
}

/// Logins that needed no signature check, and those that did.
fn verified_tokens(page: &mut Page, state: &Generation) {
    let Some(cache) = state.authenticator.as_ref().map(|authenticator| authenticator.cache_stats()) else { return };
    page.family("token_cache_entries", "gauge", "Verified tokens that are remembered.");
    page.sample("token_cache_entries", &[], cache.size);
    page.family("token_cache_hits", "counter", "Logins whose token was remembered.");
    page.sample("token_cache_hits_total", &[], cache.hits);
    page.family("token_cache_misses", "counter", "Logins whose token had to be verified.");
    page.sample("token_cache_misses_total", &[], cache.misses);
}

fn limited_tokens(page: &mut Page) {
    page.family("limited_tokens", "gauge", "Tokens whose sessions are counted, or whose first address is remembered.");
    page.sample("limited_tokens", &[], crate::frontend::limited_tokens());
}

/// Events of a destination of their own.
fn audit(page: &mut Page) {
    let counts: Vec<_> = audit::sink::counts().collect();
    page.family("audit_events", "counter", "Audit events that were written.");
    for (event, written, _) in &counts {
        page.sample("audit_events_total", &[("event", event.name())], written);
    }
    page.family("audit_events_lost", "counter", "Audit events that could not be written.");
    for (event, _, lost) in &counts {
        page.sample("audit_events_lost_total", &[("event", event.name())], lost);
    }
    page.family("audit_up", "gauge", "0: audit events cannot be written.");
    page.sample("audit_up", &[], u8::from(!audit::sink::is_failing()));
}

fn gateway(page: &mut Page) {
    let (accepted, refused) = events::reloads();
    page.family("reloads", "counter", "Times that the configuration was read again.");
    page.sample("reloads_total", &[("decision", "accepted")], accepted);
    page.sample("reloads_total", &[("decision", "refused")], refused);
    page.family("secret_renewals", "counter", "Times that the program of a secret was run again.");
    for (outcome, count) in events::secret_renewals() {
        page.sample("secret_renewals_total", &[("outcome", outcome)], count);
    }
    page.family("build", "info", "Version of the program.");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);

    // These have names of their own, that every dashboard knows.
    page.namespace.clear();
    let process = process();
    if let Some(seconds) = process.cpu_seconds {
        page.family("process_cpu_seconds", "counter", "Processor time used.");
        page.sample("process_cpu_seconds_total", &[], seconds);
    }
    let started = stats::started_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    page.family("process_start_time_seconds", "gauge", "When the process began, since 1970.");
    page.sample("process_start_time_seconds", &[], started.as_secs_f64());
    let gauges = [
        ("process_resident_memory_bytes", process.resident_bytes, "Memory held."),
        ("process_threads", process.threads, "Threads."),
        ("process_open_fds", process.open_files, "Open files and sockets."),
        ("process_max_fds", Some(descriptors::limit() as u64), "Most files and sockets that may be open."),
    ];
    for (name, value, help) in gauges {
        if let Some(value) = value {
            page.family(name, "gauge", help);
            page.sample(name, &[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page { text: String::new(), namespace: "x_".to_owned() };
        page.family("a", "gauge", "What it is.");
        page.sample("a", &[("one", "a\"b\\c\nd"), ("two", "")], 1);
        page.sample("a", &[], 2.5);
        let expected = "# TYPE x_a gauge\n# HELP x_a What it is.\nx_a{one=\"a\\\"b\\\\c\\nd\",two=\"\"} 1\nx_a 2.5\n";
        assert_eq!(page.text, expected);
    }
}
