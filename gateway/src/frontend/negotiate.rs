//! Which protocol version a session speaks (PostgreSQL documentation, section "NegotiateProtocolVersion").

use crate::wire::message;
use crate::wire::startup::{Startup, Version};

/// Start-up parameters with this prefix ask for extensions of the protocol. There are none yet.
const EXTENSION: &str = "_pq_.";

/// What was agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// What the session speaks. 3.0 has cancel keys of 4 bytes, 3.2 of up to 256.
    pub(crate) version: Version,
    /// NegotiateProtocolVersion, to be sent before anything else, for a client that asked for more than there is.
    pub(crate) message: Option<Vec<u8>>,
}

/// Answers what the client asked for. A minor version above 3.2 becomes 3.2. Version 3.1 does not exist (the number was
/// burnt by old poolers): PostgreSQL 18 lets it pass and speaks 3.0, and so does this.
pub(crate) fn negotiate(startup: &Startup) -> Negotiated {
    let version = if startup.version >= Version::V3_2 { Version::V3_2 } else { Version::V3_0 };
    let unknown: Vec<&str> =
        startup.parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with(EXTENSION)).collect();
    let asked_too_much = startup.version > Version::V3_2 || !unknown.is_empty();
    let message = asked_too_much.then(|| {
        let mut out = Vec::new();
        message::negotiate_protocol_version(&mut out, version, &unknown);
        out
    });
    Negotiated { version, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(minor: u32, names: &[&str]) -> Negotiated {
        negotiate(&Startup {
            version: Version((3 << 16) | minor),
            parameters: names.iter().map(|name| ((*name).to_owned(), "on".to_owned())).collect(),
        })
    }

    #[test]
    fn versions_that_exist_need_no_negotiation() {
        for (minor, version) in [(0, Version::V3_0), (2, Version::V3_2)] {
            let negotiated = ask(minor, &["user"]);
            assert_eq!(negotiated.version, version);
            assert_eq!(negotiated.message, None);
        }
    }

    #[test]
    fn a_newer_minor_gets_the_newest_there_is() {
        let negotiated = ask(9999, &["user"]);
        assert_eq!(negotiated.version, Version::V3_2);
        assert_eq!(negotiated.message.unwrap(), b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0");
    }

    #[test]
    fn unknown_extensions_are_listed_without_raising_the_version() {
        let negotiated = ask(0, &["user", "_pq_.more"]);
        assert_eq!(negotiated.version, Version::V3_0);
        assert_eq!(negotiated.message.unwrap(), b"v\0\0\0\x16\0\x03\0\0\0\0\0\x01_pq_.more\0");
    }

    #[test]
    fn version_3_1_is_spoken_as_3_0() {
        let negotiated = ask(1, &["user"]);
        assert_eq!(negotiated.version, Version::V3_0);
        assert_eq!(negotiated.message, None);
    }
}
