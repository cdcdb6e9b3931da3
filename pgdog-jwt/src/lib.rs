//! The identity core of pgdog-jwt: a credential goes in, a login decision comes out.
//!
//! A host (our gateway, PgDog, another pooler) asks [`Authenticator::authenticate`] who a client is. The answer is an
//! [`AuthDecision`]: *skip* (not a token user, use your own method), *allow* with a grant that says everything the host
//! must enforce, or *deny* with a reason for the audit log. The core verifies signatures and policy; it knows nothing of
//! pools and opens no PostgreSQL socket.

pub mod config;
mod decision;

pub use decision::{AuthContext, AuthDecision, AuthGrant, Credential, DenyReason};
