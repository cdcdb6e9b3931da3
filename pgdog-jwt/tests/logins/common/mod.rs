//! What the tests share: keys made at run time, tokens minted with another library than the one under test uses, and an
//! issuer that can be made to misbehave.

pub mod introspection;
pub mod issuer;
pub mod site;

use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use pgdog_jwt::config::{Algorithm, Issuer, JwksSource, KeySource};
use pgdog_jwt::{AuthContext, AuthDecision, AuthGrant, Authenticator, Credential, JwtConfig};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use x509_parser::prelude::FromDer;

/// A key pair and how it signs.
pub struct TestKey {
    pub pair: KeyPair,
    pub kid: String,
}

/// RSA keys take long to make, so tests share one.
pub static RSA: LazyLock<TestKey> = LazyLock::new(|| {
    let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    TestKey { pair, kid: "rsa".to_owned() }
});

impl TestKey {
    pub fn p256(kid: &str) -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), kid: kid.to_owned() }
    }

    pub fn p384(kid: &str) -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), kid: kid.to_owned() }
    }

    pub fn ed25519(kid: &str) -> Self {
        Self { pair: KeyPair::generate_for(&PKCS_ED25519).unwrap(), kid: kid.to_owned() }
    }

    /// The public key as an issuer publishes it.
    pub fn jwk(&self) -> Value {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let raw = self.pair.public_key_raw();
        let mut jwk = match raw.len() {
            32 => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(raw)}),
            65 => {
                json!({"kty": "EC", "crv": "P-256", "x": encode(&raw[1..33]), "y": encode(&raw[33..])})
            }
            97 => {
                json!({"kty": "EC", "crv": "P-384", "x": encode(&raw[1..49]), "y": encode(&raw[49..])})
            }
            _ => {
                let (_, key) = x509_parser::public_key::RSAPublicKey::from_der(raw).unwrap();
                json!({"kty": "RSA", "n": encode(&key.modulus[1..]), "e": encode(key.exponent)})
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }

    fn encoding_key(&self) -> EncodingKey {
        let pem = self.pair.serialize_pem();
        match self.pair.public_key_raw().len() {
            32 => EncodingKey::from_ed_pem(pem.as_bytes()).unwrap(),
            65 | 97 => EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        }
    }

    fn default_algorithm(&self) -> Jwa {
        match self.pair.public_key_raw().len() {
            32 => Jwa::EdDSA,
            65 => Jwa::ES256,
            97 => Jwa::ES384,
            _ => Jwa::RS256,
        }
    }

    /// A token with this key's `kid` and usual algorithm.
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.default_algorithm());
        header.kid = Some(self.kid.clone());
        self.sign_with(&header, claims)
    }

    pub fn sign_with(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &self.encoding_key()).unwrap()
    }

    /// A token over these exact bytes of header and claims.
    pub fn sign_raw(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(input.as_bytes(), &self.encoding_key(), self.default_algorithm()).unwrap();
        format!("{input}.{signature}")
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of a token that is good for a minute.
pub fn claims(sub: &str) -> Value {
    json!({"sub": sub, "exp": now() + 60})
}

/// A file that holds this text.
pub fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

/// The set that an issuer with these keys publishes.
pub fn key_set(keys: &[&TestKey]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

pub fn pem_config(files: &[&NamedTempFile]) -> JwtConfig {
    let files = files.iter().map(|file| file.path().to_owned()).collect();
    let mut issuer = Issuer::new(KeySource::PemFiles(files));
    issuer.algorithms = Algorithm::ALL.to_vec();
    JwtConfig::new(vec![issuer])
}

/// These keys are the issuer's, from the text of its key set.
pub fn text_config(keys: &[&TestKey]) -> JwtConfig {
    let mut issuer = Issuer::new(KeySource::JwksInline(key_set(keys)));
    issuer.algorithms = Algorithm::ALL.to_vec();
    JwtConfig::new(vec![issuer])
}

/// An authenticator that knows these keys from a file. The file may go afterwards.
pub fn authenticator_for(keys: &[&TestKey]) -> Authenticator {
    let file = file(&keys.iter().map(|key| key.pair.public_key_pem()).collect::<String>());
    Authenticator::new(pem_config(&[&file])).unwrap()
}

pub fn jwks_config(url: &str, change: impl FnOnce(&mut JwksSource)) -> JwtConfig {
    let mut source = JwksSource::new(url);
    change(&mut source);
    JwtConfig::new(vec![Issuer::new(KeySource::Jwks(source))])
}

/// A login of alice with this token.
pub fn context(token: &str) -> AuthContext<'_> {
    AuthContext {
        user: "alice",
        database: "app",
        credential: Credential::new(token.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    }
}

pub async fn login(authenticator: &Authenticator, user: &str, credential: &str) -> Result<AuthGrant, &'static str> {
    let context = AuthContext {
        user,
        database: "app",
        credential: Credential::new(credential.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    match authenticator.authenticate(context).await {
        AuthDecision::Allow(grant) => Ok(*grant),
        AuthDecision::Deny(reason) => Err(reason.code()),
        AuthDecision::Skip => Err("skip"),
    }
}

/// The code of the refusal, or `allowed`.
pub async fn verdict(authenticator: &Authenticator, user: &str, credential: &str) -> &'static str {
    login(authenticator, user, credential).await.map_or_else(|code| code, |_| "allowed")
}

/// The same for alice from this address.
pub async fn verdict_from(authenticator: &Authenticator, credential: &str, address: Option<IpAddr>) -> &'static str {
    match authenticator.authenticate(AuthContext { client_addr: address, ..context(credential) }).await {
        AuthDecision::Allow(_) => "allowed",
        AuthDecision::Deny(reason) => reason.code(),
        AuthDecision::Skip => "skip",
    }
}

/// Waits for what happens in the background: key files that are looked at, and key sets that are fetched, once a second.
pub async fn becomes(authenticator: &Authenticator, token: &str, expected: &str) {
    for _ in 0..200 {
        if verdict(authenticator, "alice", token).await == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the token does not become {expected}");
}
