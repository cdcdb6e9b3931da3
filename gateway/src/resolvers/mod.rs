//! Queries that derive variables of a session from others when it begins (`[[resolvers]]`). What a client typed reaches
//! them as parameters only, never as a part of their text.

pub(crate) mod cache;
pub(crate) mod plan;
mod run;
mod verify;

use std::sync::atomic::{AtomicU64, Ordering};

use crate::backend::cluster::NoServer;
use crate::backend::conversation::ConversationError;
pub(crate) use run::{Asking, resolve};
pub(crate) use verify::verify;

/// How often resolvers did what.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    executions: AtomicU64,
    failures: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

static COUNTS: Counts = Counts {
    executions: AtomicU64::new(0),
    failures: AtomicU64::new(0),
    hits: AtomicU64::new(0),
    misses: AtomicU64::new(0),
};

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Numbers for metrics, each with its name and its meaning.
pub(crate) fn counts() -> [(&'static str, &'static str, u64); 4] {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    [
        ("resolver_executions", "Queries of resolvers that were run.", read(&COUNTS.executions)),
        ("resolver_failures", "Resolvers that gave no values.", read(&COUNTS.failures)),
        ("resolver_cache_hits", "Results of resolvers that were still known.", read(&COUNTS.hits)),
        ("resolver_cache_misses", "Results of resolvers that had to be asked for.", read(&COUNTS.misses)),
    ]
}

/// Why a resolver gives no values.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("parameter {0} is NULL")]
    NullInput(usize),
    #[error("no row")]
    NoRow,
    #[error("column \"{0}\" is NULL")]
    NullResult(String),
    #[error("the result has no column \"{0}\"")]
    NoColumn(String),
    #[error("the value of \"{0}\" is too long or not text")]
    Unusable(String),
    #[error("it depends on itself")]
    Circle,
    #[error("there is no account to run it as")]
    NoAccount,
    #[error("no answer in time")]
    Timeout,
    #[error("{0}")]
    NoServer(Box<NoServer>),
    #[error("{0}")]
    Query(Box<ConversationError>),
}

impl From<NoServer> for Failure {
    fn from(error: NoServer) -> Self {
        Self::NoServer(Box::new(error))
    }
}

impl From<ConversationError> for Failure {
    fn from(error: ConversationError) -> Self {
        Self::Query(Box::new(error))
    }
}

impl Failure {
    /// A word for the audit log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NullInput(_) => "resolver_null_input",
            Self::NoRow => "resolver_no_row",
            Self::NullResult(_) => "resolver_null",
            _ => "resolver_failed",
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Self::NullInput(_) | Self::NullResult(_))
    }
}
