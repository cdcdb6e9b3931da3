//! What statements leave behind on a shared server. Settings follow the client: after a statement that changed some, the
//! server is asked which they are now, and the next server is given the difference. What cannot follow holds the session
//! to its server (a pin) until it is gone. What nobody can tell is undone before the server serves another client.

use std::sync::Arc;

use pgdog_jwt_guard::names::{resets_settings, settings_named};
use pgdog_jwt_guard::{Class, Effects, PgQuery, Transaction};

use super::{End, Session, notifications};
use crate::backend::conversation::ConversationError;
use crate::backend::server::Server;
use crate::config::PoolerMode;
use crate::dialect::ROLE_SETTING;
use crate::frontend::person::APPLICATION_NAME;
use crate::wire::PgError;

/// Effects that live on one server connection and cannot follow the client to another.
const PINNING: Effects =
    Effects::of(&[Effects::PREPARED, Effects::LISTEN, Effects::TEMP, Effects::ADVISORY_LOCK, Effects::HOLD_CURSOR]);

/// Effects after which a pin may have become needless.
const RELEASING: Effects =
    Effects::of(&[Effects::UNLISTEN, Effects::DEALLOCATES, Effects::DISCARD_OTHER, Effects::RELEASES]);

/// Variables of applications that follow one client.
const MAX_NAMED: usize = 64;

/// What has to be asked of the server when it is idle.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    settings: bool,
    /// Settings of the start-up packet may have been reset.
    resets: bool,
    pin: bool,
    /// The session set what only its server can tell, so it stays there.
    stays_pinned: bool,
    /// Settings that PostgreSQL does not list by itself.
    named: Vec<String>,
}

impl Inquiries {
    /// There is nothing to ask; settings of the start-up packet may have been reset, or not.
    pub(super) fn resetting(resets: bool) -> Self {
        Self { resets, ..Self::default() }
    }

    /// Whether anything has to be asked, or made what it was.
    #[inline]
    pub(super) fn are_due(&self) -> bool {
        self.settings || self.resets || self.pin
    }
}

impl Session {
    /// Whether PostgreSQL runs nothing of the statement: the transaction has failed, and it does not end it.
    fn fails_surely(&self, class: Class) -> bool {
        let has_failed = self.server.as_ref().is_some_and(|server| server.status() == b'E');
        has_failed && class.transaction == Transaction::None && self.conversation.is_idle()
    }

    /// Notes what a statement may leave on the server. An error refuses the statement.
    pub(super) fn take_effects(&mut self, class: Class, text: impl Fn(&Self) -> Vec<u8>) -> Option<PgError> {
        self.note_code(class.code, &text);
        let effects = class.effects;
        self.changes_schema |= effects.intersects(Effects::SCHEMA);
        if effects.is_empty() {
            return None;
        }
        if effects == Effects::OPENS {
            self.only_opens = !self.ran;
            return None;
        }
        let text = effects.intersects(Effects::SETTINGS | Effects::RESETS_ALL).then(|| match self.forgets(class) {
            // What is prepared in its place says nothing of it.
            Some(forgets) => forgets.sql().into(),
            None => text(self),
        });
        self.inquiries.resets |=
            !self.startup.is_empty() && text.as_deref().is_some_and(|text| resets_settings(&PgQuery, text));
        if self.rules.mode == PoolerMode::Session {
            return None;
        }
        if text.is_some_and(|text| !self.note_settings(&text)) {
            if !self.pin() {
                return Some(too_many_pins());
            }
            self.inquiries.stays_pinned = true;
        }
        if effects.intersects(PINNING) && !self.fails_surely(class) && !self.pin() {
            return Some(too_many_pins());
        }
        self.inquiries.pin |= self.pins.is_pinned() && effects.intersects(RELEASING);
        if let Some(server) = &mut self.server {
            if effects.intersects(Effects::UNKNOWN | Effects::DEALLOCATES) {
                server.mark_dirty();
            }
            if effects.intersects(Effects::DEALLOCATES_ALL) {
                // SQL takes the statements of the protocol with it (PostgreSQL documentation, DEALLOCATE).
                server.held().doubt_all();
                self.names.may_clear();
            }
        }
        None
    }

    /// Remembers to ask for the settings; `false` when they are known to the server alone.
    fn note_settings(&mut self, text: &[u8]) -> bool {
        self.inquiries.settings = true;
        let Some(names) = settings_named(&PgQuery, text) else { return false };
        for name in names {
            if name == "session_authorization" {
                return false;
            }
            if name.contains('.') || name == "role" {
                if self.inquiries.named.contains(&name) {
                    continue;
                }
                if self.inquiries.named.len() >= MAX_NAMED {
                    return false;
                }
                self.inquiries.named.push(name);
            }
        }
        true
    }

    /// Holds the session to its server; `false` when the pool has no room for another that is held. Whether the
    /// statement really left something is asked when its transaction has ended.
    fn pin(&mut self) -> bool {
        self.inquiries.pin |= !self.pins.is_pinned();
        self.pins.pin(&self.pools)
    }

    /// Whether the next batch has to wait until settings are what they were when the client came.
    #[inline]
    pub(super) fn awaits_reset(&self) -> bool {
        self.inquiries.resets
    }

    /// RESET leads back to what the client asked for when it logged in (PostgreSQL documentation, RESET): not to what the
    /// server has by itself. Inside a transaction too, so that a rollback takes it back.
    pub(super) async fn reset_to_startup(&mut self) -> Result<(), End> {
        if !self.inquiries.resets || self.server.as_ref().is_none_or(|server| server.status() == b'E') {
            return Ok(());
        }
        self.inquiries.resets = false;
        self.note_parameters();
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let startup = self.startup.clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let reset = Box::pin(async {
            let outcome = tokio::time::timeout(limit, server.reset_to(&startup)).await;
            (server, outcome)
        });
        let (mut server, outcome) = self.while_waiting(reset).await?;
        self.tell_asides(&mut server);
        match outcome {
            Ok(Ok(())) => self.server = Some(server),
            Ok(Err(error)) => return self.lost_with_settings(&error),
            Err(late) => return Err(self.inquiry_failed(&late)),
        }
        self.tell_parameters();
        Ok(())
    }

    /// Whether something has to be asked of the server before others may have it.
    pub(super) fn awaits_inquiry(&self) -> bool {
        self.inquiries.settings || self.inquiries.resets
    }

    /// Asks what has to be asked of an idle server.
    pub(super) async fn inquire(&mut self) -> Result<(), End> {
        if !self.inquiries.settings && !self.inquiries.pin {
            return Ok(());
        }
        self.note_parameters();
        if self.inquiries.settings {
            self.ask_settings().await?;
        }
        if self.inquiries.pin && !self.inquiries.stays_pinned {
            self.ask_pin().await?;
        }
        self.tell_parameters();
        Ok(())
    }

    async fn ask_settings(&mut self) -> Result<(), End> {
        self.inquiries.settings = false;
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let named = self.inquiries.named.clone();
        let limit = server.pool().spec.limits.connect_timeout;
        let ask = Box::pin(async {
            let settings = tokio::time::timeout(limit, server.settings_now(&named)).await;
            (server, settings)
        });
        let (mut server, settings) = self.while_waiting(ask).await?;
        self.tell_asides(&mut server);
        match settings {
            Ok(Ok(mut settings)) => {
                self.server = Some(server);
                // RESET leads back to what the client asked for when it logged in, as in a session of its own.
                for (name, value) in self.startup.iter() {
                    // PostgreSQL knows no reset value of this one but nothing.
                    let is_reset = |now: &str| now.is_empty() && name == ROLE_SETTING;
                    if settings.get(name).is_none_or(is_reset) {
                        settings.set(name, value);
                    }
                }
                if let Some(person) = &mut self.person {
                    let known = [&self.settings, &self.startup].map(|known| known.get(APPLICATION_NAME));
                    person.settle(&mut settings, known);
                }
                self.settings = Arc::new(settings);
                Ok(())
            }
            Ok(Err(error)) => self.lost_with_settings(&error),
            Err(late) => Err(self.inquiry_failed(&late)),
        }
    }

    /// A server has ended before it said what settings the session has. The session goes on with those that were known, and its
    /// next request hears so, unless it is held to its server.
    fn lost_with_settings(&mut self, error: &ConversationError) -> Result<(), End> {
        if !error.is_lost() || self.rules.mode == PoolerMode::Session || self.pins.is_pinned() {
            return Err(self.inquiry_failed(error));
        }
        tracing::warn!(
            event = "server_lost",
            user = self.who.user(),
            database = self.pools.key.database,
            reason = %error,
            "a server was lost before it said what settings a session has"
        );
        self.registration.meter.lost();
        self.special_names.clear_portals();
        let named = std::mem::take(&mut self.inquiries.named);
        self.inquiries = Inquiries { named, ..Inquiries::default() };
        let error = PgError::error(
            "08006",
            "the connection to the server was lost, and the settings of the last statement with it",
        )
        .hint("The session goes on with the settings that it had before: make them again.");
        self.lost = Some(Box::new(error));
        Ok(())
    }

    async fn ask_pin(&mut self) -> Result<(), End> {
        self.inquiries.pin = false;
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let limit = server.pool().spec.limits.connect_timeout;
        let ask = Box::pin(async {
            let held = tokio::time::timeout(limit, server.is_held()).await;
            (server, held)
        });
        let (mut server, held) = self.while_waiting(ask).await?;
        self.tell_asides(&mut server);
        match held {
            Ok(Ok(held)) => {
                if !held {
                    self.pins.unpin();
                }
                self.server = Some(server);
                Ok(())
            }
            Ok(Err(error)) => Err(self.inquiry_failed(&error)),
            Err(late) => Err(self.inquiry_failed(&late)),
        }
    }

    /// Notifications that came while the server was asked are the client's.
    pub(super) fn tell_asides(&mut self, server: &mut Server) {
        let asides = server.take_asides();
        if !asides.is_empty() {
            self.flush_forward_into_out();
            let (own, shown) = (server.connection().process, self.registration.process());
            notifications::write_all(&asides, own, shown, &mut self.out);
        }
    }

    /// Without the answer nobody knows what the session has: it ends (S4).
    pub(super) fn inquiry_failed(&self, error: &dyn std::error::Error) -> End {
        tracing::warn!(
            event = "inquiry",
            user = self.who.user(),
            reason = error.to_string(),
            "a server did not say what it holds"
        );
        End::Fatal(PgError::fatal("08006", "the connection to the server was lost"))
    }
}

fn too_many_pins() -> PgError {
    PgError::error("53400", "too many sessions of this pool hold a server connection of their own")
        .hint("LISTEN, temporary tables, session advisory locks, WITH HOLD cursors and PREPARE need one: use pooler_mode = \"session\" for such clients, or raise pool_size.")
}
