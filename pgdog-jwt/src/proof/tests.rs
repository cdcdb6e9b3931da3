use super::*;

const SECRET: &str = "a secret that the gateway and the owner share";

fn key(id: &str, secret: &str) -> Result<ProofKey, ProofKeyError> {
    ProofKey::new(id, Secret::new(secret))
}

fn bound() -> Bound<'static> {
    let expires_at = UNIX_EPOCH + Duration::from_millis(1_800_000_000_999);
    Bound { role: "alice", database: "app", pid: 4242, start: 1_795_000_000_123_456, expires_at }
}

fn claims(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

fn payload(proof: &str) -> Value {
    let part = proof.split('.').nth(2).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_proof_says_where_and_for_how_long_it_counts() {
    let proof = sign(&key("k1", SECRET).unwrap(), &bound(), &claims(r#"{"sub":"alice","roles":["a"]}"#));

    let expected = json!({
        "role": "alice", "db": "app", "pid": 4242, "start": 1_795_000_000_123_456_i64, "exp": 1_800_000_000,
        "claims": {"sub": "alice", "roles": ["a"]},
    });
    assert_eq!(payload(&proof), expected);
    assert!(proof.starts_with("v1.k1."));
}

#[test]
fn the_mac_is_hmac_sha_256_of_all_before_it() {
    let proof = sign(&key("k1", SECRET).unwrap(), &bound(), &claims("{}"));
    let (text, mac) = proof.rsplit_once('.').unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    hmac::verify(&key, text.as_bytes(), &URL_SAFE_NO_PAD.decode(mac).unwrap()).unwrap();
}

#[test]
fn whatever_is_in_the_claims_a_proof_needs_no_quotes() {
    let mut role = bound();
    role.role = "o'brien\"; DROP TABLE notes --\\ 名前";
    let proof =
        sign(&key("A-_9", SECRET).unwrap(), &role, &claims(r#"{"a":"'; \" \\ \u0000 é","b":{"c":[null,1.5]}}"#));
    assert!(proof.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')), "{proof}");
    assert_eq!(payload(&proof)["role"], role.role);
}

#[test]
fn a_key_has_a_plain_id_and_is_long_enough() {
    for id in ["", "a.b", "a b", "ä", "'", "a\n", &"k".repeat(65)] {
        assert_eq!(key(id, SECRET), Err(ProofKeyError::Id), "{id:?}");
    }
    assert_eq!(key("k", &"x".repeat(31)), Err(ProofKeyError::TooShort));
    assert!(key(&"k".repeat(64), &"x".repeat(32)).is_ok());
    assert_ne!(key("k", SECRET), key("l", SECRET));
    assert_ne!(key("k", SECRET), key("k", &SECRET.to_uppercase()));
}

#[test]
fn a_key_is_not_printed() {
    let policy = ProofPolicy { key: key("k1", SECRET).unwrap(), claims: None, lifetime: None };
    let printed = format!("{policy:?}");
    assert!(printed.contains("k1") && !printed.contains("secret that"), "{printed}");
}

#[test]
fn a_proof_never_outlives_its_token() {
    let key = key("k1", SECRET).unwrap();
    let now = UNIX_EPOCH + Duration::from_secs(1000);
    let token = now + Duration::from_secs(100);
    for (lifetime, expected) in [(None, 100), (Some(10), 10), (Some(1000), 100), (Some(u64::MAX), 100)] {
        let policy = ProofPolicy { key: key.clone(), claims: None, lifetime: lifetime.map(Duration::from_secs) };
        assert_eq!(policy.expires_at(now, token), now + Duration::from_secs(expected));
    }
}

#[test]
fn only_named_claims_are_proven() {
    let key = key("k1", SECRET).unwrap();
    let named = ["sub", "realm.roles", "missing"].map(str::to_owned).to_vec();
    let policy = ProofPolicy { key, claims: Some(named), lifetime: None };

    let proof = policy.prove(&bound(), &claims(r#"{"sub":"a","email":"a@x","realm":{"roles":["r"],"other":1}}"#));

    assert_eq!(payload(&proof)["claims"], json!({"sub": "a", "realm.roles": ["r"]}));
}
