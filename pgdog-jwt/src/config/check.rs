//! What is wrong with a configuration is said when it is loaded, not at the first login. Everything that can be said without
//! reading a file or asking an issuer is said here, for the reader of a file and for a host that has made the value itself.

use std::collections::HashSet;

use super::fault::Fault;
use super::{GroupSource, IdentityMode, Issuer, JwtConfig, Level, url};
use crate::deny::DenyReason;
use crate::session::{self, Variable};

mod introspection;
mod keys;

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Finding {
    /// In which part.
    #[cfg_attr(not(feature = "reader"), allow(dead_code, reason = "for the reader of a file"))]
    pub(crate) part: Part,
    /// The setting, as files call it.
    #[cfg_attr(not(feature = "reader"), allow(dead_code, reason = "for the reader of a file"))]
    pub(crate) key: &'static str,
    pub(crate) fault: Fault,
}

/// A part of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "reader"), allow(dead_code, reason = "for the reader of a file"))]
pub(crate) enum Part {
    Whole,
    /// By its number.
    Issuer(usize),
    /// Likewise.
    RoleMapping(usize),
}

/// What was found in one part.
struct Found<'a> {
    part: Part,
    all: &'a mut Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, key: &'static str, fault: Fault) {
        self.all.push(Finding { part: self.part, key, fault });
    }

    /// Adds what cannot be.
    fn check(&mut self, key: &'static str, is_wrong: bool, problem: &'static str) {
        if is_wrong {
            self.add(key, Fault::Setting { setting: key, problem });
        }
    }

    /// Adds a URL that must not be asked. `fault` is told how it may be shown.
    fn check_url(&mut self, key: &'static str, text: &str, fault: impl Fn(String, &'static str) -> Fault) {
        if let Err(problem) = url::check(text) {
            self.add(key, fault(url::printable(text), problem));
        }
    }
}

/// Everything that is wrong with a configuration.
pub(crate) fn findings(config: &JwtConfig) -> Vec<Finding> {
    let mut all = Vec::new();
    check_whole(config, &mut Found { part: Part::Whole, all: &mut all });
    let mut names = HashSet::new();
    for (number, issuer) in config.issuers.iter().enumerate() {
        let mut found = Found { part: Part::Issuer(number), all: &mut all };
        if !names.insert(issuer.issuer.as_deref()) {
            found.add("issuer", Fault::DuplicateIssuer);
        }
        check_issuer(issuer, &mut found);
    }
    introspection::check_all(&config.issuers, &mut all);
    let mut is_advised = false;
    for (number, rule) in config.role_mappings.iter().enumerate() {
        if let Some((key, reason)) = rule.problem(&config.denied_roles) {
            let is_denied = matches!(reason, DenyReason::RoleDenied { .. });
            // Once for all accounts.
            let advice = if is_denied && !is_advised { ADVICE } else { "" };
            is_advised |= is_denied;
            let problem = format!("\"{key}\": {reason}{advice}");
            let fault = Fault::RoleMapping { name: rule.name.clone(), problem };
            all.push(Finding { part: Part::RoleMapping(number), key: "server_user", fault });
        }
    }
    all
}

/// How such an account can be had all the same.
const ADVICE: &str = ": it is on \"deny_roles\", where \"postgres\" and \"pg_*\" are unless [jwt] says otherwise. Give tokens an account of \
                      their own; or set \"deny_roles\", and for an account with SUPERUSER or BYPASSRLS \"allow_privileged_roles = true\"";

fn check_whole(config: &JwtConfig, found: &mut Found<'_>) {
    if config.issuers.is_empty() {
        found.add("issuers", Fault::NoIssuer);
    }
    found.check("max_token_size", config.max_token_size == 0, "must be more than 0");
    let is_misnamed = |variable: &Variable| match variable {
        Variable::One(variable) => !session::is_name(&variable.name),
        Variable::Each { name, .. } => !session::is_name(name),
    };
    let problem = "must have names such as app.tenant_id, in lower case";
    found.check("variables", config.variables.iter().any(is_misnamed), problem);
    if !config.uses(IdentityMode::ServiceAccount) {
        return;
    }
    if config.role_mappings.is_empty() {
        found.add("service_account", Fault::NoRoleMapping);
    }
    if config.claims.levels.iter().any(|level| matches!(level, Level::Role(_))) {
        found.add("claims", Fault::LevelsGiveRoles);
    }
}

fn check_issuer(issuer: &Issuer, found: &mut Found<'_>) {
    found.check("issuer", issuer.issuer.as_deref() == Some(""), "must not be empty");
    found.check("username_claim", issuer.username_claim.is_empty(), "must not be empty");
    found.check("user_suffix", issuer.user_suffix.as_deref() == Some(""), "must not be empty");
    let is_nameless = issuer.required_claims.iter().any(|required| required.claim.is_empty());
    found.check("required_claims", is_nameless, "must not hold an empty name");
    found.check("algorithms", issuer.algorithms.is_empty(), "must name at least one algorithm");
    found.check("audiences", issuer.audiences.iter().any(String::is_empty), "must not hold an empty string");
    if let Some(groups) = &issuer.groups {
        check_groups(groups, found);
    }
    introspection::check(issuer, found);
    keys::check(issuer, found);
}

fn check_groups(groups: &GroupSource, found: &mut Found<'_>) {
    found.check("groups_claim", groups.claim.is_empty(), "must not be empty");
    let Some(userinfo) = &groups.userinfo else { return };
    found.check_url("userinfo_url", &userinfo.url, |url, problem| Fault::UserinfoUrl { url, problem });
    for (key, is_nothing) in [
        ("userinfo_connect_timeout", userinfo.connect_timeout.is_zero()),
        ("userinfo_timeout", userinfo.timeout.is_zero()),
        ("userinfo_max_body_size", userinfo.max_body_size == 0),
        ("userinfo_cache_size", userinfo.cache_size == 0),
    ] {
        found.check(key, is_nothing, "must be more than 0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{JwksSource, KeySource, UserinfoSource};
    use std::time::Duration;

    fn first(config: &JwtConfig) -> Result<(), Fault> {
        findings(config).into_iter().next().map_or(Ok(()), |finding| Err(finding.fault))
    }

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
            assert!(first(&jwks(url)).is_ok(), "{url}");
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
            assert!(first(&jwks(url)).is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_shown() {
        let error = first(&jwks("https://me:hunter2@issuer.example/jwks?key=topsecret")).unwrap_err();
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
            first(&config)
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
            first(&config).unwrap_err().to_string()
        };
        assert!(broken(|c| c.issuers.clear()).contains("no issuer"));
        assert!(broken(|c| c.max_token_size = 0).contains("max_token_size"));
        assert!(broken(|c| c.issuers[0].algorithms.clear()).contains("algorithms"));
        assert!(broken(|c| c.issuers[0].username_claim.clear()).contains("username_claim"));
        assert!(broken(|c| c.issuers[0].keys = KeySource::PemFiles(vec![])).contains("file"));
        assert!(broken(|c| c.issuers.push(c.issuers[0].clone())).contains("another issuer"));
        assert!(
            broken(|c| {
                if let KeySource::Jwks(source) = &mut c.issuers[0].keys {
                    source.timeout = Duration::ZERO;
                }
            })
            .contains("jwks_timeout")
        );
    }
}
