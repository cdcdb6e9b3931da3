//! The gateway, of which the program `pgdog-jwt` is a call of [`main`]. It is a library so that its tests and benchmarks
//! can link to it; nothing in it is meant for other programs.

mod admin;
mod app;
mod audit;
mod backend;
#[doc(hidden)]
pub mod bench;
mod cli;
mod config;
mod dialect;
mod frontend;
mod net;
mod provisioning;
mod resolvers;
mod stats;
mod wire;

pub use cli::main;
