//! Where an issuer says that its keys are: its metadata (OpenID Connect Discovery 1.0, sections 3 and 4). An issuer may move
//! its keys to any host of the network, but never to a weaker way than its own: what was asked over HTTPS leads nowhere in
//! clear text, and what is elsewhere leads to no service of this machine.

use std::net::{IpAddr, Ipv4Addr};

use reqwest::Url;

use crate::config::{check_url, printable};
use crate::json::parse_object;

/// What is behind the issuer's URL.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// How much of a strange issuer's name an error repeats, in characters.
const SHOWN: usize = 200;

/// Why the metadata of an issuer cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MetadataError {
    #[error("the issuer's metadata is not a JSON object")]
    NotMetadata,
    #[error("the issuer's metadata says of itself that it is of {0:?}, which is not the configured issuer")]
    WrongIssuer(String),
    #[error("the issuer's metadata does not say which issuer it is of")]
    NoIssuer,
    #[error("the issuer's metadata has no \"jwks_uri\"")]
    NoKeys,
    #[error("the \"jwks_uri\" of the issuer's metadata {0}")]
    KeysUrl(&'static str),
}

/// Where the metadata of an issuer is (section 4.1).
pub(super) fn url(issuer: &str) -> String {
    format!("{}{WELL_KNOWN}", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// The URL of the issuer's key set. The document must be the issuer's own, byte for byte (section 4.3).
pub(super) fn keys_url(body: &[u8], issuer: &str) -> Result<String, MetadataError> {
    let document = parse_object(body).ok_or(MetadataError::NotMetadata)?;
    let named = document.get("issuer").and_then(|value| value.as_str()).ok_or(MetadataError::NoIssuer)?;
    if named != issuer {
        return Err(MetadataError::WrongIssuer(printable(named).chars().take(SHOWN).collect()));
    }
    let url = document.get("jwks_uri").and_then(|value| value.as_str()).ok_or(MetadataError::NoKeys)?;
    check_url(url).map_err(MetadataError::KeysUrl)?;
    check_way(url, issuer).map_err(MetadataError::KeysUrl)?;
    Ok(url.to_owned())
}

/// Whether the way to the keys is as good as that to the metadata (section 3: both are https).
fn check_way(keys: &str, issuer: &str) -> Result<(), &'static str> {
    let (Ok(keys), Ok(issuer)) = (Url::parse(keys), Url::parse(issuer)) else { return Err("is not a URL") };
    if issuer.scheme() == "https" && keys.scheme() != "https" {
        return Err("must be https, as the issuer is");
    }
    if is_of_this_machine(&keys) && !is_of_this_machine(&issuer) {
        return Err("leads into this machine, where the issuer is not");
    }
    Ok(())
}

/// Whether the host is this machine, whoever asks: loopback, "no address", and link-local addresses, where clouds tell a
/// machine its secrets.
fn is_of_this_machine(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return true };
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(address)) => is_local_v4(address),
        Ok(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => is_local_v4(address),
            None => address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local(),
        },
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host);
            name.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("localhost"))
        }
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.octets()[0] == 0 || address.is_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://issuer.example/realms/a";

    fn read(text: &str) -> Result<String, MetadataError> {
        keys_url(text.as_bytes(), ISSUER)
    }

    #[test]
    fn metadata_is_below_the_issuer() {
        for issuer in [ISSUER.to_owned(), format!("{ISSUER}/")] {
            assert_eq!(url(&issuer), format!("{ISSUER}/.well-known/openid-configuration"));
        }
    }

    #[test]
    fn metadata_of_another_issuer_is_refused() {
        let named = |name: &str| read(&format!(r#"{{"issuer":"{name}","jwks_uri":"https://keys.example/a"}}"#));
        assert_eq!(named(ISSUER).as_deref(), Ok("https://keys.example/a"));
        for other in ["https://issuer.example/realms/a/", "https://ISSUER.example/realms/a", "", "x"] {
            assert_eq!(named(other), Err(MetadataError::WrongIssuer(other.to_owned())));
        }
        assert_eq!(read(r#"{"jwks_uri":"https://keys.example/a"}"#), Err(MetadataError::NoIssuer));
        assert_eq!(read(r#"{"issuer":["https://issuer.example/realms/a"]}"#), Err(MetadataError::NoIssuer));
    }

    #[test]
    fn an_issuer_elsewhere_does_not_lead_into_this_machine() {
        let leads = |issuer: &str, url: &str| {
            let document = format!(r#"{{"issuer":"{issuer}","jwks_uri":"{url}"}}"#);
            keys_url(document.as_bytes(), issuer).is_ok()
        };
        for url in [
            "https://127.0.0.1/keys",
            "https://127.9.9.9:8443/keys",
            "https://2130706433/keys",
            "https://0x7f.1/keys",
            "https://0.0.0.0/keys",
            "https://[::1]/keys",
            "https://[::]/keys",
            "https://[::ffff:127.0.0.1]/keys",
            "https://localhost/keys",
            "https://LOCALHOST./keys",
            "https://a.localhost/keys",
            "https://169.254.169.254/latest/meta-data",
            "https://[fe80::1]/keys",
        ] {
            assert!(!leads(ISSUER, url), "{url}");
        }
        for url in ["https://keys.example/a", "https://10.0.0.7/keys", "https://localhost.example/keys"] {
            assert!(leads(ISSUER, url), "{url}");
        }
        for (issuer, url) in [
            ("http://127.0.0.1:8080", "http://localhost:9/keys"),
            ("http://127.0.0.1:8080", "https://keys.example/a"),
            ("https://localhost:8443", "https://127.0.0.1:9/keys"),
        ] {
            assert!(leads(issuer, url), "{issuer} {url}");
        }
        for (issuer, url) in
            [("https://localhost:8443", "http://127.0.0.1:9/keys"), ("http://127.0.0.1:8080", "http://keys.example/")]
        {
            assert!(!leads(issuer, url), "{issuer} {url}");
        }
    }

    #[test]
    fn keys_are_fetched_over_https_only() {
        let at = |url: &str| read(&format!(r#"{{"issuer":"{ISSUER}","jwks_uri":{url}}}"#));
        for url in [
            r#""http://127.0.0.1:8080/keys""#,
            r#""http://localhost/keys""#,
            r#""http://keys.example/a""#,
            r#""file:///etc/keys""#,
            r#""https://me:secret@keys.example/a""#,
            r#""/keys""#,
            r#""""#,
        ] {
            assert!(matches!(at(url), Err(MetadataError::KeysUrl(_))), "{url}");
        }
        for url in ["null", "7", r#"["https://keys.example/a"]"#] {
            assert_eq!(at(url), Err(MetadataError::NoKeys));
        }
        for text in ["", "[]", "<html>", "{"] {
            assert_eq!(read(text), Err(MetadataError::NotMetadata));
        }
    }
}
