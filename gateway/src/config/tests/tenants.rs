//! `[tenants]`, `[[resolvers]]` and `[resolver_account]`.

use std::time::Duration;

use super::*;

const ACCOUNT: &str = "[resolver_account]\nuser = \"resolver\"\n";

fn read(text: &str) -> Config {
    load(&format!("{SERVER}\n{text}"), "").config
}

fn error(text: &str) -> String {
    errors(&format!("{SERVER}\n{text}"), "").join("\n")
}

fn resolver(name: &str, more: &str) -> String {
    format!(
        "[[resolvers]]\nname = \"{name}\"\nquery = \"SELECT 1 AS x\"\ninject = {{ \"app.{name}\" = \"x\" }}\n{more}\n"
    )
}

#[test]
fn an_empty_section_changes_nothing() {
    assert_eq!(read("[tenants]\n").tenants, None);
    let tenants = read("[tenants]\nallow_empty = false\n").tenants.expect("tenants");
    assert_eq!((tenants.separator.as_str(), tenants.value_separator.as_str()), (".", ":"));
    assert_eq!(
        (tenants.variables, tenants.bypass_users),
        (vec!["app.current_tenant_id".to_owned()], vec!["postgres".to_owned()])
    );
    assert_eq!((tenants.max_connections, tenants.query_timeout), (None, Duration::MAX));
}

#[test]
fn tenants_are_read() {
    let text = "[tenants]\nvariables = [\"app.list\", \"app.user\"]\nclaim = [\"list\", \"sub\"]\nmax_connections = 3\n\
                connection_rate = 5\nquery_timeout = 1500\nallow = { \"app.list\" = [\"a*\"] }\n[tenants.deny]\n\"app.user\" = [\"x\"]\n";
    let tenants = read(text).tenants.expect("tenants");
    assert_eq!(tenants.claims, ["list", "sub"]);
    assert_eq!((tenants.max_connections, tenants.connection_rate), (Some(3), Some(5)));
    assert_eq!(tenants.query_timeout, Duration::from_millis(1500));
    assert!(tenants.allow.contains_key("app.list") && tenants.deny.contains_key("app.user"));
}

#[test]
fn users_list_tenants_that_fit() {
    let users = |list: &str| format!("[[users]]\nname = \"a\"\ndatabase = \"app\"\ntenants = {list}\n");
    let one = format!("{SERVER}\n[tenants]\nallow_empty = false\n");
    let loaded = load(&one, &users("[\"acme\", \"a:b\", \"list*\"]"));
    assert_eq!(loaded.config.users[0].tenants.as_ref().map(Vec::len), Some(3));
    let two = format!("{SERVER}\n[tenants]\nvariables = [\"app.a\", \"app.b\"]\n");
    assert!(super::error(&two, &users("[\"a:b\", \"acme\"]")).contains("must have 2 values"));
    assert!(warnings(&load(SERVER, &users("[\"acme\"]")))[0].contains("without [tenants]"));
    assert!(warnings(&load(&one, ""))[0].contains("nobody may open a tenant"));
    assert_eq!(warnings(&load(&one, &users("[]"))), [""; 0]);
}

#[test]
fn the_claims_that_are_looked_at_are_asked_for() {
    let text = format!(
        "{TOKENS}\n[tenants]\nclaim = \"tenant_id\"\n{ACCOUNT}{}",
        resolver(
            "a",
            "params = [\"claim:org.id\", \"user\", \"database\", \"var:app.current_tenant_id\", \"claim:tenant_id\"]"
        )
    );
    let core = load(&text, "").config.jwt.expect("token users").core;
    assert_eq!(core.kept_claims, ["org.id", "tenant_id"]);
}

#[test]
fn resolvers_have_defaults() {
    let config = read(&format!("{ACCOUNT}{}", resolver("a", "")));
    let [resolver] = config.resolvers.as_slice() else { panic!("one resolver") };
    assert_eq!((resolver.required, resolver.cache_ttl, resolver.on_null), (false, Duration::ZERO, OnNull::Unset));
    assert_eq!((resolver.databases.as_ref(), resolver.inject.len()), (None, 1));
    assert!(config.resolver_account.is_some_and(|account| account.password.is_none()));
}

#[test]
fn what_cannot_work_is_an_error() {
    let two = |more: &str| format!("{ACCOUNT}{}{}", resolver("a", ""), resolver("b", more));
    for (text, reason) in [
        ("[tenants]\nvariables = [\"role\"]".to_owned(), "must be a name such as"),
        ("[tenants]\nvariables = []".to_owned(), "must name from 1"),
        ("[tenants]\nvariables = [\"app.a\", \"app.a\"]".to_owned(), "twice"),
        ("[tenants]\nclaim = [\"a\", \"b\"]".to_owned(), "one claim for each variable"),
        ("[tenants]\nallow = { \"app.x\" = [\"a\"] }".to_owned(), "not one of the \"variables\""),
        ("[tenants]\nallow = { \"app.current_tenant_id\" = \"a\" }".to_owned(), "must be a list of strings"),
        ("[tenants]\nseperator = \"-\"".to_owned(), "did you mean \"separator\""),
        ("[tenants]\nresolver = \"may\"".to_owned(), "does not exist"),
        (format!("[tenants]\nresolver = \"a\"\n{ACCOUNT}{}", resolver("a", "")), "must be required"),
        (
            format!("[tenants]\nresolver = \"a\"\n{ACCOUNT}{}", resolver("a", "required = true")),
            "must have every variable",
        ),
        (
            format!(
                "[tenants]\nresolver = \"a\"\n{ACCOUNT}{}",
                resolver("a", "required = true\ndatabases = [\"app\"]")
            ),
            "must be for all databases",
        ),
        (resolver("a", ""), "needs an account"),
        (format!("{ACCOUNT}[[resolvers]]\nname = \"a\""), "needs a \"query\""),
        (two("depends_on = [\"c\"]"), "depends on \"c\""),
        (two("depends_on = [\"b\"]"), "circle"),
        (two("params = [\"var:app.b\"]"), "circle"),
        (two("params = [\"var:app.c\"]"), "no session has a variable \"app.c\""),
        (two("params = [\"app.a\"]"), "\"params\" must hold"),
        (two("databases = [\"nowhere\"]"), "unknown database"),
        (two("on_null = \"ignore\""), "must be one of"),
        (two("retries = 3"), "unknown key \"retries\""),
        (format!("{ACCOUNT}{}{}", resolver("a", ""), resolver("a", "")), "is there twice"),
        (format!("[tenants]\nvariables = [\"app.a\"]\n{ACCOUNT}{}", resolver("a", "")), "from elsewhere"),
        (
            format!("{ACCOUNT}{}{}", resolver("a", "databases = [\"app\"]"), resolver("b", "depends_on = [\"a\"]")),
            "not for all of its databases",
        ),
        ("[resolver_account]\npassword = \"x\"".to_owned(), "needs a \"user\""),
        ("[resolver_account]\nuser = \"a\"\npassword_env = \"NOT_THERE\"".to_owned(), "\"NOT_THERE\""),
        ("[resolver_account]\nuser = \"a\"\npassword_file = \"/nowhere\"".to_owned(), "/nowhere"),
        (
            "[resolver_account]\nuser = \"a\"\npassword = \"hunter2\"\npassword_env = \"X\"".to_owned(),
            "\"password\" and \"password_env\" are two forms of one secret",
        ),
    ] {
        let said = error(&text);
        assert!(said.contains(reason), "{text}: {said}");
        assert!(!said.contains("hunter2"));
    }
    let all: String = (0..33).map(|number| resolver(&format!("r{number}"), "")).collect();
    assert!(error(&format!("{ACCOUNT}{all}")).contains("may be 32 resolvers"));
}

#[test]
fn a_variable_has_one_source() {
    let claimed = "[jwt.session.variables]\n\"app.current_tenant_id\" = \"{tenant_id}\"\n\"app.a\" = \"{a}\"\n";
    let said =
        errors(&format!("{TOKENS}\n{claimed}\n[tenants]\nallow_empty = false\n{ACCOUNT}{}", resolver("a", "")), "");
    assert!(said.iter().any(|line| line.contains("both in \"variables\"")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("\"app.a\" has a value from elsewhere")), "{said:?}");
}

#[test]
fn the_password_is_not_shown() {
    let text = format!("{SERVER}\n[resolver_account]\nuser = \"a\"\npassword_env = \"SECRET\"\n");
    let loaded = load_with(&text, "", &[("SECRET", "hunter2")]).expect("a configuration");
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}
