//! Proving to a server who logs in (PostgreSQL documentation, section "Message Formats", Authentication messages).

use postgres_protocol::authentication::md5_hash;

use super::login::{Dialogue, unexpected};
use super::{ConnectError, Proof, ServerLogin, oauth, scram};
use crate::net::Stream;
use crate::wire::fields::Fields;
use crate::wire::message;

pub(super) const OK: u32 = 0;
const CLEARTEXT: u32 = 3;
const MD5: u32 = 5;
const SASL: u32 = 10;
pub(super) const SASL_CONTINUE: u32 = 11;
pub(super) const SASL_FINAL: u32 = 12;

/// Answers the server's one request, if it has any, up to AuthenticationOk. A second request would be a server that
/// tries for more, or for less protection, than the first gave it.
pub(super) async fn authenticate(dialogue: &mut Dialogue<'_>, login: ServerLogin<'_>) -> Result<(), ConnectError> {
    let (request, data) = request(dialogue).await?;
    if let Proof::Token(bearer) = login.proof {
        let offered = request == SASL && oauth::is_offered(data);
        return oauth::authenticate(dialogue, offered, bearer.token.expose()).await;
    }
    match request {
        OK => return Ok(()),
        CLEARTEXT => {
            let password = password(login)?;
            allow_cleartext(dialogue.stream)?;
            let body = [password.as_bytes(), b"\0"].concat();
            dialogue.say(|out| message::password(out, &body)).await?;
        }
        MD5 => {
            let salt = <[u8; 4]>::try_from(data).map_err(|_| ConnectError::protocol("malformed MD5 salt"))?;
            let password = password(login)?;
            let hash = md5_hash(login.user.as_bytes(), password.as_bytes(), salt);
            let body = [hash.as_bytes(), b"\0"].concat();
            dialogue.say(|out| message::password(out, &body)).await?;
        }
        SASL => {
            let offered = scram::Offered::parse(data)?;
            scram::authenticate(dialogue, offered, password(login)?).await?;
        }
        SASL_CONTINUE | SASL_FINAL => {
            return Err(ConnectError::protocol("SASL data without a SASL request"));
        }
        other => {
            return Err(ConnectError::authentication(format!(
                "the server asks for authentication method {other}, which is not supported"
            )));
        }
    }
    match self::request(dialogue).await? {
        (OK, _) => Ok(()),
        _ => Err(ConnectError::protocol("a second authentication request")),
    }
}

/// The next authentication message: its code and its data.
pub(super) async fn request<'a>(dialogue: &'a mut Dialogue<'_>) -> Result<(u32, &'a [u8]), ConnectError> {
    let (tag, body) = dialogue.hear().await?;
    if tag != b'R' {
        return Err(unexpected(tag));
    }
    let mut fields = Fields(body);
    let code = fields.u32().ok_or_else(|| ConnectError::protocol("malformed authentication request"))?;
    Ok((code, fields.0))
}

fn password<'a>(login: ServerLogin<'a>) -> Result<&'a str, ConnectError> {
    match login.password {
        Some(password) if password.contains('\0') => {
            Err(ConnectError::authentication("the password of the server user holds a NUL byte"))
        }
        Some(password) => Ok(password),
        None => Err(ConnectError::authentication(format!(
            "the server asks for a password and none is configured for user {:?}",
            login.user
        ))),
    }
}

/// Whoever listens on the wire would have the password, so where there is a wire there must be TLS.
fn allow_cleartext(stream: &Stream) -> Result<(), ConnectError> {
    if stream.is_tls() || stream.is_local() {
        return Ok(());
    }
    Err(ConnectError::authentication(
        "the server asks for the password in clear text over an unencrypted network connection; \
         give the server TLS (tls_verify), or let it ask for scram-sha-256",
    ))
}
