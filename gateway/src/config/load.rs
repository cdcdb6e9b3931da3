//! One pass over both files: every section read, then what spans sections checked.

use pgdog_jwt::config::Shared;
use pgdog_jwt::reader::{self, Env, File, Report, Section, Sections, Server, Spot, Surroundings, nearest, tables};

use super::model::{Config, Database, Jwt, User};
use super::{
    Role, Text, audit, databases, general, identity, proof, protection, provisioning, resolvers, scope, shared,
    tenants, unused, users,
};

/// The tables of `pgdog.toml`.
const SECTIONS: &[&str] =
    &["general", "admin", "tcp", "databases", "jwt", "tenants", "resolvers", "resolver_account", "audit"];

/// The configuration, as far as it can be read. `None` when one of them cannot be parsed.
pub(super) fn read(pgdog: Text<'_>, users: Text<'_>, env: Env<'_>, report: &Report) -> Option<Config> {
    let pgdog = File::parse(pgdog.name, pgdog.text, report);
    let users_file = File::parse(users.name, users.text, report);
    let (pgdog, users_file) = (pgdog?, users_file?);
    check_sections(&pgdog, SECTIONS, unused::SECTIONS, report);
    protection::check_file(&pgdog, report);
    check_sections(&users_file, &["admin", "users"], &[], report);

    let databases = each(&pgdog, "databases", "[[databases]]", unused::DATABASES, report, |section| {
        protection::check_database(section);
        databases::database(section, env)
    });
    let users = each(&users_file, "users", "[[users]]", unused::USERS, report, |section| {
        protection::check_user(section);
        users::user(section, env)
    });
    databases::check_clusters(&databases, report);
    users::check_users(&users, &databases, report);
    let databases: Vec<Database> = databases.into_iter().map(|(database, _)| database).collect();
    if databases.is_empty() && pgdog.root().get("databases").is_none() {
        report.error(Spot::whole(&pgdog.name), "there is no [[databases]]: say which PostgreSQL to connect to");
    }

    let general_section = table(&pgdog, "general", "[general]", report).with_env(env);
    let jwt_section = table(&pgdog, "jwt", "[jwt]", report);
    protection::check_general(&general_section);
    let general = general::general(&general_section);
    let tenants_section = table(&pgdog, "tenants", "[tenants]", report);
    let tenants = tenants::tenants(&tenants_section);
    tenants::check_users(tenants.as_ref(), &users, &tenants_section);
    users::check_certificates(&users, general.tls_client_ca_certificate.is_some(), report);
    let users: Vec<User> = users.into_iter().map(|(user, _)| user).collect();
    let identity_section = jwt_section.table("identity", "[jwt.identity]");
    let proofs = proof::proofs(&jwt_section, &databases, env);
    let sections = Sections { general: &general_section, own: &jwt_section, identity: &identity_section };
    let jwt = reader::jwt(sections, general.auth_type, &surroundings(&users, &databases, env));
    let mut jwt =
        jwt.map(|reader::Jwt { core, host }| Jwt { core, host, shared: Shared::default(), proofs, provisioning: None });
    if let Some(jwt) = &mut jwt {
        jwt.core.proves_claims = !jwt.proofs.is_empty();
        identity::check(&identity_section, jwt, &general, &databases, &users);
    }
    let account_section = table(&pgdog, "resolver_account", "[resolver_account]", report);
    let resolver_account = resolvers::account(&account_section, env);
    account_section.finish(&[]);
    let provisioning_section = jwt_section.table("provisioning", "[jwt.provisioning]");
    let accounts = provisioning::Accounts::new(&databases, &users, resolver_account.as_ref());
    provisioning::read(&provisioning_section, jwt.as_mut(), &accounts, env);
    provisioning_section.finish(&[]);
    tenants::check_names(tenants.as_ref(), jwt.as_ref(), &tenants_section);
    let resolvers = each(&pgdog, "resolvers", "[[resolvers]]", &[], report, resolvers::resolver);
    let around = resolvers::Around {
        account: resolver_account.as_ref(),
        tenants: tenants.as_ref(),
        tenants_spot: tenants_section.spot("resolver"),
        jwt: jwt.as_ref(),
        databases: &databases,
    };
    resolvers::check(&resolvers, &around, report);
    tenants_section.finish(&[]);
    let resolvers: Vec<_> = resolvers.into_iter().map(|(resolver, _)| resolver).collect();
    if let Some(jwt) = &mut jwt {
        jwt.core.host_variables = tenants.is_some() || !resolvers.is_empty();
        jwt.core.kept_claims = scope::claims(tenants.as_ref(), &resolvers);
    }
    if let Some(name) = &general.default_database
        && !databases.iter().any(|database| database.name == *name)
    {
        let reason = format!("\"default_database\" is \"{name}\", and no [[databases]] has this name");
        report.error(general_section.spot("default_database"), reason);
    }
    general_section.finish(unused::GENERAL);
    if let Some(jwt) = &mut jwt {
        shared::set(jwt, &databases, resolver_account.as_ref().map(|account| account.user.as_str()));
    }
    identity_section.finish(&[]);

    let admin_file = if users_file.root().contains_key("admin") { &users_file } else { &pgdog };
    let admin_section = table(admin_file, "admin", "[admin]", report);
    let admin = general::admin(&admin_section, env);
    admin_section.finish(&[]);
    let tcp_section = table(&pgdog, "tcp", "[tcp]", report);
    let tcp = general::tcp(&tcp_section);
    tcp_section.finish(&[]);
    let audit_section = table(&pgdog, "audit", "[audit]", report);
    let audit = audit::audit(&audit_section);
    audit_section.finish(&[]);
    let config = Config { general, admin, audit, tcp, databases, users, jwt, tenants, resolvers, resolver_account };
    shared::check(&jwt_section, &config);
    jwt_section.finish(&[]);
    Some(config)
}

fn table<'a>(file: &'a File, name: &str, label: &'static str, report: &'a Report) -> Section<'a> {
    Section::new(report, label, Some(file), file.root().get(name))
}

/// Reads every table of a list, each with the place where it stands.
fn each<T>(
    file: &File,
    name: &str,
    label: &'static str,
    unused: &[&'static str],
    report: &Report,
    read: impl Fn(&Section<'_>) -> Option<T>,
) -> Vec<(T, Spot)> {
    let mut values = Vec::new();
    let Some(tables) = file.root().get(name).map(tables) else {
        return values;
    };
    let Some(tables) = tables else {
        report.error(file.root_spot(name), format!("\"{name}\" must be a list of tables: write {label}"));
        return values;
    };
    for (table, span) in tables {
        let spot = file.spot(span.clone());
        let section = Section::of_table(report, label, file, table, span);
        values.extend(read(&section).map(|value| (value, spot)));
        section.finish(unused);
    }
    values
}

fn check_sections(file: &File, known: &[&str], unused: &[&str], report: &Report) {
    for (name, item) in file.root().iter() {
        let spot = || file.root_spot(name);
        let label = if item.is_array_of_tables() { format!("[[{name}]]") } else { format!("[{name}]") };
        if unused.contains(&name) {
            report.warn(spot(), format!("{label} is not used here"));
        } else if !known.contains(&name) {
            let kind =
                if item.is_table() || item.is_array_of_tables() { "section" } else { "key outside of a section:" };
            let hint = nearest(name, known.iter().chain(unused).copied());
            report.error(spot(), format!("unknown {kind} {label}{hint}"));
        }
    }
}

/// What the token settings must agree with.
fn surroundings<'a>(users: &'a [User], databases: &'a [Database], env: Env<'a>) -> Surroundings<'a> {
    let server = |server: &'a Database| Server {
        database: &server.name,
        is_primary: server.role == Role::Primary,
        account: server.user.as_deref(),
    };
    Surroundings {
        users: users.iter().map(|user| user.name.as_str()).collect(),
        servers: databases.iter().map(server).collect(),
        env,
    }
}
