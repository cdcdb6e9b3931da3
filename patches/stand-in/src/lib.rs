//! The names of PgDog that our files in `patches/` use, in our words: as much as it takes to compile those files, and to see in
//! a test what they do. A change of our crates that would break a patched PgDog breaks this first.
//!
//! Nothing here is PgDog's. What a name means is what our files rely on: PgDog's own code is what decides.

// The parser has the name of a crate there.
extern crate self as pg_raw_parse;

pub mod backend;
pub mod config;
pub mod frontend;
#[path = "../../0.1.54-7-gb4601264/files/pgdog/src/jwt.rs"]
pub mod jwt;
pub mod net;
pub mod parser;
#[cfg(test)]
mod tests;

pub use parser::parse;

pub mod state {
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum State {
        Idle,
        ForceClose,
    }
}

pub mod util {
    use crate::net::parameter::Parameters;

    pub fn user_database_from_params(params: &Parameters) -> (&str, &str) {
        let user = params.text("user").unwrap_or("postgres");
        (user, params.text("database").unwrap_or(user))
    }
}
