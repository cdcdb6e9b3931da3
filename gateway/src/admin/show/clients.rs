//! SHOW CLIENTS and SHOW SUBJECTS: who is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use crate::admin::table::{Kind, Table, Value};
use crate::backend::registry::Registry;
use crate::config::Choice;
use crate::frontend::sessions;
use crate::stats::{self, Card, State};

pub(super) fn clients(database: Option<&str>, own: u32) -> Table {
    let mut table = Table::new(&[
        ("id", Kind::Int),
        ("user", Kind::Text),
        ("database", Kind::Text),
        ("addr", Kind::Text),
        ("port", Kind::Int),
        ("tls", Kind::Bool),
        ("state", Kind::Text),
        ("pool_mode", Kind::Text),
        ("application_name", Kind::Text),
        ("connect_time", Kind::Time),
        ("last_request", Kind::Time),
        ("wait", Kind::Float),
        ("queries", Kind::Int),
        ("transactions", Kind::Int),
        ("errors", Kind::Int),
        ("wait_time", Kind::Float),
        ("query_time", Kind::Float),
        ("transaction_time", Kind::Float),
        ("bytes_received", Kind::Int),
        ("bytes_sent", Kind::Int),
        ("server", Kind::Int),
        ("subject", Kind::Text),
        ("account", Kind::Text),
        ("tenant", Kind::Text),
        ("token_id", Kind::Text),
    ]);
    for (process, card) in sessions::all() {
        if database.is_none_or(|name| card.about.database == name) {
            table.push(client(process, &card, process == own));
        }
    }
    table
}

fn client(process: u32, card: &Card, own: bool) -> Vec<Value> {
    let (about, done) = (&card.about, card.done.read());
    let server = card.server.get();
    vec![
        Value::int(process),
        Value::text(&about.user),
        Value::text(&about.database),
        Value::text(about.address.map_or_else(|| "unix".to_owned(), |address| address.ip().to_string())),
        about.address.map_or(Value::Null, |address| Value::int(address.port())),
        Value::Bool(about.encryption.is_some()),
        Value::text(if own { State::Active.name() } else { card.state().name() }),
        Value::maybe(about.mode.map(Choice::word)),
        Value::text(&*about.application_name),
        Value::Time(card.connected_at),
        Value::time(stats::moment(card.last_request.get())),
        Value::Float(card.waiting().map_or(0.0, |wait| wait.as_secs_f64() * 1e3)),
        Value::int(done.queries),
        Value::int(done.transactions),
        Value::int(done.errors),
        Value::millis(done.wait_nanos),
        Value::millis(done.query_nanos),
        Value::millis(done.transaction_nanos),
        Value::int(done.received),
        Value::int(done.sent),
        if server == 0 { Value::Null } else { Value::int(server) },
        Value::maybe(about.token.as_ref().map(|token| token.subject.as_str())),
        Value::maybe(about.token.as_ref().and_then(|token| token.account.as_deref())),
        Value::maybe(about.tenant.as_deref()),
        Value::maybe(card.token().as_ref().and_then(|token| token.token_id.as_deref())),
    ]
}

/// The sessions of one subject in one database.
#[derive(Default)]
struct Subject {
    cards: Vec<Arc<Card>>,
}

impl Subject {
    fn count(&self, state: State) -> usize {
        self.cards.iter().filter(|card| card.state() == state).count()
    }
}

pub(super) fn subjects(registry: &Registry, database: Option<&str>) -> Table {
    let mut table = Table::new(&[
        ("subject", Kind::Text),
        ("issuer", Kind::Text),
        ("user", Kind::Text),
        ("database", Kind::Text),
        ("role", Kind::Text),
        ("read_only", Kind::Bool),
        ("clients", Kind::Int),
        ("active", Kind::Int),
        ("waiting", Kind::Int),
        ("servers", Kind::Int),
        ("queries", Kind::Int),
        ("last_request", Kind::Time),
        ("token_expires", Kind::Time),
    ]);
    let sets = registry.sets();
    let mut sizes: HashMap<(&str, &str), usize> = HashMap::new();
    for set in &sets {
        *sizes.entry((set.key.database.as_str(), set.key.user.as_str())).or_default() += set.size();
    }
    for ((name, user, subject, issuer), here) in group() {
        if database.is_some_and(|wanted| wanted != name) {
            continue;
        }
        let tokens: Vec<_> = here.cards.iter().filter_map(|card| card.token()).collect();
        // Of shared pools, those that its clients hold.
        let held = || here.cards.iter().filter(|card| card.server.get() != 0).count();
        let own = sizes.get(&(name.as_str(), user.as_str())).copied();
        let servers = own.filter(|_| tokens.iter().all(|token| token.account.is_none())).unwrap_or_else(held);
        let expires: Option<SystemTime> = tokens.iter().map(|token| token.expires_at).min();
        let last = here.cards.iter().map(|card| card.last_request.get()).max().unwrap_or(0);
        table.push(vec![
            Value::text(subject),
            Value::maybe(issuer.as_deref()),
            Value::text(user),
            Value::text(name),
            Value::maybe(tokens.iter().find_map(|token| token.role.as_deref())),
            Value::Bool(tokens.iter().all(|token| token.read_only)),
            Value::int(here.cards.len()),
            Value::int(here.count(State::Active)),
            Value::int(here.count(State::Waiting)),
            Value::int(servers),
            Value::int(here.cards.iter().map(|card| card.done.queries.get()).sum::<u64>()),
            Value::time(stats::moment(last)),
            Value::time(expires),
        ]);
    }
    table
}

/// Sessions by database, user, subject and issuer.
fn group() -> BTreeMap<(String, String, String, Option<String>), Subject> {
    let mut groups: BTreeMap<_, Subject> = BTreeMap::new();
    for (_, card) in sessions::all() {
        if let Some(token) = &card.about.token {
            let about = &card.about;
            let key = (about.database.clone(), about.user.clone(), token.subject.clone(), token.issuer.clone());
            groups.entry(key).or_default().cards.push(card);
        }
    }
    groups
}
