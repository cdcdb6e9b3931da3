//! The `pgdog-jwt` program.

#![allow(dead_code)]
mod wire;

fn main() {}
