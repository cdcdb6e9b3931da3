//! What a login costs in the core, on one thread: a token that is known, a token that is new, and beside them the bare
//! signature check of the crypto library over the same bytes.
//!
//! `cargo run --release -p pgdog-jwt --example token_cost`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement that fails shall stop")]

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use pgdog_jwt::config::{Algorithm, Issuer, KeySource};
use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Credential, JwtConfig};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::json;

/// As long as the tokens that issuers make, in bytes.
const TOKEN_SIZE: usize = 700;
/// Tokens that take turns, so that no cache of the processor helps more than it would in a gateway.
const TOKENS: usize = 1_000;
/// Each figure is the best of so many rounds: what disturbs a measurement only ever adds to it.
const ROUNDS: usize = 15;

struct Case {
    algorithm: Algorithm,
    verifier: &'static dyn VerificationAlgorithm,
    pair: KeyPair,
    signer: EncodingKey,
}

fn cases() -> [Case; 3] {
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let p256 = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let signer = |pair: &KeyPair, read: fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>| {
        read(pair.serialize_pem().as_bytes()).unwrap()
    };
    let case = |algorithm, verifier, signer, pair| Case { algorithm, verifier, pair, signer };
    [
        case(Algorithm::RS256, &signature::RSA_PKCS1_2048_8192_SHA256, signer(&rsa, EncodingKey::from_rsa_pem), rsa),
        case(Algorithm::ES256, &signature::ECDSA_P256_SHA256_FIXED, signer(&p256, EncodingKey::from_ec_pem), p256),
        case(Algorithm::EdDSA, &signature::ED25519, signer(&ed25519, EncodingKey::from_ed_pem), ed25519),
    ]
}

fn token(case: &Case, number: usize) -> String {
    let header = Header {
        kid: Some("2026-01-signing-key".to_owned()),
        ..Header::new(match case.algorithm {
            Algorithm::RS256 => Jwa::RS256,
            Algorithm::ES256 => Jwa::ES256,
            _ => Jwa::EdDSA,
        })
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let with_scope = |scope: &str| {
        let claims = json!({
            "iss": "https://id.example/realms/people", "sub": "alice", "aud": ["database", "account"],
            "exp": now + 3600, "iat": now, "nbf": now, "jti": format!("{number:032x}"), "azp": "console",
            "scope": scope, "roles": ["reader", "writer"],
        });
        jsonwebtoken::encode(&header, &claims, &case.signer).unwrap()
    };
    let rest = TOKEN_SIZE.saturating_sub(with_scope("").len());
    with_scope(&"openid ".repeat(100)[..rest * 3 / 4])
}

fn authenticator(case: &Case, token_cache_size: usize) -> Authenticator {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), case.pair.public_key_pem()).unwrap();
    let mut issuer = Issuer::new(KeySource::PemFiles(vec![file.path().to_owned()]));
    issuer.issuer = Some("https://id.example/realms/people".to_owned());
    issuer.audiences = vec!["database".to_owned()];
    Authenticator::new(JwtConfig { token_cache_size, ..JwtConfig::new(vec![issuer]) }).unwrap()
}

/// The best round's time for one call, over all tokens.
fn measure(tokens: &[String], mut call: impl FnMut(usize, &str)) -> Duration {
    let round = || {
        let start = Instant::now();
        for (number, token) in tokens.iter().enumerate() {
            call(number, token);
        }
        start.elapsed() / tokens.len() as u32
    };
    std::iter::repeat_with(round).take(ROUNDS).min().unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:<6} {:>6} {:>10} {:>10} {:>10} {:>10}", "", "bytes", "check", "no cache", "miss", "hit");
    for case in cases() {
        let tokens: Vec<_> = (0..TOKENS).map(|number| token(&case, number)).collect();
        let login = |authenticator: &Authenticator, token: &str| {
            let context = AuthContext {
                user: "alice",
                database: "app",
                credential: Credential::new(token.as_bytes()),
                client_addr: None,
                tls: true,
                tls_identity: None,
            };
            let decision = runtime.block_on(authenticator.authenticate(context));
            assert!(matches!(black_box(decision), AuthDecision::Allow(_)));
        };

        let key = ParsedPublicKey::new(case.verifier, case.pair.public_key_raw()).unwrap();
        let signatures: Vec<_> =
            tokens.iter().map(|token| URL_SAFE_NO_PAD.decode(token.rsplit('.').next().unwrap()).unwrap()).collect();
        let check = measure(&tokens, |number, token| {
            let input = &token.as_bytes()[..token.rfind('.').unwrap()];
            key.verify_sig(black_box(input), &signatures[number]).unwrap();
        });

        let off = authenticator(&case, 0);
        let without = measure(&tokens, |_, token| login(&off, token));

        // A cache that is full and never holds the next token: the dearest miss.
        let small = authenticator(&case, TOKENS / 10);
        let miss = measure(&tokens, |_, token| login(&small, token));
        assert_eq!(small.cache_stats().hits, 0);

        let full = authenticator(&case, 10_000);
        let hit = measure(&tokens, |_, token| login(&full, token));
        assert_eq!(full.cache_stats().misses, TOKENS as u64);

        let micros = |time: Duration| format!("{:.2} µs", time.as_nanos() as f64 / 1000.0);
        println!(
            "{:<6} {:>6} {:>10} {:>10} {:>10} {:>10}",
            case.algorithm.name(),
            tokens[0].len(),
            micros(check),
            micros(without),
            micros(miss),
            micros(hit)
        );
    }
}
