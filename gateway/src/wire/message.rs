//! Messages that the gateway itself sends, to clients and to servers.

use super::frame;
use super::startup::Version;

/// Asks the client for a password in clear text, which is where a token goes.
pub(crate) fn authentication_cleartext(out: &mut Vec<u8>) {
    frame::push(out, b'R', &3u32.to_be_bytes());
}

/// Asks the client for an MD5 password.
pub(crate) fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    let start = frame::begin(out, b'R');
    out.extend_from_slice(&5u32.to_be_bytes());
    out.extend_from_slice(&salt);
    frame::end(out, start);
}

/// Offers one SASL mechanism.
pub(crate) fn authentication_sasl(out: &mut Vec<u8>, mechanism: &str) {
    let start = frame::begin(out, b'R');
    out.extend_from_slice(&10u32.to_be_bytes());
    cstr(out, mechanism.as_bytes());
    out.push(0);
    frame::end(out, start);
}

/// A SASL challenge.
pub(crate) fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    let start = frame::begin(out, b'R');
    out.extend_from_slice(&11u32.to_be_bytes());
    out.extend_from_slice(data);
    frame::end(out, start);
}

/// The server's last SASL word.
pub(crate) fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    let start = frame::begin(out, b'R');
    out.extend_from_slice(&12u32.to_be_bytes());
    out.extend_from_slice(data);
    frame::end(out, start);
}

/// The client is in.
pub(crate) fn authentication_ok(out: &mut Vec<u8>) {
    frame::push(out, b'R', &0u32.to_be_bytes());
}

/// Tells the client of a parameter's value.
pub(crate) fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    let start = frame::begin(out, b'S');
    cstr(out, name.as_bytes());
    cstr(out, value.as_bytes());
    frame::end(out, start);
}

/// Tells the client how to cancel.
pub(crate) fn backend_key_data(out: &mut Vec<u8>, process: u32, key: &[u8]) {
    let start = frame::begin(out, b'K');
    out.extend_from_slice(&process.to_be_bytes());
    out.extend_from_slice(key);
    frame::end(out, start);
}

/// `status`: `b'I'` idle, `b'T'` in a transaction, `b'E'` in a failed one.
pub(crate) fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    frame::push(out, b'Z', &[status]);
}

/// Answers a client that asked for more of the protocol than there is.
pub(crate) fn negotiate_protocol_version(out: &mut Vec<u8>, newest: Version, unknown_options: &[&str]) {
    let start = frame::begin(out, b'v');
    out.extend_from_slice(&newest.0.to_be_bytes());
    out.extend_from_slice(&(unknown_options.len() as u32).to_be_bytes());
    for option in unknown_options {
        cstr(out, option.as_bytes());
    }
    frame::end(out, start);
}

/// A start-up packet, which has no tag.
pub(crate) fn startup(out: &mut Vec<u8>, version: Version, parameters: &[(&str, &str)]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&version.0.to_be_bytes());
    for (name, value) in parameters {
        cstr(out, name.as_bytes());
        cstr(out, value.as_bytes());
    }
    out.push(0);
    let length = (out.len() - start) as u32;
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Asks a server for TLS.
pub(crate) fn ssl_request(out: &mut Vec<u8>) {
    out.extend_from_slice(&8u32.to_be_bytes());
    out.extend_from_slice(&((1234u32 << 16) | 5679).to_be_bytes());
}

/// Asks a server to cancel what one of its processes runs.
pub(crate) fn cancel_request(out: &mut Vec<u8>, process: u32, key: &[u8]) {
    out.extend_from_slice(&(12 + key.len() as u32).to_be_bytes());
    out.extend_from_slice(&((1234u32 << 16) | 5678).to_be_bytes());
    out.extend_from_slice(&process.to_be_bytes());
    out.extend_from_slice(key);
}

/// A simple query.
pub(crate) fn query(out: &mut Vec<u8>, sql: &[u8]) {
    let start = frame::begin(out, b'Q');
    cstr(out, sql);
    frame::end(out, start);
}

/// A prepared statement. `types` is the message's own list of parameter types, count first.
pub(crate) fn parse(out: &mut Vec<u8>, name: &[u8], sql: &[u8], types: &[u8]) {
    let start = frame::begin(out, b'P');
    cstr(out, name);
    cstr(out, sql);
    out.extend_from_slice(types);
    frame::end(out, start);
}

/// The same without a name or types, of a text in parts.
pub(crate) fn parse_parts(out: &mut Vec<u8>, parts: &[&str]) {
    let start = frame::begin(out, b'P');
    out.push(0);
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(&[0; 3]);
    frame::end(out, start);
}

/// Binds a prepared statement to a portal, with parameters and results as text.
pub(crate) fn bind<'a>(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], values: impl IntoIterator<Item = &'a str>) {
    let start = frame::begin(out, b'B');
    cstr(out, portal);
    cstr(out, statement);
    let count_at = out.len() + 2;
    out.extend_from_slice(&[0; 4]);
    let mut count: u16 = 0;
    for value in values {
        out.extend_from_slice(&(value.len() as u32).to_be_bytes());
        out.extend_from_slice(value.as_bytes());
        count += 1;
    }
    if let Some(field) = out.get_mut(count_at..count_at + 2) {
        field.copy_from_slice(&count.to_be_bytes());
    }
    out.extend_from_slice(&[0; 2]);
    frame::end(out, start);
}

/// Asks for the columns of the unnamed portal.
pub(crate) fn describe_portal(out: &mut Vec<u8>) {
    frame::push(out, b'D', b"P\0");
}

/// Runs the unnamed portal; as many rows as there are for 0.
pub(crate) fn execute(out: &mut Vec<u8>, rows: u32) {
    let start = frame::begin(out, b'E');
    out.push(0);
    out.extend_from_slice(&rows.to_be_bytes());
    frame::end(out, start);
}

/// Closes a prepared statement.
pub(crate) fn close_statement(out: &mut Vec<u8>, name: &[u8]) {
    let start = frame::begin(out, b'C');
    out.push(b'S');
    cstr(out, name);
    frame::end(out, start);
}

/// Binds a prepared statement to a portal of its name, runs that, and closes it.
pub(crate) fn run(out: &mut Vec<u8>, name: &[u8], values: &[&str]) {
    bind(out, name, name, values.iter().copied());
    let start = frame::begin(out, b'E');
    cstr(out, name);
    out.extend_from_slice(&[0; 4]);
    frame::end(out, start);
    close_portal(out, name);
}

/// Closes a portal.
pub(crate) fn close_portal(out: &mut Vec<u8>, name: &[u8]) {
    let start = frame::begin(out, b'C');
    out.push(b'P');
    cstr(out, name);
    frame::end(out, start);
}

/// Prepares a statement under no name and runs it with these parameters.
pub(crate) fn run_unnamed(out: &mut Vec<u8>, sql: &[u8], values: &[&str]) {
    parse(out, b"", sql, &[0, 0]);
    bind(out, b"", b"", values.iter().copied());
    execute(out, 0);
}

/// The end of a batch.
pub(crate) fn sync(out: &mut Vec<u8>) {
    frame::push(out, b'S', &[]);
}

/// Asks for the parameters and the result of a prepared statement.
pub(crate) fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    let start = frame::begin(out, b'D');
    out.push(b'S');
    cstr(out, name);
    frame::end(out, start);
}

/// A password or a SASL response.
pub(crate) fn password(out: &mut Vec<u8>, body: &[u8]) {
    frame::push(out, b'p', body);
}

/// The first SASL response.
pub(crate) fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    let start = frame::begin(out, b'p');
    cstr(out, mechanism.as_bytes());
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(data);
    frame::end(out, start);
}

/// Asks a server for the replies that it keeps back.
pub(crate) fn flush(out: &mut Vec<u8>) {
    frame::push(out, b'H', &[]);
}

/// The end of a statement.
pub(crate) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    let start = frame::begin(out, b'C');
    cstr(out, tag.as_bytes());
    frame::end(out, start);
}

/// The end of the connection.
pub(crate) fn terminate(out: &mut Vec<u8>) {
    frame::push(out, b'X', &[]);
}

#[inline]
pub(crate) fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    out.push(0);
}
