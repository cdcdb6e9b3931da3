//! The `pgdog-jwt` program.

fn main() {}
