//! SCRAM-SHA-256 as its client (RFC 5802, RFC 7677), bound to the TLS channel when the server offers it.

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256};

use super::ConnectError;
use super::auth::{SASL_CONTINUE, SASL_FINAL, request};
use super::login::Dialogue;
use crate::net::tls::end_point::server_end_point;
use crate::wire::fields::Fields;
use crate::wire::message;

/// The mechanisms that the server offers, of those that are spoken here.
pub(super) struct Offered {
    plain: bool,
    plus: bool,
}

impl Offered {
    pub(super) fn parse(data: &[u8]) -> Result<Self, ConnectError> {
        let mut fields = Fields(data);
        let mut offered = Self { plain: false, plus: false };
        loop {
            match fields.cstr() {
                Some(b"") => break,
                Some(name) => {
                    offered.plain |= name == SCRAM_SHA_256.as_bytes();
                    offered.plus |= name == SCRAM_SHA_256_PLUS.as_bytes();
                }
                None => return Err(ConnectError::protocol("malformed list of SASL mechanisms")),
            }
        }
        if offered.plain || offered.plus {
            Ok(offered)
        } else {
            Err(ConnectError::authentication("the server offers no SASL mechanism that is supported (SCRAM-SHA-256)"))
        }
    }

    /// Binding stops somebody in between who holds a TLS session with each side. A client that could bind says so
    /// (`y`) when it is not offered, so that the server notices if it was offered and somebody took the offer out.
    fn choose(&self, end_point: Option<Vec<u8>>) -> Result<(&'static str, ChannelBinding), ConnectError> {
        match end_point {
            Some(hash) if self.plus => Ok((SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(hash))),
            Some(_) => Ok((SCRAM_SHA_256, ChannelBinding::unrequested())),
            None if self.plain => Ok((SCRAM_SHA_256, ChannelBinding::unsupported())),
            None => Err(ConnectError::authentication(
                "the server insists on channel binding, for which this connection has no means",
            )),
        }
    }
}

/// Ends when the server has proved that it knows the password too. AuthenticationOk is left to be read: one that comes
/// earlier is an error here, whoever sends it knows nothing.
pub(super) async fn authenticate(
    dialogue: &mut Dialogue<'_>,
    offered: Offered,
    password: &str,
) -> Result<(), ConnectError> {
    let end_point = dialogue.stream.peer_certificate().and_then(|certificate| server_end_point(certificate));
    let (mechanism, binding) = offered.choose(end_point)?;
    let mut scram = ScramSha256::new(password.as_bytes(), binding);
    dialogue.say(|out| message::sasl_initial_response(out, mechanism, scram.message())).await?;

    let data = expect(dialogue, SASL_CONTINUE).await?;
    scram.update(data).map_err(|error| ConnectError::protocol(format!("SCRAM challenge: {error}")))?;
    dialogue.say(|out| message::password(out, scram.message())).await?;

    let data = expect(dialogue, SASL_FINAL).await?;
    scram
        .finish(data)
        .map_err(|error| ConnectError::authentication(format!("the server did not prove itself: {error}")))
}

async fn expect<'a>(dialogue: &'a mut Dialogue<'_>, code: u32) -> Result<&'a [u8], ConnectError> {
    match request(dialogue).await? {
        (found, data) if found == code => Ok(data),
        (found, _) => Err(ConnectError::protocol(format!("authentication message {found} inside a SCRAM exchange"))),
    }
}
