//! Clients: how they come in, who they turn out to be, and what they do then.

mod audit;
pub(crate) mod cancel;
pub(crate) mod grant;
pub(crate) mod handshake;
pub(crate) mod login;
pub(crate) mod methods;
mod negotiate;
pub(crate) mod passwords;
pub(crate) mod session;
mod startup_settings;
mod welcome;
