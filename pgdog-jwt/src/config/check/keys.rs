//! Key sources: what can be said of them without reading a file or asking an issuer.

use super::Found;
use crate::config::fault::Fault;
use crate::config::{Issuer, JwksSource, KeySource, Proxy, url};
use crate::keys::read_inline;

pub(super) fn check(issuer: &Issuer, found: &mut Found<'_>) {
    match &issuer.keys {
        KeySource::PemFiles(files) => found.check("keys", files.is_empty(), "must name at least one file"),
        KeySource::JwksInline(text) if text.trim().is_empty() => found.check("jwks", true, "must not be an empty text"),
        KeySource::JwksInline(text) => {
            if let Err(problem) = read_inline(text, &issuer.algorithms) {
                found.add("jwks", Fault::KeySet(problem));
            }
        }
        KeySource::PemDirectory(_) | KeySource::JwksFile(_) | KeySource::None => {}
        KeySource::Jwks(source) => {
            found.check_url("jwks_url", &source.url, |url, problem| Fault::JwksUrl { url, problem });
            check_source(source, found);
        }
        KeySource::Discovery(source) => {
            check_metadata_place(issuer.issuer.as_deref(), source, found);
            check_source(source, found);
        }
    }
}

fn check_source(source: &JwksSource, found: &mut Found<'_>) {
    for (key, is_nothing) in [
        ("jwks_cache_ttl", source.cache_ttl.is_zero()),
        ("jwks_connect_timeout", source.connect_timeout.is_zero()),
        ("jwks_timeout", source.timeout.is_zero()),
        ("jwks_max_body_size", source.max_body_size == 0),
        ("jwks_max_keys", source.max_keys == 0),
    ] {
        found.check(key, is_nothing, "must be more than 0");
    }
    check_proxy(&source.proxy, found);
}

/// The URL is not repeated: it may hold a password.
pub(super) fn check_proxy(proxy: &Proxy, found: &mut Found<'_>) {
    let problem = match proxy {
        Proxy::Url(url) => Proxy::check(url.expose()).err(),
        Proxy::None | Proxy::Environment => None,
    };
    if let Some(problem) = problem {
        found.add("jwks_proxy", Fault::Setting { setting: "jwks_proxy", problem });
    }
}

/// A document can only say whose it is where that is known (OpenID Connect Discovery 1.0, sections 3 and 4.3).
fn check_metadata_place(issuer: Option<&str>, source: &JwksSource, found: &mut Found<'_>) {
    let (key, problem) = match issuer {
        None => ("issuer", Some("must be there")),
        Some(issuer) if issuer != source.url => ("discovery", Some("must be the URL that the metadata is below")),
        Some(issuer) if issuer.contains(['?', '#']) => ("discovery", Some("must have no query and no fragment")),
        Some(issuer) => ("discovery", url::check(issuer).err()),
    };
    if let Some(problem) = problem {
        found.add(key, Fault::Discovery(problem));
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
    use crate::config::check::Part;

    fn check(issuer: &Issuer) -> Result<(), Fault> {
        let mut all = Vec::new();
        super::check(issuer, &mut Found { part: Part::Issuer(0), all: &mut all });
        all.into_iter().next().map_or(Ok(()), |finding| Err(finding.fault))
    }

    fn discovery(issuer: Option<&str>, url: &str) -> Result<(), Fault> {
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
