//! How the host proves to an issuer which client asks (RFC 6749 section 2.3.1, RFC 7523).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::{Serializer, byte_serialize};
use reqwest::header::HeaderValue;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::config::{ClientAuth, ClientKey, Fault, IntrospectionSource, Secret};

/// Life of an assertion, in seconds: enough for a slow issuer and for clocks that differ a little.
const ASSERTION_LIFE: u64 = 60;
/// `client_assertion_type` (RFC 7523 section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Smallest RSA key, in bits (RFC 7518 section 3.3).
const MIN_RSA_BITS: usize = 2048;

/// Proves the host's identity in each request. It has no `Debug` (S5).
pub(super) enum Prover {
    Basic { id: String, secret: Secret },
    Post { id: String, secret: Secret },
    PrivateKey { id: String, kid: Option<String>, audience: String, key: SigningKey },
}

pub(super) enum SigningKey {
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
}

impl Prover {
    /// Reads the key file, where there is one.
    pub(super) fn open(source: &IntrospectionSource) -> Result<Self, Fault> {
        let id = source.client_id.clone();
        Ok(match &source.client_auth {
            ClientAuth::Basic(secret) => {
                basic(&id, secret)?;
                Self::Basic { id, secret: secret.clone() }
            }
            ClientAuth::Post(secret) => Self::Post { id, secret: secret.clone() },
            ClientAuth::PrivateKey(ClientKey { file, kid, audience }) => Self::PrivateKey {
                id,
                kid: kid.clone(),
                audience: audience.clone().unwrap_or_else(|| source.url.clone()),
                key: SigningKey::read(file)?,
            },
        })
    }

    /// What goes into the header `Authorization`.
    ///
    /// # Errors
    /// A secret that is new and cannot be sent.
    pub(super) fn header(&self) -> Result<Option<HeaderValue>, Fault> {
        match self {
            Self::Basic { id, secret } => basic(id, &secret.latest()).map(Some),
            _ => Ok(None),
        }
    }

    /// Adds what goes into the form.
    pub(super) fn add_to(&self, form: &mut Serializer<'_, String>) -> Result<(), &'static str> {
        match self {
            Self::Basic { .. } => {}
            Self::Post { id, secret } => {
                form.append_pair("client_id", id).append_pair("client_secret", secret.latest().expose());
            }
            Self::PrivateKey { id, kid, audience, key } => {
                let assertion = assertion(id, kid.as_deref(), audience, key)?;
                form.append_pair("client_assertion_type", ASSERTION_TYPE).append_pair("client_assertion", &assertion);
            }
        }
        Ok(())
    }
}

/// Both parts are form-encoded before they are joined (RFC 6749 section 2.3.1), so that a colon in them is no separator.
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, Fault> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let header = HeaderValue::try_from(format!("Basic {pair}"));
    let mut header = header.map_err(|_| Fault::System("the client's secret is no header value".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

/// One that was never used before and soon counts for nothing (RFC 7523 section 3).
fn assertion(id: &str, kid: Option<&str>, audience: &str, key: &SigningKey) -> Result<String, &'static str> {
    let mut random = [0; 16];
    SystemRandom::new().fill(&mut random).map_err(|_| "the system has no random numbers to give")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut header = json!({"typ": "JWT", "alg": key.algorithm()});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let claims = json!({
        "iss": id,
        "sub": id,
        "aud": audience,
        "jti": URL_SAFE_NO_PAD.encode(random),
        "iat": now,
        "exp": now + ASSERTION_LIFE,
    });
    let encoded = |part: serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let mut jwt = format!("{}.{}", encoded(header), encoded(claims));
    let signature = key.sign(jwt.as_bytes()).ok_or("the client's key does not sign")?;
    jwt.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut jwt);
    Ok(jwt)
}

impl SigningKey {
    fn read(file: &Path) -> Result<Self, Fault> {
        let problem = |problem: &str| Fault::KeyFile { path: file.to_owned(), problem: problem.to_owned() };
        let text = std::fs::read(file).map_err(|error| problem(&format!("cannot be read: {error}")))?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text)
            .map_err(|_| problem("holds no private key in PEM form, as PKCS #8 has it"))?;
        let der = der.secret_pkcs8_der();
        if let Ok(key) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der) {
            return Ok(Self::Es256(key));
        }
        match RsaKeyPair::from_pkcs8(der) {
            Ok(key) if key.public_modulus_len() * 8 >= MIN_RSA_BITS => Ok(Self::Rs256(Box::new(key))),
            Ok(_) => Err(problem("has an RSA key of less than 2048 bits")),
            Err(_) => Err(problem("has a key that is neither EC P-256 nor RSA")),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    fn sign(&self, input: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => Some(key.sign(&random, input).ok()?.as_ref().to_vec()),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature).ok()?;
                Some(signature)
            }
        }
    }
}
