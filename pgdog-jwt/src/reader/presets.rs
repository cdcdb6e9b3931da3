//! `preset` of `[[jwt.issuers]]`: what the tokens of well-known providers look like, so that few keys have to be written.
//! A key that the entry has itself goes before the preset, a required claim before the preset's of the same name. What each
//! value is from is in `docs/issuers/`.

use serde_json::Value;

use super::choices::Choice;
use super::key_sources::says_where;
use super::section::Section;
use crate::config::{Algorithm, Issuer, JwksSource, RequiredClaim, Wanted};

/// A provider of tokens whose tokens are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Auth0.
    Auth0,
    /// Keycloak.
    Keycloak,
    /// Okta.
    Okta,
    /// Microsoft Entra ID.
    Entra,
    /// Google.
    Google,
    /// Amazon Cognito.
    Cognito,
    /// GitHub Actions.
    GithubActions,
    /// GitLab CI.
    GitlabCi,
    /// Service accounts of Kubernetes.
    Kubernetes,
}

impl Choice for Preset {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auth0", Self::Auth0),
        ("keycloak", Self::Keycloak),
        ("okta", Self::Okta),
        ("entra", Self::Entra),
        ("google", Self::Google),
        ("cognito", Self::Cognito),
        ("github-actions", Self::GithubActions),
        ("gitlab-ci", Self::GitlabCi),
        ("kubernetes", Self::Kubernetes),
    ];
}

/// What a preset has filled in for one issuer, for those who want to know where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilledIn {
    /// The value of `iss`.
    pub issuer: String,
    /// The preset that has filled them in.
    pub preset: Preset,
    /// The keys, as they would be written.
    pub keys: Vec<&'static str>,
}

impl FilledIn {
    /// For people.
    pub fn text(&self) -> String {
        format!("{}, which fills in {}", self.preset.word(), self.keys.join(", "))
    }
}

/// Where the API server is for whatever runs in its cluster.
const KUBERNETES: &str = "https://kubernetes.default.svc";
/// Where a pod finds the certificate of that server's authority, and a token to show it.
const KUBERNETES_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Preset {
    /// The one value of `iss`, where the provider has only one.
    pub(super) fn issuer(self) -> Option<String> {
        match self {
            Self::Google => Some("https://accounts.google.com".to_owned()),
            Self::GithubActions => Some("https://token.actions.githubusercontent.com".to_owned()),
            Self::GitlabCi => Some("https://gitlab.com".to_owned()),
            _ => None,
        }
    }

    /// Where this issuer publishes its keys.
    pub(super) fn jwks_url(self, issuer: &str) -> Option<String> {
        let below = |path: &str| Some(format!("{}/{path}", issuer.trim_end_matches('/')));
        match self {
            Self::Auth0 | Self::Cognito => below(".well-known/jwks.json"),
            Self::Keycloak => below("protocol/openid-connect/certs"),
            // The server of the organization has its endpoints one level deeper than the custom ones.
            Self::Okta if issuer.contains("/oauth2/") => below("v1/keys"),
            Self::Okta => below("oauth2/v1/keys"),
            Self::Entra => Tenant::of(issuer).map(|tenant| tenant.jwks_url()),
            Self::Google => Some("https://www.googleapis.com/oauth2/v3/certs".to_owned()),
            Self::GithubActions => below(".well-known/jwks"),
            Self::GitlabCi => below("oauth/discovery/keys"),
            Self::Kubernetes => Some(format!("{KUBERNETES}/openid/v1/jwks")),
        }
    }

    /// The same, and how they are fetched: the API server of a cluster wants to know who asks, and its certificate is of the
    /// cluster's own authority. The token goes to nobody but that server.
    pub(super) fn keys(self, issuer: &str, jwks: &JwksSource) -> Option<JwksSource> {
        let source = JwksSource { url: self.jwks_url(issuer)?, ..jwks.clone() };
        Some(match self {
            Self::Kubernetes => JwksSource {
                ca_file: source.ca_file.or_else(|| Some(KUBERNETES_CA.into())),
                bearer_token_file: source.bearer_token_file.or_else(|| Some(KUBERNETES_TOKEN.into())),
                ..source
            },
            _ => source,
        })
    }

    /// The claim that names the user.
    fn username_claim(self) -> &'static str {
        match self {
            Self::Auth0 | Self::Okta | Self::Kubernetes => "sub",
            Self::Keycloak => "preferred_username",
            // The names that Entra has for people can be changed and given to others.
            Self::Entra => "oid",
            Self::Google => "email",
            Self::Cognito => "username",
            Self::GithubActions => "repository",
            Self::GitlabCi => "project_path",
        }
    }

    fn algorithms(self) -> Vec<Algorithm> {
        match self {
            Self::Keycloak => vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
            Self::Kubernetes => vec![Algorithm::RS256, Algorithm::ES256],
            _ => vec![Algorithm::RS256],
        }
    }

    /// Values of `typ` in the header; empty where the provider writes none, or one that every access token may have.
    fn token_types(self) -> Vec<String> {
        let types: &[&str] = match self {
            // Both have a switch for the header of RFC 9068.
            Self::Auth0 | Self::Keycloak => &["JWT", "at+jwt"],
            Self::Entra | Self::Google | Self::GithubActions | Self::GitlabCi => &["JWT"],
            Self::Okta | Self::Cognito | Self::Kubernetes => &[],
        };
        types.iter().map(|text| (*text).to_owned()).collect()
    }

    /// What tells the tokens for services from the provider's others.
    fn required_claims(self, issuer: &str) -> Vec<RequiredClaim> {
        let is =
            |claim: &str, value: Value| RequiredClaim { claim: claim.to_owned(), wanted: Wanted::OneOf(vec![value]) };
        match self {
            Self::Keycloak => vec![is("typ", "Bearer".into())],
            Self::Entra => Tenant::of(issuer)
                .map_or_else(Vec::new, |tenant| vec![is("tid", tenant.id.into()), is("ver", tenant.version().into())]),
            Self::Google => vec![is("email_verified", true.into())],
            Self::Cognito => vec![is("token_use", "access".into())],
            _ => Vec::new(),
        }
    }

    /// What an entry has that says nothing itself.
    pub(super) fn defaults(self, issuer: &str, defaults: Issuer) -> Issuer {
        Issuer {
            algorithms: self.algorithms(),
            token_types: self.token_types(),
            username_claim: self.username_claim().to_owned(),
            required_claims: self.required_claims(issuer),
            // What it may say beyond that is about another issuer's tokens.
            audiences: if self.has_audience() { defaults.audiences } else { Vec::new() },
            ..defaults
        }
    }

    /// The keys whose values are the preset's.
    pub(super) fn filled_in(self, section: &Section<'_>, issuer: &Issuer) -> FilledIn {
        let name = issuer.issuer.clone().unwrap_or_default();
        let has_keys = says_where(section);
        let in_cluster = self == Self::Kubernetes && !has_keys;
        let has_claims = self.required_claims(&name).iter().any(|claim| issuer.required_claims.contains(claim));
        let is_own = |key: &str| section.is_present_key(key);
        let keys = [
            ("issuer", self.issuer().is_some() && !is_own("issuer")),
            ("jwks_url", self.jwks_url(&name).is_some() && !has_keys),
            ("jwks_ca_file", in_cluster && !is_own("jwks_ca_file")),
            ("jwks_bearer_token_file", in_cluster && !is_own("jwks_bearer_token_file")),
            ("username_claim", !is_own("username_claim")),
            ("algorithms", !is_own("algorithms")),
            ("token_types", !self.token_types().is_empty() && !is_own("token_types")),
            ("required_claims", has_claims),
        ];
        let keys = keys.into_iter().filter_map(|(key, is_filled)| is_filled.then_some(key)).collect();
        FilledIn { issuer: name, preset: self, keys }
    }

    /// Whether its tokens say in `aud` which service they are for.
    pub(super) fn has_audience(self) -> bool {
        self != Self::Cognito
    }

    /// The preset's required claims, beside those of the entry.
    pub(super) fn beside(self, issuer: &str, own: Vec<RequiredClaim>) -> Vec<RequiredClaim> {
        let is_new = |claim: &RequiredClaim| !own.iter().any(|own| own.claim == claim.claim);
        let kept = self.required_claims(issuer).into_iter().filter(is_new).collect::<Vec<_>>();
        kept.into_iter().chain(own).collect()
    }

    /// Whether the entry keeps strangers out. Everybody can get tokens of some providers, for any audience.
    pub(super) fn check(self, section: &Section<'_>, issuer: &Issuer) {
        let names_one_of = |names: &[&str]| {
            issuer
                .required_claims
                .iter()
                .any(|required| names.contains(&required.claim.as_str()) && !matches!(required.wanted, Wanted::Present))
        };
        let need = |names: &[&str], whose: &str| {
            if !names_one_of(names) {
                let (word, named) = (self.word(), names.join("\", \""));
                let reason = format!("anybody can get a token of preset \"{word}\" for any audience; {whose}");
                section.report.error(section.place(), format!("{reason}: \"required_claims\" with one of \"{named}\""));
            }
        };
        match self {
            Self::GithubActions => need(
                &["repository_owner_id", "repository_id", "enterprise_id", "repository_owner", "repository", "sub"],
                "say whose repositories count",
            ),
            Self::GitlabCi => need(
                &["namespace_id", "project_id", "namespace_path", "project_path", "sub"],
                "say whose projects count",
            ),
            Self::Cognito if issuer.clients.is_empty() => {
                let reason = "access tokens of preset \"cognito\" do not say which service they are for";
                section
                    .report
                    .error(section.place(), format!("{reason}; set \"clients\" to the app clients that count"));
            }
            Self::Google if !names_one_of(&["hd", "email", "sub"]) => {
                let reason = "preset \"google\" takes every Google account that the OAuth client lets in";
                section.report.warn(section.place(), format!("{reason}; require your own domain in \"hd\""));
            }
            Self::Entra if !names_one_of(&["tid"]) => {
                let reason = "\"issuer\" of preset \"entra\" must be https://login.microsoftonline.com/TENANT/v2.0 or \
                              https://sts.windows.net/TENANT/, with the ID of one tenant; elsewhere, require its \"tid\" and \
                              set \"jwks_url\"";
                section.report.error(section.spot("issuer"), reason);
            }
            _ => {}
        }
    }
}

/// A tenant of Entra, as its issuer names it.
struct Tenant<'a> {
    id: &'a str,
    is_v2: bool,
}

impl<'a> Tenant<'a> {
    fn of(issuer: &'a str) -> Option<Self> {
        let v2 = issuer.strip_prefix("https://login.microsoftonline.com/").and_then(|rest| rest.strip_suffix("/v2.0"));
        let v1 = issuer.strip_prefix("https://sts.windows.net/").and_then(|rest| rest.strip_suffix('/'));
        let id = v2.or(v1)?;
        // "common", "organizations" and "consumers" are everybody.
        let is_guid = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        is_guid.then_some(Self { id, is_v2: v2.is_some() })
    }

    fn version(&self) -> &'static str {
        if self.is_v2 { "2.0" } else { "1.0" }
    }

    fn jwks_url(&self) -> String {
        let path = if self.is_v2 { "discovery/v2.0/keys" } else { "discovery/keys" };
        format!("https://login.microsoftonline.com/{}/{path}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_the_provider_publishes_them() {
        let tenant = "11111111-2222-3333-4444-555555555555";
        for (preset, issuer, url) in [
            (Preset::Auth0, "https://t.eu.auth0.com/", "https://t.eu.auth0.com/.well-known/jwks.json"),
            (
                Preset::Keycloak,
                "https://k.example/realms/r",
                "https://k.example/realms/r/protocol/openid-connect/certs",
            ),
            (Preset::Okta, "https://o.okta.com/oauth2/default", "https://o.okta.com/oauth2/default/v1/keys"),
            (Preset::Okta, "https://o.okta.com", "https://o.okta.com/oauth2/v1/keys"),
            (
                Preset::Entra,
                &format!("https://login.microsoftonline.com/{tenant}/v2.0"),
                &format!("https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys"),
            ),
            (
                Preset::Entra,
                &format!("https://sts.windows.net/{tenant}/"),
                &format!("https://login.microsoftonline.com/{tenant}/discovery/keys"),
            ),
            (Preset::Google, "https://accounts.google.com", "https://www.googleapis.com/oauth2/v3/certs"),
            (
                Preset::Cognito,
                "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf",
                "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEf/.well-known/jwks.json",
            ),
            (
                Preset::GithubActions,
                "https://token.actions.githubusercontent.com",
                "https://token.actions.githubusercontent.com/.well-known/jwks",
            ),
            (Preset::GitlabCi, "https://gitlab.com", "https://gitlab.com/oauth/discovery/keys"),
            (Preset::Kubernetes, "https://any.example", "https://kubernetes.default.svc/openid/v1/jwks"),
        ] {
            assert_eq!(preset.jwks_url(issuer).as_deref(), Some(url), "{preset:?}");
        }
    }

    #[test]
    fn entra_is_one_tenant() {
        for issuer in [
            "https://login.microsoftonline.com/common/v2.0",
            "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555",
            "https://login.microsoftonline.com.evil.example/11111111-2222-3333-4444-555555555555/v2.0",
            "https://sts.windows.net/11111111-2222-3333-4444-555555555555",
            "",
        ] {
            assert!(Tenant::of(issuer).is_none(), "{issuer}");
        }
    }

    #[test]
    fn a_claim_of_the_entry_goes_before_that_of_the_preset() {
        let own = |value: &str| {
            vec![RequiredClaim { claim: "token_use".to_owned(), wanted: Wanted::OneOf(vec![value.into()]) }]
        };
        assert_eq!(Preset::Cognito.beside("https://i.example", own("id")), own("id"));
        assert_eq!(Preset::Cognito.beside("https://i.example", Vec::new()), own("access"));
    }
}
