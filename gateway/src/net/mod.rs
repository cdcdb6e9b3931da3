//! Sockets as the rest of the gateway sees them: one stream type for clients and servers, with or without TLS, its
//! socket options, and reading one message at a time while a login is going on.

pub(crate) mod buffer;
mod from_config;
pub(crate) mod listen;
pub(crate) mod options;
pub(crate) mod read;
pub(crate) mod stream;
pub(crate) mod tls;

pub(crate) use options::TcpOptions;
pub(crate) use stream::Stream;
