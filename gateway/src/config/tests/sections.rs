//! The other sections.

use std::time::Duration;

use super::*;

#[test]
fn what_the_file_does_not_say_has_the_default_of_pgdog() {
    let config = load(SERVER, "").config;
    assert_eq!((config.general.host.as_str(), config.general.port), ("0.0.0.0", 6432));
    assert_eq!(config.general.auth_type, AuthType::Scram);
    assert_eq!(config.general.pooler_mode, PoolerMode::Transaction);
    assert_eq!(config.general.checkout_timeout, Duration::from_secs(5));
    assert_eq!(config.general.query_timeout, Duration::MAX);
    assert_eq!(config.general.prepared_statements_limit, usize::MAX);
    assert_eq!(config.databases[0].port, 5432);
    assert_eq!(config.databases[0].role, Role::Primary);
    assert_eq!(config.databases[0].lb_weight, 255);
    assert!(config.tcp.keepalive);
    assert_eq!(config.admin.password, None);
    assert_eq!(config.jwt, None);
}

#[test]
fn general_settings_that_cannot_work_are_refused() {
    for (line, expected) in [
        ("tls_certificate = \"c.pem\"", "\"tls_certificate\" needs \"tls_private_key\" beside it"),
        ("tls_client_required = true", "\"tls_client_required\" needs \"tls_certificate\""),
        (
            "tls_client_certificate_required = true",
            "\"tls_client_certificate_required\" needs \"tls_client_ca_certificate\"",
        ),
        (
            "unix_socket_permissions = \"0999\"",
            "\"unix_socket_permissions\" in [general] must be octal digits in quotes",
        ),
        ("unix_socket_permissions = 770", "\"unix_socket_permissions\" in [general] must be octal digits in quotes"),
        ("passthrough_auth = \"enabled\"", "\"passthrough_auth\" = \"enabled\" is not supported"),
        ("default_pool_size = 0", "\"default_pool_size\" in [general] must be a whole number of at least 1"),
        ("auth_type = \"jwtt\"", "\"auth_type\" in [general] must be one of \"md5\", \"scram\""),
        ("log_level = \"info,=\"", "\"log_level\" must be a level"),
        ("checkout_timeout = \"5s\"", "\"checkout_timeout\" in [general] must be a whole number"),
    ] {
        let message = error(&format!("[general]\n{line}\n{SERVER}"), "");
        assert!(message.starts_with(&format!("pgdog.toml:2: {expected}")), "{message}");
    }
    assert_eq!(load(&format!("[general]\nport = 0\n{SERVER}"), "").config.general.port, 0);
}

#[test]
fn clusters_are_checked() {
    let second = "[[databases]]\nname = \"app\"\nhost = \"h2\"\n";
    let message = error(&format!("{SERVER}{second}"), "");
    assert!(
        message.starts_with("pgdog.toml:4: database \"app\" has two primaries (the first is in line 1)"),
        "{message}"
    );
    let config = load(&format!("{SERVER}{second}role = \"replica\"\n"), "").config;
    assert_eq!((config.database_names(), config.servers("app").count()), (vec!["app"], 2));

    assert!(error(&format!("{SERVER}shard = 1\n"), "").starts_with("pgdog.toml:4: shard 1: sharding is PgDog's work"));
    assert!(error("[[databases]]\nhost = \"h\"\n", "").contains("needs a \"name\""));
    assert!(error("", "").contains("there is no [[databases]]"));
    let inline = load("databases = [{ name = \"a\", host = \"/run\" }]", "").config;
    assert!(inline.databases[0].is_unix());
}

#[test]
fn users_are_resolved_and_checked() {
    let users = "[[users]]\nname = \"a\"\ndatabase = \"app\"\npassword = \"one\"\npasswords = [\"two\"]\n\
                 [[users]]\nname = \"b\"\nall_databases = true\n";
    let loaded = load(SERVER, users);
    let user = loaded.config.user("a", "app").expect("a user");
    assert_eq!(user.databases, Databases::Some(vec!["app".to_owned()]));
    let passwords: Vec<_> = user.passwords.iter().map(|password| password.expose()).collect();
    assert_eq!(passwords, ["one", "two"]);
    assert!(!loaded.config.user("b", "app").expect("a user").has_password());
    assert!(!format!("{loaded:?}").contains("two"));

    let message = error(SERVER, "[[users]]\nname = \"a\"\ndatabase = \"ap\"\n");
    assert_eq!(message, "users.toml:1: user \"a\": unknown database \"ap\"; did you mean \"app\"?");
    let message = error(SERVER, &users.replace("\"b\"", "\"a\""));
    assert_eq!(message, "users.toml:6: user \"a\" is there twice for all databases (first in line 1)");
    let certificate = users.replace("name = \"b\"", "name = \"b\"\ntls_client_certificate_required = true");
    assert!(
        error(SERVER, &certificate).starts_with("users.toml:6: user \"b\": \"tls_client_certificate_required\" needs")
    );
    assert!(error(SERVER, "[[users]]\nall_databases = true\n").contains("needs a \"name\""));
    assert!(error(SERVER, &users.replace("name = \"b\"", "name = \"b\"\npool_size = 0")).contains("at least 1"));
    let loaded = load(SERVER, "[[users]]\nname = \"a\"\npassword = \"\"\ndatabase = \"app\"\n");
    assert_eq!(warnings(&loaded), ["users.toml:3: an empty password lets nobody in"]);
}

#[test]
fn the_admin_of_users_toml_goes_first() {
    let pgdog = format!("{SERVER}[admin]\nname = \"adm\"\npassword = \"x\"\n");
    assert_eq!(load(&pgdog, "").config.admin.name, "adm");
    let admin = load(&pgdog, "[admin]\npassword = \"y\"\n").config.admin;
    assert_eq!((admin.name.as_str(), admin.password.as_ref().map(|password| password.expose())), ("admin", Some("y")));
}
