//! What a client is told when it is in: the parameters of the server, as they are with the client's own settings. Taken
//! from a real server connection once, kept for the next clients that ask for the same.

use std::sync::Arc;

use super::connection::Connection;
use super::settings::Settings;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, message};

/// Bytes of a name, `NAMEDATALEN` less one.
const MAX_NAME: usize = 63;

/// Distinct settings that are remembered for one set of pools.
const REMEMBERED: usize = 64;

/// Parameters that no setting changes, and the one that differs from server to server by its nature. A client hears of
/// them at login and not again.
const FIXED: [&str; 6] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
];

/// The `application_name` of a server connection, until it is its client's.
pub(crate) const OWN_NAME: &str = "pgdog-jwt";

/// What a client is told at login.
#[derive(Clone)]
pub(crate) struct Greeting {
    /// ParameterStatus messages, ready to send.
    pub(crate) messages: Arc<[u8]>,
    /// Those of them that may change: see [`followed`].
    pub(crate) followed: Arc<[u8]>,
    /// Of PostgreSQL.
    version: Option<u32>,
}

impl Greeting {
    /// An `application_name` as the server has it.
    pub(crate) fn application_name(&self, name: &str) -> String {
        shown_application_name(name, self.version)
    }
}

/// An `application_name` as a server of this version has it (PostgreSQL documentation, "application_name"): so many bytes of
/// it, and in place of each that is not printable ASCII its number, or a question mark before PostgreSQL 16.
pub(crate) fn shown_application_name(name: &str, version: Option<u32>) -> String {
    let name = name.get(..name.floor_char_boundary(MAX_NAME)).unwrap_or(name);
    let mut cleaned = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b' '..=b'~' => cleaned.push(char::from(byte)),
            _ if version.is_some_and(|version| version < 16) => cleaned.push('?'),
            _ => cleaned.push_str(&format!("\\x{byte:02x}")),
        }
    }
    cleaned
}

/// Greetings by settings. `application_name` is left out: PostgreSQL takes any text, so it needs no server.
#[derive(Default)]
pub(crate) struct Greetings(Vec<(Settings, Greeting)>);

impl Greetings {
    pub(crate) fn get(&self, settings: &Settings) -> Option<Greeting> {
        self.0.iter().find(|(known, _)| known == settings).map(|(_, greeting)| greeting.clone())
    }

    pub(crate) fn put(&mut self, settings: Settings, greeting: Greeting) {
        self.0.retain(|(known, _)| *known != settings);
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((settings, greeting));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Builds the messages from what a server reports.
pub(crate) fn build(connection: &Connection) -> Greeting {
    let all = connection.parameters.iter().filter(|(name, _)| name != "application_name");
    let version = connection.major_version();
    Greeting { messages: write(all), followed: connection.reported.clone(), version }
}

/// ParameterStatus messages of the parameters that may change while a client is there. `application_name` is the client's
/// own, so it knows.
pub(crate) fn followed(parameters: &[(String, String)]) -> Arc<[u8]> {
    write(parameters.iter().filter(|(name, _)| is_followed(name)))
}

/// Whether a change of this parameter is told to clients that did not make it.
pub(crate) fn is_followed(name: &str) -> bool {
    name != "application_name" && !FIXED.contains(&name)
}

fn write<'a>(parameters: impl Iterator<Item = &'a (String, String)>) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(512);
    for (name, value) in parameters {
        message::parameter_status(&mut out, name, value);
    }
    out.into()
}

/// Appends the messages of `new` that are not in `old`.
pub(crate) fn write_changes(old: &[u8], new: &[u8], out: &mut Vec<u8>) {
    for message in messages(new).filter(|message| !messages(old).any(|old| old == *message)) {
        out.extend_from_slice(message);
    }
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let header = Header::parse(bytes).ok().flatten().filter(|header| header.size >= HEADER_SIZE)?;
        let (message, rest) = bytes.split_at_checked(header.size)?;
        bytes = rest;
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_what_has_changed_is_told_again() {
        let old = followed(&parameters(&[("TimeZone", "UTC"), ("DateStyle", "ISO"), ("application_name", "a")]));
        let new = followed(&parameters(&[("TimeZone", "GMT"), ("DateStyle", "ISO"), ("application_name", "b")]));
        let mut out = Vec::new();
        write_changes(&old, &new, &mut out);
        assert_eq!(out, b"S\0\0\0\x11TimeZone\0GMT\0");
    }

    #[test]
    fn a_replica_is_no_change() {
        let primary = followed(&parameters(&[("TimeZone", "UTC"), ("in_hot_standby", "off")]));
        let replica = followed(&parameters(&[("in_hot_standby", "on"), ("TimeZone", "UTC")]));
        assert_eq!(primary, replica);
    }
}
