//! `[jwt.provisioning]`.

use std::time::Duration;

use pgdog_jwt::config::{GroupSource, Secret, UserinfoSource};

use super::*;

const ON: &str = "[jwt.provisioning]\nenabled = true\nadmin_user = \"maker\"\n";

fn provisioning(lines: &str) -> Jwt {
    load(&format!("{TOKENS}{ON}{lines}"), "").config.jwt.expect("token users")
}

#[test]
fn it_is_off_unless_it_is_switched_on() {
    let jwt = load(TOKENS, "").config.jwt.expect("token users");
    assert_eq!((jwt.provisioning, &jwt.core.issuers[0].groups), (None, &None));
    let text = format!("{TOKENS}[jwt.provisioning]\nadmin_user = \"maker\"\ngroups = [\"a\"]\n");
    let jwt = load(&text, "").config.jwt.expect("token users");
    assert_eq!((jwt.provisioning, &jwt.core.issuers[0].groups), (None, &None));
}

#[test]
fn every_key_is_read() {
    let jwt = provisioning(
        "admin_password = \"secret\"\nroles = \"app_user\"\ngroups_claim = \"realm.groups\"\nvalid_until = \"token\"\n\
         valid_until_margin = 7\ndisable_after = 30\nrecheck = 8\ntimeout = 9\nuserinfo_url = \"https://i/userinfo\"\n\
         userinfo_cache_ttl = 1\nuserinfo_connect_timeout = 2\nuserinfo_timeout = 3\nuserinfo_max_body_size = 4\n\
         [jwt.provisioning.groups]\n\"a b\" = \"readers\"\nc = [\"x\", \"y\"]\n\"t-*\" = \"t_*\"\n",
    );
    let settings = jwt.provisioning.expect("provisioning");
    assert_eq!(settings.admin_user, "maker");
    assert_eq!(settings.admin_password, Some(Secret::new("secret")));
    assert_eq!(settings.roles, ["app_user"]);
    let groups = ["a b", "c", "t-1", "other"].map(str::to_owned);
    let roles: Vec<String> = settings.groups.roles_of(&groups).into_iter().collect();
    assert_eq!(roles, ["readers", "t_1", "x", "y"]);
    assert_eq!((settings.valid_until, settings.valid_until_margin), (ValidUntil::Token, Duration::from_secs(7)));
    assert_eq!((settings.disable_after, settings.recheck), (Some(30), Duration::from_secs(8)));
    assert_eq!(settings.timeout, Duration::from_millis(9));
    let userinfo = UserinfoSource {
        cache_ttl: Duration::from_secs(1),
        connect_timeout: Duration::from_millis(2),
        timeout: Duration::from_millis(3),
        max_body_size: 4,
        ..UserinfoSource::new("https://i/userinfo")
    };
    let source = GroupSource { claim: "realm.groups".to_owned(), userinfo: Some(userinfo) };
    assert_eq!(jwt.core.issuers[0].groups, Some(source));
}

#[test]
fn a_list_of_groups_is_a_list_of_roles() {
    let jwt = provisioning("groups = [\"readers\", \"t_*\"]\n");
    let rules = jwt.provisioning.expect("provisioning").groups;
    let roles: Vec<String> = rules.roles_of(&["readers", "t_1", "x"].map(str::to_owned)).into_iter().collect();
    assert_eq!(roles, ["readers", "t_1"]);
    assert_eq!(jwt.core.issuers[0].groups, Some(GroupSource::new("groups")));
}

#[test]
fn what_is_given_to_subjects_is_no_subject() {
    let jwt = provisioning("roles = [\"app_user\"]\ngroups = [\"readers\", \"t_*\"]\n");
    assert_eq!(
        jwt.core.denied_roles,
        ["postgres", "pg_*", "gateway", "maker", "app_user", "readers", "t_*"],
        "whoever became one of them would be everybody"
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (lines, expected) in [
        ("roles = [\"pg_monitor\"]", "\"pg_monitor\" in \"roles\" cannot be given"),
        ("roles = [\"none\"]", "\"none\" in \"roles\" cannot be given"),
        ("roles = [\"public\"]", "\"public\" in \"roles\" cannot be given"),
        ("roles = [\"gateway\"]", "\"gateway\" in \"roles\" cannot be given"),
        ("roles = [\"maker\"]", "\"maker\" in \"roles\" cannot be given"),
        ("roles = [\"postgres\"]", "\"postgres\" in \"roles\" cannot be given to subjects: it is in \"deny_roles\""),
        ("groups = [\"pg_*\"]", "\"pg_*\" in \"groups\" cannot be given"),
        ("groups = {a = \"postgres\"}", "\"postgres\" in \"groups\" cannot be given"),
        ("groups = [\"*\"]", "\"*\" in \"groups\" must not stand for all roles"),
        ("groups = {\"a*\" = \"b\"}", "\"a*\" in \"groups\" and its role must both end"),
        ("groups = 7", "\"groups\" in [jwt.provisioning] must be a list of names"),
        ("groups = [7]", "\"groups\" in [jwt.provisioning] must be a list of names"),
        ("groups = {a = 7}", "\"groups\" in [jwt.provisioning] must be a list of names"),
        ("groups = [\"a\"]\nuserinfo_url = \"http://example.com/\"", "\"userinfo_url\" must use https://"),
        (
            "admin_password = \"a\"\nadmin_password_file = \"b\"",
            "\"admin_password\" and \"admin_password_file\" are two forms of one secret",
        ),
        ("disable_after = 0", "\"disable_after\" in [jwt.provisioning] must be a whole number"),
        ("timeout = 0", "\"timeout\" in [jwt.provisioning] must be a whole number"),
        ("valid_until = \"never\"", "\"valid_until\" in [jwt.provisioning] must be one of"),
        ("admin = \"x\"", "unknown key \"admin\" in [jwt.provisioning]"),
    ] {
        let message = error(&format!("{TOKENS}{ON}{lines}\n"), "");
        assert!(message.contains(expected), "{lines}: {message}");
    }
    let message = error(&format!("{TOKENS}[jwt.provisioning]\nenabled = true\n"), "");
    assert!(message.contains("needs an account"), "{message}");
    let message = error(&format!("{TOKENS}{}", ON.replace("maker", "gateway")), "");
    assert!(message.contains("must be another account"), "{message}");
}

#[test]
fn the_whole_deny_list_holds_for_roles_that_are_given() {
    let tokens = format!("{TOKENS}[jwt]\ndeny_roles = [\"dba\", \"t_op*\"]\n");
    for lines in
        ["roles = [\"dba\"]", "groups = [\"dba\"]", "groups = {a = [\"b\", \"t_ops\"]}", "groups = [\"t_op*\"]"]
    {
        let message = error(&format!("{tokens}{ON}{lines}\n"), "");
        assert!(message.contains("cannot be given to subjects: it is in \"deny_roles\""), "{lines}: {message}");
    }
    let accounts = "user = \"t_monitor\"\npassword = \"x\"\n";
    let users = "[[users]]\nname = \"t_web\"\ndatabase = \"app\"\npassword = \"x\"\n\
                 [[users]]\nname = \"job\"\ndatabase = \"app\"\npassword = \"x\"\nserver_user = \"t_job\"\n";
    let text = format!("{TOKENS}{accounts}[jwt]\ndeny_roles = [\"dba\", \"t_op*\"]\n{ON}groups = [\"t_*\"]\n");
    let rules = load(&text, users).config.jwt.and_then(|jwt| jwt.provisioning).expect("provisioning").groups;
    let named = ["t_ops", "t_monitor", "t_web", "t_job", "t_a"].map(str::to_owned);
    assert_eq!(rules.roles_of(&named).into_iter().collect::<Vec<_>>(), ["t_a"]);
    let message = error(&format!("{TOKENS}{accounts}{ON}roles = [\"t_monitor\"]\n"), "");
    assert!(message.contains("\"t_monitor\" in \"roles\" cannot be given"), "{message}");
}

#[test]
fn groups_and_a_role_for_many_do_not_go_together() {
    let groups = "groups = [\"readers\"]\n";
    let mapping = "[[jwt.user_mappings]]\npattern = \".*\"\nuser = \"reports\"\n";
    let message = error(&format!("{TOKENS}{ON}{groups}{mapping}"), "");
    assert!(message.contains("needs a role for each subject") && message.contains("user \"reports\""), "{message}");
    let level = "[jwt.claims]\npermission_level = \"level\"\npermission_levels = [\"refuse\", \"role:owner\"]\n";
    let message = error(&format!("{TOKENS}{level}{ON}{groups}"), "");
    assert!(message.contains("needs a role for each subject") && message.contains("role \"owner\""), "{message}");

    let own = "[[jwt.user_mappings]]\npattern = \"(.*)@x\"\nuser = '\\1'\n";
    for text in [
        // Without groups, all have the same rights. Each their own, as far as the file tells: logins find out.
        format!("{TOKENS}{ON}roles = [\"app_user\"]\n{mapping}"),
        format!("{TOKENS}{ON}{groups}{own}"),
    ] {
        load(&text, "");
    }
}

#[test]
fn a_password_is_never_shown() {
    let shown = format!("{:?}", provisioning("admin_password = \"hunter2\"\n"));
    assert!(!shown.contains("hunter2"), "{shown}");
}
