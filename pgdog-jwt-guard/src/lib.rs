//! The guard of a PostgreSQL pooler: which statements could change who a session is, and are refused.
//!
//! A pooler gives each client an identity on its server connection: a role, and variables that policies of row-level security
//! read. SQL could take another one (`SET ROLE`, `set_config`, `RESET ALL`, `DO`, a write to `pg_settings` …). This crate reads
//! texts before they are sent and answers: forward it, give it its effect yourself, or refuse it with this error. It says as
//! well what a pooler has to know of a text: where it may run, what it leaves on its server, what it does to the transaction,
//! what of it may be written down.
//!
//! ```
//! # #[cfg(feature = "pg_query")] {
//! use pgdog_jwt_guard::{Account, Classifier, Dialect, GuardMode, PgQuery, Policy, ReadWriteStrategy, Verdict};
//!
//! let policy = Policy {
//!     guard: GuardMode::Strict,
//!     identity: true,
//!     account: Account::Own,
//!     strategy: ReadWriteStrategy::Conservative,
//!     protected: ["app.tenant_id", "jwt.*"].into_iter().collect(),
//!     cache_limit: 1_000,
//!     max_words: 100_000,
//!     dialect: Dialect::NONE,
//! };
//! let mut classifier = Classifier::new(policy, &PgQuery);
//! assert_eq!(classifier.classify(b"SELECT * FROM orders WHERE id = 7").verdict, Verdict::Allow);
//! assert_eq!(classifier.classify(b"RESET ALL").verdict, Verdict::Barrier);
//! for text in ["ALTER ROLE alice SET role = bob", "SELECT set_config($1, $2, false)", "CREATE VIEW v AS TABLE pg_settings"] {
//!     let Verdict::Refuse(refusal) = classifier.classify(text.as_bytes()).verdict else { panic!("let through: {text}") };
//!     assert_eq!(refusal.sqlstate, "42501");
//! }
//! // Nobody but the host knows whether it is bob's session. One that sends texts as they are refuses.
//! assert!(matches!(classifier.classify(b"SET ROLE bob").verdict, Verdict::Rewrite(_)));
//! # }
//! ```
//!
//! # What it promises
//!
//! - **Under [`GuardMode::Strict`] no text that is let through changes `role`, `session_authorization` or a protected variable**,
//!   by whatever statement, spelling or place in a statement. The one way that remains is code that the database's owner wrote
//!   (functions, triggers): what it does is not in the text. Under [`GuardMode::Standard`] clients may bring such code
//!   themselves, so the host asks the server who the session is before the server serves again.
//! - **It fails closed.** A text that is not PostgreSQL's grammar, is not UTF-8, or cannot be read whole, is refused.
//! - **A class depends on the text and the policy alone**, never on what was seen before. [`Classifier`] remembers within
//!   bounds of number and memory.
//! - **It does no I/O and takes no lock**, and knows nothing of hosts: what means something to a host alone stands in its
//!   [`Dialect`]. (Names that texts have in common, see [`Code`], are kept once for all threads.)
//!
//! # What the host does
//!
//! - It asks for every text, of Query and of Parse messages, before the text is sent, and sends those bytes unchanged.
//! - It sends another text for a [`Verdict::Rewrite`] ([`Classifier::rewritten`]), or refuses it.
//! - It refuses a [`Verdict::Refuse`], and gives a [`Verdict::Barrier`] its effect: the statement, and the identity again,
//!   before anything else runs.
//! - It judges start-up parameters ([`Policy::refused_startup_parameter`]), FunctionCall messages
//!   ([`functions::refused_call`]) and replication commands ([`replication::language`]).
//! - It keeps `standard_conforming_strings = on` on its servers: strings are read so. It must not guard a session whose server
//!   reports otherwise, or reports an encoding in which quotes hide ([`keeps_quotes_visible`]).
//!
//! # Parsers
//!
//! The guard reads a [`Tree`], which any parser of PostgreSQL's grammar can make ([`Parser`]). The feature `pg_query`, on by
//! default, has one by the crate of that name ([`PgQuery`]). A program that links another binding of the same C library turns it
//! off and brings its own; where that is one whose nodes print all that they hold, [`printed`] makes the trees. The feature `vectors` gives its tests the statements that must be refused.

mod access;
mod account;
mod cache;
mod class;
mod classifier;
mod dialect;
mod effects;
mod foreign;
pub mod functions;
mod guard;
mod masked;
pub mod names;
mod numbers;
mod parser;
#[cfg(feature = "pg_query")]
mod pg_query;
mod policy;
pub mod printed;
mod protected;
mod refusal;
pub mod replication;
mod rewritten;
mod set_config;
mod startup;
mod syntax;
mod template;
#[cfg(test)]
#[cfg(feature = "pg_query")]
mod tests;
mod tree;
mod values;
#[cfg(feature = "vectors")]
pub mod vectors;
mod wish;
mod words;

#[cfg(feature = "pg_query")]
pub use crate::pg_query::PgQuery;
pub use class::{Access, Class, Effects, Refusal, Transaction, Verdict};
pub use classifier::Classifier;
pub use dialect::{Dialect, Hints, Reserved};
pub use foreign::{Code, Names, Relation};
pub use guard::{canonical, is_setting_name, keeps_quotes_visible};
pub use masked::Masked;
pub use numbers::{VAR_RESET, VAR_SET_DEFAULT, VAR_SET_VALUE};
pub use parser::{ParseError, Parser, Token, TokenKind, parse};
pub use policy::{Account, GuardMode, Policies, Policy, ReadWriteStrategy, Watch};
pub use protected::Protected;
pub use refusal::TOO_LONG;
pub use rewritten::{Rewritten, Role};
pub use startup::startup_assignments;
pub use syntax::{SyntaxError, syntax_error};
pub use tree::{Tree, Value};
pub use wish::side;
