//! OAUTHBEARER as its client (RFC 7628; PostgreSQL documentation, section "OAUTHBEARER Authentication").

use pgdog_jwt::token::is_b64token;
use serde_json::Value;

use super::ConnectError;
use super::auth::{OK, SASL_CONTINUE, request};
use super::login::Dialogue;
use crate::wire::fields::Fields;
use crate::wire::message;

const MECHANISM: &str = "OAUTHBEARER";

/// Longest status that is repeated in a log.
const MAX_STATUS: usize = 40;

/// Shows the token, and ends when the server has taken it: there is no further message of the mechanism then.
pub(super) async fn authenticate(dialogue: &mut Dialogue<'_>, offered: bool, token: &str) -> Result<(), ConnectError> {
    if !offered {
        return Err(ConnectError::authentication(
            "the server does not ask for a token: its pg_hba.conf must say oauth",
        ));
    }
    if !is_b64token(token.as_bytes()) {
        return Err(ConnectError::authentication("the token has characters that no bearer token may have"));
    }
    // No channel binding, no authorization identity: the start-up packet names the role.
    let response = format!("n,,\x01auth=Bearer {token}\x01\x01");
    dialogue.say(|out| message::sasl_initial_response(out, MECHANISM, response.as_bytes())).await?;
    match request(dialogue).await? {
        (OK, _) => Ok(()),
        (SASL_CONTINUE, data) => {
            let status = status(data);
            // The server speaks its error when it has had this (RFC 7628, section 3.2.3).
            dialogue.say(|out| message::password(out, b"\x01")).await?;
            match request(dialogue).await {
                Err(ConnectError::Refused(fields)) => {
                    Err(ConnectError::TokenRefused { status, fields: Box::new(fields) })
                }
                Err(error) => Err(error),
                Ok(_) => Err(ConnectError::protocol("a server that refused the token went on")),
            }
        }
        (other, _) => Err(ConnectError::protocol(format!("authentication message {other} in answer to a token"))),
    }
}

/// Whether the mechanism is in the server's list.
pub(super) fn is_offered(data: &[u8]) -> bool {
    let mut fields = Fields(data);
    std::iter::from_fn(|| fields.cstr().filter(|name| !name.is_empty())).any(|name| name == MECHANISM.as_bytes())
}

/// `status` of the server's answer, when it is the plain word that it should be.
fn status(data: &[u8]) -> String {
    let answer: Option<Value> = serde_json::from_slice(data).ok();
    let status = answer.as_ref().and_then(|answer| answer.get("status")).and_then(Value::as_str).unwrap_or_default();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    match !status.is_empty() && status.len() <= MAX_STATUS && status.bytes().all(is_word) {
        true => status.to_owned(),
        false => "no reason given".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mechanism_is_found_among_others() {
        assert!(is_offered(b"SCRAM-SHA-256\0OAUTHBEARER\0\0"));
        for list in [&b"SCRAM-SHA-256\0\0"[..], b"\0OAUTHBEARER\0", b"OAUTHBEARER", b"XOAUTHBEARER\0\0", b""] {
            assert!(!is_offered(list), "{list:?}");
        }
    }

    #[test]
    fn a_status_is_a_word_or_is_not_repeated() {
        assert_eq!(status(br#"{"status":"invalid_token","scope":"x"}"#), "invalid_token");
        for answer in [&b"{"[..], b"{}", br#"{"status":7}"#, br#"{"status":""}"#, br#"{"status":"a\nb"}"#, &[b'"'; 99]]
        {
            assert_eq!(status(answer), "no reason given");
        }
    }
}
