//! Notifications (`LISTEN`, `NOTIFY`) name the process that sent them. A client compares that with the number that it was told at its
//! login, to tell its own from others'; that number is the session's, and PostgreSQL knows the process of its server. Who else
//! has sent one is not known: it may have another server by now.

use super::Session;
use super::replies::Fate;
use crate::wire::Header;
use crate::wire::frame::{self, HEADER_SIZE};

impl Session {
    /// What the client hears of a notification.
    pub(super) fn notification(&self, body: &[u8]) -> Fate {
        let Some(server) = &self.server else { return Fate::Forward };
        let mut out = Vec::new();
        match write(body, server.connection().process, self.registration.process(), &mut out) {
            true => Fate::Rewrite(out),
            false => Fate::Forward,
        }
    }
}

/// Writes all notifications of these messages, which came while the server with the process number `own` was asked something.
pub(super) fn write_all(mut messages: &[u8], own: u32, shown: u32, out: &mut Vec<u8>) {
    while let Ok(Some(header)) = Header::parse(messages)
        && let Some((message, rest)) = messages.split_at_checked(header.size)
    {
        let body = message.get(HEADER_SIZE..).unwrap_or_default();
        if !write(body, own, shown, out) {
            out.extend_from_slice(message);
        }
        messages = rest;
    }
}

/// Writes a notification under the number of the session; `false`: it is another's.
fn write(body: &[u8], own: u32, shown: u32, out: &mut Vec<u8>) -> bool {
    // Some poolers give no number.
    let Some(rest) = body.strip_prefix(&own.to_be_bytes()).filter(|_| own != 0) else { return false };
    frame::push(out, b'A', &[&shown.to_be_bytes(), rest].concat());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(process: u32) -> Vec<u8> {
        let mut out = Vec::new();
        frame::push(&mut out, b'A', &[&process.to_be_bytes(), &b"channel\0text\0"[..]].concat());
        out
    }

    #[test]
    fn only_the_servers_own_number_becomes_the_sessions() {
        let mut out = Vec::new();
        write_all(&[message(7), message(8), message(7)].concat(), 7, 100, &mut out);
        assert_eq!(out, [message(100), message(8), message(100)].concat());
    }

    #[test]
    fn a_server_without_a_number_has_no_notifications_of_its_own() {
        let mut out = Vec::new();
        write_all(&message(0), 0, 100, &mut out);
        assert_eq!(out, message(0));
    }
}
