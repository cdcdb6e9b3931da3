//! Roles that nobody uses (`disable_after`): found by the day in their mark, and disabled one by one.

use std::time::{Duration, Instant};

use super::run::Task;
use super::state::unused_sql;
use super::{Failure, Plan, Provisioner, report};
use crate::app::state::App;

/// Between two looks at kept connections.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// Between two searches for unused roles, and after one that failed.
const SEARCH_EVERY: Duration = Duration::from_secs(3_600);
const SEARCH_AGAIN: Duration = Duration::from_secs(60);

/// What came of one role.
type Outcome = Result<Plan, Failure>;

/// Runs until the process ends.
pub(crate) async fn run(app: &'static App) {
    let mut due = Instant::now();
    loop {
        if let Some(provisioner) = app.state().provisioner.clone() {
            if Instant::now() >= due {
                let is_done = provisioner.disable_everywhere().await;
                due = Instant::now() + if is_done { SEARCH_EVERY } else { SEARCH_AGAIN };
            }
            let kept = provisioner.databases.values().chain(provisioner.readers.values());
            kept.for_each(|admins| admins.tidy());
        }
        tokio::time::sleep(TIDY_EVERY).await;
    }
}

impl Provisioner {
    async fn disable_everywhere(&self) -> bool {
        let mut is_done = true;
        for database in self.servers() {
            let failed = |error: &Failure| {
                tracing::warn!(event = "provisioning", action = "disable", database, %error, "provisioning");
            };
            match self.disable_unused(&database, false).await {
                Ok(roles) => roles.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).for_each(failed),
                Err(error) => {
                    failed(&error);
                    is_done = false;
                }
            }
        }
        is_done
    }

    /// One database of each server: roles are common to all of them.
    pub(crate) fn servers(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.config.database_names() {
            let is_new = |known: &String| match (self.databases.get(known), self.databases.get(name)) {
                (Some(one), Some(other)) => !one.is_same_server(other),
                _ => true,
            };
            if names.iter().all(is_new) {
                names.push(name.to_owned());
            }
        }
        names
    }

    /// Disables the roles that were not seen for `disable_after` days, or with `dry` only names them with what would be
    /// done. One that cannot be disabled keeps none of the others from it.
    pub(crate) async fn disable_unused(&self, database: &str, dry: bool) -> Result<Vec<(String, Outcome)>, Failure> {
        let Some(days) = self.settings.disable_after else { return Ok(Vec::new()) };
        let accounts = self.accounts();
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let roles = self.limited(self.unused(database, days, &after)).await?;
            let Some(last) = roles.last() else { return Ok(all) };
            after.clone_from(last);
            for role in roles {
                let task = Task::Disable { role: &role, accounts: &accounts };
                let outcome = match self.run(database, &task, dry).await {
                    Ok(done) => Ok(done.plan),
                    Err(Failure::Refused(reason)) => Err(Failure::Refused(format!("role {role:?}: {reason}"))),
                    Err(failure) => return Err(failure),
                };
                if let (false, Ok(plan)) = (dry, &outcome) {
                    report(database, &role, plan);
                    self.forget(database, &role);
                }
                all.push((role, outcome));
            }
        }
    }

    async fn unused(&self, database: &str, days: u32, after: &str) -> Result<Vec<String>, Failure> {
        let unavailable = |error: &dyn std::fmt::Display| Failure::Unavailable(error.to_string());
        let mut lent = self.admins(database)?.lend().await?;
        let answer = lent.connection.query(&unused_sql(days, after)).await.map_err(|error| unavailable(&error))?;
        lent.give_back();
        Ok(answer.rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
    }

    /// The accounts of the gateway that may have been given subjects' roles.
    fn accounts(&self) -> Vec<String> {
        let tokens = self.config.jwt.as_ref().and_then(|jwt| jwt.core.server_user.clone());
        let users = self.config.users.iter().filter_map(|user| user.server_user.clone());
        let mut accounts: Vec<String> = tokens.into_iter().chain(users).collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }
}
