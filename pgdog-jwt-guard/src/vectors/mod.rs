//! Statements with the guard's answers, for tests: attacks, and the work of applications, drivers and tools.
//!
//! They stand in the crate's folder `vectors`. A host that brings its own [`Parser`] shows that it reads SQL well enough:
//!
//! ```
//! # #[cfg(feature = "pg_query")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let parser = &pgdog_jwt_guard::PgQuery; // The host's own.
//! for failure in pgdog_jwt_guard::vectors::failures(parser)? {
//!     panic!("{failure}");
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "pg_query"))]
//! # fn main() {}
//! ```

mod file;

use std::collections::HashMap;
use std::fmt;

use crate::class::{Access, Class, Effects, Refusal, Verdict};
use crate::classifier::Classifier;
use crate::dialect::{Dialect, Hints, Reserved};
use crate::parser::Parser;
use crate::policy::Policy;

/// A statement, or several in one text, and what the guard must say of it.
#[derive(Clone, Debug)]
pub struct Vector {
    /// What it has in common with others.
    pub group: String,
    /// The policy's name in `vectors/policies.json`.
    pub policy_name: String,
    /// What the classifier looks for.
    pub policy: Policy,
    /// The text.
    pub sql: Vec<u8>,
    /// What must become of it.
    pub expected: Expected,
    /// Where it may run, where that is given.
    pub access: Option<Access>,
    /// What it may leave behind, where that is given.
    pub effects: Option<Effects>,
}

/// What must become of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// [`Verdict::Allow`].
    Allow,
    /// [`Verdict::Barrier`].
    Barrier,
    /// [`Verdict::Rewrite`]; or a refusal, where the parser does not say where the words of a text are.
    Rewrite,
    /// [`Verdict::Refuse`].
    Refuse {
        /// The error's code.
        sqlstate: String,
        /// The error's message, where that is given.
        message: Option<String>,
    },
}

impl Vector {
    /// Whether this is the right answer.
    pub fn agrees(&self, class: &Class) -> bool {
        let agrees = match (&self.expected, class.verdict) {
            (Expected::Allow, Verdict::Allow) | (Expected::Barrier, Verdict::Barrier) => true,
            (Expected::Rewrite, Verdict::Rewrite(_) | Verdict::Refuse(_)) => true,
            (Expected::Refuse { sqlstate, message }, Verdict::Refuse(refusal)) => {
                sqlstate == refusal.sqlstate && message.as_ref().is_none_or(|message| message == refusal.message)
            }
            // Whether it may pass depends on who the session is, or on what is installed.
            (Expected::Refuse { sqlstate, message }, Verdict::Rewrite(refusal)) if refusal.is_for_the_host() => {
                sqlstate == refusal.sqlstate && message.as_ref().is_none_or(|message| message == refusal.message)
            }
            _ => false,
        };
        agrees
            && self.access.is_none_or(|access| access == class.access)
            && self.effects.is_none_or(|effects| effects == class.effects)
    }
}

/// A vector, and the class that was found instead.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was asked.
    pub vector: Vector,
    /// What came out.
    pub found: Class,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Vector { group, policy_name, sql, expected, access, effects, .. } = &self.vector;
        let sql = String::from_utf8_lossy(sql);
        write!(f, "{group}, policy \"{policy_name}\": {sql:.200}\nexpected {expected:?}, {access:?}, {effects:?}\n")?;
        write!(f, "found    {:?}, {:?}, {:?}", self.found.verdict, self.found.access, self.found.effects)
    }
}

/// All vectors.
///
/// # Errors
/// One of the files is not what it should be.
pub fn all() -> Result<Vec<Vector>, serde_json::Error> {
    file::read(DIALECT)
}

/// The vectors whose class, with a parser, is another. Each is asked for twice: what is remembered must be the same.
///
/// Some texts are nested 20,000 levels deep. A parser that is recursive needs a stack of 8 MiB for them.
///
/// # Errors
/// As [`all`].
pub fn failures(parser: &'static dyn Parser) -> Result<Vec<Failure>, serde_json::Error> {
    let mut classifiers: HashMap<String, Classifier> = HashMap::new();
    let mut failures = Vec::new();
    for vector in all()? {
        let make = || Classifier::new(vector.policy.clone(), parser);
        let classifier = classifiers.entry(vector.policy_name.clone()).or_insert_with(make);
        let (first, again) = (classifier.classify(&vector.sql), classifier.classify(&vector.sql));
        if let Some(found) = [first, again].into_iter().find(|class| !vector.agrees(class)) {
            failures.push(Failure { vector, found });
        }
    }
    Ok(failures)
}

/// What is planted in [`Secrets::forms`].
pub const SECRET: &str = "swordfish";

/// Statements with places for a secret, `{}`, which no place of [`Masked`](crate::Masked) may show.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secrets {
    /// For any expression. Nothing of what stands there is the name of an object.
    pub places: Vec<String>,
    /// For strings alone.
    pub strings: Vec<String>,
    /// For strings and words.
    pub settings: Vec<String>,
    /// Slips of the pen, which PostgreSQL refuses.
    pub slips: Vec<String>,
    /// For columns, where a string was meant.
    pub meant: Vec<String>,
    /// A string with the secret in it, in each way that PostgreSQL reads one.
    pub forms: Vec<String>,
}

/// Statements with places for a secret.
///
/// # Errors
/// As [`all`].
pub fn secrets() -> Result<Secrets, serde_json::Error> {
    serde_json::from_str(include_str!("../../vectors/secrets.json"))
}

/// Of a host with names of its own for everything.
pub(crate) const DIALECT: Dialect = Dialect {
    settings: Some("pgdog_jwt."),
    startup_parameters: &["pgdog_jwt.client_flow"],
    reserved: Some(Reserved { prefix: "__pgdog_jwt_", refusal: &RESERVED_NAME }),
    hints: Some(Hints { comment: "pgdog_role", setting: "pgdog.role" }),
    may_hold_secret: |text| text.to_ascii_lowercase().windows(9).any(|word| word == b"pgdog_jwt"),
};

pub(crate) static RESERVED_NAME: Refusal = Refusal {
    sqlstate: "42501",
    message: "permission denied to use a prepared statement of the host's own",
    hint: "Use the name that the statement was prepared under.",
};
