//! Which requests a PostgreSQL server has still to answer.
//!
//! A pooler that passes messages on must know exactly when a server is done: one reply too many or too few, and an answer
//! for one client reaches the next. [`Conversation`] is that knowledge, as a state machine without sockets, SQL or time:
//!
//! - [`Conversation::admit`] says what becomes of a client's message now: pure, so it may be asked again after a wait.
//! - [`Conversation::sent`] and [`Conversation::sent_silently`] are the only ways in which something becomes owed.
//! - [`Conversation::received`] matches a reply with the request that it answers. It is total: whatever PostgreSQL would not
//!   answer at this point is a [`Desync`], after which nothing that the server says can be believed.
//!
//! It follows PostgreSQL's main loop as the documentation describes it (sections "Extended Query", "Function Call" and
//! "COPY Operations" of chapter "Message Flow"):
//!
//! - After an error in Parse, Bind, Describe, Execute or Close, everything up to the next Sync is read and dropped, simple
//!   queries and function calls too. Each Sync is answered with one ReadyForQuery.
//! - While a COPY reads the client's data, Sync and Flush are read and ignored, and anything else that is not data ends the
//!   connection. CopyData, CopyDone and CopyFail outside of a COPY are ignored.
//! - So how often a Sync is answered depends on whether PostgreSQL reads it inside a COPY, which nobody can know who has
//!   sent it ahead. Nothing is sent behind a request that may become a COPY until the server has answered it: then it is
//!   known. The rule for a Sync or Flush of the client's is: what it sends before the data ends is read inside the COPY, if
//!   the COPY was not known to have failed when the message was dealt with.
//!
//! ```
//! use pgdog_jwt_protocol::{Admit, Conversation, Failed, Received, Request};
//!
//! let mut conversation = Conversation::default();
//! // What goes with each request is the host's: here a number.
//! conversation.sent(Request::Parse, 1);
//! conversation.sent(Request::Bind, 2);
//! conversation.sent(Request::Sync, 3);
//! // ParseComplete; then Bind fails, and Sync ends the skipping.
//! assert_eq!(conversation.received(b'1'), Ok(Received::Completed(1)));
//! assert_eq!(conversation.received(b'E'), Ok(Received::Failed(Failed { failed: 2, skipped: vec![] })));
//! assert_eq!(conversation.received(b'Z'), Ok(Received::Ready(3)));
//! assert!(conversation.is_idle());
//! // Nothing is owed, so no request can have been answered.
//! assert!(conversation.received(b'Z').is_err());
//! assert_eq!(conversation.admit(Request::Parse), Admit::Send);
//! ```

mod answer;
mod conversation;
mod request;

pub use conversation::{Admit, Batch, Conversation, Desync, Failed, Received};
pub use request::{Request, Silent};
