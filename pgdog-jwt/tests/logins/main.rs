//! Whole logins through the public face of the crate, against keys made at run time and a real HTTP server.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test binary has no public face, and its panics are its findings"
)]

mod common;
mod explained;
mod https;
mod key_files;
mod key_sets;
mod outages;
mod remembered;
mod remembered_keys;
mod secrets;
mod signatures;
