//! Clients: how they come in, who they turn out to be, and what they do then.

mod admin_login;
mod audit;
mod certificate;
pub(crate) mod grant;
pub(crate) mod handshake;
mod limits;
pub(crate) mod login;
pub(crate) mod methods;
mod negotiate;
mod parameters;
pub(crate) mod passwords;
mod provision;
pub(crate) mod rehearsal;
mod replication;
mod role_settings;
pub(crate) mod session;
pub(crate) mod sessions;
mod startup_settings;
mod tenant;
mod tenant_limits;
mod welcome;
