//! What the benchmarks share: a key of each kind, tokens as issuers make them, and who decides about them.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self, VerificationAlgorithm};
use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use pgdog_jwt::config::{Algorithm, Issuer, KeySource};
use pgdog_jwt::{Authenticator, JwtConfig};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

/// As long as the tokens that issuers make, in bytes.
const TOKEN_SIZE: usize = 700;

/// Keys of one kind each, made once.
struct Keys {
    rsa: KeyPair,
    p256: KeyPair,
    p384: KeyPair,
    ed25519: KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap(),
    p256: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(),
    p384: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(),
    ed25519: KeyPair::generate_for(&PKCS_ED25519).unwrap(),
});

/// One algorithm: who signs, and how the library checks it.
pub(super) struct Case {
    algorithm: Jwa,
    pub(super) pair: &'static KeyPair,
    signer: EncodingKey,
    pub(super) verifier: &'static dyn VerificationAlgorithm,
}

pub(super) fn case(name: &str) -> Case {
    let keys = &*KEYS;
    let (pair, verifier): (_, &'static dyn VerificationAlgorithm) = match name {
        "RS256" => (&keys.rsa, &signature::RSA_PKCS1_2048_8192_SHA256),
        "RS384" => (&keys.rsa, &signature::RSA_PKCS1_2048_8192_SHA384),
        "RS512" => (&keys.rsa, &signature::RSA_PKCS1_2048_8192_SHA512),
        "PS256" => (&keys.rsa, &signature::RSA_PSS_2048_8192_SHA256),
        "PS384" => (&keys.rsa, &signature::RSA_PSS_2048_8192_SHA384),
        "PS512" => (&keys.rsa, &signature::RSA_PSS_2048_8192_SHA512),
        "ES256" => (&keys.p256, &signature::ECDSA_P256_SHA256_FIXED),
        "ES384" => (&keys.p384, &signature::ECDSA_P384_SHA384_FIXED),
        _ => (&keys.ed25519, &signature::ED25519),
    };
    let pem = pair.serialize_pem();
    let signer = match &name[..2] {
        "ES" => EncodingKey::from_ec_pem(pem.as_bytes()),
        "Ed" => EncodingKey::from_ed_pem(pem.as_bytes()),
        _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    Case { algorithm: name.parse().unwrap(), pair, signer: signer.unwrap(), verifier }
}

impl Case {
    pub(super) fn tokens(&self, count: usize) -> Vec<String> {
        let header = Header { kid: Some("2026-01-signing-key".to_owned()), ..Header::new(self.algorithm) };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = |number: usize, scope: &str| {
            let claims = json!({
                "iss": "https://id.example/realms/people", "sub": "alice", "aud": ["database", "account"],
                "exp": now + 36_000, "iat": now, "nbf": now, "jti": format!("{number:032x}"), "azp": "console",
                "scope": scope, "roles": ["reader", "writer"],
            });
            jsonwebtoken::encode(&header, &claims, &self.signer).unwrap()
        };
        let rest = TOKEN_SIZE.saturating_sub(token(0, "").len());
        let scope = &"openid ".repeat(100)[..rest * 3 / 4];
        (0..count).map(|number| token(number, scope)).collect()
    }

    pub(super) fn authenticator(&self, token_cache_size: usize) -> Authenticator {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.pair.public_key_pem()).unwrap();
        let mut issuer = Issuer::new(KeySource::PemFiles(vec![file.path().to_owned()]));
        issuer.issuer = Some("https://id.example/realms/people".to_owned());
        issuer.audiences = vec!["database".to_owned()];
        issuer.algorithms = Algorithm::ALL.to_vec();
        Authenticator::new(JwtConfig { token_cache_size, ..JwtConfig::new(vec![issuer]) }).unwrap()
    }
}
