//! Keys over HTTPS: only from an issuer whose certificate the system trusts.

use std::process::Command;
use std::sync::Arc;

use crate::common::issuer::TestIssuer;
use crate::common::{TestKey, claims, file, jwks_config, key_set, verdict};
use pgdog_jwt::Authenticator;
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;

/// Set for the child process that trusts the test's certificate.
const CHILD: &str = "PGDOG_JWT_TEST_TRUSTED";

/// An issuer with a certificate for this name, and the certificate.
pub fn issuer(key: &TestKey, name: &str) -> (TestIssuer, String) {
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], pair.serialize_der().try_into().unwrap())
        .unwrap();
    (TestIssuer::serving_tls(key_set(&[key]), tls), certificate.pem())
}

#[tokio::test]
async fn an_issuer_that_the_system_does_not_trust_is_not_believed() {
    let key = TestKey::p256("k");
    let (issuer, _) = issuer(&key, "127.0.0.1");
    let authenticator = Authenticator::new(jwks_config(&issuer.url, |_| {})).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "keys_unavailable");
}

#[tokio::test]
async fn plain_http_on_a_port_for_https_is_not_believed() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let url = issuer.url.replace("http:", "https:");
    let authenticator = Authenticator::new(jwks_config(&url, |_| {})).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "keys_unavailable");
}

/// What is trusted is read from the environment, which only a new process can have differently.
#[test]
fn an_issuer_that_the_system_trusts_is_believed() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let key = TestKey::p256("k");
    let (issuer, certificate) = issuer(&key, "127.0.0.1");
    let trusted = file(&certificate);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "https::log_in_as_told", "--include-ignored"])
        .env("SSL_CERT_FILE", trusted.path())
        .env_remove("SSL_CERT_DIR")
        .env("https_proxy", "http://127.0.0.1:1")
        .env(CHILD, format!("{} {}", issuer.url, key.sign(&claims("alice"))))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(issuer.hits(), 1);
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn log_in_as_told() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let (url, token) = told.split_once(' ').unwrap();
    let authenticator = Authenticator::new(jwks_config(url, |_| {})).unwrap();
    assert_eq!(verdict(&authenticator, "alice", token).await, "allowed");
}
