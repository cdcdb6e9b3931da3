//! The client's message of OAUTHBEARER (RFC 7628, section 3.1), without I/O, and the server's answer to one that it
//! refuses (section 3.2.2).

use pgdog_jwt::token::is_b64token;
use serde_json::json;

use super::MethodError;

/// Separates the parts of the message, and is the whole of the client's last one.
pub(super) const SEPARATOR: u8 = 0x01;

/// The authentication scheme (RFC 6750, section 2.1). Its letters may be large or small (RFC 9110, section 11.1).
const SCHEME: &[u8] = b"Bearer";

/// What the client's message holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// The characters of a bearer token, and nothing else.
    Token(&'a [u8]),
    /// No token yet: the client asks where to get one (RFC 7628, section 4.3).
    Absent,
    /// Something that is no bearer token.
    Unusable,
}

/// Reads the message. Keys that are not known have to look like keys, and are ignored.
pub(super) fn parse(message: &[u8]) -> Result<Credential<'_>, MethodError> {
    let mut rest = pairs(message)?;
    let mut found = None;
    // An empty line where a pair could be ends the pairs.
    while rest.first() != Some(&SEPARATOR) {
        let end = memchr::memchr(SEPARATOR, rest).ok_or(protocol("the message ends inside a key-value pair"))?;
        let (pair, tail) = rest.split_at(end);
        let (key, value) = split(pair)?;
        if key == b"auth" && found.replace(value).is_some() {
            return Err(protocol("the message has more than one \"auth\""));
        }
        rest = &tail[1..];
    }
    if rest.len() != 1 {
        return Err(protocol("the message goes on after its end"));
    }
    found.map(credential).ok_or(protocol("the message has no \"auth\""))
}

/// What follows the GS2 header (RFC 5801, section 4). Channel binding is not offered, so a client that could have used
/// it (`y`) may go on, and one that insists (`p`) may not. The start-up packet names the user: nobody else can be meant.
fn pairs(message: &[u8]) -> Result<&[u8], MethodError> {
    match message {
        [b'n' | b'y', b',', b',', SEPARATOR, rest @ ..] => Ok(rest),
        [b'n' | b'y', b',', b',', ..] => Err(protocol("the header is not followed by a separator")),
        [b'n' | b'y', b',', b'a', ..] => Err(protocol("authorization identities are not supported")),
        [b'p', ..] => Err(protocol("channel binding is not offered")),
        _ => Err(protocol("malformed header")),
    }
}

fn split(pair: &[u8]) -> Result<(&[u8], &[u8]), MethodError> {
    let at = memchr::memchr(b'=', pair).ok_or(protocol("a key has no value"))?;
    let (key, value) = (&pair[..at], &pair[at + 1..]);
    if key.is_empty() || !key.iter().all(u8::is_ascii_alphabetic) {
        return Err(protocol("a key has other characters than letters"));
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
    if !value.iter().all(is_text) {
        return Err(protocol("a value has characters that are not allowed"));
    }
    Ok((key, value))
}

fn credential(value: &[u8]) -> Credential<'_> {
    if value.is_empty() {
        return Credential::Absent;
    }
    let token = value.split_at_checked(SCHEME.len()).and_then(|(scheme, token)| {
        let is_bearer = scheme.eq_ignore_ascii_case(SCHEME) && token.starts_with(b" ");
        is_bearer.then(|| token.trim_ascii_start())
    });
    match token {
        Some(token) if is_b64token(token) => Credential::Token(token),
        _ => Credential::Unusable,
    }
}

/// What a client hears that has no token, or one that is refused: it is the same for both, and for every reason (S6).
pub(crate) fn challenge(discovery_url: Option<&str>, scope: &str) -> Vec<u8> {
    let mut answer = json!({ "status": "invalid_token", "scope": scope });
    if let Some(url) = discovery_url {
        answer["openid-configuration"] = url.into();
    }
    answer.to_string().into_bytes()
}

fn protocol(reason: &'static str) -> MethodError {
    MethodError::MalformedBearer(reason)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(pairs: &str) -> Vec<u8> {
        format!("n,,\x01{pairs}\x01").into_bytes()
    }

    fn is_token(found: Result<Credential<'_>, MethodError>, token: &str) -> bool {
        matches!(found, Ok(Credential::Token(found)) if found == token.as_bytes())
    }

    #[test]
    fn the_message_of_the_rfc_is_read() {
        let example = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3Rlckbg==\x01\x01";
        // PostgreSQL knows no authorization identity, and neither does this.
        assert!(parse(example.as_bytes()).is_err());
        let example = example.replace("a=user@example.com", "");
        assert!(is_token(parse(example.as_bytes()), "vF9dft4qmTc2Nvb3Rlckbg=="));
    }

    #[test]
    fn a_token_comes_after_its_scheme() {
        for good in ["Bearer a.b.c", "bearer a.b.c", "BEARER    a.b.c"] {
            assert!(is_token(parse(&message(&format!("auth={good}\x01"))), "a.b.c"), "{good}");
        }
        for bad in [
            "Bearer",
            "Bearer ",
            "Bearer =",
            "Bearera.b.c",
            "Bearer\ta.b.c",
            "Basic YTpi",
            "Bearer a b",
            "Bearer a.b.c ",
            "Bearer a=b",
            "Bearer a,b",
            " Bearer a",
            "a.b.c",
            " ",
        ] {
            assert!(matches!(parse(&message(&format!("auth={bad}\x01"))), Ok(Credential::Unusable)), "{bad}");
        }
    }

    #[test]
    fn a_client_may_have_no_token_yet() {
        assert!(matches!(parse(b"n,,\x01auth=\x01\x01"), Ok(Credential::Absent)));
        assert!(matches!(parse(b"y,,\x01auth=\x01\x01"), Ok(Credential::Absent)));
    }

    #[test]
    fn other_keys_are_ignored_when_they_are_keys() {
        for pairs in ["host=h\x01auth=Bearer a\x01", "auth=Bearer a\x01qs=\x01", "AUTH=x\x01auth=Bearer a\x01"] {
            assert!(is_token(parse(&message(pairs)), "a"), "{pairs:?}");
        }
        for pairs in ["=x\x01auth=Bearer a\x01", "a1=x\x01auth=Bearer a\x01", "x\x01auth=Bearer a\x01"] {
            assert!(parse(&message(pairs)).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn every_other_form_is_malformed() {
        let whole = b"n,,\x01auth=Bearer a.b.c\x01\x01";
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
        for bad in [
            &b"n,,\x01\x01"[..],
            b"n,,\x01host=h\x01\x01",
            b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            b"n,,\x01auth=\x01auth=\x01\x01",
            b"n,,\x01auth=Bearer a\x01\x01\x01",
            b"n,,\x01auth=Bearer a\x01\x01x",
            b"n,,auth=Bearer a\x01\x01",
            b"n,\x01auth=Bearer a\x01\x01",
            b"n\x01auth=Bearer a\x01\x01",
            b"x,,\x01auth=Bearer a\x01\x01",
            b"N,,\x01auth=Bearer a\x01\x01",
            b"n,a=alice,\x01auth=Bearer a\x01\x01",
            b"p=tls-server-end-point,,\x01auth=Bearer a\x01\x01",
            b"n,,\x01auth=Bearer a\0\x01\x01",
            b"n,,\x01auth=Bearer \xc3\xa4\x01\x01",
            b"n,,\x01auth=Bearer a\x7f\x01\x01",
            b"n,,\x01 auth=Bearer a\x01\x01",
            b"\x01",
            b"Bearer a",
        ] {
            assert!(parse(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
        }
    }

    #[test]
    fn an_answer_is_json_as_the_rfc_has_it() {
        let answer: serde_json::Value = serde_json::from_slice(&challenge(Some("https://i/\"x"), "openid db")).unwrap();
        assert_eq!(
            answer,
            json!({ "status": "invalid_token", "openid-configuration": "https://i/\"x", "scope": "openid db" })
        );
        let answer: serde_json::Value = serde_json::from_slice(&challenge(None, "openid")).unwrap();
        assert_eq!(answer, json!({ "status": "invalid_token", "scope": "openid" }));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_taken_for_a_token_could_be_sent_on(text in "[yn],,\x01([a-z]{0,5}=?[ -~]{0,9}\x01|auth=[Bb]earer {0,2}[ -~]{0,12}\x01){0,3}\x01?") {
            if let Ok(Credential::Token(token)) = parse(text.as_bytes()) {
                let again = [b"n,,\x01auth=Bearer ", token, b"\x01\x01"].concat();
                prop_assert!(matches!(parse(&again), Ok(Credential::Token(same)) if same == token));
                prop_assert_eq!(text.matches("\x01auth=").count(), 1);
            }
        }

        #[test]
        fn every_good_message_is_read(token in "[A-Za-z0-9._~+/-]{1,60}={0,2}", other in "[ -~\t\r\n]{0,20}") {
            let text = format!("y,,\x01x={other}\x01auth=Bearer {token}\x01z={other}\x01\x01");
            prop_assert!(is_token(parse(text.as_bytes()), &token));
        }
    }
}
