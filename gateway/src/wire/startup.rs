//! The first message of a connection, which has no tag: a start-up packet, a request for encryption, or a cancel
//! request (PostgreSQL documentation, section "Message Formats").

use super::fields::Fields;

/// Largest start-up packet that PostgreSQL accepts (`MAX_STARTUP_PACKET_LENGTH`).
pub(crate) const MAX_STARTUP_SIZE: usize = 10_000;

const CANCEL: u32 = (1234 << 16) | 5678;
const SSL: u32 = (1234 << 16) | 5679;
const GSSENC: u32 = (1234 << 16) | 5680;

/// A protocol version: major in the high half, minor in the low.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32);

impl Version {
    pub(crate) const V3_0: Self = Self(3 << 16);
    pub(crate) const V3_2: Self = Self((3 << 16) | 2);

    pub(crate) fn major(self) -> u32 {
        self.0 >> 16
    }

    pub(crate) fn minor(self) -> u32 {
        self.0 & 0xffff
    }
}

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirstMessage {
    Ssl,
    GssEnc,
    /// Process id and secret key of the session to cancel. The key has 4 bytes in protocol 3.0, up to 256 in 3.2.
    Cancel {
        process: u32,
        key: Vec<u8>,
    },
    Startup(Startup),
}

/// A start-up packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Startup {
    pub(crate) version: Version,
    /// Names and values in the order sent. Not UTF-8 is refused: names must be used byte for byte (S13).
    pub(crate) parameters: Vec<(String, String)>,
}

impl Startup {
    /// The last value given for `name`, as PostgreSQL takes it.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Why a first message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartupError {
    #[error("start-up packet of {0} bytes is out of range")]
    Length(u32),
    #[error("start-up packet is malformed")]
    Malformed,
    #[error("start-up packet holds text that is not UTF-8")]
    NotUtf8,
    #[error("unsupported frontend protocol {}.{}", .0.major(), .0.minor())]
    Version(Version),
}

/// The length of the packet from its first four bytes, those four included.
pub(crate) fn packet_size(length: [u8; 4]) -> Result<usize, StartupError> {
    let size = u32::from_be_bytes(length);
    if !(8..=MAX_STARTUP_SIZE as u32).contains(&size) {
        return Err(StartupError::Length(size));
    }
    Ok(size as usize)
}

/// Reads a packet without its length field.
pub(crate) fn parse(body: &[u8]) -> Result<FirstMessage, StartupError> {
    let mut fields = Fields(body);
    let code = fields.u32().ok_or(StartupError::Malformed)?;
    match code {
        SSL if fields.is_empty() => Ok(FirstMessage::Ssl),
        GSSENC if fields.is_empty() => Ok(FirstMessage::GssEnc),
        CANCEL => {
            let process = fields.u32().ok_or(StartupError::Malformed)?;
            if fields.0.len() < 4 || fields.0.len() > 256 {
                return Err(StartupError::Malformed);
            }
            Ok(FirstMessage::Cancel { process, key: fields.0.to_vec() })
        }
        _ => {
            let version = Version(code);
            if version.major() != 3 {
                return Err(StartupError::Version(version));
            }
            Ok(FirstMessage::Startup(Startup { version, parameters: parameters(fields)? }))
        }
    }
}

fn parameters(mut fields: Fields<'_>) -> Result<Vec<(String, String)>, StartupError> {
    let mut parameters = Vec::new();
    loop {
        let name = fields.cstr().ok_or(StartupError::Malformed)?;
        if name.is_empty() {
            break;
        }
        let value = fields.cstr().ok_or(StartupError::Malformed)?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| StartupError::NotUtf8);
        parameters.push((text(name)?, text(value)?));
    }
    if fields.is_empty() { Ok(parameters) } else { Err(StartupError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes(), rest].concat()
    }

    #[test]
    fn a_startup_packet_gives_its_parameters() {
        let message = parse(&packet(3 << 16, b"user\0alice\0database\0demo\0\0"));
        let Ok(FirstMessage::Startup(startup)) = message else { panic!("{message:?}") };
        assert_eq!(startup.get("user"), Some("alice"));
        assert_eq!(startup.get("database"), Some("demo"));
        assert_eq!(startup.version, Version::V3_0);
    }

    #[test]
    fn packets_without_terminators_are_malformed() {
        for body in [&b"user\0alice"[..], b"user\0alice\0", b"user", b"", b"user\0alice\0\0x"] {
            assert_eq!(parse(&packet(3 << 16, body)), Err(StartupError::Malformed), "{body:?}");
        }
    }

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(parse(&packet(SSL, b"")), Ok(FirstMessage::Ssl));
        assert_eq!(parse(&packet(GSSENC, b"")), Ok(FirstMessage::GssEnc));
        assert_eq!(
            parse(&packet(CANCEL, b"\0\0\0\x07\x01\x02\x03\x04")),
            Ok(FirstMessage::Cancel { process: 7, key: vec![1, 2, 3, 4] })
        );
        assert_eq!(parse(&packet(CANCEL, b"")), Err(StartupError::Malformed));
        assert_eq!(parse(&packet(2 << 16, b"\0")), Err(StartupError::Version(Version(2 << 16))));
    }

    #[test]
    fn lengths_out_of_range_are_refused() {
        assert_eq!(packet_size([0, 0, 0, 7]), Err(StartupError::Length(7)));
        assert_eq!(packet_size(*b"GET "), Err(StartupError::Length(u32::from_be_bytes(*b"GET "))));
        assert_eq!(packet_size([0, 0, 0, 8]), Ok(8));
    }
}
