//! `[jwt.identity]`.

use pgdog_jwt::config::IdentityMode;

use super::*;

/// Token users without an account that all of them share.
fn tokens(identity: &str) -> String {
    format!("{}[jwt.identity]\n{identity}\n", TOKENS.replace("jwt_server_user = \"gateway\"\n", ""))
}

const CERTIFICATE: &str = "tls_server_certificate = \"g.pem\"\ntls_server_private_key = \"g.key\"\n[[databases]]";

#[test]
fn the_mode_and_what_goes_with_it() {
    let jwt = load(TOKENS, "").config.jwt.expect("token users");
    assert_eq!((jwt.core.mode, jwt.host.login), (IdentityMode::Role, SubjectLogin::default()));

    let text = tokens("mode = \"login\"").replace("[[databases]]", CERTIFICATE);
    let jwt = load(&text, "").config.jwt.expect("token users");
    assert_eq!((jwt.core.mode, jwt.login.auth), (IdentityMode::Login, LoginAuth::Certificate));

    let text = tokens("mode = \"login\"\nlogin_auth = \"password\"\nlogin_password = \"hunter2\"");
    let loaded = load(&text, "");
    assert_eq!((warnings(&loaded).len(), format!("{loaded:?}").contains("hunter2")), (0, false));
    let login = loaded.config.jwt.expect("token users").host.login;
    assert_eq!(login.password.map(|password| password.expose().to_owned()).as_deref(), Some("hunter2"));

    let text = tokens("mode = \"passthrough\"");
    assert_eq!(load(&text, "").config.jwt.expect("token users").core.mode, IdentityMode::Passthrough);
}

#[test]
fn the_password_may_be_in_the_environment() {
    let text = tokens("mode = \"login\"\nlogin_auth = \"password\"");
    let env = [("PGDOG_JWT_LOGIN_PASSWORD", "hunter2")];
    let login = load_with(&text, "", &env).expect("valid").config.jwt.expect("token users").host.login;
    assert!(login.password.is_some());
    assert!(error(&text, "").contains("PGDOG_JWT_LOGIN_PASSWORD"));
}

#[test]
fn subjects_that_log_in_themselves_need_no_account() {
    let text =
        tokens("mode = \"passthrough\"").replace("[[databases]]", "jwt_user_auto_provision = true\n[[databases]]");
    assert!(load(&text, "").config.jwt.expect("token users").core.auto_provision);
}

#[test]
fn modes_that_cannot_work_are_refused() {
    let certificate = |text: String| text.replace("[[databases]]", CERTIFICATE);
    let login = "mode = \"login\"";
    let unix = |text: String| text.replace("127.0.0.1", "/run/postgresql");
    let remote = |text: String| text.replace("127.0.0.1", "10.0.0.5");
    let passthrough = tokens("mode = \"passthrough\"");
    let disabled = "[general]\ntls_verify = \"disabled\"\n";
    for (text, expected) in [
        (tokens("mode = \"logins\""), "\"mode\" in [jwt.identity] must be one of"),
        (tokens("mod = \"login\""), "unknown key \"mod\" in [jwt.identity]; did you mean \"mode\"?"),
        (tokens(login), "\"login_auth\" = \"certificate\" needs \"tls_server_certificate\""),
        (certificate(tokens(login)).replace("[general]\n", disabled), "needs TLS, and \"tls_verify\" is \"disabled\""),
        (unix(certificate(tokens(login))), "a Unix socket, where there is no TLS"),
        (remote(passthrough.clone()), "\"tls_verify\" = \"prefer\" does not keep the tokens safe"),
        (remote(passthrough.clone()).replace("[general]\n", disabled), "does not keep the tokens safe"),
        (passthrough.replace("[jwt.identity]", "[jwt]\nshared_pool = true\n[jwt.identity]"), "do not go together"),
        (tokens("mode = \"service_account\""), "needs an account that a token's roles lead to"),
    ] {
        let message = error(&text, "");
        assert!(message.contains(expected), "{message}");
    }
    for text in
        [unix(passthrough.clone()), remote(passthrough).replace("[general]", "[general]\ntls_verify = \"verify_ca\"")]
    {
        load(&text, "");
    }
}

#[test]
fn what_a_mode_leaves_unused_is_warned_about() {
    let warned = |text: &str, users: &str, expected: &str| {
        let all = warnings(&load(text, users));
        assert!(all.iter().any(|warning| warning.contains(expected)), "{all:?}");
    };
    let entry = "[[users]]\nname = \"a\"\ndatabase = \"app\"\nserver_user = \"b\"\n";
    let passthrough = tokens("mode = \"passthrough\"");
    warned(&passthrough, entry, "\"server_user\" of user \"a\" is not used");
    warned(&tokens("login_auth = \"trust\""), "", "\"login_auth\" is for \"mode\" = \"login\" alone");
    warned(
        &tokens("mode = \"login\"\nlogin_auth = \"trust\"\nlogin_password = \"x\""),
        "",
        "\"login_password\" is not used with \"login_auth\" = \"trust\"",
    );
    let auto = passthrough.replace("host =", "role = \"auto\"\nhost =");
    warned(&auto, "", "no account can ask the servers of database \"app\"");
    assert_eq!(warnings(&load(&auto.replace("host =", "user = \"mon\"\nhost ="), "")), Vec::<String>::new());
}

#[test]
fn accounts_of_the_gateway_are_no_subjects() {
    let denied = |text: &str, users: &str| load(text, users).config.jwt.expect("token users").core.denied_roles;
    let text = tokens("mode = \"passthrough\"").replace("host =", "user = \"mon\"\nhost =");
    assert_eq!(denied(&text, ""), ["postgres", "pg_*", "mon"]);
    assert_eq!(denied(&text, "[[users]]\nname = \"mon\"\ndatabase = \"app\"\n"), ["postgres", "pg_*"]);
}
