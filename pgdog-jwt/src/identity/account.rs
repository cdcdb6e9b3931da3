//! The account of PostgreSQL that a token's roles lead to. The first rule of the file that fits decides, whatever the
//! order in the token; a token without a rule is refused, and there is no other account (S2).

use crate::claims::{self, Claims};
use crate::config::{ChosenMapping, JwtConfig, RoleMapping};
use crate::decision::AuthGrant;
use crate::deny::DenyReason;

/// Where roles are when a rule names no claim.
const CLAIMS: [&str; 2] = ["role", "roles"];

/// The rule for these claims in this database.
pub(crate) fn choose(claims: &Claims, database: &str, config: &JwtConfig) -> Result<ChosenMapping, DenyReason> {
    let fits = |rule: &RoleMapping| rule.serves(database) && has_role(claims, rule);
    ChosenMapping::first(&config.role_mappings, fits).ok_or(DenyReason::NoRoleMapping)
}

fn has_role(claims: &Claims, rule: &RoleMapping) -> bool {
    let Some(wanted) = &rule.value else { return true };
    let has = |claim: &str| claims::strings(claims, claim).into_iter().any(|value| wanted.matches(value));
    match &rule.claim {
        Some(claim) => has(claim),
        None => CLAIMS.into_iter().any(has),
    }
}

/// The grant with the account in it. The subject keeps its name, and nothing else of the subject reaches PostgreSQL.
pub(super) fn grant(grant: AuthGrant, account: ChosenMapping) -> AuthGrant {
    let rule = account.rule();
    AuthGrant {
        // The account has logged in itself, and what its session may become is PostgreSQL's to say. A role that it takes
        // is not kept so.
        guarded: grant.guarded || rule.role.is_some(),
        server_role: rule.role.clone(),
        server_user: Some(rule.server_user.clone()),
        server_password: rule.server_password.clone(),
        read_only: grant.read_only || rule.read_only == Some(true),
        provision: true,
        account: Some(account),
        ..grant
    }
}
