//! What serves a client.

use super::Client;
use crate::backend::pool::connection::Connection;
use crate::frontend::Error;

#[derive(Default)]
pub struct QueryEngine {
    pub(crate) backend: Connection,
}

#[path = "../../../../0.1.54-7-gb4601264/files/pgdog/src/frontend/client/query_engine/jwt.rs"]
mod jwt;
