//! The `pgdog-jwt` program: a PostgreSQL pooler whose clients log in with a JWT.

mod admin;
mod app;
mod audit;
mod backend;
mod cli;
mod config;
mod frontend;
mod net;
mod provisioning;
mod resolvers;
mod router;
mod stats;
mod wire;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
