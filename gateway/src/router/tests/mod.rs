//! Behaviour of the whole router, by tables of statements.

mod attacks;
mod legitimate;
mod same_template;
mod speed;
mod startup;
mod wishes;

use super::*;

pub(super) fn policy(guard: GuardMode) -> Policy {
    let protected: Vec<Box<str>> =
        ["app.tenant", "jwt.", "orochi.*", "default_transaction_read_only"].map(Box::from).into();
    Policy { guard, strategy: ReadWriteStrategy::Conservative, protected: protected.into(), cache_limit: 100 }
}

fn classify(guard: GuardMode, sql: &str) -> Class {
    Classifier::new(policy(guard)).classify(sql.as_bytes())
}

fn refused(class: Class) -> bool {
    matches!(class.verdict, Verdict::Refuse(_))
}
