//! Key sources: what can be said of them without reading a file or asking an issuer.

use super::{ConfigError, check_url, setting};
use crate::config::{Issuer, JwksSource, KeySource, Proxy};

pub(super) fn check(issuer: &Issuer) -> Result<(), ConfigError> {
    match &issuer.keys {
        KeySource::PemFiles(files) if files.is_empty() => Err(setting("keys", "must name at least one file")),
        KeySource::JwksInline(text) if text.trim().is_empty() => Err(setting("keys", "must not be an empty text")),
        KeySource::PemFiles(_) | KeySource::PemDirectory(_) | KeySource::JwksInline(_) | KeySource::JwksFile(_) => {
            Ok(())
        }
        KeySource::None => Ok(()),
        KeySource::Jwks(source) => check_source(source),
        KeySource::Discovery(source) => {
            check_metadata_place(issuer.issuer.as_deref(), source)?;
            check_source(source)
        }
    }
}

fn check_source(source: &JwksSource) -> Result<(), ConfigError> {
    check_url(&source.url).map_err(|(url, problem)| ConfigError::JwksUrl { url, problem })?;
    for (name, is_nothing) in [
        ("jwks.cache_ttl", source.cache_ttl.is_zero()),
        ("jwks.connect_timeout", source.connect_timeout.is_zero()),
        ("jwks.timeout", source.timeout.is_zero()),
        ("jwks.max_body_size", source.max_body_size == 0),
        ("jwks.max_keys", source.max_keys == 0),
    ] {
        if is_nothing {
            return Err(setting(name, "must be more than 0"));
        }
    }
    match &source.proxy {
        Proxy::Url(url) => Proxy::check(url.expose())
            .map_err(|problem| ConfigError::Route { what: "the proxy", problem: problem.to_owned() }),
        Proxy::None | Proxy::Environment => Ok(()),
    }
}

/// A document can only say whose it is where that is known (OpenID Connect Discovery 1.0, sections 3 and 4.3).
fn check_metadata_place(issuer: Option<&str>, source: &JwksSource) -> Result<(), ConfigError> {
    let problem = |problem: &str| Err(ConfigError::Route { what: "discovery", problem: problem.to_owned() });
    match issuer {
        None => problem("needs the value of \"issuer\""),
        Some(issuer) if issuer != source.url => problem("must begin at the URL that \"issuer\" is"),
        Some(issuer) if issuer.contains(['?', '#']) => problem("needs an issuer without query and fragment"),
        Some(_) => Ok(()),
    }
}

impl Proxy {
    /// Whether this can be the URL of a proxy.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence. The URL is not repeated: it may hold a password.
    pub fn check(text: &str) -> Result<(), &'static str> {
        let url = reqwest::Url::parse(text).map_err(|_| "must be a URL")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must be an http:// or https:// address");
        }
        if url.host_str().is_none_or(str::is_empty) || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err("must be a host and a port and nothing behind them");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn discovery(issuer: Option<&str>, url: &str) -> Result<(), ConfigError> {
        let mut value = Issuer::new(KeySource::Discovery(JwksSource::new(url)));
        value.issuer = issuer.map(str::to_owned);
        check(&value)
    }

    #[test]
    fn metadata_is_looked_for_at_the_issuer_that_is_configured() {
        assert!(discovery(Some("https://issuer.example/realms/a"), "https://issuer.example/realms/a").is_ok());
        assert!(discovery(Some("http://127.0.0.1:9"), "http://127.0.0.1:9").is_ok());
        for (issuer, url) in [
            (None, "https://issuer.example"),
            (Some("https://issuer.example/"), "https://issuer.example"),
            (Some("https://issuer.example?a"), "https://issuer.example?a"),
            (Some("https://issuer.example#a"), "https://issuer.example#a"),
            (Some("http://issuer.example"), "http://issuer.example"),
            (Some("issuer"), "issuer"),
        ] {
            assert!(discovery(issuer, url).is_err(), "{issuer:?} {url}");
        }
    }

    #[test]
    fn a_proxy_is_a_host_and_a_port_and_its_password_is_not_shown() {
        let with = |proxy: &str| {
            let mut source = JwksSource::new("https://issuer.example/jwks");
            source.proxy = Proxy::Url(Secret::new(proxy));
            check(&Issuer::new(KeySource::Jwks(source)))
        };
        for good in ["http://proxy.example:3128", "https://me:hunter2@proxy.example:8443/", "http://10.0.0.1:3128"] {
            assert!(with(good).is_ok(), "{good}");
        }
        for bad in ["", "hunter2", "socks5://p:1", "http://", "http://p:1/hunter2", "http://p:1/?k=hunter2"] {
            let error = with(bad).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn a_set_of_no_keys_is_not_a_limit() {
        let mut source = JwksSource::new("https://issuer.example/jwks");
        source.max_keys = 0;
        assert!(check(&Issuer::new(KeySource::Jwks(source))).is_err());
        assert!(check(&Issuer::new(KeySource::JwksInline(" ".to_owned()))).is_err());
    }
}
