//! BEGIN, held back: with `read_write_strategy = "aggressive"` the first statement of a transaction says where it runs, so
//! there is no server to send BEGIN to before that. The gateway answers it, and sends it as it was typed when a server is
//! chosen. From then on PostgreSQL knows the transaction, and nothing of it is imitated here: before a request can be
//! refused, skipped or fail, its server has begun.

use std::pin::pin;

use super::requests::Step;
use super::turn::closed;
use super::{End, Session};
use crate::backend::conversation::ConversationError;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, Severity, message};
use pgdog_jwt_guard::{Access, Class, Transaction, Verdict};
use pgdog_jwt_protocol::Batch;

/// A BEGIN that no server has heard yet.
pub(super) struct Begun {
    text: Box<str>,
    /// Its first statement was cancelled while there was no server: the client knows that the transaction has failed.
    has_failed: bool,
}

impl Session {
    /// Whether a simple query is a BEGIN that waits for the statement behind it.
    pub(super) fn is_held_back(&self, class: Class) -> bool {
        matches!(class.transaction, Transaction::Begin { side: None, .. })
            && self.rules.first_statement_decides
            && self.server.is_none()
            && self.begun.is_none()
            && self.conversation.batch() == Batch::None
            && class.wish.is_none()
            && class.verdict == Verdict::Allow
    }

    /// Answers BEGIN in PostgreSQL's place.
    pub(super) fn hold_back(&mut self, header: Header, class: Class) -> Step {
        self.record_answered(header, None);
        let text = self.input.bytes().get(HEADER_SIZE..header.size - 1).unwrap_or_default();
        let text = String::from_utf8_lossy(text).into();
        self.begun = Some(Box::new(Begun { text, has_failed: false }));
        self.start_transaction_clock();
        let start = matches!(class.transaction, Transaction::Begin { start: true, .. });
        self.forget_unnamed();
        self.registration.meter.query();
        self.flush_forward_into_out();
        message::command_complete(&mut self.out, if start { "START TRANSACTION" } else { "BEGIN" });
        message::ready_for_query(&mut self.out, b'T');
        self.drop_request(header)
    }

    /// Chooses the server of a transaction by the request that is next in the input; `None` when it has begun there.
    pub(super) fn choose_for_transaction(&mut self, header: Header) -> Result<Option<Step>, End> {
        let access = match header.tag {
            b'Q' => match self.class_of_message(header, 0)? {
                Ok(class) => self.access(class),
                Err(wait) => return Ok(Some(wait)),
            },
            b'P' if header.size <= self.rules.max_statement && !self.whole(header) => {
                return Ok(Some(Step::Wait(super::requests::Next::Input)));
            }
            b'P' | b'B' | b'D' | b'E' | b'C' => self.batch_access(),
            b'F' => Access::Write,
            b'S' => {
                self.flush_forward_into_out();
                let has_failed = self.begun.as_ref().is_some_and(|begun| begun.has_failed);
                message::ready_for_query(&mut self.out, if has_failed { b'E' } else { b'T' });
                self.refused = false;
                return Ok(Some(self.drop_request(header)));
            }
            // Flush, or data of a COPY: nobody waits for an answer.
            _ => return Ok(None),
        };
        Ok(self.server_for(access).map(Step::Wait))
    }

    /// The first statement was cancelled: the transaction has failed, for the client at once, and on the server that will be
    /// asked to end it.
    pub(super) fn fail_begun(&mut self, error: &PgError) -> Result<(), End> {
        let Some(header) = Header::parse(self.input.bytes())? else { return Ok(()) };
        if header.tag == b'Q' {
            self.record_answered(header, Some(&error.code));
        }
        self.say(error);
        if let Some(begun) = &mut self.begun {
            begun.has_failed = true;
        }
        self.end_failed(header, b'E');
        Ok(())
    }

    /// Begins the transaction on the server that was chosen for it. When PostgreSQL will not, the request that is next in
    /// the input hears why, and there is no transaction.
    pub(super) async fn begin(&mut self) -> Result<(), End> {
        let (Some(begun), Some(mut server)) = (self.begun.take(), self.server.take()) else { return Ok(()) };
        let limit = server.pool().spec.limits.connect_timeout;
        let begin = pin!(async {
            let begin = server.begin(&begun.text, begun.has_failed);
            let begun = tokio::time::timeout(limit, begin).await;
            (server, begun)
        });
        let (mut server, begun) = self.while_waiting(begin).await?;
        self.tell_asides(&mut server);
        match begun {
            Ok(Ok(())) => {
                self.server = Some(server);
                Ok(())
            }
            Ok(Err(ConversationError::Refused(fields))) => {
                self.server = Some(server);
                self.fail_request(&fields.into_error(Severity::Error))
            }
            // Nobody knows what became of it: the connection is closed (S4).
            Ok(Err(_)) | Err(_) => {
                drop(server);
                self.registration.meter.lost();
                self.fail_request(&closed())
            }
        }
    }
}
