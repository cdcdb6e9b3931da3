//! What a host needs towards PostgreSQL: the start-up parameters of a grant's connections, the key of their pool, and the
//! question that proves who a connection is. Nothing is sent here.
//!
//! A host opens a connection with [`AuthGrant::startup_parameters`](crate::AuthGrant::startup_parameters), keeps it in the pool
//! of [`AuthGrant::pool_key`](crate::AuthGrant::pool_key), and asks a [`Question`] before a client's first byte and whenever
//! the identity is in doubt.
//!
//! ```
//! # fn check_out(
//! #     grant: &pgdog_jwt::AuthGrant,
//! #     ask: impl Fn(&str, &[&str]) -> Vec<Option<String>>,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let question = grant.question()?;
//! // The last row of the answer; none where there was no row.
//! let row: Vec<Option<String>> = ask(&question.sql(), &question.parameters());
//! let row: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
//! question.confirm(&row)?;
//! # Ok(())
//! # }
//! ```

mod nonce;
mod pool_key;
mod question;
mod startup;
mod who;

#[cfg(test)]
mod tests;

pub use nonce::{NoRandom, Nonce};
pub use pool_key::PoolKey;
pub use question::Question;
pub use startup::NotAscii;
pub use who::{Mistaken, WHO, Who};
