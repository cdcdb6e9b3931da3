//! The protocol: messages as bytes, and a client's connection that remembers what it was sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub mod messages {
    use bytes::Bytes;

    #[derive(Debug, Clone)]
    pub struct Message(pub Bytes);

    impl Message {
        pub fn new(payload: Bytes) -> Self {
            Self(payload)
        }
    }

    pub enum Authentication {
        ClearTextPassword,
    }

    /// What names a client's session in a cancel request.
    #[derive(Debug, Clone, Copy, Default)]
    pub struct BackendKeyData(pub i32);

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct FrontendPid(pub i32);

    impl From<&BackendKeyData> for FrontendPid {
        fn from(key: &BackendKeyData) -> Self {
            Self(key.0)
        }
    }

    #[derive(Debug, Clone, Copy)]
    pub struct ReadyForQuery(pub u8);

    impl ReadyForQuery {
        pub fn error() -> Self {
            Self(b'E')
        }

        pub fn in_transaction(in_transaction: bool) -> Self {
            Self(if in_transaction { b'T' } else { b'I' })
        }
    }

    /// What PgDog says itself.
    pub struct ErrorResponse;

    impl ErrorResponse {
        pub fn auth(_user: &str, _database: &str) -> Self {
            Self
        }
    }

    /// A row of texts.
    #[derive(Debug, Clone)]
    pub struct DataRow(pub Vec<Option<String>>);

    impl DataRow {
        pub fn len(&self) -> usize {
            self.0.len()
        }

        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub fn get_text(&self, index: usize) -> Option<String> {
            self.0.get(index).cloned().flatten()
        }
    }
}

use messages::{Authentication, ErrorResponse, Message, ReadyForQuery};

/// Something that can be sent.
pub trait Protocol {
    fn code(&self) -> char;
    fn bytes(&self) -> Bytes;
}

impl Protocol for Message {
    fn code(&self) -> char {
        self.0.first().copied().unwrap_or(0).into()
    }
    fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl Protocol for Authentication {
    fn code(&self) -> char {
        'R'
    }
    fn bytes(&self) -> Bytes {
        Bytes::from_static(b"R\0\0\0\x08\0\0\0\x03")
    }
}

impl Protocol for ReadyForQuery {
    fn code(&self) -> char {
        'Z'
    }
    fn bytes(&self) -> Bytes {
        Bytes::from(vec![b'Z', 0, 0, 0, 5, self.0])
    }
}

impl Protocol for ErrorResponse {
    fn code(&self) -> char {
        'E'
    }
    fn bytes(&self) -> Bytes {
        Bytes::from_static(b"E pgdog")
    }
}

pub struct Text {
    pub name: String,
    pub query: String,
}

impl Text {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn query(&self) -> &str {
        &self.query
    }

    pub fn statement(&self) -> &str {
        &self.name
    }
}

/// Messages of clients.
pub enum ProtocolMessage {
    Query(Text),
    Parse(Text),
    Bind(Text),
    Describe(Text),
    Close(Text),
    Execute(()),
    Fastpath(()),
    Sync(()),
    Other(char),
}

impl ProtocolMessage {
    pub fn code(&self) -> char {
        if let Self::Other(code) = self { *code } else { ' ' }
    }
}

/// A client: what it has sent, and what it was sent.
#[derive(Default)]
pub struct Stream {
    pub incoming: Vec<u8>,
    pub sent: Vec<Bytes>,
    pub flushed: usize,
    pub tls: bool,
}

pub type Error = io::Error;

impl Stream {
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    pub fn tls_identity(&self) -> Option<&str> {
        None
    }

    pub async fn send(&mut self, message: &impl Protocol) -> Result<usize, Error> {
        self.sent.push(message.bytes());
        Ok(message.bytes().len())
    }

    pub async fn send_flush(&mut self, message: &impl Protocol) -> Result<usize, Error> {
        let sent = self.send(message).await;
        self.flushed = self.sent.len();
        sent
    }

    pub async fn fatal(&mut self, error: ErrorResponse) -> Result<(), Error> {
        self.send_flush(&error).await.map(|_| ())
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.incoming.len().min(into.remaining());
        into.put_slice(&self.incoming[..count]);
        self.incoming.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushed = self.sent.len();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

pub mod parameter {
    #[derive(Debug, Clone, PartialEq)]
    pub struct ParameterValue(pub String);

    impl ParameterValue {
        pub fn as_str(&self) -> Option<&str> {
            Some(&self.0)
        }
    }

    impl From<&str> for ParameterValue {
        fn from(text: &str) -> Self {
            Self(text.to_owned())
        }
    }

    #[derive(Debug, Clone, PartialEq)]
    pub struct Parameter {
        pub name: String,
        pub value: ParameterValue,
    }

    impl<T: ToString> From<(T, T)> for Parameter {
        fn from((name, value): (T, T)) -> Self {
            Self { name: name.to_string(), value: ParameterValue(value.to_string()) }
        }
    }

    #[derive(Debug, Clone, Default)]
    pub struct Parameters(pub Vec<Parameter>);

    impl Parameters {
        pub fn text(&self, name: &str) -> Option<&str> {
            self.0.iter().find(|own| own.name == name).map(|own| &*own.value.0)
        }
    }

    impl From<Vec<Parameter>> for Parameters {
        fn from(parameters: Vec<Parameter>) -> Self {
            Self(parameters)
        }
    }

    impl From<&Parameters> for Vec<Parameter> {
        fn from(parameters: &Parameters) -> Self {
            parameters.0.clone()
        }
    }
}
