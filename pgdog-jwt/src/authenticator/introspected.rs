//! Logins with tokens that the issuer is asked about: those that only it can read, and JWTs that it may have revoked.

use std::sync::Arc;
use std::time::SystemTime;

use super::Authenticator;
use crate::claims::{self, Claims};
use crate::config::Issuer;
use crate::decision::{AuthContext, AuthGrant, Credential};
use crate::deny::DenyReason;
use crate::introspection::Introspection;
use crate::policy::{self, kind};
use crate::status::IntrospectionStatus;
use crate::token;

impl Authenticator {
    /// How asking the issuers goes that are asked about tokens, in the order of the configuration.
    pub fn introspection_status(&self) -> Vec<IntrospectionStatus> {
        self.introspection.iter().flatten().map(Introspection::status).collect()
    }

    /// The one issuer that a credential would be shown to, by its number; `None` for JWTs, whose issuer is asked only after
    /// the signature has shown that it is theirs, and where no issuer is asked at all.
    pub(super) fn reader_of(&self, context: &AuthContext<'_>) -> Option<usize> {
        if self.introspection.iter().all(Option::is_none) || token::has_jws_form(context.credential.expose()) {
            return None;
        }
        // Users with a suffix are those of its issuers, and of nobody else.
        let suffix = self.config.suffix_of(context.user);
        let is_theirs = |issuer: &Issuer| issuer.introspection.is_some() && issuer.user_suffix.as_deref() == suffix;
        self.config.issuers.iter().position(is_theirs)
    }

    /// Decides a login with a token that only its issuer can read.
    pub(super) async fn decide_unread(
        &self,
        issuer: usize,
        context: &AuthContext<'_>,
    ) -> Result<AuthGrant, DenyReason> {
        token::check_bearer(context.credential.expose())?;
        let claims = self.said_of(issuer, context.credential).await?;
        self.grant(&claims, issuer, context)
    }

    /// The claims of an active token, in its issuer's words.
    pub(super) async fn said_of(&self, issuer: usize, token: Credential<'_>) -> Result<Arc<Claims>, DenyReason> {
        let introspection = self.introspection[issuer].as_ref().ok_or(DenyReason::WrongIssuer)?;
        let claims = introspection.ask(token).await?;
        // An issuer without a name in the configuration does not speak for one that has a name there.
        match claims::optional_string(&claims, "iss")? {
            Some(name) if self.config.issuer_named(Some(name)) != Some(issuer) => Err(DenyReason::WrongIssuer),
            _ => Ok(claims),
        }
    }

    /// Asks about a JWT whose signature and claims are good, where its issuer wants that. The session lasts no longer than
    /// either of token and answer says.
    pub(super) async fn confirm(
        &self,
        mut grant: AuthGrant,
        context: &AuthContext<'_>,
    ) -> Result<AuthGrant, DenyReason> {
        if let Some(issuer) = self.confirms(&grant, context) {
            let end = Box::pin(self.confirmed(issuer, &grant, context.credential)).await?;
            if let Some(end) = end {
                let leeway = self.config.issuers[issuer].leeway;
                grant.expires_at = grant.expires_at.min(end);
                grant.valid_until = grant.valid_until.min(end.checked_add(leeway).unwrap_or(end));
            }
        }
        Ok(grant)
    }

    /// The issuer that is asked about this JWT.
    pub(super) fn confirms(&self, grant: &AuthGrant, context: &AuthContext<'_>) -> Option<usize> {
        let issuer = self.config.issuer_named(grant.issuer.as_deref())?;
        let is_asked = self.introspection[issuer].as_ref().is_some_and(Introspection::is_for_jwts);
        (is_asked && token::has_jws_form(context.credential.expose())).then_some(issuer)
    }

    /// Whether the issuer stands by its JWT, and until when if it says so. What it repeats must be what the token says.
    pub(super) async fn confirmed(
        &self,
        issuer: usize,
        grant: &AuthGrant,
        token: Credential<'_>,
    ) -> Result<Option<SystemTime>, DenyReason> {
        let said = self.said_of(issuer, token).await?;
        kind::check_claims(&said, &self.config.issuers[issuer])?;
        if claims::optional_string(&said, "sub")?.is_some_and(|subject| subject != grant.subject) {
            return Err(DenyReason::IntrospectionMismatch("sub"));
        }
        if !said.contains_key("exp") {
            return Ok(None);
        }
        policy::check_times(&said, &self.config.issuers[issuer], SystemTime::now()).map(Some)
    }
}
