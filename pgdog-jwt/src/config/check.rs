//! What is wrong with a configuration is said when it is loaded, not at the first login.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::{GroupSource, IdentityMode, Issuer, JwtConfig, Level};
use crate::session::{self, Variable};

mod introspection;
mod keys;

/// Why a configuration cannot be used. Names the setting, the file or the URL; never shows a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Nobody's tokens would be accepted.
    #[error("no issuer is configured: set a public key file or a JWKS URL")]
    NoIssuer,
    /// Two issuers would claim the same token.
    #[error("two issuers have the same issuer value {}", .0.as_deref().unwrap_or("(any)"))]
    DuplicateIssuer(Option<String>),
    /// A setting has a value that cannot work.
    #[error("{setting} {problem}")]
    Setting {
        /// The setting's name in [`JwtConfig`].
        setting: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A role mapping leads to an account that no token may have.
    #[error("role mapping {name:?}: {problem}")]
    RoleMapping {
        /// The mapping's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The JWKS URL cannot be used.
    #[error("JWKS URL {url:?}: {problem}")]
    JwksUrl {
        /// The URL, without what follows a `?`.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL of a userinfo endpoint cannot be used.
    #[error("userinfo URL {url:?}: {problem}")]
    UserinfoUrl {
        /// The URL, without what follows a `?`.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The URL of an introspection endpoint cannot be used.
    #[error("introspection URL {url:?}: {problem}")]
    IntrospectionUrl {
        /// The URL, without what follows a `?`.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two issuers would be asked about the same token.
    #[error("two issuers are asked about the tokens of users {}", .0.as_deref().map_or_else(|| "without a suffix".to_owned(), |suffix| format!("with the suffix {suffix:?}")))]
    DuplicateIntrospection(Option<String>),
    /// A way to the issuer cannot be used: the URL of a proxy, or the place of its metadata.
    #[error("{what} {problem}")]
    Route {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The text of a key set cannot be used.
    #[error("the key set in the configuration {0}")]
    KeySet(String),
    /// A key file cannot be used.
    #[error("key file {}: {problem}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The revocation file cannot be used: tokens that it names would be good again.
    #[error("revocation file {}: {problem}", path.display())]
    RevocationFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The system did not give what is needed to start.
    #[error("{0}")]
    System(String),
}

fn setting(setting: &'static str, problem: &'static str) -> ConfigError {
    ConfigError::Setting { setting, problem }
}

/// Checks everything that can be checked without reading a file or asking an issuer.
pub(crate) fn check(config: &JwtConfig) -> Result<(), ConfigError> {
    if config.issuers.is_empty() {
        return Err(ConfigError::NoIssuer);
    }
    if config.max_token_size == 0 {
        return Err(setting("max_token_size", "must be more than 0"));
    }
    for variable in &config.variables {
        let name = match variable {
            Variable::One(variable) => &variable.name,
            Variable::Each { name, .. } => name,
        };
        if !session::is_name(name) {
            return Err(setting("variables", "must have names such as app.tenant_id, in lower case"));
        }
    }
    let mut names = HashSet::new();
    for issuer in &config.issuers {
        if !names.insert(issuer.issuer.as_deref()) {
            return Err(ConfigError::DuplicateIssuer(issuer.issuer.clone()));
        }
        check_issuer(issuer)?;
    }
    if config.uses(IdentityMode::ServiceAccount) && config.role_mappings.is_empty() {
        return Err(setting("role_mappings", "must hold a rule in service-account mode"));
    }
    let gives_role = config.claims.levels.iter().any(|level| matches!(level, Level::Role(_)));
    if config.uses(IdentityMode::ServiceAccount) && gives_role {
        return Err(setting("permission_levels", "cannot give roles in service-account mode: role mappings do"));
    }
    introspection::check_all(&config.issuers)?;
    for rule in config.role_mappings.iter() {
        if let Some(problem) = rule.problem(&config.denied_roles) {
            return Err(ConfigError::RoleMapping { name: rule.name.clone(), problem });
        }
    }
    Ok(())
}

fn check_issuer(issuer: &Issuer) -> Result<(), ConfigError> {
    if issuer.issuer.as_deref() == Some("") {
        return Err(setting("issuer", "must not be empty"));
    }
    if issuer.username_claim.is_empty() {
        return Err(setting("username_claim", "must not be empty"));
    }
    if issuer.user_suffix.as_deref() == Some("") {
        return Err(setting("user_suffix", "must not be empty"));
    }
    if issuer.required_claims.iter().any(|required| required.claim.is_empty()) {
        return Err(setting("required_claims", "must not hold an empty name"));
    }
    if issuer.algorithms.is_empty() {
        return Err(setting("algorithms", "must name at least one algorithm"));
    }
    if issuer.audiences.iter().any(String::is_empty) {
        return Err(setting("audiences", "must not hold an empty string"));
    }
    if let Some(groups) = &issuer.groups {
        check_groups(groups)?;
    }
    introspection::check(issuer)?;
    keys::check(issuer)
}

fn check_groups(groups: &GroupSource) -> Result<(), ConfigError> {
    if groups.claim.is_empty() {
        return Err(setting("groups.claim", "must not be empty"));
    }
    let Some(userinfo) = &groups.userinfo else {
        return Ok(());
    };
    check_url(&userinfo.url).map_err(|(url, problem)| ConfigError::UserinfoUrl { url, problem })?;
    for (name, is_nothing) in [
        ("userinfo.connect_timeout", userinfo.connect_timeout.is_zero()),
        ("userinfo.timeout", userinfo.timeout.is_zero()),
        ("userinfo.max_body_size", userinfo.max_body_size == 0),
        ("userinfo.cache_size", userinfo.cache_size == 0),
    ] {
        if is_nothing {
            return Err(setting(name, "must be more than 0"));
        }
    }
    Ok(())
}

/// The URL as it may be shown, and what is wrong with it.
pub(crate) fn check_url(text: &str) -> Result<(), (String, &'static str)> {
    let problem = |problem| (printable(text), problem);
    let url = reqwest::Url::parse(text).map_err(|_| problem("is not a URL"))?;
    let host = url.host_str().ok_or_else(|| problem("has no host"))?;
    if !url.username().is_empty() || url.password().is_some() {
        let shown = format!("{}://…@{host}{}", url.scheme(), url.path());
        return Err((shown, "must not hold a user name or password"));
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(host) => Ok(()),
        "http" => Err(problem("must be https unless the host is a loopback address")),
        _ => Err(problem("must be https")),
    }
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

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JwksSource, KeySource, UserinfoSource};
    use std::time::Duration;

    fn jwks(url: &str) -> JwtConfig {
        JwtConfig::new(vec![Issuer::new(KeySource::Jwks(JwksSource::new(url)))])
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in [
            "http://127.0.0.1:8080/jwks",
            "http://127.8.9.10/jwks",
            "http://[::1]:80/jwks",
            "http://localhost/jwks",
            "https://issuer.example/jwks",
        ] {
            assert!(check(&jwks(url)).is_ok(), "{url}");
        }
        for url in [
            "http://issuer.example/jwks",
            "http://localhost.example/jwks",
            "http://10.0.0.1/jwks",
            "http://127.0.0.1.example/jwks",
            "ftp://127.0.0.1/jwks",
            "file:///etc/jwks",
            "nonsense",
            "",
        ] {
            assert!(check(&jwks(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        let error = check(&jwks("https://me:hunter2@issuer.example/jwks?key=topsecret")).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("topsecret"), "{shown}");
        assert!(shown.contains("issuer.example"), "{shown}");
    }

    #[test]
    fn a_token_goes_to_no_userinfo_endpoint_in_clear_text() {
        let with = |url: &str, change: fn(&mut UserinfoSource)| {
            let mut config = jwks("https://issuer.example/jwks");
            let mut userinfo = UserinfoSource::new(url);
            change(&mut userinfo);
            let userinfo = Some(userinfo);
            config.issuers[0].groups = Some(GroupSource { claim: "groups".to_owned(), userinfo });
            check(&config)
        };
        assert!(with("https://issuer.example/userinfo", |_| {}).is_ok());
        assert!(with("http://127.0.0.1:9/userinfo", |_| {}).is_ok());
        for url in
            ["http://issuer.example/userinfo", "ftp://127.0.0.1/", "nonsense", "https://me:hunter2@issuer.example/?k=s"]
        {
            let shown = format!("{:?}", with(url, |_| {}).unwrap_err());
            assert!(!shown.contains("hunter2") && !shown.contains("k=s"), "{shown}");
        }
        let good = "https://issuer.example/userinfo";
        assert!(with(good, |source| source.timeout = Duration::ZERO).is_err());
        assert!(with(good, |source| source.max_body_size = 0).is_err());
        assert!(with(good, |source| source.cache_size = 0).is_err());
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let good = jwks("https://issuer.example/jwks");
        let broken = |change: fn(&mut JwtConfig)| {
            let mut config = good.clone();
            change(&mut config);
            check(&config).unwrap_err().to_string()
        };
        assert!(broken(|c| c.issuers.clear()).contains("no issuer"));
        assert!(broken(|c| c.max_token_size = 0).contains("max_token_size"));
        assert!(broken(|c| c.issuers[0].algorithms.clear()).contains("algorithms"));
        assert!(broken(|c| c.issuers[0].username_claim.clear()).contains("username_claim"));
        assert!(broken(|c| c.issuers[0].keys = KeySource::PemFiles(vec![])).contains("file"));
        assert!(broken(|c| c.issuers.push(c.issuers[0].clone())).contains("two issuers"));
        assert!(
            broken(|c| {
                if let KeySource::Jwks(source) = &mut c.issuers[0].keys {
                    source.timeout = Duration::ZERO;
                }
            })
            .contains("jwks.timeout")
        );
    }
}
