//! What keeps somebody out in PgDog is not ignored.

use super::{errors, load};

const BASE: &str = "[general]\n[[databases]]\nname = \"a\"\nhost = \"h\"\n";

#[test]
fn what_keeps_somebody_out_at_pgdog_is_not_ignored() {
    for (added, named) in [
        ("[multi_tenant]\ncolumn = \"tenant_id\"\n", "[multi_tenant]"),
        ("[[plugins]]\nname = \"p\"\n", "[[plugins]]"),
        ("[vault]\nurl = \"https://v\"\n", "[vault]"),
        ("[[databases]]\nname = \"b\"\nhost = \"h\"\nresharding_only = true\n", "resharding_only"),
    ] {
        let found = errors(&format!("{BASE}{added}"), "");
        assert!(found.len() == 1 && found[0].contains(named), "{found:?}");
    }
    let blocks = BASE.replace("[general]\n", "[general]\nquery_size_limit_action = \"block\"\n");
    assert!(errors(&blocks, "")[0].contains("query_size_limit_action"));
    for key in ["server_auth = \"rds_iam\"", "identity = \"cn\"", "vault_path = \"p\"", "server_vault_path = \"p\""] {
        let users = format!("[[users]]\nname = \"u\"\ndatabase = \"a\"\npassword = \"p\"\n{key}\n");
        let found = errors(BASE, &users);
        assert!(found.len() == 1 && found[0].starts_with("users.toml:5: "), "{found:?}");
    }
}

#[test]
fn what_says_that_there_is_nothing_is_harmless() {
    let warns = BASE.replace("[general]\n", "[general]\nquery_size_limit_action = \"warn\"\n");
    let users = "[[users]]\nname = \"u\"\ndatabase = \"a\"\npassword = \"p\"\nserver_auth = \"password\"\n";
    let databases = "[[databases]]\nname = \"b\"\nhost = \"h\"\nresharding_only = false\n";
    let loaded = load(&format!("{warns}{databases}[[query_parsers]]\ndatabase = \"a\"\n"), users);
    assert_eq!(loaded.config.users.len(), 1);
    assert!(loaded.warnings.iter().any(|warning| warning.reason == "[[query_parsers]] is not used here"));
}
