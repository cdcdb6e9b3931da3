//! The `pgdog-jwt` program.

mod router;

fn main() {}
