//! The `pgdog-jwt` program: a PostgreSQL pooler whose clients log in with a JWT.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    pgdog_jwt_gateway::main()
}
