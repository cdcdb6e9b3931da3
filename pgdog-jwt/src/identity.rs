//! Who a verified token is, and whether PostgreSQL may be told so. A role name is used byte for byte (S13): it is never
//! folded, trimmed or shortened into somebody else's.

pub(crate) mod account;
pub(crate) mod user;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use crate::claim_policy::{self, Says};
use crate::claims::{self, Claims};
use crate::config::{ChosenMapping, IdentityMode, Issuer, JwtConfig, Secret, UserMatch};
use crate::decision::AuthGrant;
use crate::deny::DenyReason;
use crate::groups;
use crate::session;

/// PostgreSQL's `NAMEDATALEN` less the terminating NUL. The server would cut a longer name, and the cut name may be
/// another role.
const MAX_ROLE_BYTES: usize = 63;

/// Whether a start-up user logs in by token. Where an issuer has no suffix every user does.
pub(crate) fn is_token_user(user: &str, config: &JwtConfig) -> bool {
    config.takes_any_user() || config.has_suffix(user)
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
    let named = user::of(claims, issuer, config)?;
    let (identity, mode) = (&*named.name, config.mode_of(issuer, named.rule));
    check_user(user, identity, issuer, config)?;
    check_database(database, issuer)?;
    let says = claim_policy::read(&config.claims, claims, database)?;
    let account = match mode {
        IdentityMode::ServiceAccount => Some(account::choose(claims, database, config)?),
        _ => None,
    };
    check_names(identity, &says, account.as_ref(), issuer, config)?;
    let subject = claims::optional_string(claims, "sub")?.filter(|subject| !subject.is_empty());
    let token_id = claims::optional_string(claims, "jti")?;
    let role = says.role.unwrap_or_else(|| identity.to_owned());
    let (server_user, server_password) = login(&role, mode, config);
    let grant = AuthGrant {
        user: identity.to_owned(),
        mode,
        account: None,
        server_role: Some(role),
        server_user,
        server_password,
        token: None,
        guarded: config.is_guarded(mode),
        read_only: says.read_only || issuer.read_only,
        provision: config.auto_provision,
        provision_read_only: config.auto_provision_read_only,
        pool_mode: says.pool_mode,
        max_connections: says.max_connections,
        settings: session::evaluate(&config.variables, claims)?,
        kept_claims: kept(&config.kept_claims, claims),
        claims: config.proves_claims.then(|| Arc::new(claims.clone())),
        subject: subject.unwrap_or(identity).to_owned(),
        issuer: claims::optional_string(claims, "iss")?.map(str::to_owned),
        token_id: token_id.map(str::to_owned),
        issued_at: claims::moment(claims, "iat")?,
        expires_at,
        valid_until: expires_at.checked_add(issuer.leeway).unwrap_or(expires_at),
        fingerprint: None,
        groups: groups::said(claims, issuer.groups.as_ref())?,
    };
    Ok(match account {
        Some(account) => account::grant(grant, account),
        None => grant,
    })
}

/// The claims that the host wants to see.
fn kept(names: &[String], claims: &Claims) -> BTreeMap<String, Value> {
    let find = |name: &String| Some((name.clone(), claims::find(claims, name)?.clone()));
    names.iter().filter_map(find).collect()
}

/// Who logs in to PostgreSQL, and with which password.
fn login(role: &str, mode: IdentityMode, config: &JwtConfig) -> (Option<String>, Option<Secret>) {
    match mode {
        IdentityMode::Login | IdentityMode::Passthrough => (Some(role.to_owned()), None),
        IdentityMode::Role | IdentityMode::ServiceAccount => {
            (config.server_user.clone(), config.server_password.clone())
        }
    }
}

/// With a suffix, the identity may be the start-up user as it is or without the suffix: some issuers put
/// `alice@example.com` in the claim, others `alice`. Users with a suffix are those of its issuers and of nobody else.
pub(crate) fn check_user(user: &str, identity: &str, issuer: &Issuer, config: &JwtConfig) -> Result<(), DenyReason> {
    let suffix = issuer.user_suffix.as_deref();
    let same = match config.user_match {
        UserMatch::Claim => true,
        UserMatch::Exact => {
            let bare = suffix.and_then(|suffix| user.strip_suffix(suffix));
            identity == user || bare == Some(identity)
        }
    };
    match same && config.suffix_of(user) == suffix {
        true => Ok(()),
        false => Err(DenyReason::UserMismatch { identity: identity.to_owned() }),
    }
}

/// Whether the issuer's tokens open the database.
pub(crate) fn check_database(database: &str, issuer: &Issuer) -> Result<(), DenyReason> {
    let is_open = |names: &Vec<String>| names.iter().any(|pattern| matches(pattern, database));
    if issuer.databases.as_ref().is_none_or(is_open) { Ok(()) } else { Err(DenyReason::DatabaseDenied) }
}

/// Whether the subject, and the role or the account in place of its own, have names that may be theirs.
pub(crate) fn check_names(
    identity: &str,
    says: &Says,
    account: Option<&ChosenMapping>,
    issuer: &Issuer,
    config: &JwtConfig,
) -> Result<(), DenyReason> {
    let of_issuer = |role: &str| match &issuer.roles {
        Some(roles) if !roles.iter().any(|pattern| matches(pattern, role)) => {
            Err(DenyReason::RoleNotOfIssuer { role: role.to_owned() })
        }
        _ => Ok(()),
    };
    if let Some(account) = account {
        // No role, so that an address of any length will do.
        check_name(identity)?;
        let rule = account.rule();
        of_issuer(&rule.server_user)?;
        return rule.role.as_deref().map_or(Ok(()), of_issuer);
    }
    check_role(identity, &config.denied_roles)?;
    let role = says.role.as_deref().unwrap_or(identity);
    check_role(role, &config.denied_roles)?;
    of_issuer(role)
}

/// Whether a token may become this role, as far as its name goes (S13).
///
/// # Errors
/// The reason why not. `denied` is a list as in [`JwtConfig::denied_roles`].
///
/// PostgreSQL takes the value `none` of the setting `role` for "no role" (`check_role` in `variable.c`, compared with
/// `strcmp`), and the statement `SET ROLE none` in any case. No spelling of it is worth the risk.
pub fn check_role(role: &str, denied: &[String]) -> Result<(), DenyReason> {
    check_name(role)?;
    if role.len() > MAX_ROLE_BYTES {
        return Err(DenyReason::RoleInvalid("is longer than 63 bytes"));
    }
    if role.eq_ignore_ascii_case("none") {
        return Err(DenyReason::RoleInvalid("means no role at all to PostgreSQL"));
    }
    if denied.iter().any(|pattern| matches(pattern, role)) {
        return Err(DenyReason::RoleDenied { role: role.to_owned() });
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), DenyReason> {
    if name.is_empty() {
        return Err(DenyReason::RoleInvalid("is empty"));
    }
    if name.contains('\0') {
        return Err(DenyReason::RoleInvalid("has a NUL in it"));
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
