//! The pools of accounts that role mappings lead to. All subjects of one mapping share its account's pool; what one of them
//! leaves on a connection is gone before another gets it, because the identity there is the subject's as well.

use std::sync::Arc;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::RoleMapping;

use super::cluster::PoolSetSpec;
use super::identity::{Identity, Subject};
use super::plan;
use super::pool::PoolSpec;
use crate::config::{Config, Database};

/// The mapping that holds for a grant under this configuration, which may be newer than the grant. `None`: it is not
/// certain that the token would still be given it (S2).
pub(super) fn mapping<'a>(config: &'a Config, database: &str, grant: &AuthGrant) -> Option<&'a RoleMapping> {
    let core = &config.jwt.as_ref()?.core;
    let mapping = grant.account.as_ref()?.among(&core.role_mappings)?;
    mapping.serves(database).then_some(mapping)
}

/// Who the subject of a grant is there.
pub(super) fn identity(config: &Config, servers: &[&Database], mapping: &RoleMapping, grant: &AuthGrant) -> Identity {
    let role = mapping.role.clone().filter(|role| *role != mapping.server_user);
    let variables = grant.settings.as_slice().into();
    let proven = plan::proven(config, servers, grant);
    Identity { role, subject: Some(Subject::of(grant)), variables, proven, ..account(config, servers, mapping, grant) }
}

/// Who a connection is before a subject has it: the account, which has to be fit for tokens itself (S13).
fn account(config: &Config, servers: &[&Database], mapping: &RoleMapping, grant: &AuthGrant) -> Identity {
    let jwt = config.jwt.as_ref();
    let provisioned = jwt.is_some_and(|jwt| jwt.core.auto_provision_read_only);
    let configured = mapping.read_only.unwrap_or(provisioned || plan::is_read_only(servers, None));
    let read_only = configured || grant.read_only;
    Identity {
        allow_privileged: jwt.is_some_and(|jwt| jwt.allow_privileged_roles),
        read_only,
        // Several subjects share it, so there is always something to guard.
        watched: true,
        ..Identity::default()
    }
}

/// The mapping's pools in one database.
pub(super) fn pools(config: &Config, servers: &[&Database], mapping: &RoleMapping, grant: &AuthGrant) -> PoolSetSpec {
    let identity = Arc::new(account(config, servers, mapping, grant));
    let pools = config.jwt.as_ref().map_or(&[][..], |jwt| &jwt.account_pools);
    let wanted = pools.iter().find(|pool| pool.name == mapping.name);
    let (login, password) = (mapping.server_user.as_str(), mapping.server_password.as_ref());
    let pool = |server: &&Database| {
        let pool = plan::pool(config, server, None, login, password, &identity);
        let size = wanted.and_then(|wanted| wanted.pool_size).unwrap_or(pool.size);
        PoolSpec { shared: true, size, ..pool }
    };
    let pools = servers.iter().map(pool).collect();
    let set = plan::set(config, servers, None, identity, pools);
    let mode = wanted.and_then(|wanted| wanted.pooler_mode).unwrap_or(set.mode);
    PoolSetSpec { shared: true, mode, ..set }
}
