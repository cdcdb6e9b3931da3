//! Clients: how they come in, who they turn out to be, and what they do then.

mod admin_login;
mod audit;
pub(crate) mod audit_flood;
mod buckets;
pub(crate) mod cancel;
mod cancelling;
mod certificate;
mod client_flow;
mod client_limits;
mod deadline;
pub(crate) mod grant;
pub(crate) mod handshake;
mod identify;
mod limits;
pub(crate) mod login;
pub(crate) mod login_limits;
pub(crate) mod methods;
mod negotiate;
mod parameters;
pub(crate) mod passwords;
pub(crate) mod person;
mod provision;
pub(crate) mod refusal_delay;
mod refused;
pub(crate) mod rehearsal;
mod replication;
mod role_settings;
pub(crate) mod session;
pub(crate) mod sessions;
mod startup_settings;
mod tenant;
mod token_limits;
pub(crate) mod unauthenticated;
mod welcome;

pub(crate) use limits::tokens as limited_tokens;
