//! RFC 8725, "JSON Web Token Best Current Practices": one test for each attack of section 2 and each rule of section 3.
//! docs/security.md has the table.

use std::time::Duration;

use crate::common::issuer::{Behaviour, TestIssuer};
use crate::common::{RSA, TestKey, claims, jwks_config, key_set, login, now, text_config, verdict};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use pgdog_jwt::config::{Algorithm, Issuer, JwtConfig, KeySource};
use pgdog_jwt::{Authenticator, Check, Credential};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};

fn authenticator(keys: &[&TestKey]) -> Authenticator {
    Authenticator::new(text_config(keys)).unwrap()
}

fn encode(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn good() -> String {
    claims("alice").to_string()
}

/// A token whose HMAC has a secret that everybody knows.
fn hmac(algorithm: Jwa, secret: &[u8]) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), &claims("alice"), &EncodingKey::from_secret(secret)).unwrap()
}

/// `alg` is changed: to none, to HMAC under the public key, to nothing at all; the signature is cut off or made of zeros.
#[tokio::test]
async fn section_2_1_weak_signatures_and_insufficient_signature_validation() {
    let key = TestKey { pair: KeyPair::from_pem(&RSA.pair.serialize_pem()).unwrap(), kid: "rsa".to_owned() };
    let authenticator = authenticator(&[&key]);
    let signed = key.sign(&claims("alice"));
    let (input, signature) = signed.rsplit_once('.').unwrap();
    assert_eq!(verdict(&authenticator, "alice", &signed).await, "allowed");
    for name in ["none", "None", "NONE", "nOnE", "null", "", " none", "none\u{0}"] {
        let header = encode(json!({ "alg": name, "kid": "rsa" }).to_string());
        for signature in ["", signature, "AA"] {
            let code = verdict(&authenticator, "alice", &format!("{header}.{}.{signature}", encode(good()))).await;
            assert!(["algorithm_not_allowed", "malformed_token"].contains(&code), "{name}: {code}");
        }
    }
    let jwk = key.jwk();
    let pem = key.pair.public_key_pem();
    let n = URL_SAFE_NO_PAD.decode(jwk["n"].as_str().unwrap()).unwrap();
    let jwk = jwk.to_string();
    for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), jwk.as_bytes(), key.pair.public_key_raw(), &n] {
        for algorithm in [Jwa::HS256, Jwa::HS384, Jwa::HS512] {
            assert_eq!(verdict(&authenticator, "alice", &hmac(algorithm, secret)).await, "algorithm_not_allowed");
        }
    }
    assert_eq!(verdict(&authenticator, "alice", &format!("{input}.")).await, "malformed_token");
    assert_eq!(verdict(&authenticator, "alice", &format!("{input}.{}", encode([0; 256]))).await, "bad_signature");
}

/// No symmetric key is ever one that verifies: neither a weak one nor a good one.
#[tokio::test]
async fn section_2_2_weak_symmetric_keys() {
    let key = TestKey::p256("k");
    let secret = "secret";
    let oct = json!({"kty": "oct", "k": encode(secret), "kid": "hmac", "alg": "HS256", "use": "sig"});
    let text = json!({"keys": [oct, key.jwk()]}).to_string();
    let mut issuer = Issuer::new(KeySource::JwksInline(text));
    issuer.algorithms = Algorithm::ALL.to_vec();
    let authenticator = Authenticator::new(JwtConfig::new(vec![issuer])).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &hmac(Jwa::HS256, secret.as_bytes())).await, "algorithm_not_allowed");
    assert!(Algorithm::ALL.iter().all(|algorithm| !algorithm.name().starts_with("HS")));
    let header = r#"{"alg":"ES256","kid":"hmac"}"#;
    assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(header, &good())).await, "unknown_kid");
}

/// An encrypted token is no signed one, whatever it would hold; a nested one is not opened.
#[tokio::test]
async fn section_2_3_incorrect_composition_of_encryption_and_signature() {
    let key = TestKey::p256("k");
    let authenticator = authenticator(&[&key]);
    let inner = key.sign(&claims("alice"));
    let jwe =
        [encode(r#"{"alg":"dir","enc":"A256GCM"}"#), String::new(), encode([1; 12]), encode(&inner), encode([2; 16])];
    assert_eq!(verdict(&authenticator, "alice", &jwe.join(".")).await, "malformed_token");
    for header in [r#"{"alg":"ES256","kid":"k","enc":"A256GCM"}"#, r#"{"alg":"ES256","kid":"k","enc":null}"#] {
        assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(header, &good())).await, "unsupported_header");
    }
    let nested = key.sign_raw(r#"{"alg":"ES256","kid":"k","cty":"JWT"}"#, &inner);
    assert_eq!(verdict(&authenticator, "alice", &nested).await, "malformed_token");
}

/// Nothing is encrypted or compressed here, so that no length tells anything: compressed content is refused.
#[tokio::test]
async fn section_2_4_plaintext_leakage_through_analysis_of_ciphertext_length() {
    let key = TestKey::p256("k");
    let header = r#"{"alg":"ES256","kid":"k","zip":"DEF"}"#;
    assert_eq!(verdict(&authenticator(&[&key]), "alice", &key.sign_raw(header, &good())).await, "unsupported_header");
}

/// There is no key agreement. A point that is not on its curve is no key, and the rest of the set still counts.
#[tokio::test]
async fn section_2_5_insecure_use_of_elliptic_curve_encryption() {
    let key = TestKey::p256("k");
    let mut off_curve = key.jwk();
    off_curve["kid"] = json!("off");
    off_curve["y"] = off_curve["x"].clone();
    let mut zero = key.jwk();
    zero["kid"] = json!("zero");
    (zero["x"], zero["y"]) = (json!(encode([0; 32])), json!(encode([0; 32])));
    let text = json!({"keys": [off_curve, zero, key.jwk()]}).to_string();
    let authenticator = Authenticator::new(JwtConfig::new(vec![Issuer::new(KeySource::JwksInline(text))])).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    for kid in ["off", "zero"] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(&header, &good())).await, "unknown_kid");
    }
    let agreement = key.sign_raw(r#"{"alg":"ECDH-ES","kid":"k"}"#, &good());
    assert_eq!(verdict(&authenticator, "alice", &agreement).await, "algorithm_not_allowed");
}

/// UTF-8 is the only encoding, a byte order mark is none, and no name occurs twice: there is one reading.
#[tokio::test]
async fn section_2_6_multiplicity_of_json_encodings() {
    let key = TestKey::p256("k");
    let authenticator = authenticator(&[&key]);
    let signed = |payload: &[u8]| {
        let input = format!("{}.{}", encode(r#"{"alg":"ES256","kid":"k"}"#), encode(payload));
        let pem = EncodingKey::from_ec_pem(key.pair.serialize_pem().as_bytes()).unwrap();
        let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &pem, Jwa::ES256).unwrap();
        format!("{input}.{signature}")
    };
    let text = good();
    assert_eq!(verdict(&authenticator, "alice", &signed(text.as_bytes())).await, "allowed");
    let wide = |unit: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let utf32: Vec<u8> = text.chars().flat_map(|letter| (letter as u32).to_be_bytes()).collect();
    let marked = [&b"\xef\xbb\xbf"[..], text.as_bytes()].concat();
    let twice = text.replacen('{', r#"{"sub":"bob","#, 1);
    let escaped = text.replacen('{', r#"{"s\u0075b":"bob","#, 1);
    for payload in [wide(u16::to_be_bytes), wide(u16::to_le_bytes), utf32, marked, twice.into(), escaped.into()] {
        assert_eq!(verdict(&authenticator, "alice", &signed(&payload)).await, "malformed_token");
    }
}

/// A token that another recipient was meant to have, also one that an honest issuer made, opens nothing.
#[tokio::test]
async fn section_2_7_substitution_attacks() {
    let key = TestKey::p256("k");
    let mut config = text_config(&[&key]);
    config.issuers[0].audiences = vec!["postgres".to_owned()];
    let authenticator = Authenticator::new(config).unwrap();
    let to = |aud: Value| key.sign(&json!({"sub": "alice", "exp": now() + 60, "aud": aud}));
    assert_eq!(verdict(&authenticator, "alice", &to(json!("postgres"))).await, "allowed");
    for other in [json!("mail"), json!(["mail", "files"]), json!("postgres.evil.example"), json!("")] {
        assert_eq!(verdict(&authenticator, "alice", &to(other)).await, "wrong_audience");
    }
    // Of the right recipient, and somebody else's.
    assert_eq!(verdict(&authenticator, "bob", &to(json!("postgres"))).await, "user_mismatch");
}

/// A token of one issuer is never checked with the keys of another, though `kid` and key are equal in name.
#[tokio::test]
async fn section_2_8_cross_jwt_confusion() {
    let (a, b) = (TestKey::p256("k"), TestKey::p256("k"));
    let mut config = text_config(&[&a]);
    config.issuers[0].issuer = Some("https://a.example".to_owned());
    config.issuers.extend(text_config(&[&b]).issuers);
    config.issuers[1].issuer = Some("https://b.example".to_owned());
    let authenticator = Authenticator::new(config).unwrap();
    for (signer, named, expected) in [
        (&a, "https://a.example", "allowed"),
        (&b, "https://b.example", "allowed"),
        (&a, "https://b.example", "bad_signature"),
        (&b, "https://a.example", "bad_signature"),
        (&a, "https://a.example/", "wrong_issuer"),
    ] {
        let token = signer.sign(&json!({"sub": "alice", "exp": now() + 60, "iss": named}));
        assert_eq!(verdict(&authenticator, "alice", &token).await, expected, "{named}");
    }
}

/// What a token says never makes us ask anybody: `kid` is compared and nothing else, URLs in the header are not fetched.
#[tokio::test]
async fn section_2_9_indirect_attacks_on_the_server() {
    let (key, evil) = (TestKey::p256("k"), TestKey::p256("evil"));
    let elsewhere = TestIssuer::serving(key_set(&[&evil]));
    let authenticator = authenticator(&[&key]);
    for name in ["jku", "x5u"] {
        let header = json!({"alg": "ES256", "kid": "k", name: elsewhere.url}).to_string();
        assert_eq!(verdict(&authenticator, "alice", &evil.sign_raw(&header, &good())).await, "bad_signature");
    }
    for kid in ["../../etc/passwd", "' OR 1=1 --", "k\u{0}", "$(id)", &elsewhere.url, "*"] {
        let header = json!({"alg": "ES256", "kid": kid}).to_string();
        assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(&header, &good())).await, "unknown_kid");
    }
    assert_eq!(elsewhere.hits(), 0);
}

/// The configuration says which algorithms there are, and each key which of them is its own.
#[tokio::test]
async fn section_3_1_perform_algorithm_verification() {
    let (p256, ed) = (TestKey::p256("a"), TestKey::ed25519("b"));
    let mut config = text_config(&[&p256, &ed]);
    config.issuers[0].algorithms = vec![Algorithm::ES256];
    let authenticator = Authenticator::new(config).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &p256.sign(&claims("alice"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &ed.sign(&claims("alice"))).await, "algorithm_not_allowed");
    let mut narrow = RSA.jwk();
    narrow["alg"] = json!("PS256");
    let mut issuer = Issuer::new(KeySource::JwksInline(json!({"keys": [narrow]}).to_string()));
    issuer.algorithms = Algorithm::ALL.to_vec();
    let authenticator = Authenticator::new(JwtConfig::new(vec![issuer])).unwrap();
    let signed =
        |algorithm| RSA.sign_with(&Header { kid: Some("rsa".to_owned()), ..Header::new(algorithm) }, &claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &signed(Jwa::PS256)).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &signed(Jwa::RS256)).await, "algorithm_mismatch");
}

/// Asymmetric algorithms only, none of them with SHA-1, and without PSS or PKCS #1 as the configuration likes.
#[tokio::test]
async fn section_3_2_use_appropriate_algorithms() {
    let names = Algorithm::ALL.map(Algorithm::name);
    assert_eq!(names, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]);
    assert_eq!(Algorithm::DEFAULT.map(Algorithm::name), ["RS256", "ES256", "EdDSA"]);
    let key = TestKey::p256("k");
    let authenticator = authenticator(&[&key]);
    for name in ["RS1", "HS256", "ES256K", "ES512", "A128KW", "RSA1_5", "es256", "ed25519", "Ed448", "none"] {
        let header = json!({"alg": name, "kid": "k"}).to_string();
        assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(&header, &good())).await, "algorithm_not_allowed");
    }
}

/// One signature, and it must be good: no part of it is optional, no second try with another reading.
#[tokio::test]
async fn section_3_3_validate_all_cryptographic_operations() {
    let key = TestKey::p256("k");
    let authenticator = authenticator(&[&key]);
    let token = key.sign(&claims("alice"));
    let (input, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    for changed in
        [&bytes[..63], &bytes[1..], &bytes[..32], &[0; 64], &[0xff; 64], &[&bytes[32..], &bytes[..32]].concat()]
    {
        assert_eq!(verdict(&authenticator, "alice", &format!("{input}.{}", encode(changed))).await, "bad_signature");
    }
    assert_eq!(verdict(&authenticator, "alice", &format!("{token}.{signature}")).await, "malformed_token");
    let flattened = json!({"payload": encode(good()), "protected": input.split('.').next(), "signature": signature});
    assert_eq!(verdict(&authenticator, "alice", &flattened.to_string()).await, "malformed_token");
}

/// Keys are checked when they are read: a point off its curve, a modulus that is too short, a part that is missing.
#[tokio::test]
async fn section_3_4_validate_cryptographic_inputs() {
    let (key, beside) = (TestKey::p384("k"), TestKey::p256("beside"));
    let broken = |name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    for jwk in [
        broken("y", json!(encode([1; 48]))),
        broken("x", json!(encode([0xff; 48]))),
        broken("x", json!(encode([1; 47]))),
        broken("y", Value::Null),
        broken("crv", json!("P-256")),
        broken("crv", json!("P-192")),
        json!({"kty": "OKP", "crv": "Ed25519", "x": encode([1; 31]), "kid": "k"}),
    ] {
        let text = json!({"keys": [jwk, beside.jwk()]}).to_string();
        let mut issuer = Issuer::new(KeySource::JwksInline(text));
        issuer.algorithms = Algorithm::ALL.to_vec();
        let authenticator = Authenticator::new(JwtConfig::new(vec![issuer])).unwrap();
        assert_eq!(authenticator.status()[0].keys.len(), 1, "{jwk}");
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "unknown_kid", "{jwk}");
    }
}

/// RSA keys of less than 2048 bits and keys with a secret part in public are refused.
#[tokio::test]
async fn section_3_5_ensure_cryptographic_keys_have_sufficient_entropy() {
    let mut short = RSA.jwk();
    short["n"] = json!(encode([&[0x80][..], &[0; 126], &[1]].concat()));
    let mut published = TestKey::p256("k").jwk();
    published["d"] = json!(encode([1; 32]));
    let text = json!({"keys": [short, published, TestKey::p256("good").jwk()]}).to_string();
    let authenticator = Authenticator::new(JwtConfig::new(vec![Issuer::new(KeySource::JwksInline(text))])).unwrap();
    let kept: Vec<_> = authenticator.status()[0].keys.iter().filter_map(|key| key.kid.clone()).collect();
    assert_eq!(kept, ["good"]);
    let long = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072).unwrap();
    let long = TestKey { pair: long, kid: "long".to_owned() };
    let authenticator = self::authenticator(&[&long]);
    assert_eq!(verdict(&authenticator, "alice", &long.sign(&claims("alice"))).await, "allowed");
}

/// `zip` in any form is refused, also where it would say "not compressed".
#[tokio::test]
async fn section_3_6_avoid_compression_of_encryption_inputs() {
    let key = TestKey::p256("k");
    let authenticator = authenticator(&[&key]);
    for zip in [json!("DEF"), json!(""), Value::Null, json!(false)] {
        let header = json!({"alg": "ES256", "kid": "k", "zip": zip}).to_string();
        assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(&header, &good())).await, "unsupported_header");
    }
}

/// Names and values are UTF-8 and go through byte for byte; what is not UTF-8 is no token.
#[tokio::test]
async fn section_3_7_use_utf_8() {
    let key = TestKey::p256("k");
    let authenticator = authenticator(&[&key]);
    for name in ["Ålice", "アリス", "a\u{301}lice", "\u{1f600}"] {
        let grant = login(&authenticator, name, &key.sign(&claims(name))).await.unwrap();
        assert_eq!(grant.server_role.as_deref(), Some(name));
    }
    // The same to the eye, other bytes.
    assert_eq!(verdict(&authenticator, "a\u{301}lice", &key.sign(&claims("álice"))).await, "user_mismatch");
    let header = encode(r#"{"alg":"ES256","kid":"k"}"#);
    for payload in [&b"{\"sub\":\"\xff\"}"[..], b"{\"sub\":\"\xed\xa0\x80\"}", b"{\"sub\":\"\xc0\xaf\"}"] {
        let token = format!("{header}.{}.AAAA", encode(payload));
        assert_eq!(verdict(&authenticator, "alice", &token).await, "malformed_token");
    }
}

/// `iss` chooses the keys and is compared byte for byte; `sub` is the user that was typed, or a rule says who it is.
#[tokio::test]
async fn section_3_8_validate_issuer_and_subject() {
    let key = TestKey::p256("k");
    let mut config = text_config(&[&key]);
    config.issuers[0].issuer = Some("https://id.example".to_owned());
    let authenticator = Authenticator::new(config).unwrap();
    let token = |iss: Value, sub: Value| key.sign(&json!({"iss": iss, "sub": sub, "exp": now() + 60}));
    let issuer = json!("https://id.example");
    assert_eq!(verdict(&authenticator, "alice", &token(issuer.clone(), json!("alice"))).await, "allowed");
    for other in ["https://id.example/", "https://ID.example", "http://id.example", "", "https://id.example\u{0}"] {
        assert_eq!(
            verdict(&authenticator, "alice", &token(json!(other), json!("alice"))).await,
            "wrong_issuer",
            "{other}"
        );
    }
    assert_eq!(verdict(&authenticator, "alice", &token(json!([issuer]), json!("alice"))).await, "invalid_claim");
    for (sub, code) in [
        (json!("bob"), "user_mismatch"),
        (json!("Alice"), "user_mismatch"),
        (json!(""), "invalid_claim"),
        (json!(["alice"]), "invalid_claim"),
        (Value::Null, "invalid_claim"),
    ] {
        assert_eq!(verdict(&authenticator, "alice", &token(issuer.clone(), sub)).await, code);
    }
}

/// With audiences configured, a token must name one of them; none is not all.
#[tokio::test]
async fn section_3_9_use_and_validate_audience() {
    let key = TestKey::p256("k");
    let mut config = text_config(&[&key]);
    config.issuers[0].audiences = vec!["postgres".to_owned(), "reports".to_owned()];
    let authenticator = Authenticator::new(config).unwrap();
    let token = |aud: Value| key.sign(&json!({"sub": "alice", "exp": now() + 60, "aud": aud}));
    for aud in [json!("postgres"), json!(["x", "reports"])] {
        assert_eq!(verdict(&authenticator, "alice", &token(aud)).await, "allowed");
    }
    for aud in [json!([]), json!("Postgres"), json!("postgres,reports"), json!("*")] {
        assert_eq!(verdict(&authenticator, "alice", &token(aud)).await, "wrong_audience");
    }
    for aud in [json!({"postgres": true}), json!(7), Value::Null, json!(["postgres", 7])] {
        assert_eq!(verdict(&authenticator, "alice", &token(aud)).await, "invalid_claim");
    }
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "missing_claim");
}

/// Forged `kid`s cost a fetch and, a second later, another at most, and text of a token that nobody has vouched for is in no reason.
#[tokio::test]
async fn section_3_10_do_not_trust_received_claims() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::new(Behaviour::Answer(200, key_set(&[&key])));
    let config = jwks_config(&issuer.url, |source| {
        (source.min_refresh_interval, source.timeout) = (Duration::from_secs(3600), Duration::from_millis(500));
    });
    let authenticator = Authenticator::new(config).unwrap();
    for number in 0..20 {
        let header = json!({"alg": "ES256", "kid": format!("forged-{number}")}).to_string();
        assert_eq!(verdict(&authenticator, "alice", &key.sign_raw(&header, &good())).await, "unknown_kid");
    }
    assert!(issuer.hits() <= 2, "{} fetches", issuer.hits());
    let forged = TestKey::p256("k").sign(&json!({"sub": "eve-was-here", "exp": 1, "iss": "eve-was-here"}));
    let context = pgdog_jwt::AuthContext {
        user: "alice",
        database: "app",
        credential: Credential::new(forged.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    let explanation = authenticator.explain(context).await;
    assert_eq!(explanation.steps.last().unwrap().check, Check::Signature, "no claim was believed before it");
    assert!(!format!("{:?}", explanation.decision).contains("eve-was-here"));
}

/// Where the issuer's entry names the types of access tokens, no token of another kind is taken for one, nor one of no kind.
#[tokio::test]
async fn section_3_11_use_explicit_typing() {
    let key = TestKey::p256("k");
    let mut config = text_config(&[&key]);
    config.issuers[0].token_types = vec!["at+jwt".to_owned()];
    let authenticator = Authenticator::new(config).unwrap();
    let typed = |typ: Value| key.sign_raw(&json!({"alg": "ES256", "kid": "k", "typ": typ}).to_string(), &good());
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        assert_eq!(verdict(&authenticator, "alice", &typed(json!(typ))).await, "allowed", "{typ}");
    }
    for typ in ["JWT", "secevent+jwt", "logout+jwt", "at", "at+jwt+x", ""] {
        assert_eq!(verdict(&authenticator, "alice", &typed(json!(typ))).await, "token_type_denied", "{typ}");
    }
    let untyped = key.sign_raw(r#"{"alg":"ES256","kid":"k"}"#, &good());
    assert_eq!(verdict(&authenticator, "alice", &untyped).await, "token_type_denied");
}

/// Kinds of tokens that must not stand in for each other differ in what is checked: audience, issuer and key.
#[tokio::test]
async fn section_3_12_use_mutually_exclusive_validation_rules_for_different_kinds_of_jwts() {
    let (people, machines) = (TestKey::p256("k"), TestKey::p256("k"));
    let mut config = text_config(&[&people]);
    config.issuers.extend(text_config(&[&machines]).issuers);
    for (issuer, (name, audience)) in
        config.issuers.iter_mut().zip([("https://people.example", "db"), ("https://machines.example", "db-machines")])
    {
        issuer.issuer = Some(name.to_owned());
        issuer.audiences = vec![audience.to_owned()];
    }
    config.issuers[1].username_claim = "client_id".to_owned();
    let authenticator = Authenticator::new(config).unwrap();
    let of_people = json!({"iss": "https://people.example", "aud": "db", "sub": "alice", "exp": now() + 60});
    let of_machines = json!({"iss": "https://machines.example", "aud": "db-machines", "client_id": "job", "sub": "alice", "exp": now() + 60});
    assert_eq!(verdict(&authenticator, "alice", &people.sign(&of_people)).await, "allowed");
    assert_eq!(verdict(&authenticator, "job", &machines.sign(&of_machines)).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &machines.sign(&of_machines)).await, "user_mismatch");
    assert_eq!(verdict(&authenticator, "job", &people.sign(&of_machines)).await, "bad_signature");
    assert_eq!(verdict(&authenticator, "alice", &machines.sign(&of_people)).await, "bad_signature");
    let mut swapped = of_machines.clone();
    swapped["aud"] = json!("db");
    assert_eq!(verdict(&authenticator, "job", &machines.sign(&swapped)).await, "wrong_audience");
}
