//! What is taken for a token and what is not.

use super::*;

fn encode(header: &str, claims: &str, signature: &[u8]) -> String {
    format!(
        "{}.{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

fn refusal(token: &str) -> DenyReason {
    match Token::parse(token.as_bytes(), 16_384) {
        Ok(_) => panic!("accepted {token}"),
        Err(reason) => reason,
    }
}

#[test]
fn a_compact_jws_is_taken_apart() {
    let text = encode(r#"{"alg":"ES256","typ":"whatever","kid":"k"}"#, r#"{"sub":"alice"}"#, b"sig");
    let token = Token::parse(text.as_bytes(), 1000).unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(token.algorithm, "ES256");
    assert_eq!(token.kid.as_deref(), Some("k"));
    assert_eq!(token.claims["sub"], "alice");
    assert_eq!(token.signature, b"sig");
    assert_eq!(token.signing_input, &text.as_bytes()[..text.rfind('.').unwrap()]);
}

#[test]
fn size_is_checked_before_content() {
    assert_eq!(Token::parse(&[0xff; 101], 100).err(), Some(DenyReason::TooLarge));
    assert!(matches!(Token::parse(&[0xff; 100], 100).err(), Some(DenyReason::Malformed(_))));
    assert_eq!(Token::parse(b"", 100).err(), Some(DenyReason::Empty));
}

#[test]
fn what_was_pasted_with_a_token_is_said_and_not_taken_off() {
    let good = encode(r#"{"alg":"ES256"}"#, "{}", b"sig");
    for (text, said) in [
        (format!("{good}\n"), "line break"),
        (format!("{good}\r\n"), "line break"),
        (format!(" {good}"), "white space"),
        (format!("{good}\t"), "white space"),
        (format!("\"{good}\""), "quotes"),
        (format!("'{good}'"), "quotes"),
        (format!("Bearer {good}"), "\"Bearer\""),
        (format!("bearer  {good}"), "\"Bearer\""),
        (format!("Authorization: Bearer {good}"), "\"Authorization:\""),
    ] {
        let reason = refusal(&text);
        assert_eq!(reason.code(), "malformed_token", "{text:?}");
        assert!(reason.to_string().contains(said), "{text:?}: {reason}");
    }
    let opaque = check_bearer(b"\"0123456789abcdef0123\"").unwrap_err();
    assert!(opaque.to_string().contains("quotes"), "{opaque}");
}

#[test]
fn what_was_pasted_in_place_of_a_token_is_said_and_not_repeated() {
    let jwe = "eyJhbGciOiJSU0EtT0FFUCJ9.c2VjcmV0.c2VjcmV0.c2VjcmV0.c2VjcmV0";
    let good = encode(r#"{"alg":"ES256"}"#, r#"{"sub":"secret"}"#, b"sig");
    let encoded = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    for (text, said) in [
        (jwe.to_owned(), "a JWE, which has five parts"),
        ("9f86d081884c7d659a2feaa0c55ad015secret".to_owned(), "opaque token"),
        ("secret/secret+secret~secret==".to_owned(), "opaque token"),
        (format!(r#"{{"access_token":"{good}"}}"#), "it is JSON"),
        ("[\"secret\"]".to_owned(), "it is JSON"),
        ("/run/secrets/token".to_owned(), "path of a file"),
        ("~/secret.jwt".to_owned(), "path of a file"),
        ("./secret.jwt".to_owned(), "path of a file"),
        (format!("Bearer Bearer {good}"), "\"Bearer\" stands in front of it twice"),
        (format!("bearer  BEARER  {good}"), "\"Bearer\" stands in front of it twice"),
        ("Basic c2VjcmV0".to_owned(), "\"Basic\" stands in front of it"),
        ("$SECRET".to_owned(), "a variable that nothing has replaced"),
        ("${SECRET}".to_owned(), "a variable that nothing has replaced"),
        ("$(cat secret.txt)".to_owned(), "a variable that nothing has replaced"),
        ("%SECRET%".to_owned(), "a variable that nothing has replaced"),
        ("{{ secret }}".to_owned(), "a variable that nothing has replaced"),
        ("<secret>".to_owned(), "a variable that nothing has replaced"),
        (encoded(&format!("Bearer {good}")), "base64 of a whole header"),
        (encoded(&format!("Authorization: Bearer {good}")), "base64 of a whole header"),
        ("null".to_owned(), "a word that programs print"),
        ("undefined".to_owned(), "a word that programs print"),
        ("https://secret.example/token".to_owned(), "it is a URL"),
        ("https://secret.example.com/token".to_owned(), "it is a URL"),
        ("/run/secret.d/token.jwt".to_owned(), "path of a file"),
        (format!("-----BEGIN {} KEY-----secret", "PRIVATE"), "a key or a certificate"),
        (good.split('.').next().unwrap().to_owned(), "the beginning of a token"),
        (good.rsplit_once('.').unwrap().0.to_owned(), "the beginning of a token"),
        (format!("{good}.{good}"), "more than one token"),
        ("secret".to_owned(), "looks like a password"),
        ("correct horse battery secret".to_owned(), "looks like a password"),
        ("se.cret".to_owned(), "looks like a password"),
        ("a.b.c.d.e.f.g!secret".to_owned(), "looks like a password"),
    ] {
        let reason = refusal(&text);
        let shown = reason.to_string();
        assert_eq!(reason.code(), "malformed_token", "{text:?}");
        assert!(shown.contains(said), "{text:?}: {shown}");
        assert!(!shown.to_lowercase().contains("secret"), "{shown}");
    }
    assert_eq!(Token::parse(b"", 100).err(), Some(DenyReason::Empty));
}

#[test]
fn anything_but_three_full_parts_is_refused() {
    let good = encode(r#"{"alg":"ES256"}"#, "{}", b"sig");
    let parts: Vec<&str> = good.split('.').collect();
    for text in [
        "password".to_owned(),
        "a.b".to_owned(),
        "...".to_owned(),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}..{}", parts[0], parts[2]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{good}.{}", parts[2]),
        format!("{good}.."),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        good.replace('.', "\u{ff0e}"),
    ] {
        assert_eq!(refusal(&text).code(), "malformed_token", "{text:?}");
    }
}

#[test]
fn base64_has_one_spelling() {
    let good = encode(r#"{"alg":"ES256"}"#, "{}", b"sign");
    let (front, signature) = good.rsplit_once('.').unwrap();
    assert_eq!(signature, "c2lnbg");
    for spelling in ["c2lnbg==", "c2lnbh", "c2lnb", "c2ln bg", "c2lnbg\n", "c2+nbg", "c2/nbg"] {
        assert_eq!(refusal(&format!("{front}.{spelling}")).code(), "malformed_token", "{spelling:?}");
    }
}

#[test]
fn headers_that_must_not_be_ignored_are_refused() {
    for name in UNSUPPORTED_HEADERS {
        for value in [r#"["exp"]"#, "false", "null"] {
            let header = format!(r#"{{"alg":"ES256","{name}":{value}}}"#);
            assert_eq!(refusal(&encode(&header, "{}", b"s")), DenyReason::UnsupportedHeader(name));
        }
    }
}

#[test]
fn a_header_must_be_an_object_that_names_its_algorithm_once() {
    for header in [
        "{}",
        r#"{"alg":1}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["ES256"]}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":7}"#,
        r#"{"alg":"ES256","kid":null}"#,
        r#"["ES256"]"#,
        "",
    ] {
        assert_eq!(refusal(&encode(header, "{}", b"s")).code(), "malformed_token", "{header}");
    }
}

#[test]
fn claims_must_be_an_object_with_unique_names() {
    for claims in [r#"{"sub":"a","sub":"b"}"#, "[]", "1", "", r#"{"a":{"b":1,"b":2}}"#] {
        assert_eq!(refusal(&encode(r#"{"alg":"ES256"}"#, claims, b"s")).code(), "malformed_token", "{claims}");
    }
}

#[test]
fn inspection_shows_what_a_login_would_refuse() {
    let text = encode(r#"{"alg":"none","crit":["x"]}"#, r#"{"sub":"alice"}"#, b"s");
    let inspection = inspect(&text).unwrap();
    assert_eq!(inspection.header["alg"], "none");
    assert_eq!(inspection.claims["sub"], "alice");
    assert!(!format!("{inspection:?}").contains("alice"));
    assert!(inspect(text.trim_end_matches(|c| c != '.')).is_ok(), "an unsigned token can be looked at");
    assert!(inspect("").is_err() && inspect("password").is_err());
}

#[test]
fn only_what_a_bearer_token_may_hold_is_one() {
    assert!(is_b64token(b"eyJ.e30.c2ln") && is_b64token(b"YQ=="));
    for token in ["", "=", "a\x01auth=Bearer b", "a b", "a=b", "a\0", "ä", "a,b"] {
        assert!(!is_b64token(token.as_bytes()), "{token:?}");
    }
}

#[test]
fn three_parts_of_base64url_are_never_taken_for_an_opaque_token() {
    for jws in ["a.b.c", "eyJ.e30.", "..", "a-_.b.c"] {
        assert!(has_jws_form(jws.as_bytes()), "{jws}");
    }
    for other in ["", "a", "a.b", "a.b.c.d", "a.b.c=", "a.b~.c", "a.b.c d"] {
        assert!(!has_jws_form(other.as_bytes()), "{other}");
    }
}
