//! What a pooler must do after the core has let a client in, for poolers that are not ours. PgDog uses it through the files in
//! `patches/`.
//!
//! The core decides ([`pgdog_jwt::Authenticator`]). A host enforces the grant, and this crate is the part of it that does not
//! depend on the host's own types:
//!
//! | module | enforces |
//! | --- | --- |
//! | [`config`] | What the configuration file says of token users is honoured, or it is an error. |
//! | [`credential`] | A password message is read with a bound, before anything else of the client is believed. |
//! | [`names`] | Start-up parameters set nothing that is not the client's to choose. |
//! | [`admission`] | A session uses the pool that its grant leads to, and no other. |
//! | [`identity`] | A server connection has the grant's role and settings from its first packet, and proves it when asked. |
//! | [`pools`] | Subjects have pools of their own, limited in number, which end when nobody uses them. |
//! | [`gate`] | No message of a request passes that could change who the session is. |
//! | [`life`] | A session ends with its token, or when the token is revoked. |
//! | [`wire`] | The client is told what to do instead. |
//! | [`audit`] | Each login is one event in the host's log. |
//!
//! Nothing here opens a socket.

pub mod admission;
pub mod audit;
pub mod config;
pub mod credential;
pub mod gate;
pub mod identity;
pub mod life;
pub mod names;
pub mod pools;
#[cfg(test)]
mod tests;
pub mod wire;
