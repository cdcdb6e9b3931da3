//! What the statements of `vectors` do not show.

mod classes;
mod remembered;
mod rewritten;
mod same_template;
mod speed;
mod startup;
mod wishes;

use super::*;
use crate::classifier::judge;
use crate::vectors::DIALECT;

pub(super) fn policy(guard: GuardMode) -> Policy {
    let protected = ["app.tenant", "jwt.", "orochi.*", "default_transaction_read_only"].into_iter().collect();
    let (strategy, account) = (ReadWriteStrategy::Conservative, Account::Named);
    Policy {
        guard,
        identity: true,
        account,
        strategy,
        protected,
        cache_limit: 100,
        max_words: 10_000,
        dialect: DIALECT,
    }
}

fn classifier(guard: GuardMode) -> Classifier {
    Classifier::new(policy(guard), &PgQuery)
}

fn classify(guard: GuardMode, sql: &str) -> Class {
    classifier(guard).classify(sql.as_bytes())
}

/// As it is.
fn refused(class: Class) -> bool {
    matches!(class.verdict, Verdict::Refuse(_) | Verdict::Rewrite(_))
}
