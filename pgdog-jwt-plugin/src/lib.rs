//! Tokens as passwords by PgDog's authentication hook, instead of by patches: a shared object that says of each login *skip*,
//! *allow* or *deny*.
//!
//! No released PgDog has the hook yet. This crate has its shape, as pull requests 1572–1575 describe it, over the same core as
//! the gateway and the patches. `README.md` says what a grant loses there, and what is left to bind it to a release.
//!
//! | module | |
//! | --- | --- |
//! | [`hook`] | The hook's types, as the plugin's own code sees them. |
//! | [`plugin`] | A login's decision, and the configuration that it goes by. |
//! | [`boundary`] | What crosses between two programs: pointers in, a sink out, no panic. The only unsafe code. |

pub mod boundary;
pub mod hook;
pub mod plugin;

mod config;
mod runtime;
mod stamp;
mod users;
