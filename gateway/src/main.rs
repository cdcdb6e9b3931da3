//! The `pgdog-jwt` program: a PostgreSQL pooler whose clients log in with a JWT.

mod app;
mod cli;
mod config;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::main()
}
