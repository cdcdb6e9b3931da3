//! Keys in the configuration, in a file with a key set, and in a directory where files come and go.

use std::fs;
use std::path::Path;

use crate::common::{RSA, TestKey, becomes, claims, file, key_set, verdict};
use pgdog_jwt::config::{Algorithm, Issuer, KeySource};
use pgdog_jwt::{Authenticator, JwtConfig};
use serde_json::json;

fn config(keys: KeySource) -> JwtConfig {
    let mut issuer = Issuer::new(keys);
    issuer.algorithms = Algorithm::ALL.to_vec();
    JwtConfig::new(vec![issuer])
}

fn put(folder: &Path, name: &str, key: &TestKey) {
    fs::write(folder.join(name), key.pair.public_key_pem()).unwrap();
}

#[tokio::test]
async fn a_key_set_may_be_written_in_the_configuration() {
    let (a, b, stranger) = (TestKey::p256("a"), TestKey::ed25519("b"), TestKey::p256("a"));
    let authenticator = Authenticator::new(config(KeySource::JwksInline(key_set(&[&a, &b])))).unwrap();
    for key in [&a, &b] {
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    }
    assert_eq!(verdict(&authenticator, "alice", &stranger.sign(&claims("alice"))).await, "bad_signature");
    assert_eq!(verdict(&authenticator, "alice", &TestKey::p256("c").sign(&claims("alice"))).await, "unknown_kid");
    assert_eq!(authenticator.status()[0].kind, "jwks_inline");
}

#[test]
fn a_key_set_that_cannot_be_used_is_refused_and_not_shown() {
    let private = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0LWtleQ"}]}).to_string();
    for text in [private.as_str(), "{\"keys\":[]}", "[]", "secret-key", "{"] {
        let wrong = config(KeySource::JwksInline(text.to_owned()));
        let shown = format!("{wrong:?} {}", Authenticator::new(wrong.clone()).unwrap_err());
        assert!(shown.contains("key set") && !shown.contains("secret-key") && !shown.contains("c2VjcmV0"), "{shown}");
    }
}

#[tokio::test]
async fn a_changed_key_set_in_a_file_is_read_again() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let file = file(&key_set(&[&old]));
    let authenticator = Authenticator::new(config(KeySource::JwksFile(file.path().to_owned()))).unwrap();
    let (before, after) = (old.sign(&claims("alice")), new.sign(&claims("alice")));
    assert_eq!(verdict(&authenticator, "alice", &before).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &after).await, "unknown_kid");

    fs::write(file.path(), key_set(&[&new])).unwrap();
    becomes(&authenticator, &after, "allowed").await;
    assert_eq!(verdict(&authenticator, "alice", &before).await, "unknown_kid");

    fs::write(file.path(), "half a ke").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1300)).await;
    assert_eq!(verdict(&authenticator, "alice", &after).await, "allowed");

    fs::write(file.path(), key_set(&[])).unwrap();
    becomes(&authenticator, &after, "unknown_kid").await;
}

#[test]
fn a_file_or_directory_that_is_not_one_is_named() {
    let text = file("no keys");
    for (keys, expected) in [
        (KeySource::JwksFile(text.path().to_owned()), "is not a JSON Web Key Set"),
        (KeySource::JwksFile("/nonexistent/keys.json".into()), "/nonexistent/keys.json"),
        (KeySource::JwksFile("/".into()), "is not a file"),
        (KeySource::PemDirectory("/nonexistent/keys".into()), "cannot be listed"),
        (KeySource::PemDirectory(text.path().to_owned()), "cannot be listed"),
    ] {
        let error = Authenticator::new(config(keys)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_directory_that_is_not_for_keys_is_refused_and_one_with_many_files_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let source = || config(KeySource::PemDirectory(folder.path().to_owned()));
    let fill =
        |count: usize| (0..count).for_each(|number| fs::write(folder.path().join(number.to_string()), "").unwrap());
    fill(300);
    let status = Authenticator::new(source()).unwrap().status().remove(0);
    assert!(
        status.skipped.len() == 257 && status.skipped[256].contains("44 files more"),
        "{:?}",
        status.skipped.last()
    );
    fill(4097);
    assert!(Authenticator::new(source()).unwrap_err().to_string().contains("more than 4096 entries"));
}

#[tokio::test]
async fn files_of_a_directory_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (TestKey::p256("a"), TestKey::ed25519("b"));
    let source = KeySource::PemDirectory(folder.path().to_owned());
    let authenticator = Authenticator::new(config(source)).unwrap();
    let (of_first, of_second) = (first.sign(&claims("alice")), second.sign(&claims("alice")));
    assert_eq!(
        verdict(&authenticator, "alice", &of_first).await,
        "algorithm_mismatch",
        "an empty directory is no mistake"
    );

    put(folder.path(), "first.pem", &first);
    becomes(&authenticator, &of_first, "allowed").await;
    put(folder.path(), "second.pem", &second);
    becomes(&authenticator, &of_second, "allowed").await;
    fs::remove_file(folder.path().join("first.pem")).unwrap();
    becomes(&authenticator, &of_first, "algorithm_mismatch").await;
    assert_eq!(verdict(&authenticator, "alice", &of_second).await, "allowed");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_does_not_spoil_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let key = TestKey::p256("a");
    put(folder.path(), "good.pem", &key);
    put(folder.path(), ".hidden.pem", &RSA);
    fs::write(folder.path().join("private.pem"), key.pair.serialize_pem()).unwrap();
    fs::write(folder.path().join("README"), "what these are").unwrap();
    fs::write(folder.path().join("huge.pem"), vec![b'x'; 1_100_000]).unwrap();
    fs::create_dir(folder.path().join("old.pem")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", folder.path().join("dangling.pem")).unwrap();
    let authenticator = Authenticator::new(config(KeySource::PemDirectory(folder.path().to_owned()))).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &RSA.sign(&claims("alice"))).await, "algorithm_mismatch");
    let skipped = authenticator.status().remove(0).skipped;
    let of = |name: &str| skipped.iter().filter(|line| line.contains(name)).count();
    assert_eq!([of("private.pem"), of("README"), of("huge.pem"), of("dangling.pem")], [1; 4], "{skipped:?}");
    assert_eq!((skipped.len(), of("hidden"), of("old.pem")), (4, 0, 0), "{skipped:?}");
    assert!(of("private key") == 1 && !skipped.iter().any(|line| line.contains("what these are")));
}

#[tokio::test]
async fn a_directory_has_no_more_keys_than_a_token_is_tried_with() {
    let folder = tempfile::tempdir().unwrap();
    let keys: Vec<_> = (0..20).map(|_| TestKey::ed25519("k")).collect();
    for (number, key) in keys.iter().enumerate() {
        put(folder.path(), &format!("{number:02}.pem"), key);
    }
    let authenticator = Authenticator::new(config(KeySource::PemDirectory(folder.path().to_owned()))).unwrap();
    let status = authenticator.status().remove(0);
    assert_eq!((status.keys.len(), status.skipped.len()), (16, 4));
    assert_eq!(verdict(&authenticator, "alice", &keys[15].sign(&claims("alice"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &keys[16].sign(&claims("alice"))).await, "bad_signature");
}

/// Kubernetes puts a new directory beside the old one and turns a link.
#[tokio::test]
async fn a_volume_that_is_turned_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (TestKey::p256("k"), TestKey::p256("k"));
    let link = |version: &str, key: &TestKey| {
        fs::create_dir(folder.path().join(version)).unwrap();
        put(&folder.path().join(version), "key.pem", key);
        std::os::unix::fs::symlink(version, folder.path().join("..new")).unwrap();
        fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    };
    link("..1", &old);
    std::os::unix::fs::symlink("..data/key.pem", folder.path().join("key.pem")).unwrap();
    let authenticator = Authenticator::new(config(KeySource::PemDirectory(folder.path().to_owned()))).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &old.sign(&claims("alice"))).await, "allowed");

    link("..2", &new);

    becomes(&authenticator, &new.sign(&claims("alice")), "allowed").await;
    assert_eq!(verdict(&authenticator, "alice", &old.sign(&claims("alice"))).await, "bad_signature");
}
