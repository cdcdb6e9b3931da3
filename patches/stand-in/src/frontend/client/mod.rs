//! A client.

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

#[derive(Default)]
pub struct Client {
    pub(crate) stream: Stream,
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
}

pub mod query_engine;
