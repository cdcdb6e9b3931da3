//! An error for a client, with a hint, for hosts whose own errors have none.

/// An ErrorResponse (PostgreSQL, 55.8).
pub fn error(severity: &str, sqlstate: &str, message: &str, hint: &str) -> Vec<u8> {
    let mut body = Vec::new();
    let fields = [(b'S', severity), (b'V', severity), (b'C', sqlstate), (b'M', message), (b'H', hint)];
    for (field, text) in fields.into_iter().filter(|(_, text)| !text.is_empty()) {
        body.push(field);
        body.extend(text.bytes().filter(|byte| *byte != 0));
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [b"E", &length.to_be_bytes()[..], &body].concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_error_is_a_message_of_its_length() {
        assert_eq!(super::error("E", "42501", "m\0", ""), b"E\0\0\0\x15SE\0VE\0C42501\0Mm\0\0");
    }
}
