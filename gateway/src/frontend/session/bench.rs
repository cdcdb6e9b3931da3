//! A session whose sockets nobody reads: a benchmark says what the client and the server send, and the session does all that
//! it does for it but the system calls.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use pgdog_jwt_guard::Access;
use tokio::net::UnixStream;

use super::requests::Next;
use super::{Opening, Session};
use crate::backend::settings::Settings;
use crate::bench::{Failure, Gateway, Pools, Subject};
use crate::frontend::{sessions, welcome};
use crate::net::buffer::{BUFFER_SIZE, Chunk};
use crate::net::stream::Stream;
use crate::wire::startup::Version;

/// See the module.
pub struct Conversation {
    session: Session,
    /// The other end of the client's socket, which keeps it open.
    _client: UnixStream,
}

/// Bytes from a server, in a buffer as a read leaves them.
pub struct Replies(Chunk);

impl Replies {
    /// As many of these bytes as one read gives.
    pub fn read(bytes: &[u8]) -> Self {
        let mut chunk = Chunk::take();
        chunk.append(bytes.get(..BUFFER_SIZE).unwrap_or(bytes));
        Self(chunk)
    }
}

impl Conversation {
    /// The session of a subject. It has had a server once, which is free again.
    ///
    /// # Errors
    /// No server can be had.
    pub async fn begin(gateway: Gateway, subject: Subject, pools: Pools) -> Result<Self, Failure> {
        let (client, _client) = UnixStream::pair()?;
        let (client, who, pools) = (Stream::from(client), subject.who, pools.membership);
        let settings = Settings::default();
        let about = welcome::about(&client, None, &who, &pools, &settings);
        let registration = sessions::register(Version::V3_0, about).map_err(|error| error.to_string())?;
        let mut session = Session::new(
            gateway.app,
            Opening {
                client,
                ahead: Chunk::default(),
                typed: who.user().into(),
                who,
                pools,
                settings: Arc::new(settings),
                attached: None,
                told: Arc::default(),
                person: None,
                registration,
                generation: gateway.app.state(),
            },
            Vec::new(),
        );
        session.acquire(Access::Write).await.map_err(|end| format!("{end:?}"))?;
        // What a greeting would have told it.
        session.out.clear();
        let mut conversation = Self { session, _client };
        conversation.settle().ok_or("the server was not given back")?;
        Ok(conversation)
    }

    /// The client sends whole messages; the length of what goes to the server, with what the gateway itself has to ask.
    /// `None`: the session needs more than bytes to go on.
    pub fn ask(&mut self, messages: &[u8]) -> Option<usize> {
        let session = &mut self.session;
        if session.input.is_empty() {
            session.input = Chunk::take();
        }
        session.input.append(messages);
        let next = session.pump().ok()?;
        let length = session.requests.len();
        session.requests.clear();
        session.requests_at = 0;
        (next == Next::Input && session.input.is_empty()).then_some(length)
    }

    /// The server sends bytes; the length of what goes to the client. When the server owes nothing more, it is given back.
    /// `None`: they are no answer to what was asked.
    pub fn answer(&mut self, replies: Replies) -> Option<usize> {
        let session = &mut self.session;
        session.replies(replies.0).ok()?;
        let length = session.out.len() + session.forward.len();
        session.out.clear();
        session.forward = Chunk::default();
        if session.is_quiet() && !session.is_moving() {
            session.input = Chunk::default();
            self.settle()?;
        }
        Some(length)
    }

    /// Gives the server back, which must take no wait.
    fn settle(&mut self) -> Option<()> {
        let settled = pin!(self.session.settle()).poll(&mut Context::from_waker(Waker::noop()));
        (matches!(settled, Poll::Ready(Ok(true))) && self.session.server.is_none()).then_some(())
    }
}
