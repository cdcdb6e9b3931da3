//! How clients show their tokens, and what those are told that have none yet: `client_flow`, `oauth_issuer` and
//! `oauth_scope` of `[jwt]`.

use super::choices::ClientFlow;
use super::keys;
use super::section::Section;
use crate::config::{Issuer, check_url};

/// Where the rest of a well-known address begins (RFC 8615).
const WELL_KNOWN: &str = "/.well-known/";
/// The scope that makes a request one of OpenID Connect.
const SCOPE: &str = "openid";

/// How clients show their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oauth {
    /// The way that clients are offered.
    pub client_flow: ClientFlow,
    /// What clients are told that have no token yet, one for each issuer of the core, in its order.
    pub discoveries: Vec<Discovery>,
}

/// Where clients get tokens of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery {
    /// The issuer that clients are sent to: its name, or the address of its discovery document. `None`: nowhere.
    pub issuer: Option<String>,
    /// The scopes to ask the issuer for, separated by spaces.
    pub scope: String,
}

impl Discovery {
    /// The discovery document of the issuer, at the address that PostgreSQL gives for it: libpq takes only the one that
    /// its own `oauth_issuer` leads to.
    pub fn url(&self) -> Option<String> {
        let issuer = self.issuer.as_deref()?;
        let is_whole = issuer.contains(WELL_KNOWN);
        Some(if is_whole { issuer.to_owned() } else { format!("{issuer}{WELL_KNOWN}openid-configuration") })
    }
}

/// Reads what `[jwt]` or one of `[[jwt.issuers]]` says. The issuer's own name will do where it is an address. `inherited`
/// is the scope of `[jwt]`.
pub(super) fn discovery(section: &Section<'_>, issuer: &Issuer, inherited: Option<&str>) -> Discovery {
    let set = section.given(&keys::issuers::OAUTH_ISSUER);
    if let Some(reason) = set.as_deref().and_then(fault) {
        section.report.error(section.spot("oauth_issuer"), format!("\"oauth_issuer\" {reason}"));
    }
    let own = issuer.issuer.as_deref().filter(|name| fault(name).is_none()).map(str::to_owned);
    let scope = section.given(&keys::issuers::OAUTH_SCOPE);
    if scope.as_deref().is_some_and(|scope| !is_scope(scope)) {
        let reason = "\"oauth_scope\" must be scopes with one space between them, without quotes and backslashes";
        section.report.error(section.spot("oauth_scope"), reason);
    }
    let required = Some(issuer.required_scopes.join(" ")).filter(|scope| is_scope(scope));
    let scope = scope.or_else(|| inherited.map(str::to_owned)).or(required);
    Discovery { issuer: set.or(own), scope: scope.unwrap_or_else(|| SCOPE.to_owned()) }
}

/// `discoveries` are those of all issuers.
pub(super) fn oauth(own: &Section<'_>, discoveries: Vec<Discovery>) -> Oauth {
    let client_flow = own.value(&keys::jwt::CLIENT_FLOW);
    if client_flow == ClientFlow::Password {
        for key in ["oauth_issuer", "oauth_scope"].into_iter().filter(|key| own.is_present_key(key)) {
            own.report.warn(own.spot(key), format!("\"{key}\" is not used while \"client_flow\" is \"password\""));
        }
    } else if discoveries.iter().all(|discovery| discovery.issuer.is_none()) {
        let reason = "clients without a token are not told where to get one; set \"oauth_issuer\"";
        own.report.warn(own.spot("client_flow"), reason);
    }
    Oauth { client_flow, discoveries }
}

/// Why no client can be sent there.
fn fault(issuer: &str) -> Option<&'static str> {
    let has_more = issuer.contains(['?', '#']);
    check_url(issuer).err().or(has_more.then_some("must not have a query or a fragment"))
}

/// RFC 6749, section 3.3.
fn is_scope(text: &str) -> bool {
    let is_character = |byte: u8| matches!(byte, b'!' | b'#'..=b'[' | b']'..=b'~');
    text.split(' ').all(|token| !token.is_empty() && token.bytes().all(is_character))
}
