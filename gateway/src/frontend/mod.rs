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
pub(crate) mod passwords;
mod replication;
pub(crate) mod session;
pub(crate) mod sessions;
mod startup_settings;
mod welcome;
