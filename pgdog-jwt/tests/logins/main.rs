//! Whole logins through the public face of the crate, against keys made at run time and a real HTTP server.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test binary has no public face, and its panics are its findings"
)]

mod common;
mod discovery;
mod examined;
mod explained;
mod freshness;
mod garbage;
mod https;
mod introspection;
mod key_files;
mod key_places;
mod key_sets;
mod kinds;
mod mutations;
mod named;
mod neighbours;
mod outages;
mod remembered;
mod remembered_keys;
mod revoked;
mod rfc8725;
mod routes;
mod secrets;
mod signatures;
mod turns;
