//! Where several subjects or tenants are one role, and the standard guard there.

use super::*;

const STANDARD: &str = "[jwt]\nguard = \"standard\"\n";
const ACCEPT: &str = "standard_guard_on_shared_roles = \"accept\"\n";
const MAPPING: &str = "[[jwt.user_mappings]]\npattern = \".*\"\nuser = \"reports\"\n";
const ONE_TO_ONE: &str = "[[jwt.user_mappings]]\npattern = \"(.*)@a\"\nuser = '\\1'\n";
const ACCOUNTS: &str =
    "[jwt.identity]\nmode = \"service_account\"\n[[jwt.role_mappings]]\nvalue = \"rw\"\nserver_user = \"app_rw\"\n";
const TENANTS: &str = "[tenants]\nclaim = \"tenant\"\n";
const LEVELS: &str = "[jwt.claims]\npermission_level = \"level\"\npermission_levels = [\"refuse\", \"role:owner\"]\n";

fn places(text: &str) -> Vec<String> {
    load(text, "").config.shared_roles()
}

#[test]
fn the_standard_guard_on_a_shared_role_is_an_error_unless_it_is_accepted() {
    for shares in [MAPPING, ACCOUNTS, TENANTS, LEVELS] {
        let reason = error(&format!("{TOKENS}{STANDARD}{shares}"), "");
        assert!(
            reason.contains("\"guard\" = \"standard\" lets a subject change a role that others are too"),
            "{reason}"
        );
        assert!(reason.contains("standard_guard_on_shared_roles") && reason.starts_with("pgdog.toml:10: "), "{reason}");

        let accepted = load(&format!("{TOKENS}{STANDARD}{ACCEPT}{shares}"), "");
        assert_eq!(accepted.config.shared_roles().len(), 1);
        assert_eq!(
            load(&format!("{TOKENS}[jwt]\n{shares}"), "").config.shared_roles().len(),
            1,
            "strict needs no word"
        );
    }
}

#[test]
fn roles_of_one_subject_each_are_not_shared() {
    for text in [TOKENS.to_owned(), format!("{TOKENS}{STANDARD}"), format!("{TOKENS}{STANDARD}{ONE_TO_ONE}")] {
        assert_eq!(places(&text), [""; 0]);
    }
    let useless = load(&format!("{TOKENS}{STANDARD}{ACCEPT}"), "");
    assert_eq!(
        warnings(&useless),
        ["pgdog.toml:11: \"standard_guard_on_shared_roles\" is not used: no role is shared"]
    );
}

#[test]
fn each_place_says_what_is_shared() {
    assert_eq!(
        places(&format!("{TOKENS}{MAPPING}")),
        ["user mapping 1: the pattern may match several values that make one user"]
    );
    assert_eq!(
        places(&format!("{TOKENS}{ACCOUNTS}")),
        ["mode \"service_account\": app_rw of everybody whose rule it is"]
    );
    assert_eq!(places(&format!("{TOKENS}{TENANTS}")), ["[tenants]: all tenants that a user opens are its role"]);
    assert_eq!(places(&format!("{TOKENS}{LEVELS}")), ["\"permission_levels\": owner of everybody who has the level"]);
}

#[test]
fn users_may_log_in_to_postgresql_with_one_account() {
    let users = "[[users]]\nname = \"a\"\ndatabase = \"app\"\npassword = \"x\"\nserver_user = \"one\"\n\
                 [[users]]\nname = \"b\"\ndatabase = \"app\"\npassword = \"x\"\nserver_user = \"one\"\n\
                 [[users]]\nname = \"c\"\ndatabase = \"app\"\npassword = \"x\"\n";
    let config = load(SERVER, users).config;
    assert!(config.shares_account("a") && config.shares_account("b") && !config.shares_account("c"));
}
