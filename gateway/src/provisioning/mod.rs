//! Roles for token subjects, made in PostgreSQL at their logins (`[jwt.provisioning]`): the role itself, the groups that
//! the token puts it in, and the grant that lets the gateway become it.
//!
//! A login walks through `groups` (which roles a token's groups stand for) → `memory` (was that so a moment ago?) → `run`
//! (one transaction on a connection of `admin`) → `state` (what PostgreSQL has) → `plan` (the statements in between).
//! `marker` tells the roles that were made here from all others; `upkeep` disables those that nobody uses.
//!
//! It fails closed: a role that is not known to be right, and that cannot be made right, ends the login.

mod admin;
pub(crate) mod groups;
mod marker;
mod memory;
mod plan;
mod run;
mod state;
pub(crate) mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use aws_lc_rs::digest::{Context, SHA256};
use pgdog_jwt::config::Secret;
use pgdog_jwt::{AuthGrant, check_role};

use crate::backend::pool::PoolSpec;
use crate::config::{Config, Provisioning, ValidUntil};
use crate::net::tls::ClientTls;
use crate::stats::events;
use admin::Admins;
use memory::{Known, Memory};
pub(crate) use plan::{Change, Plan, Wanted};
use run::{Done, Task};

/// So many that nobody finds two subjects with the same id.
const SUBJECT_ID_BYTES: usize = 20;

/// Why a role could not be made what it must be. For the log; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The administrator's connection is not to be had, or PostgreSQL did not answer in time.
    #[error("roles cannot be changed now: {0}")]
    Unavailable(String),
    /// PostgreSQL, or a rule of ours, does not allow it.
    #[error("{0}")]
    Refused(String),
}

/// What a login hears of its role.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Synced {
    /// The role is new.
    pub(crate) made: bool,
    /// Something about it was changed.
    pub(crate) changed: bool,
    /// Where the primary's log ended after that.
    pub(crate) position: Option<u64>,
}

/// Makes roles right, for all databases of one configuration.
pub(crate) struct Provisioner {
    config: Arc<Config>,
    settings: Provisioning,
    databases: HashMap<String, Admins>,
    /// The same as the account for token users, which may look and change nothing.
    readers: HashMap<String, Admins>,
    memory: Arc<Memory>,
}

impl Provisioner {
    /// The provisioner of a configuration; `None` when it is off. Asks no server. What the `previous` one knows of roles
    /// counts on when the settings are the same.
    pub(crate) fn new(config: &Arc<Config>, tls: &Arc<ClientTls>, previous: Option<&Self>) -> Option<Arc<Self>> {
        let settings = config.jwt.as_ref().and_then(|jwt| jwt.provisioning.clone())?;
        let as_account = |user: &str, password: Option<&Secret>| {
            let admins = |name: &str| (name.to_owned(), Admins::new(config, name, user, password, tls));
            config.database_names().into_iter().map(admins).collect()
        };
        let databases = as_account(&settings.admin_user, settings.admin_password.as_ref());
        let core = config.jwt.as_ref().map(|jwt| &jwt.core);
        let readers = core
            .and_then(|core| core.server_user.as_deref().map(|user| as_account(user, core.server_password.as_ref())));
        let same =
            previous.filter(|previous| previous.settings == settings && previous.config.databases == config.databases);
        let memory = same.map(|previous| previous.memory.clone()).unwrap_or_default();
        let readers = readers.unwrap_or_default();
        Some(Arc::new(Self { config: config.clone(), settings, databases, readers, memory }))
    }

    /// What the role of a token's subject must be, where an account takes it on, or where the subject logs in itself.
    /// `None`: it logs in as an account that is nobody's own.
    pub(crate) fn wanted(&self, pool: &PoolSpec, role: Option<&str>, grant: &AuthGrant) -> Option<Wanted> {
        if grant.account.is_some() {
            return None;
        }
        let login = pool.user.as_str();
        let (role, account) = match role {
            Some(role) => (role, Some(login)),
            None if login == grant.user => (login, None),
            None => return None,
        };
        let end = grant.expires_at.duration_since(UNIX_EPOCH).ok().and_then(|time| i64::try_from(time.as_secs()).ok());
        let margin = i64::try_from(self.settings.valid_until_margin.as_secs()).unwrap_or(i64::MAX);
        let follows = self.settings.valid_until == ValidUntil::Token;
        let groups = grant.groups.as_ref();
        let as_of = groups.and_then(|groups| groups.as_of).and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Some(Wanted {
            role: role.to_owned(),
            login: account.is_none(),
            subject: groups.map(|_| subject_id(grant.issuer.as_deref().unwrap_or_default(), &grant.subject)),
            account: account.map(str::to_owned),
            roles: self.settings.roles.iter().cloned().collect(),
            groups: groups.map(|groups| self.settings.groups.roles_of(&groups.names)).unwrap_or_default(),
            groups_as_of: as_of.map(|time| time.as_secs()),
            valid_until: end.filter(|_| follows).map(|end| (end, margin)),
        })
    }

    /// Makes the role of a login right, unless it was a moment ago. While roles cannot be changed, those that are right are
    /// let in.
    pub(crate) async fn sync(&self, database: &str, mut wanted: Wanted) -> Result<Synced, Failure> {
        self.check_name(&wanted.role)?;
        let known = self.memory.look(database, &mut wanted, self.settings.recheck);
        if known == Known::Fresh {
            return Ok(Synced::default());
        }
        match self.change(database, &wanted).await {
            Ok(done) => {
                self.memory.note(database, &wanted);
                let made = done.plan.changes.iter().any(|change| matches!(change, Change::Make { .. }));
                Ok(Synced { made, changed: !done.plan.changes.is_empty(), position: done.position })
            }
            Err(Failure::Unavailable(reason)) if known == Known::Stale || self.is_right(database, &wanted).await => {
                let role = wanted.role.as_str();
                tracing::warn!(event = "provisioning", action = "skipped", role, database, reason, "provisioning");
                Ok(Synced::default())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether the role is right as it is, by what anybody may read. In doubt it is not.
    async fn is_right(&self, database: &str, wanted: &Wanted) -> bool {
        let Some(reader) = self.readers.get(database) else { return false };
        let task = Task::Sync(wanted, &self.settings.groups);
        let plan = match self.limited(run::run(reader, &task, true)).await {
            Ok(done) => done.plan,
            Err(_) => return false,
        };
        plan.notices.is_empty() && plan.changes.iter().all(|change| matches!(change, Change::Note(_)))
    }

    /// Makes the role right, whatever is remembered of it, and writes down each change.
    pub(crate) async fn apply(&self, database: &str, wanted: &Wanted) -> Result<Plan, Failure> {
        self.check_name(&wanted.role)?;
        Ok(self.change(database, wanted).await?.plan)
    }

    async fn change(&self, database: &str, wanted: &Wanted) -> Result<Done, Failure> {
        let done = self.run(database, &Task::Sync(wanted, &self.settings.groups), false).await?;
        report(database, &wanted.role, &done.plan);
        Ok(done)
    }

    /// What [`apply`](Self::apply) would do.
    pub(crate) async fn preview(&self, database: &str, wanted: &Wanted) -> Result<Plan, Failure> {
        self.check_name(&wanted.role)?;
        Ok(self.run(database, &Task::Sync(wanted, &self.settings.groups), true).await?.plan)
    }

    /// PostgreSQL does not take the role as it is.
    pub(crate) fn forget(&self, database: &str, role: &str) {
        self.memory.forget(database, role);
    }

    /// The rules of S13, once more: what is done with these rights depends on no other module.
    fn check_name(&self, role: &str) -> Result<(), Failure> {
        let denied = self.config.jwt.as_ref().map(|jwt| jwt.core.denied_roles.as_slice()).unwrap_or_default();
        check_role(role, denied).map_err(|reason| Failure::Refused(reason.to_string()))
    }

    async fn run(&self, database: &str, task: &Task<'_>, dry: bool) -> Result<Done, Failure> {
        let admins = self.admins(database)?;
        self.limited(run::run(admins, task, dry)).await
    }

    fn admins(&self, database: &str) -> Result<&Admins, Failure> {
        self.databases.get(database).ok_or_else(|| Failure::Unavailable("there is no such database".to_owned()))
    }

    async fn limited<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let limit = self.settings.timeout;
        let outcome = tokio::time::timeout(limit, work).await;
        outcome.unwrap_or_else(|_| Err(Failure::Unavailable(format!("not done within {limit:?}"))))
    }
}

/// A name for the subject of an issuer that tells it from all others: the beginning of SHA-256, in hexadecimal. Everybody may
/// read the comments of roles, so it is not the subject itself.
pub(crate) fn subject_id(issuer: &str, subject: &str) -> String {
    let mut context = Context::new(&SHA256);
    context.update(&(issuer.len() as u64).to_be_bytes());
    context.update(issuer.as_bytes());
    context.update(subject.as_bytes());
    context.finish().as_ref().iter().take(SUBJECT_ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

/// One event for each change.
fn report(database: &str, role: &str, plan: &Plan) {
    for change in &plan.changes {
        let (action, other) = (change.action(), change.other());
        events::role_change(action);
        if matches!(change, Change::Note(_)) {
            tracing::debug!(event = "provisioning", action, role, database, "provisioning");
        } else {
            tracing::info!(event = "provisioning", action, role, other, database, "provisioning");
        }
    }
    for reason in &plan.notices {
        events::role_change("left_alone");
        tracing::warn!(event = "provisioning", action = "left_alone", role, database, reason, "provisioning");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_subjects_have_one_id() {
        let ids = [("", ""), ("i", "s"), ("is", ""), ("", "is"), ("i", "S"), ("j", "s")].map(|(i, s)| subject_id(i, s));
        for (at, id) in ids.iter().enumerate() {
            assert!(id.len() == 40 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
            assert!(!ids[..at].contains(id), "{id}");
        }
    }
}
