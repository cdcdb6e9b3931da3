//! The user that a token is about: what its username claim says, or what a rule makes of a claim.

use std::borrow::Cow;

use crate::claims::{self, Claims};
use crate::config::{Issuer, JwtConfig, UserMapping};
use crate::deny::DenyReason;

/// A user, and the number of the rule that made it of the claims.
pub(crate) struct Named<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) rule: Option<usize>,
}

/// The user of these claims. Where there are rules and none matches, it is nobody.
pub(crate) fn of<'a>(claims: &'a Claims, issuer: &Issuer, config: &JwtConfig) -> Result<Named<'a>, DenyReason> {
    if config.user_mappings.is_empty() {
        let name = Cow::Borrowed(claims::required_string(claims, &issuer.username_claim)?);
        return Ok(Named { name, rule: None });
    }
    let from = claims::optional_string(claims, "iss")?;
    let mapped = |(number, rule): (usize, &UserMapping)| {
        if rule.issuer.is_some() && rule.issuer.as_deref() != from {
            return None;
        }
        let claim = rule.claim.as_deref().unwrap_or(&issuer.username_claim);
        let name = Cow::Owned(rule.user(claims::find(claims, claim)?.as_str()?)?);
        Some(Named { name, rule: Some(number) })
    };
    config.user_mappings.iter().enumerate().find_map(mapped).ok_or(DenyReason::NoUserMapping)
}
