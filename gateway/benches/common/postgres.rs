//! Stands in for PostgreSQL where the gateway alone is measured: it answers at once, always the same, and allocates nothing
//! once a connection is warm. It knows whom the gateway has made a connection, because the gateway asks.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Where a gateway finds it in a folder, as libpq has it.
const SOCKET: &str = ".s.PGSQL.5432";

/// The account that the gateway logs in with.
pub(crate) const ACCOUNT: &str = "gateway";

/// Answers to the messages of a client, and to a query of one row.
pub(crate) const PARSED: &[u8] = b"1\0\0\0\x04";
pub(crate) const BOUND: &[u8] = b"2\0\0\0\x04";
pub(crate) const CLOSED: &[u8] = b"3\0\0\0\x04";
pub(crate) const CLOSED_AND_READY: &[u8] = b"3\0\0\0\x04Z\0\0\0\x05I";
pub(crate) const PARAMETERS: &[u8] = b"t\0\0\0\x06\0\0";
pub(crate) const COLUMNS: &[u8] = b"T\0\0\0\x1a\0\x01n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";
pub(crate) const ROW: &[u8] = b"D\0\0\0\x0b\0\x01\0\0\0\x011";
pub(crate) const COMPLETE: &[u8] = b"C\0\0\0\x0dSELECT 1\0";
pub(crate) const READY: &[u8] = b"Z\0\0\0\x05I";

/// What it says of itself when a connection begins.
const GREETING: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("in_hot_standby", "off"),
    ("server_version", "18.0"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
];

/// The names in the queries that are measured lead to no code but PostgreSQL's own.
const PLAIN: [(&str, &str); 2] = [("w", "numbers"), ("o", "=")];

/// Takes connections in a folder from now on, on the runtime that runs this.
pub(crate) fn start(folder: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(folder.join(SOCKET))?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    });
    Ok(())
}

/// Until the gateway leaves, or breaks the protocol.
async fn serve(mut socket: UnixStream) -> io::Result<()> {
    let mut connection = Connection::new(&mut socket).await?;
    let mut input = Vec::with_capacity(64 * 1024);
    let mut out = Vec::with_capacity(64 * 1024);
    connection.greet(&mut out);
    loop {
        socket.write_all(&out).await?;
        out.clear();
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut rest = input.as_slice();
        while let Some((tag, body, behind)) = message(rest) {
            connection.answer(tag, body, &mut out);
            rest = behind;
        }
        let left = rest.len();
        let at = input.len() - left;
        input.copy_within(at.., 0);
        input.truncate(left);
    }
}

/// The message at the front: tag, body, and what is behind it.
fn message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, a, b, c, d], _) = bytes.split_first_chunk()?;
    let (message, behind) = bytes.split_at_checked(u32::from_be_bytes([a, b, c, d]) as usize + 1)?;
    Some((tag, &message[5..], behind))
}

struct Connection {
    role: String,
    asked: Asked,
    value: String,
}

impl Connection {
    /// Reads the start-up packet.
    async fn new(socket: &mut UnixStream) -> io::Result<Self> {
        let size = socket.read_u32().await?;
        let mut packet = vec![0; size.saturating_sub(4) as usize];
        socket.read_exact(&mut packet).await?;
        let words: Vec<_> = packet.get(4..).unwrap_or_default().split(|byte| *byte == 0).collect();
        let role = words.chunks(2).find(|pair| pair[0] == b"role").map_or(ACCOUNT.as_bytes(), |pair| pair[1]);
        let role = String::from_utf8_lossy(role).into_owned();
        Ok(Self { role, asked: Asked::Row, value: String::new() })
    }

    fn greet(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"R\0\0\0\x08\0\0\0\0");
        for (name, value) in GREETING {
            frame(out, b'S', &[name.as_bytes(), b"\0", value.as_bytes(), b"\0"]);
        }
        out.extend_from_slice(b"K\0\0\0\x0c\0\0\0\x07\x01\x02\x03\x04");
        out.extend_from_slice(READY);
    }

    fn answer(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        match tag {
            b'Q' => {
                self.query(std::str::from_utf8(body).unwrap_or_default(), out);
                out.extend_from_slice(READY);
            }
            b'P' => {
                self.asked = Asked::by(body);
                out.extend_from_slice(PARSED);
            }
            b'B' => {
                self.bind(body);
                out.extend_from_slice(BOUND);
            }
            b'C' => out.extend_from_slice(CLOSED),
            b'D' if body.starts_with(b"S") => [PARAMETERS, COLUMNS].iter().for_each(|part| out.extend_from_slice(part)),
            b'D' => out.extend_from_slice(COLUMNS),
            b'E' => {
                match self.asked {
                    Asked::Row => out.extend_from_slice(ROW),
                    Asked::Nothing => {}
                    Asked::Who => self.who(out),
                    Asked::Value => frame(out, b'D', &[b"\0\x01\0\0\0\x20", self.value.as_bytes()]),
                }
                out.extend_from_slice(COMPLETE);
            }
            b'S' => out.extend_from_slice(READY),
            _ => {}
        }
    }

    fn query(&self, sql: &str, out: &mut Vec<u8>) {
        if sql.contains("pg_depend") {
            out.extend_from_slice(COLUMNS);
            PLAIN.iter().for_each(|(kind, name)| pair(out, kind, name));
        } else if sql.starts_with("SELECT n FROM") {
            [COLUMNS, ROW].iter().for_each(|part| out.extend_from_slice(part));
        }
        out.extend_from_slice(COMPLETE);
    }

    /// Reads the first parameter of a Bind of a statement of the gateway's own.
    fn bind(&mut self, body: &[u8]) {
        if !body.starts_with(b"\0\0") {
            // Clients name their statements.
            self.asked = Asked::Row;
        }
        if self.asked == Asked::Row {
            return;
        }
        let Some((size, rest)) = body.get(6..).and_then(|rest| rest.split_first_chunk()) else { return };
        let value = rest.get(..u32::from_be_bytes(*size) as usize).unwrap_or_default();
        self.value.clear();
        self.value.push_str(std::str::from_utf8(value).unwrap_or_default());
        if self.asked == Asked::Nothing && !self.value.is_empty() {
            self.role.clone_from(&self.value);
        }
    }

    /// `current_user`, `session_user`, whether it is privileged, whether the server is a replica, a process that is not the
    /// one that has greeted, so that nothing goes in one write with a request, and the nonce of the question.
    fn who(&self, out: &mut Vec<u8>) {
        let nonce = &self.value;
        let size = |value: &str| (value.len() as u32).to_be_bytes();
        let (role, sizes) = (self.role.as_bytes(), (size(&self.role), size(ACCOUNT), size(nonce)));
        let rest = b"\0\0\0\x01f\0\0\0\x01f\0\0\0\x010";
        let values: [&[u8]; 8] =
            [b"\0\x06", &sizes.0, role, &sizes.1, ACCOUNT.as_bytes(), rest, &sizes.2, nonce.as_bytes()];
        frame(out, b'D', &values);
    }
}

/// What the statement that was prepared last gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Row,
    /// It takes a role, the first parameter, or nothing.
    Nothing,
    Who,
    /// Its first parameter.
    Value,
}

impl Asked {
    fn by(parse: &[u8]) -> Self {
        let sql = std::str::from_utf8(parse).unwrap_or_default().trim_start_matches('\0');
        if sql.contains("rolbypassrls") {
            Self::Who
        } else if sql.starts_with("SELECT $1::pg_catalog.text\0") {
            Self::Value
        } else if sql.contains("set_config('role',") || !sql.starts_with("SELECT") {
            Self::Nothing
        } else {
            Self::Row
        }
    }
}

/// Appends a row of two values.
fn pair(out: &mut Vec<u8>, one: &str, other: &str) {
    let size = |value: &str| (value.len() as u32).to_be_bytes();
    frame(out, b'D', &[b"\0\x02", &size(one), one.as_bytes(), &size(other), other.as_bytes()]);
}

/// Appends a message, whose body comes in parts.
pub(crate) fn frame(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    out.extend_from_slice(&(size as u32 + 4).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
