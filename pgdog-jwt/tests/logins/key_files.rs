//! Keys in PEM files: what they may hold, and that a change is noticed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::{RSA, TestKey, becomes, claims, file, login, pem_config, verdict};
use aws_lc_rs::encoding::AsDer;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgdog_jwt::Authenticator;
use pgdog_jwt::config::KeySource;
use rcgen::CertificateParams;

fn error(text: &str) -> String {
    let file = file(text);
    let error = Authenticator::new(pem_config(&[&file])).unwrap_err();
    let (shown, debug) = (error.to_string(), format!("{error:?}"));
    assert!(shown.contains(file.path().to_str().unwrap()), "{shown} does not name the file");
    for line in text.lines().filter(|line| line.len() > 20 && !line.contains("-----")) {
        assert!(!shown.contains(line) && !debug.contains(line), "{shown} repeats the file");
    }
    shown
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

#[tokio::test]
async fn a_file_may_hold_keys_and_certificates_of_every_kind() {
    let (p256, p384, ed) = (TestKey::p256("a"), TestKey::p384("b"), TestKey::ed25519("c"));
    let certificate =
        CertificateParams::new(vec!["issuer.example".to_owned()]).unwrap().self_signed(&p384.pair).unwrap();
    let first = file(&format!(
        "Some text before\r\n{}\n{}",
        p256.pair.public_key_pem().replace('\n', "\r\n"),
        pem("RSA PUBLIC KEY", RSA.pair.public_key_raw()),
    ));
    let second = file(&format!("{}{}", certificate.pem(), ed.pair.public_key_pem()));
    let authenticator = Authenticator::new(pem_config(&[&first, &second])).unwrap();
    for key in [&RSA, &p256, &p384, &ed] {
        assert_eq!(login(&authenticator, "alice", &key.sign(&claims("alice"))).await.unwrap().user, "alice");
    }
}

#[tokio::test]
async fn among_keys_of_one_kind_the_right_one_is_found_without_a_kid() {
    let keys: Vec<TestKey> = (0..16).map(|_| TestKey::ed25519("same")).collect();
    let authenticator = crate::common::authenticator_for(&keys.iter().collect::<Vec<_>>());
    for key in &keys {
        let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        assert_eq!(verdict(&authenticator, "alice", &key.sign_with(&header, &claims("alice"))).await, "allowed");
    }
}

#[test]
fn a_private_key_is_refused_and_not_shown() {
    let key = TestKey::p256("k");
    let private = key.pair.serialize_pem();
    assert!(error(&private).contains("private key"));
    assert!(error(&(key.pair.public_key_pem() + &private)).contains("private key"));
    for label in ["EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "OPENSSH PRIVATE KEY"] {
        assert!(error(&pem(label, &[7; 64])).contains("private key"), "{label}");
    }
}

#[test]
fn a_file_that_holds_anything_else_is_refused_by_name() {
    let key = TestKey::p256("k").pair.public_key_pem();
    assert!(error("").contains("no public key"));
    assert!(error("hello\n").contains("no public key"));
    assert!(error(&key.replace("END PUBLIC", "END PRIVATE")).contains("does not end"));
    assert!(error(key.split("-----END").next().unwrap()).contains("does not end"));
    assert!(error(&pem("PUBLIC KEY", b"not a key")).contains("is not an RSA"));
    assert!(error(&pem("CERTIFICATE", b"not a certificate")).contains("certificate"));
    assert!(error(&pem("X509 CRL", b"what")).contains("block"));
    assert!(error("-----BEGIN PUBLIC KEY-----\n!!!\n-----END PUBLIC KEY-----\n").contains("base64"));
    assert!(error(&format!("{key}{}", pem("PUBLIC KEY", b""))).contains("is not an RSA"), "one bad key spoils a file");
    let many: String = (0..17).map(|_| TestKey::ed25519("k").pair.public_key_pem()).collect();
    assert!(error(&many).contains("16 keys"));
}

#[test]
fn a_missing_file_is_named() {
    let missing = Path::new("/nonexistent/keys.pem");
    let mut config = pem_config(&[]);
    for (path, expected) in [(missing, "/nonexistent/keys.pem"), (Path::new("/"), "is not a file")] {
        config.issuers[0].keys = KeySource::PemFiles(vec![path.to_owned()]);
        let error = Authenticator::new(config.clone()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_weak_or_unknown_key_is_refused() {
    let short = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ";
    assert!(error(&pem("PUBLIC KEY", short.as_bytes())).contains("is not an RSA"));
    let mut modulus = vec![0x00, 0xc1];
    modulus.extend([0xab; 127]);
    let pkcs1 = [&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81][..], &modulus, &[0x02, 0x03, 0x01, 0x00, 0x01]].concat();
    assert!(error(&pem("RSA PUBLIC KEY", &pkcs1)).contains("2048"));
    let p521 = aws_lc_rs::agreement::PrivateKey::generate(&aws_lc_rs::agreement::ECDH_P521).unwrap();
    let der = p521.compute_public_key().unwrap().as_der().map(|der: aws_lc_rs::encoding::PublicKeyX509Der<'_>| der);
    assert!(error(&pem("PUBLIC KEY", der.unwrap().as_ref())).contains("is not an RSA"));
}

#[tokio::test]
async fn a_changed_file_is_read_again_and_the_old_key_stops() {
    let (old, new) = (TestKey::p256("k"), TestKey::p256("k"));
    let file = file(&old.pair.public_key_pem());
    let authenticator = Authenticator::new(pem_config(&[&file])).unwrap();
    let (before, after) = (old.sign(&claims("alice")), new.sign(&claims("alice")));
    assert_eq!(verdict(&authenticator, "alice", &before).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &after).await, "bad_signature");

    fs::write(file.path(), new.pair.public_key_pem()).unwrap();

    becomes(&authenticator, &after, "allowed").await;
    assert_eq!(verdict(&authenticator, "alice", &before).await, "bad_signature");
}

#[tokio::test]
async fn a_bad_new_file_keeps_the_old_keys_until_it_is_mended() {
    let (old, new) = (TestKey::p256("k"), TestKey::p256("k"));
    let file = file(&old.pair.public_key_pem());
    let authenticator = Authenticator::new(pem_config(&[&file])).unwrap();
    let before = old.sign(&claims("alice"));

    fs::write(file.path(), "half a ke").unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(verdict(&authenticator, "alice", &before).await, "allowed");
    fs::remove_file(file.path()).unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(verdict(&authenticator, "alice", &before).await, "allowed");

    fs::write(file.path(), new.pair.public_key_pem()).unwrap();
    becomes(&authenticator, &new.sign(&claims("alice")), "allowed").await;
}
