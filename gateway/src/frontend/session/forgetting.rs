//! DISCARD ALL and RESET ALL. The first leads back to the account that logged in, both take the variables that say who the
//! session is, and a server has many places to keep a text for later: names, portals, SQL `EXECUTE`. So neither text ever lies
//! on the server of a session that it would change. The gateway gives them their effect itself, together with the identity,
//! when nothing is owed: at once for a simple query, and for a portal when PostgreSQL has run what stands in its place.

use pgdog_jwt_guard::{Class, Effects};
use pgdog_jwt_protocol::{Batch, Request};

use super::pending::Pending;
use super::requests::{Next, Step};
use super::{End, Session};
use crate::config::PoolerMode;
use crate::wire::{Header, PgError, message};

/// What is prepared in the place of such a statement. It returns no rows, may be run wherever they may, fails in a failed
/// transaction as they do, and changes nothing that anybody could notice.
pub(super) const STAND_IN: &[u8] = b"DISCARD PLANS";

/// Goes with it where statements are shared, so that it is not taken for a client's own.
pub(super) const STAND_IN_PATH: [&str; 2] = ["\0RESET ALL", "\0DISCARD ALL"];

/// What a statement makes the session forget; the greater one includes the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Forgets {
    /// RESET ALL.
    Settings,
    /// DISCARD ALL.
    Everything,
}

impl Forgets {
    /// The statement, which is also the tag of its completion but for `RESET`.
    pub(super) fn sql(self) -> &'static str {
        match self {
            Self::Settings => "RESET ALL",
            Self::Everything => "DISCARD ALL",
        }
    }

    /// Of CommandComplete.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Settings => "RESET",
            Self::Everything => "DISCARD ALL",
        }
    }

    /// What tells its stand-in from that of the other, and from the client's own statements.
    pub(super) fn path(self) -> &'static str {
        let [settings, everything] = STAND_IN_PATH;
        match self {
            Self::Settings => settings,
            Self::Everything => everything,
        }
    }
}

/// What was forgotten and has not had its effect yet.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Forgetting {
    /// A portal was sent that forgets: what comes next waits for its effect.
    pub(super) is_sent: bool,
    /// It was behind others in its batch, which must not be committed before the batch has ended.
    pub(super) is_behind: bool,
    /// It was run.
    pub(super) due: Option<Forgets>,
}

impl Forgetting {
    /// An error has ended the transaction: what was run in it is undone, but for DISCARD ALL, which PostgreSQL commits at once.
    pub(super) fn undo(&mut self) {
        self.due = self.due.filter(|forgets| *forgets == Forgets::Everything);
    }

    #[inline]
    pub(super) fn is_pending(self) -> bool {
        self.is_sent || self.due.is_some()
    }
}

impl Session {
    /// What a statement makes the session forget, where that is for the gateway to do.
    #[inline]
    pub(super) fn forgets(&self, class: Class) -> Option<Forgets> {
        if !class.effects.intersects(Effects::FORGETS) {
            return None;
        }
        if class.effects.intersects(Effects::DISCARD_ALL) {
            return Some(Forgets::Everything);
        }
        self.rules.resets_touch_identity.then_some(Forgets::Settings)
    }

    /// A simple query that forgets: `None` when PostgreSQL is to refuse it, which it was sent for.
    pub(super) fn forget_by_query(&mut self, header: Header, forgets: Forgets) -> Step {
        if self.conversation.batch() == Batch::Open {
            // It ends the batch, as every simple query does.
            if forgets == Forgets::Everything {
                match self.refuses_to_discard() {
                    Ok(None) => {}
                    Ok(Some(error)) => {
                        self.record_answered(header, Some(&error.code));
                        return self.refuse_where_it_is(header, error);
                    }
                    Err(wait) => return wait,
                }
            }
            self.end_transaction_of_batch();
            self.end_batch();
        }
        if !self.is_quiet() || self.is_moving() {
            return Step::Wait(Next::Quiet);
        }
        match (self.server.as_ref().map_or(b'I', |server| server.status()), forgets) {
            (b'I', _) | (b'T', Forgets::Settings) => Step::Wait(Next::Forget),
            (b'T', Forgets::Everything) => {
                let error = in_transaction();
                self.record_answered(header, Some(&error.code));
                self.refuse_query(header, error);
                Step::Done
            }
            _ => {
                // Whatever it is, PostgreSQL refuses it in a failed transaction.
                self.record_answered(header, Some("25P02"));
                self.forget_unnamed();
                message::query(&mut self.requests, STAND_IN);
                self.discard(header.size);
                self.owe_query(false, None, None);
                self.end_batch();
                self.asked();
                Step::Done
            }
        }
    }

    /// Carries out the simple query that is next in the input.
    pub(super) async fn forget_at_once(&mut self) -> Result<(), End> {
        let Some(header) = Header::parse(self.input.bytes())? else { return Ok(()) };
        let class = match self.class_of_message(header, 0)? {
            Ok(class) => class,
            Err(_) => return Ok(()),
        };
        let Some(forgets) = self.forgets(class) else { return Ok(()) };
        if self.server.is_none() {
            let pipelines = std::mem::take(&mut self.pipelines);
            let found = self.find_server(self.access(class)).await;
            self.pipelines = pipelines;
            match found? {
                Ok(server) => self.hold(server),
                Err(error) => return self.fail_request(&error),
            }
        }
        let _ = self.take_effects(class, |_| forgets.sql().into());
        self.registration.meter.query();
        self.forget_unnamed();
        self.forget(forgets).await?;
        self.record_answered(header, None);
        let status = self.server.as_ref().map_or(b'I', |server| server.status());
        self.tell_parameters();
        self.flush_forward_into_out();
        message::command_complete(&mut self.out, forgets.tag());
        self.is_ready_due = self.awaits_reset() && self.server.is_some();
        if !self.is_ready_due {
            message::ready_for_query(&mut self.out, status);
        }
        self.end_batch();
        self.discard(header.size);
        // Before the next request, which may be here already.
        if self.server.is_some() {
            self.settle_after_all().await?;
        }
        Ok(())
    }

    /// A Sync of the gateway's own, in a batch that goes on.
    pub(super) fn end_transaction_of_batch(&mut self) {
        message::sync(&mut self.requests);
        self.owe(Request::Sync, Pending::OwnSync { fails_next: false });
        self.asked();
    }

    /// Refuses a message of a batch, or a simple request behind one.
    fn refuse_where_it_is(&mut self, header: Header, error: PgError) -> Step {
        if !matches!(header.tag, b'Q' | b'F') {
            return self.refuse(header, error);
        }
        self.refuse_query(header, error);
        Step::Done
    }

    /// Whether a batch is a transaction of its own.
    pub(super) fn is_outside_transaction(&self) -> bool {
        self.server.as_ref().is_none_or(|server| server.status() == b'I')
    }

    /// Before a message of a batch in which a portal was run that forgets: its effect comes first. The transaction of the batch
    /// ends with it, as PostgreSQL ends it behind DISCARD ALL; where something else was run in it, that cannot be.
    pub(super) fn forget_before(&mut self, header: Header) -> Step {
        if self.conversation.batch() == Batch::Open {
            if self.forgetting.is_behind {
                let text = "RESET ALL behind other statements of a pipeline must be the last one before Sync";
                return self.refuse_where_it_is(header, PgError::error("25001", text));
            }
            self.end_transaction_of_batch();
        }
        Step::Wait(Next::Quiet)
    }

    /// Whether a portal that discards everything may not run now, with the reason: PostgreSQL allows it nowhere but at the
    /// start of a transaction of its own. `Err`: that is not known yet.
    pub(super) fn refuses_to_discard(&self) -> Result<Option<PgError>, Step> {
        if self.conversation.open() > 0 {
            return Err(Step::Wait(Next::Answers));
        }
        match self.server.as_ref().map(|server| server.status()) {
            Some(b'T') => Ok(Some(in_transaction())),
            Some(b'I') if self.ran_in_batch => {
                Ok(Some(PgError::error("25001", "DISCARD ALL cannot be executed within a pipeline")))
            }
            _ => Ok(None),
        }
    }

    /// Gives what was run its effect, when nothing is owed.
    pub(super) async fn forget_what_is_due(&mut self) -> Result<(), End> {
        let Forgetting { due, .. } = std::mem::take(&mut self.forgetting);
        let status = self.server.as_ref().map(|server| server.status());
        match (due, status) {
            (Some(forgets), Some(b'I')) => self.forget(forgets).await,
            (Some(Forgets::Settings), Some(b'T')) => self.forget(Forgets::Settings).await,
            _ => Ok(()),
        }
    }

    async fn forget(&mut self, forgets: Forgets) -> Result<(), End> {
        self.note_parameters();
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let identity = self.pools.identity().clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let forget = Box::pin(async {
            let forget = async {
                match forgets {
                    Forgets::Settings => server.reset_all(&identity).await,
                    Forgets::Everything => server.discard_all().await,
                }
            };
            let outcome = tokio::time::timeout(limit, forget).await;
            (server, outcome)
        });
        let (mut server, outcome) = self.while_waiting(forget).await?;
        self.tell_asides(&mut server);
        match outcome {
            Ok(Ok(())) => self.server = Some(server),
            Ok(Err(error)) => return Err(self.inquiry_failed(&error)),
            Err(late) => return Err(self.inquiry_failed(&late)),
        }
        if forgets == Forgets::Everything {
            self.has_discarded();
        }
        self.tell_parameters();
        Ok(())
    }

    /// DISCARD ALL took the client's statements with it, and whatever pinned the session.
    fn has_discarded(&mut self) {
        self.names.clear();
        if let Some(sql) = &mut self.sql {
            sql.clear();
        }
        self.special_names.clear();
        self.own = None;
        self.pins.unpin();
        self.settings = self.startup.clone();
        // With the encoding of the start-up packet the client must not wait for its next request.
        let encoding = self.startup.get("client_encoding");
        let resets = encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("UTF8"));
        self.inquiries = super::Inquiries::resetting(resets);
        debug_assert!(self.rules.mode == PoolerMode::Session || self.conversation.is_idle());
    }
}

fn in_transaction() -> PgError {
    PgError::error("25001", "DISCARD ALL cannot run inside a transaction block")
}
