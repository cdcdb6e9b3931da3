//! Replication connections (PostgreSQL documentation, chapter "Streaming Replication Protocol"). Each has a server
//! connection of its own, which was never in a pool and is closed at the end.
//!
//! `kind` reads what the client asks for, `admit` says who gets it, `stream` moves bytes
//! along two `lane`s.

mod admit;
mod kind;
mod lane;
mod stream;

pub(super) use admit::admit;
pub(super) use kind::{Kind, database};
pub(crate) use stream::Replication;
