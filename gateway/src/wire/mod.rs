//! The PostgreSQL wire protocol as bytes: frames, the few messages that are read, the messages that are built. Nothing
//! here does I/O (PostgreSQL documentation, chapter "Frontend/Backend Protocol").

pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod startup;

pub(crate) use error::{ErrorFields, PgError, Severity};
pub(crate) use frame::{Header, ProtocolViolation};
