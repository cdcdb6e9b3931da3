//! Whether a URL may be asked for keys or about tokens: over HTTPS, or in clear text on this machine only.

use std::net::IpAddr;

/// Whether it may be.
///
/// # Errors
/// Why not, as the end of a sentence. The URL itself is not repeated: it may hold a secret in its query.
pub fn check(url: &str) -> Result<(), &'static str> {
    if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err("must not contain white space, control characters or backslashes");
    }
    let (scheme, rest) = url.split_once("://").ok_or("must be an https:// address")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    if authority.contains('@') {
        return Err("must not contain a user name or a password");
    }
    let host = host(authority).ok_or("must name a host")?;
    match scheme.to_ascii_lowercase().as_str() {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => return Err("must use https:// (http:// is for loopback addresses only)"),
        _ => return Err("must be an https:// address"),
    }
    // Whoever asks it reads it so.
    reqwest::Url::parse(url).map(drop).map_err(|_| "is not a URL")
}

/// A URL as it may be logged: a query can carry an access key, and a user part a password.
pub(crate) fn printable(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    match (bare.find("://"), bare.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}…{}", &bare[..scheme + 3], &bare[at..])
        }
        _ => bare.to_owned(),
    }
}

/// The host without port and brackets.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':').or(Some("0").filter(|_| rest.is_empty()))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "0")),
    };
    let valid = !host.is_empty() && port.parse::<u16>().is_ok();
    valid.then_some(host)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn clear_text_is_for_loopback_only() {
        for good in [
            "https://login.example.com/keys",
            "HTTPS://login.example.com:8443",
            "http://127.0.0.1:9000/jwks.json",
            "http://localhost/jwks",
            "http://[::1]:9000/jwks",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "http://login.example.com/keys",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://localhost@example.com/",
            "https://user:secret@example.com/",
            "http://localhost\\.example.com/",
            "http://example.com#localhost",
            "http://[::1",
            "ftp://localhost/keys",
            "https://",
            "https://example.com:port/",
            "keys.json",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
