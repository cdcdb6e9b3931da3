//! Asking PostgreSQL what a role is like, and making it what it must be: one transaction, or nothing. Several gateways and
//! many logins may do so at once: whoever changes a role writes its row in `pg_authid` first and looks again before it
//! changes anything else. Others that want to change it wait for that row, are told that it has changed, and begin anew. No
//! advisory lock: any client could hold one and keep somebody else from logging in.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;

use super::Failure;
use super::admin::{Admins, Lent};
use super::groups::Rules;
use super::plan::{self, Change, Plan, Wanted};
use super::state::{Question, State};
use crate::backend::conversation::ConversationError;
use crate::backend::inquiry;

/// Attempts, when somebody else did the same at the same moment.
const ATTEMPTS: usize = 20;
/// The longest pause between two of them, so that those that met do not meet again.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// What another session's doing makes of a statement: duplicate_object, unique_violation, serialization_failure,
/// deadlock_detected, undefined_object; and read_only_sql_transaction, after a failover.
const WORTH_A_RETRY: [&str; 6] = ["42710", "23505", "40001", "40P01", "42704", "25006"];

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) plan: Plan,
    /// Where the primary's log ended after the change; `None`: nothing was changed, or it did not say.
    pub(super) position: Option<u64>,
}

/// What to do with a role.
pub(super) enum Task<'a> {
    Sync(&'a Wanted, &'a Rules),
    Disable { role: &'a str, accounts: &'a [String] },
}

impl Task<'_> {
    fn role(&self) -> &str {
        match self {
            Self::Sync(wanted, _) => &wanted.role,
            Self::Disable { role, .. } => role,
        }
    }

    fn plan(&self, state: &State) -> Result<Plan, Failure> {
        match self {
            Self::Sync(wanted, rules) => {
                plan::plan(wanted, state, rules).map_err(|reason| Failure::Refused(reason.to_string()))
            }
            Self::Disable { .. } => Ok(plan::disable(state)),
        }
    }
}

/// Does the task, or with `dry` only says what it would do. The caller limits the wait.
pub(super) async fn run(admins: &Admins, task: &Task<'_>, dry: bool) -> Result<Done, Failure> {
    let mut attempt = 1;
    loop {
        let mut lent = admins.lend().await?;
        match once(&mut lent, task, dry).await {
            Ok(done) => {
                lent.give_back();
                return Ok(done);
            }
            Err(error) if attempt < ATTEMPTS && is_worth_a_retry(&error) => {
                attempt += 1;
                drop(lent);
                tokio::time::sleep(pause()).await;
            }
            Err(error) => {
                return Err(match error {
                    Problem::Plan(failure) => {
                        lent.give_back();
                        failure
                    }
                    Problem::Talk(ConversationError::Refused(fields)) if !is_outage(&fields.code) => {
                        Failure::Refused(format!("{} ({})", fields.message, fields.code))
                    }
                    Problem::Talk(error) => Failure::Unavailable(error.to_string()),
                });
            }
        }
    }
}

fn pause() -> Duration {
    LONGEST_PAUSE.mul_f64(rand::rng().random_range(0.0..=1.0))
}

enum Problem {
    Plan(Failure),
    Talk(ConversationError),
}

impl From<ConversationError> for Problem {
    fn from(error: ConversationError) -> Self {
        Self::Talk(error)
    }
}

/// A kept connection may have ended, and two gateways may have had the same thing to do.
fn is_worth_a_retry(problem: &Problem) -> bool {
    match problem {
        Problem::Talk(ConversationError::Refused(fields)) => {
            let is_concurrent = fields.code == "XX000" && fields.message.contains("concurrently");
            is_concurrent || WORTH_A_RETRY.contains(&fields.code.as_str())
        }
        Problem::Talk(ConversationError::Closed | ConversationError::Io(_)) => true,
        _ => false,
    }
}

/// Cancelled by a time limit, not to be had, read-only, or ending: not the statement's fault.
fn is_outage(code: &str) -> bool {
    ["08", "53", "57", "58", "25"].iter().any(|class| code.starts_with(class)) || code == "55P03"
}

async fn once(lent: &mut Lent<'_>, task: &Task<'_>, dry: bool) -> Result<Done, Problem> {
    let first = ask(lent, task).await?;
    let plan = task.plan(&first).map_err(Problem::Plan)?;
    if plan.changes.is_empty() || dry {
        return Ok(Done { plan, position: None });
    }
    lent.connection.query("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
    let plan = match &first.role {
        // Making it is what only one of several can do.
        None => plan,
        Some(role) => {
            let lock = Change::Login(role.can_login).sql(task.role());
            lent.connection.query(&lock).await?;
            // Whoever changed the role before has committed by now.
            let state = ask(lent, task).await?;
            task.plan(&state).map_err(Problem::Plan)?
        }
    };
    let sql = format!("{}COMMIT", plan.sql(task.role()));
    lent.connection.query(&sql).await?;
    let position = match plan.changes.is_empty() {
        true => None,
        false => inquiry::written(&mut lent.connection).await.ok().flatten(),
    };
    Ok(Done { plan, position })
}

async fn ask(lent: &mut Lent<'_>, task: &Task<'_>) -> Result<State, Problem> {
    let with_options = lent.has_options();
    let (groups, account);
    let question = match task {
        Task::Sync(wanted, _) => {
            groups = wanted.all_roles();
            account = wanted.account.clone();
            Question { role: &wanted.role, accounts: account.as_slice(), groups: &groups }
        }
        Task::Disable { role, accounts } => {
            groups = BTreeSet::new();
            Question { role, accounts, groups: &groups }
        }
    };
    let answer = lent.connection.query(&question.sql(with_options)).await?;
    let state = State::read(&answer, with_options);
    if state.in_recovery {
        return Err(Problem::Plan(Failure::Unavailable("the server is not the primary".to_owned())));
    }
    Ok(state)
}
