//! Tokens that only their issuer can read (RFC 7662).

mod answers;
mod clients;
mod jwts;
mod limits;
