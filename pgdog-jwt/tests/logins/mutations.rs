//! No token that differs from a good one is good: bits, base64, structure, JSON. Every case has its own name for what was
//! changed, so that a failure shows the token's shape.

use std::pin::pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use crate::common::{RSA, TestKey, claims, now, text_config};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Credential};
use proptest::prelude::*;
use serde_json::{Value, json};

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// One good token for each kind of signature, made once for all cases.
struct Samples {
    authenticator: Authenticator,
    keys: Vec<TestKey>,
    tokens: Vec<String>,
}

static SAMPLES: LazyLock<Samples> = LazyLock::new(|| {
    let keys = vec![TestKey::p256("p256"), TestKey::p384("p384"), TestKey::ed25519("ed")];
    let mut all: Vec<&TestKey> = keys.iter().collect();
    all.push(&RSA);
    let mut config = text_config(&all);
    // A claim that the length of base64 leaves bits over for, and a life that outlasts any run.
    config.token_cache_size = 1_000;
    let claims = json!({"sub": "alice", "exp": now() + 86_400, "pad": "xx"});
    let tokens = all.iter().map(|key| key.sign(&claims)).collect();
    Samples { authenticator: Authenticator::new(config).unwrap(), keys, tokens }
});

/// It waits for nothing but its turn.
fn decide(credential: &[u8]) -> AuthDecision {
    let context = AuthContext {
        user: "alice",
        database: "app",
        credential: Credential::new(credential),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    let mut login = pin!(SAMPLES.authenticator.authenticate(context));
    loop {
        if let Poll::Ready(decision) = login.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return decision;
        }
        std::thread::yield_now();
    }
}

fn is_allowed(credential: impl AsRef<[u8]>) -> bool {
    matches!(decide(credential.as_ref()), AuthDecision::Allow(_))
}

/// A token in three parts, to be put together again in another way.
fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

fn with_part(token: &str, part: usize, change: impl FnOnce(&str) -> String) -> String {
    let mut parts = parts(token);
    parts[part] = change(&parts[part]);
    parts.join(".")
}

#[test]
fn no_flipped_bit_goes_unnoticed() {
    for token in &SAMPLES.tokens {
        assert!(is_allowed(token));
        for position in 0..token.len() {
            for bit in 0..8 {
                let mut changed = token.clone().into_bytes();
                changed[position] ^= 1 << bit;
                assert!(!is_allowed(&changed), "byte {position}, bit {bit}");
            }
        }
        assert!(is_allowed(token), "and the good one is still good");
    }
}

#[test]
fn the_same_bytes_in_another_base64_are_another_token() {
    for token in &SAMPLES.tokens {
        for part in 0..3 {
            let bytes = URL_SAFE_NO_PAD.decode(&parts(token)[part]).unwrap();
            for other in [URL_SAFE.encode(&bytes), STANDARD.encode(&bytes)] {
                let changed = with_part(token, part, |_| other.clone());
                assert!(changed == *token || !is_allowed(&changed), "part {part}: {other}");
            }
            for padding in ["=", "==", "==="] {
                assert!(!is_allowed(with_part(token, part, |text| format!("{text}{padding}"))), "part {part}");
            }
            // The last character may have bits that no byte uses.
            for last in ALPHABET.chars() {
                let changed = with_part(token, part, |text| {
                    let mut text = text.to_owned();
                    text.pop();
                    text.push(last);
                    text
                });
                assert!(changed == *token || !is_allowed(&changed), "part {part} ending in {last}");
            }
        }
    }
}

#[test]
fn white_space_and_other_bytes_are_nowhere_ignored() {
    let token = &SAMPLES.tokens[0];
    let strange = [" ", "\n", "\r\n", "\t", "\0", "\u{b}", "=", ".", "%2E", "+", "/", "\u{feff}", "\u{200b}", "\u{a0}"];
    for position in 0..=token.len() {
        for text in strange {
            let changed = format!("{}{text}{}", &token[..position], &token[position..]);
            assert!(!is_allowed(&changed), "{text:?} at {position}");
        }
    }
    for changed in [format!("Bearer {token}"), format!("\"{token}\""), token.to_uppercase(), token.replace('.', "%2E")]
    {
        assert!(!is_allowed(&changed), "{changed}");
    }
}

#[test]
fn parts_cannot_be_missing_doubled_swapped_or_borrowed() {
    let samples = &SAMPLES.tokens;
    let [header, payload, signature] = parts(&samples[0]);
    let [other_header, other_payload, other_signature] = parts(&samples[1]);
    for changed in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        "..".to_owned(),
        format!("{payload}.{header}.{signature}"),
        format!("{header}.{payload}.{signature}.{signature}"),
        format!("{header}.{payload}.{signature}."),
        format!(".{header}.{payload}.{signature}"),
        format!("{header}.{payload}.{other_signature}"),
        format!("{other_header}.{payload}.{signature}"),
        format!("{other_header}.{other_payload}.{signature}"),
        format!("{header}.{payload}.{signature}{signature}"),
        samples[0].repeat(2),
    ] {
        assert!(!is_allowed(&changed), "{changed}");
    }
    let json = json!({"protected": header, "payload": payload, "signature": signature});
    assert!(!is_allowed(json.to_string()));
    assert!(!is_allowed(json!({"payload": payload, "signatures": [json]}).to_string()));
}

/// Signed by the right key, and still no token that anybody should take.
#[test]
fn a_signature_does_not_make_hostile_content_good() {
    let key = &SAMPLES.keys[0];
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let good = claims("alice").to_string();
    assert!(is_allowed(key.sign_raw(header, &good)));
    for changed in [
        r#"{"alg":"ES256","kid":"p256","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"p256","kid":"ed"}"#,
        r#"{"alg":"ES256","\u0061lg":"none","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"p256","x":{"a":1,"a":2}}"#,
        r#"{"alg":"ES256","kid":"p256","crit":["exp"]}"#,
        r#"{"alg":"ES256","kid":"p256","crit":[]}"#,
        r#"{"alg":"ES256","kid":"p256","crit":null}"#,
        r#"{"alg":"ES256","kid":"p256","b64":false}"#,
        r#"{"alg":"ES256","kid":"p256","b64":true,"crit":["b64"]}"#,
        r#"{"alg":"ES256","kid":"p256","enc":"A128GCM"}"#,
        r#"{"alg":"ES256","kid":"p256","zip":"DEF"}"#,
        r#"{"alg":"es256","kid":"p256"}"#,
        r#"{"alg":["ES256"],"kid":"p256"}"#,
        r#"{"alg":"ES256","kid":["p256"]}"#,
        r#"{"alg":"ES256","kid":null}"#,
        r#"{"alg":"ES256","kid":"P256"}"#,
        r#"{"kid":"p256"}"#,
        r#"[{"alg":"ES256","kid":"p256"}]"#,
        r#"{"alg":"ES256","kid":"p256"} "x""#,
        r#"{"alg":"ES256","kid":"p256",}"#,
        r#"{'alg':'ES256','kid':'p256'}"#,
        "\u{feff}{\"alg\":\"ES256\",\"kid\":\"p256\"}",
    ] {
        assert!(!is_allowed(key.sign_raw(changed, &good)), "{changed}");
    }
    let exp = now() + 60;
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for changed in [
        format!(r#"{{"sub":"alice","sub":"alice","exp":{exp}}}"#),
        format!(r#"{{"sub":"bob","\u0073ub":"alice","exp":{exp}}}"#),
        format!(r#"{{"sub":"alice","exp":1,"exp":{exp}}}"#),
        format!(r#"{{"sub":"alice","exp":{exp},"a":[{{"b":{{"c":1,"c":1}}}}]}}"#),
        format!(r#"{{"sub":"alice","exp":{exp},"a":{deep}}}"#),
        format!(r#"{{"sub":"alice","exp":"{exp}"}}"#),
        format!(r#"{{"sub":"alice","exp":[{exp}]}}"#),
        r#"{"sub":"alice","exp":1e999}"#.to_owned(),
        r#"{"sub":"alice","exp":1e308}"#.to_owned(),
        r#"{"sub":"alice","exp":99999999999999999999999999999999999999}"#.to_owned(),
        r#"{"sub":"alice","exp":18446744073709551616}"#.to_owned(),
        r#"{"sub":"alice","exp":-9223372036854775808}"#.to_owned(),
        r#"{"sub":"alice","exp":NaN}"#.to_owned(),
        r#"{"sub":"alice","exp":Infinity}"#.to_owned(),
        r#"{"sub":"alice","exp":true}"#.to_owned(),
        r#"{"sub":"alice","exp":null}"#.to_owned(),
        r#"{"sub":"alice"}"#.to_owned(),
        format!(r#"{{"sub":"alice","exp":{exp},"nbf":1e999}}"#),
        format!(r#"{{"sub":"alice","exp":{exp},"iat":"0"}}"#),
        format!(r#"{{"sub":"\ud800","exp":{exp}}}"#),
        format!(r#"{{"sub":"alice","exp":{exp}}}{{}}"#),
        format!(r#"{{"sub":"alice","exp":{exp}}}x"#),
        format!(r#"[{{"sub":"alice","exp":{exp}}}]"#),
        key.sign_raw(header, &good),
        String::new(),
    ] {
        assert!(!is_allowed(key.sign_raw(header, &changed)), "{changed}");
    }
}

/// Any JSON, small enough to be read, with names that matter among others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(json!("alice")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(sub|exp|nbf|iat|alg|[a-z]{1,3})", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn other_claims_under_the_same_signature_are_refused(
        which in 0..4_usize,
        claims in prop::collection::btree_map("(sub|exp|pad|aud|role|[a-z]{1,4})", any_json(), 0..5),
    ) {
        let text = Value::Object(claims.into_iter().collect()).to_string();
        let changed = with_part(&SAMPLES.tokens[which], 1, |_| URL_SAFE_NO_PAD.encode(text));
        prop_assert!(changed == SAMPLES.tokens[which] || !is_allowed(&changed));
    }

    #[test]
    fn another_header_under_the_same_signature_is_refused(
        which in 0..4_usize,
        alg in "(none|HS256|RS256|PS256|ES256|ES384|EdDSA|[A-Za-z0-9]{0,5})",
        kid in "(p256|p384|ed|rsa|[a-z]{0,3})",
        more in prop::collection::btree_map("(jwk|jku|x5c|crit|b64|typ|cty|[a-z]{1,3})", any_json(), 0..3),
    ) {
        let mut header = serde_json::Map::from_iter(more);
        header.insert("alg".to_owned(), alg.into());
        header.insert("kid".to_owned(), kid.into());
        let changed = with_part(&SAMPLES.tokens[which], 0, |_| URL_SAFE_NO_PAD.encode(Value::Object(header).to_string()));
        prop_assert!(changed == SAMPLES.tokens[which] || !is_allowed(&changed));
    }

    #[test]
    fn several_changes_at_once_are_refused(
        which in 0..4_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(ALPHABET.as_bytes()), 0..3_u8), 1..6),
    ) {
        let mut changed = SAMPLES.tokens[which].clone().into_bytes();
        for (index, byte, kind) in edits {
            let at = index.index(changed.len());
            match kind {
                0 => changed[at] = byte,
                1 => changed.insert(at, byte),
                _ => { changed.remove(at); }
            }
        }
        prop_assert!(changed == SAMPLES.tokens[which].as_bytes() || !is_allowed(&changed));
    }

    #[test]
    fn any_signed_header_and_claims_are_decided_without_a_panic(header in any_json(), payload in any_json()) {
        let token = SAMPLES.keys[2].sign_raw(&header.to_string(), &payload.to_string());
        let _decided = decide(token.as_bytes());
    }

    #[test]
    fn a_token_signed_by_a_stranger_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let changed = with_part(&SAMPLES.tokens[0], 2, |_| URL_SAFE_NO_PAD.encode(&bytes));
        prop_assert!(!is_allowed(&changed));
    }
}
