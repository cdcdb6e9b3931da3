//! Clients.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Net(#[from] crate::net::Error),
    #[error(transparent)]
    Backend(#[from] crate::backend::Error),
}

pub mod client;
