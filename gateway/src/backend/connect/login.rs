//! Start-up packet, authentication, and what the server says before it is ready.

use tokio::io::AsyncWriteExt;

use super::{ConnectError, ServerLogin, auth};
use crate::net::Stream;
use crate::net::read::read_message;
use crate::wire::ErrorFields;
use crate::wire::fields::Fields;
use crate::wire::message;
use crate::wire::startup::{MAX_STARTUP_SIZE, Version};

/// Largest message of a login. PostgreSQL's are a few hundred bytes; an error may be longer.
const MAX_MESSAGE_SIZE: usize = 64 * 1024;

/// Messages of a login. PostgreSQL sends about 20, more only with notices.
const MAX_MESSAGES: usize = 1000;

/// What the server told between AuthenticationOk and ReadyForQuery.
#[derive(Default)]
pub(super) struct Greeting {
    pub(super) process: u32,
    pub(super) key: Vec<u8>,
    pub(super) parameters: Vec<(String, String)>,
}

/// The messages of one login. Errors end it, notices are skipped, and both count.
pub(super) struct Dialogue<'a> {
    pub(super) stream: &'a mut Stream,
    body: Vec<u8>,
    out: Vec<u8>,
    count: usize,
}

pub(super) async fn log_in(stream: &mut Stream, login: ServerLogin<'_>) -> Result<Greeting, ConnectError> {
    let mut dialogue = Dialogue { stream, body: Vec::new(), out: startup_packet(login)?, count: 0 };
    dialogue.flush().await?;
    auth::authenticate(&mut dialogue, login).await?;
    greeting(&mut dialogue).await
}

/// Text cannot hold the NUL that ends it: what came after would be read as parameters of its own.
fn startup_packet(login: ServerLogin<'_>) -> Result<Vec<u8>, ConnectError> {
    let mut parameters = vec![("user", login.user), ("database", login.database)];
    parameters.extend_from_slice(login.parameters);
    if parameters.iter().any(|(name, value)| name.is_empty() || name.contains('\0') || value.contains('\0')) {
        return Err(ConnectError::authentication("a start-up parameter holds a NUL byte or has no name"));
    }
    let mut out = Vec::new();
    message::startup(&mut out, Version::V3_0, &parameters);
    if out.len() > MAX_STARTUP_SIZE {
        return Err(ConnectError::authentication("the start-up parameters are longer than PostgreSQL accepts"));
    }
    Ok(out)
}

async fn greeting(dialogue: &mut Dialogue<'_>) -> Result<Greeting, ConnectError> {
    let mut greeting = Greeting::default();
    loop {
        let (tag, body) = dialogue.hear().await?;
        let mut fields = Fields(body);
        match tag {
            b'S' => {
                let (Some(name), Some(value)) = (fields.cstr(), fields.cstr()) else {
                    return Err(ConnectError::protocol("malformed ParameterStatus"));
                };
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                greeting.parameters.push((text(name), text(value)));
            }
            b'K' => {
                greeting.process = fields
                    .u32()
                    .filter(|_| (4..=256).contains(&fields.0.len()))
                    .ok_or_else(|| ConnectError::protocol("malformed BackendKeyData"))?;
                greeting.key = fields.0.to_vec();
            }
            b'Z' if body == b"I" => return Ok(greeting),
            b'Z' => return Err(ConnectError::protocol("a new session is not idle")),
            other => return Err(unexpected(other)),
        }
    }
}

pub(super) fn unexpected(tag: u8) -> ConnectError {
    ConnectError::protocol(format!("unexpected message of type {:?}", char::from(tag)))
}

impl Dialogue<'_> {
    /// The next message that is neither an error nor a notice.
    pub(super) async fn hear(&mut self) -> Result<(u8, &[u8]), ConnectError> {
        let tag = loop {
            self.count += 1;
            if self.count > MAX_MESSAGES {
                return Err(ConnectError::protocol("too many messages before the login ended"));
            }
            match read_message(self.stream, MAX_MESSAGE_SIZE, &mut self.body).await? {
                b'E' => return Err(ConnectError::Refused(ErrorFields::parse(&self.body))),
                b'N' => {}
                b'v' => self.check_version()?,
                tag => break tag,
            }
        };
        Ok((tag, &self.body))
    }

    /// Sends what `build` makes.
    pub(super) async fn say(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> Result<(), ConnectError> {
        self.out.clear();
        build(&mut self.out);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), ConnectError> {
        self.stream.write_all(&self.out).await.map_err(ConnectError::unreachable)
    }

    /// NegotiateProtocolVersion in answer to plain 3.0 can only say 3.0.
    fn check_version(&self) -> Result<(), ConnectError> {
        match Fields(&self.body).u32() {
            // The message gives the newest minor version, with or without the major in front of it (before 18: without).
            Some(version) if version == 0 || version == Version::V3_0.0 => Ok(()),
            _ => Err(ConnectError::protocol("the server wants another protocol version than 3.0")),
        }
    }
}
