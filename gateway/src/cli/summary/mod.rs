//! What a configuration means, in a page of text or as an object. Secrets are not in it.

mod identities;
mod page;
mod rules;
mod tokens;

use serde_json::{Value, json};

use crate::config::{
    AuditDestination, AuthType, Choice, Config, Database, Databases, Provisioning, StatementAudit, User,
};
use crate::frontend::unauthenticated::Bounds;
use page::Page;

/// Both forms.
pub(super) struct Summary {
    /// For people.
    pub(super) text: String,
    /// For programs.
    pub(super) value: Value,
}

impl Summary {
    pub(super) fn of(config: &Config) -> Self {
        let mut page = Page::default();
        listener(&mut page, config);
        clients(&mut page, config);
        databases(&mut page, config);
        users(&mut page, config);
        tenants(&mut page, config);
        match &config.jwt {
            Some(jwt) => tokens::tokens(&mut page, config, jwt),
            None => {
                let word = config.general.auth_type.word();
                let section = page.section("tokens").say(format!("not accepted: auth_type is \"{word}\""));
                tokens::shared(section, config);
            }
        }
        services(&mut page, config);
        Self { text: page.text(), value: page.value() }
    }
}

fn listener(page: &mut Page, config: &Config) {
    let general = &config.general;
    let listen = page.section("listen").say(format!("{}:{}", general.host, general.port));
    listen.fact("host", general.host.as_str()).fact("port", general.port).fact("auth_type", general.auth_type.word());
    if let Some(folder) = &general.unix_socket_dir {
        let socket = format!("{}/.s.PGSQL.{}", folder.display(), general.port);
        listen.fact("unix_socket", socket.as_str()).say(socket);
    }
    let tls = page.section("TLS").fact("required", general.tls_client_required);
    tls.fact("certificate", general.tls_certificate.as_ref().map(|path| path.display().to_string()));
    tls.say(match (&general.tls_certificate, general.tls_client_required) {
        (Some(path), true) => format!("required, certificate {}", path.display()),
        (Some(path), false) => format!("offered, certificate {}", path.display()),
        (None, _) => "none".to_owned(),
    });
    if let Some(path) = &general.tls_client_ca_certificate {
        let word = if general.tls_client_certificate_required { "required" } else { "asked for" };
        tls.say(format!("client certificates {word}, authority {}", path.display()));
        tls.fact("client_certificates", word).fact("client_authority", path.display().to_string());
    }
    let word = general.tls_verify.word();
    page.section("servers").say(format!("TLS {word}")).fact("tls_verify", word);
    let (mode, size) = (general.pooler_mode.word(), general.default_pool_size);
    let pools = page.section("pools").say(format!("{mode} mode, up to {size} connections each"));
    pools.fact("mode", mode).fact("size", size);
}

fn clients(page: &mut Page, config: &Config) {
    let general = &config.general;
    let shown = |most: Option<usize>| most.filter(|most| *most != usize::MAX);
    let room = Bounds::of(config).descriptors;
    let section = page.section("clients").fact("descriptors", room);
    let mut limits = Vec::new();
    for (key, most, of) in [
        ("max_client_conn", general.max_client_conn, ""),
        ("max_db_client_connections", general.max_db_client_connections, " for a database"),
        ("max_user_client_connections", general.max_user_client_connections, " for a user"),
    ] {
        section.fact(key, shown(most));
        limits.extend(shown(most).map(|most| format!("{most}{of}")));
    }
    let limits = if limits.is_empty() { "any number".to_owned() } else { format!("up to {}", limits.join(", ")) };
    section.say(format!("{limits}; descriptors here are for {room}"));
}

fn databases(page: &mut Page, config: &Config) {
    for name in config.database_names() {
        let section = page.one_of("database", "databases").say(name).fact("name", name);
        for server in config.servers(name) {
            section.say(server_line(server));
        }
        let server = |server: &Database| {
            json!({
                "host": server.host, "port": server.port, "role": server.role.word(),
                "database": server.server_database(), "user": server.user,
            })
        };
        section.fact("servers", config.servers(name).map(server).collect::<Vec<_>>());
    }
}

fn server_line(server: &Database) -> String {
    let port = server.port;
    let address = match server.host.contains(':') {
        true => format!("[{}]:{port}", server.host),
        false => format!("{}:{port}", server.host),
    };
    let renamed = server.database_name.as_ref().map_or_else(String::new, |name| format!(", there called {name}"));
    let account = server.user.as_ref().map_or_else(String::new, |user| format!(", as {user}"));
    format!("{} {address}{renamed}{account}", server.role.word())
}

/// The names, or a word for all of them.
fn names(databases: &Databases) -> String {
    match databases {
        Databases::All => "all databases".to_owned(),
        Databases::Some(names) => names.join(", "),
    }
}

/// The same for programs.
fn listed(databases: &Databases) -> Value {
    match databases {
        Databases::All => json!("*"),
        Databases::Some(names) => json!(names),
    }
}

fn users(page: &mut Page, config: &Config) {
    for user in &config.users {
        let (databases, method) = (names(&user.databases), method(config, user));
        let is_read_only = user.read_only == Some(true);
        let read_only = if is_read_only { ", read-only" } else { "" };
        let section = page.one_of("user", "users");
        section.say(format!("{} on {databases}: {method}{read_only}", user.name));
        section.fact("name", user.name.as_str()).fact("databases", listed(&user.databases));
        section.fact("method", method).fact("read_only", is_read_only);
    }
}

fn tenants(page: &mut Page, config: &Config) {
    if let Some(tenants) = &config.tenants {
        let (variables, separator) = (tenants.variables.join(", "), &tenants.separator);
        let section = page.section("tenants").say(format!("{variables}, behind \"{separator}\" in user names"));
        section.fact("variables", tenants.variables.clone()).fact("separator", separator.as_str());
    }
    for resolver in &config.resolvers {
        let variables: Vec<_> = resolver.inject.iter().map(|(name, _)| name.as_str()).collect();
        let required = if resolver.required { ", required" } else { "" };
        let section = page.one_of("resolver", "resolvers");
        section.say(format!("{}: {}{required}", resolver.name, variables.join(", ")));
        section.fact("name", resolver.name.as_str()).fact("variables", variables).fact("required", resolver.required);
    }
}

/// How one user of `users.toml` proves itself.
fn method(config: &Config, user: &User) -> String {
    match (config.general.auth_type, &config.jwt) {
        (AuthType::Jwt, Some(jwt)) if user.has_password() => match jwt.core.has_suffix(&user.name) {
            true => "token".to_owned(),
            false => jwt.password_auth_type.word().to_owned(),
        },
        (AuthType::Jwt, _) => "token".to_owned(),
        (AuthType::Trust, _) => "trust (no proof)".to_owned(),
        (method, _) if user.has_password() => method.word().to_owned(),
        _ => "nothing: it has no password and cannot log in".to_owned(),
    }
}

/// What subjects are in.
fn given(settings: &Provisioning) -> String {
    let fixed = (!settings.roles.is_empty()).then(|| settings.roles.join(", "));
    let groups = (!settings.groups.is_empty()).then(|| format!("by groups: {}", settings.groups.shown()));
    let parts: Vec<String> = fixed.into_iter().chain(groups).collect();
    if parts.is_empty() { "no group".to_owned() } else { parts.join("; ") }
}

/// Audit, admin database, metrics and health checks.
fn services(page: &mut Page, config: &Config) {
    let audit = &config.audit;
    let section = page.section("audit").fact("destination", audit.destination.word());
    let place = match (audit.destination, &audit.file) {
        (AuditDestination::File, Some(path)) => {
            section.fact("file", path.display().to_string());
            path.display().to_string()
        }
        (AuditDestination::Log, _) => "lines of the log".to_owned(),
        _ => "lines of their own on standard error".to_owned(),
    };
    let on_failure = match audit.destination {
        AuditDestination::Log => String::new(),
        _ => format!("; when it cannot be written: {}", audit.on_failure.word()),
    };
    section.say(format!("{place}{on_failure}")).fact("on_failure", audit.on_failure.word());
    let whose = match audit.statements_for.as_slice() {
        [] => "everybody".to_owned(),
        names => names.join(", "),
    };
    let parameters = if audit.statement_parameters { ", with parameters" } else { "" };
    section.say(match audit.statements {
        StatementAudit::None => "no statements".to_owned(),
        kind => format!("statements: {}{parameters}, of {whose}", kind.word()),
    });
    section.fact("statements", audit.statements.word()).fact("statements_for", audit.statements_for.clone());

    let admin = &config.admin;
    let has_password = admin.password.is_some();
    let section = page.section("admin").fact("enabled", has_password).fact("database", admin.name.as_str());
    section.fact("user", admin.user.as_str());
    section.say(match has_password {
        true => format!("database {}, user {}", admin.name, admin.user),
        false => "nobody: [admin] has no password".to_owned(),
    });

    let general = &config.general;
    let section = page.section("metrics").fact("port", general.openmetrics_port);
    section.say(match general.openmetrics_port {
        Some(port) => format!("http://{}:{port}/metrics", general.openmetrics_host),
        None => "none: openmetrics_port is not set".to_owned(),
    });
    section.fact("host", general.openmetrics_host.as_str()).fact("healthcheck_port", general.healthcheck_port);
    if let Some(port) = general.healthcheck_port {
        section.say(format!("health checks on port {port}"));
    }
}
