//! `[jwt.proof]`.

use std::time::Duration;

use super::*;

const KEY: &str = "a secret that the gateway and the owner share";

fn proofs(text: &str) -> Vec<Proof> {
    load(&format!("{TOKENS}{text}"), "").config.jwt.expect("token users").proofs
}

#[test]
fn without_a_key_nothing_is_proven() {
    assert_eq!(proofs(""), []);
    assert_eq!(proofs("[jwt.proof]\n"), []);
}

#[test]
fn a_proof_has_its_key_claims_and_lifetime() {
    let proofs = proofs(&format!(
        "[jwt.proof]\nkey = \"{KEY}\"\nkey_id = \"k-2\"\nclaims = [\"sub\", \"org.id\"]\nlifetime = 60\ndatabases = \"app\"\n"
    ));
    let [Proof { databases, policy }] = proofs.as_slice() else { panic!("{proofs:?}") };
    assert_eq!(*databases, Databases::Some(vec!["app".to_owned()]));
    assert_eq!((policy.key.id(), policy.lifetime), ("k-2", Some(Duration::from_secs(60))));
    assert_eq!(policy.claims.as_deref(), Some(["sub", "org.id"].map(str::to_owned).as_slice()));
    assert!(!format!("{proofs:?}").contains(KEY));
}

#[test]
fn a_key_comes_from_the_file_a_variable_or_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("proof.key");
    std::fs::write(&file, format!("{KEY}\n")).expect("written");
    let with = |line: &str| {
        let text = format!("{TOKENS}[jwt.proof]\n{line}\n");
        let loaded = load_with(&text, "", &[("PROOF_KEY", KEY)]).unwrap_or_else(|error| panic!("{error}"));
        loaded.config.jwt.expect("token users").proofs
    };
    let literal = with(&format!("key = \"{KEY}\""));
    assert_eq!(literal[0].databases, Databases::All);
    assert_eq!((literal[0].policy.key.id(), literal[0].policy.lifetime), ("1", None));
    assert_eq!(with("key_env = \"PROOF_KEY\""), literal);
    assert_eq!(with(&format!("key_file = \"{}\"", file.display())), literal);
}

#[test]
fn all_claims_are_proven_only_where_the_file_says_so() {
    let claims = |line: &str| proofs(&format!("[jwt.proof]\nkey = \"{KEY}\"\n{line}\n"))[0].policy.claims.clone();
    assert_eq!(claims(""), Some(vec!["iss".to_owned(), "sub".to_owned()]));
    assert_eq!(claims("claims = [\"*\"]"), None);
    assert_eq!(claims("claims = \"*\""), None);
}

#[test]
fn databases_may_have_keys_of_their_own() {
    let other = "[[databases]]\nname = \"other\"\nhost = \"h\"\n";
    let proofs = proofs(&format!(
        "{other}[[jwt.proof]]\ndatabases = \"other\"\nkey = \"{KEY}\"\n[[jwt.proof]]\nkey = \"{KEY}!\"\nkey_id = \"2\"\n"
    ));
    let of = |name: &str| proofs.iter().find(|proof| proof.databases.contains(name)).map(|proof| proof.policy.key.id());
    assert_eq!((of("other"), of("app")), (Some("1"), Some("2")));
}

#[test]
fn half_a_proof_is_an_error() {
    for (lines, expected) in [
        ("lifetime = 60", "pgdog.toml:9: [jwt.proof] needs a key"),
        ("databases = \"app\"", "pgdog.toml:9: [jwt.proof] needs a key"),
        ("key = \"\"", "pgdog.toml:10: \"key\" in [jwt.proof] must not be empty"),
        ("key = \"short\"", "pgdog.toml:9: the key of [jwt.proof] must have at least 32 bytes"),
        ("key_env = \"MISSING\"", "pgdog.toml:10: \"key_env\": the environment variable \"MISSING\" is not set"),
        ("key_file = \"/nowhere/at/all\"", "pgdog.toml:10: \"key_file\": \"/nowhere/at/all\" cannot be read"),
        (
            "key = \"KEY\"\nkey_env = \"PROOF_KEY\"",
            "pgdog.toml:11: \"key\" and \"key_env\" are two forms of one secret",
        ),
        ("key = \"KEY\"\nkey_id = \"a b\"", "pgdog.toml:11: \"key_id\" in [jwt.proof] must be 1 to 64"),
        ("key = \"KEY\"\nclaims = []", "pgdog.toml:11: \"claims\" must name at least one"),
        ("key = \"KEY\"\nclaims = [\"*\", \"sub\"]", "pgdog.toml:11: \"*\" in \"claims\" stands for all claims"),
        ("key = \"KEY\"\nlifetime = 0", "pgdog.toml:11: \"lifetime\" in [jwt.proof] must be a whole number from 1"),
        ("key = \"KEY\"\ndatabases = [\"ap\"]", "pgdog.toml:11: unknown database \"ap\" in [jwt.proof]; did you mean"),
        (
            "key = \"KEY\"\nclaim = \"sub\"",
            "pgdog.toml:11: unknown key \"claim\" in [jwt.proof]; did you mean \"claims\"?",
        ),
    ] {
        let text = format!(
            "{TOKENS}[jwt.proof]\n{}\n",
            lines.replace("KEY\"", &format!("{KEY}\"")).replace(&format!("PROOF_{KEY}"), "PROOF_KEY")
        );
        let refused = load_with(&text, "", &[("PROOF_KEY", KEY)]).expect_err("a refused configuration").to_string();
        assert!(refused.starts_with(expected), "{refused}");
        assert!(!refused.contains(KEY), "{refused}");
    }
    let message = error(&format!("{}[jwt]\nproof = 1\n", TOKENS), "");
    assert!(message.starts_with("pgdog.toml:10: \"proof\" must be a list of tables"), "{message}");
}
