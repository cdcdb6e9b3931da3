//! What serves a client.

use super::Client;
use crate::backend::pool::connection::Connection;
use crate::frontend::Error;

#[derive(Default)]
pub struct QueryEngine {
    pub(crate) backend: Connection,
}

impl QueryEngine {
    /// No transaction and nothing that runs.
    pub fn can_disconnect(&self) -> bool {
        !self.backend.connected()
    }
}

#[path = "../../../../0.1.54-7-gb4601264/files/pgdog/src/frontend/client/query_engine/jwt.rs"]
mod jwt;
