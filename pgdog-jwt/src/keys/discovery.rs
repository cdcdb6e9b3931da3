//! Where an issuer says that its keys are: its metadata (OpenID Connect Discovery 1.0, sections 3 and 4).

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
    check_url(url).map_err(|(_, problem)| MetadataError::KeysUrl(problem))?;
    Ok(url.to_owned())
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
    fn keys_are_fetched_over_https_only() {
        let at = |url: &str| read(&format!(r#"{{"issuer":"{ISSUER}","jwks_uri":{url}}}"#));
        assert!(at(r#""http://127.0.0.1:8080/keys""#).is_ok());
        for url in [
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
