//! Who a verified token is, and whether PostgreSQL may be told so. A role name is used byte for byte (S13): it is never
//! folded, trimmed or shortened into somebody else's.

use std::time::SystemTime;

use crate::claim_policy;
use crate::claims::{self, Claims};
use crate::config::{Issuer, JwtConfig, UserMatch};
use crate::decision::AuthGrant;
use crate::deny::DenyReason;
use crate::session;

/// PostgreSQL's `NAMEDATALEN` less the terminating NUL. The server would cut a longer name, and the cut name may be
/// another role.
const MAX_ROLE_BYTES: usize = 63;

/// Whether a start-up user logs in by token. Without a suffix every user does.
pub(crate) fn is_token_user(user: &str, config: &JwtConfig) -> bool {
    config.user_suffix.as_deref().is_none_or(|suffix| user.ends_with(suffix))
}

/// Turns verified claims into a grant.
pub(crate) fn grant(
    user: &str,
    database: &str,
    claims: &Claims,
    issuer: &Issuer,
    expires_at: SystemTime,
    config: &JwtConfig,
) -> Result<AuthGrant, DenyReason> {
    let identity = claims::required_string(claims, &issuer.username_claim)?;
    check_user(user, identity, config)?;
    check_role(identity, &config.denied_roles)?;
    let says = claim_policy::read(&config.claims, claims, database)?;
    if let Some(role) = &says.role {
        check_role(role, &config.denied_roles)?;
    }
    let subject = claims::optional_string(claims, "sub")?.filter(|subject| !subject.is_empty());
    Ok(AuthGrant {
        user: identity.to_owned(),
        server_role: Some(says.role.unwrap_or_else(|| identity.to_owned())),
        server_user: config.server_user.clone(),
        server_password: config.server_password.clone(),
        read_only: says.read_only,
        provision: config.auto_provision,
        provision_read_only: config.auto_provision_read_only,
        pool_mode: says.pool_mode,
        max_connections: says.max_connections,
        settings: session::evaluate(&config.variables, claims)?,
        subject: subject.unwrap_or(identity).to_owned(),
        issuer: claims::optional_string(claims, "iss")?.map(str::to_owned),
        token_id: claims.get("jti").and_then(|id| id.as_str()).map(str::to_owned),
        expires_at,
    })
}

/// With a suffix, the identity may be the start-up user as it is or without the suffix: some issuers put
/// `alice@example.com` in the claim, others `alice`.
fn check_user(user: &str, identity: &str, config: &JwtConfig) -> Result<(), DenyReason> {
    let same = match config.user_match {
        UserMatch::Claim => true,
        UserMatch::Exact => {
            let bare = config.user_suffix.as_deref().and_then(|suffix| user.strip_suffix(suffix));
            identity == user || bare == Some(identity)
        }
    };
    if same { Ok(()) } else { Err(DenyReason::UserMismatch { identity: identity.to_owned() }) }
}

/// PostgreSQL takes the value `none` of the setting `role` for "no role" (`check_role` in `variable.c`, compared with
/// `strcmp`), and the statement `SET ROLE none` in any case. No spelling of it is worth the risk.
fn check_role(role: &str, denied: &[String]) -> Result<(), DenyReason> {
    if role.is_empty() {
        return Err(DenyReason::RoleInvalid("is empty"));
    }
    if role.len() > MAX_ROLE_BYTES {
        return Err(DenyReason::RoleInvalid("is longer than 63 bytes"));
    }
    if role.contains('\0') {
        return Err(DenyReason::RoleInvalid("has a NUL in it"));
    }
    if role.eq_ignore_ascii_case("none") {
        return Err(DenyReason::RoleInvalid("means no role at all to PostgreSQL"));
    }
    if denied.iter().any(|pattern| matches(pattern, role)) {
        return Err(DenyReason::RoleDenied { role: role.to_owned() });
    }
    Ok(())
}

/// `name` is that name; `name*` is every name that begins so.
fn matches(pattern: &str, role: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => role.starts_with(prefix),
        None => role == pattern,
    }
}

#[cfg(test)]
mod tests;
