//! A client.

use std::future::pending;

use pgdog_jwt_host::life::Ending;

use crate::net::messages::BackendKeyData;
use crate::net::{ProtocolMessage, Stream};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionType {
    ReadOnly,
    ReadWrite,
    ErrorReadWrite,
    ErrorReadOnly,
}

impl TransactionType {
    pub fn read_only(&self) -> bool {
        matches!(self, Self::ReadOnly)
    }

    pub fn error(&self) -> bool {
        matches!(self, Self::ErrorReadWrite | Self::ErrorReadOnly)
    }
}

#[derive(Default)]
pub struct ClientRequest {
    pub messages: Vec<ProtocolMessage>,
}

impl ClientRequest {
    pub fn is_complete(&self) -> bool {
        matches!(self.messages.last(), Some(ProtocolMessage::Query(_) | ProtocolMessage::Sync(_)))
    }

    pub fn clear(&mut self) {
        self.messages.clear();
    }
}

#[derive(Default)]
pub struct Client {
    pub(crate) stream: Stream,
    pub(crate) key: BackendKeyData,
    pub(crate) transaction: Option<TransactionType>,
    pub(crate) client_request: ClientRequest,
    pub(crate) jwt: Option<Box<crate::jwt::Session>>,
}

impl Client {
    /// Whether a request would go on.
    pub async fn request(
        &mut self,
        engine: &mut query_engine::QueryEngine,
        messages: Vec<ProtocolMessage>,
    ) -> Result<bool, super::Error> {
        self.client_request = ClientRequest { messages };
        self.refuses(engine).await.map(|refuses| !refuses)
    }

    /// Whether the session is over before the request has run.
    pub async fn outlived(
        &mut self,
        engine: &mut query_engine::QueryEngine,
        ending: &mut Ending,
        messages: Vec<ProtocolMessage>,
    ) -> Result<bool, super::Error> {
        self.client_request = ClientRequest { messages };
        self.outlives(engine, ending).await
    }

    /// A request that the guard lets through runs for ever where the session has a server.
    pub(crate) async fn client_messages(&mut self, engine: &mut query_engine::QueryEngine) -> Result<(), super::Error> {
        if !self.refuses(engine).await? && engine.backend.connected() {
            pending::<()>().await;
        }
        Ok(())
    }
}

pub mod query_engine;
