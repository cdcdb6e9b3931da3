//! What statements leave behind on a shared server. Settings follow the client: after a statement that changed some, the
//! server is asked which they are now, and the next server is given the difference. What cannot follow holds the session
//! to its server (a pin) until it is gone. What nobody can tell is undone before the server serves another client.

use std::sync::Arc;

use super::{End, Session};
use crate::config::PoolerMode;
use crate::router::{Class, Effects, settings_named};
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
    pin: bool,
    /// The session set what only its server can tell, so it stays there.
    stays_pinned: bool,
    /// Settings that PostgreSQL does not list by itself.
    named: Vec<String>,
}

impl Session {
    /// Notes what a statement may leave on the server. An error refuses the statement.
    pub(super) fn take_effects(&mut self, class: Class, text: impl FnOnce(&Self) -> Vec<u8>) -> Option<PgError> {
        let effects = class.effects;
        if effects.is_empty() || self.rules.mode == PoolerMode::Session {
            return None;
        }
        if effects.intersects(Effects::SETTINGS | Effects::RESETS_ALL) {
            let text = text(self);
            if !self.note_settings(&text) {
                if !self.pin() {
                    return Some(too_many_pins());
                }
                self.inquiries.stays_pinned = true;
            }
        }
        if effects.intersects(PINNING) && !self.pin() {
            return Some(too_many_pins());
        }
        self.inquiries.pin |= self.pins.is_pinned() && effects.intersects(RELEASING);
        if let Some(server) = &mut self.server {
            if effects.intersects(Effects::UNKNOWN | Effects::DEALLOCATES) {
                server.mark_dirty();
            }
            if effects.intersects(Effects::DEALLOCATES_ALL) {
                // SQL takes the statements of the protocol with it (PostgreSQL documentation, DEALLOCATE).
                server.held().clear();
                self.statements.clear();
            }
        }
        None
    }

    /// Remembers to ask for the settings; `false` when they are known to the server alone.
    fn note_settings(&mut self, text: &[u8]) -> bool {
        self.inquiries.settings = true;
        let Some(names) = settings_named(text) else { return false };
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

    /// Asks what has to be asked of an idle server.
    pub(super) async fn inquire(&mut self) -> Result<(), End> {
        if self.inquiries.settings {
            self.ask_settings().await?;
        }
        if self.inquiries.pin && !self.inquiries.stays_pinned {
            self.ask_pin().await?;
        }
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
        let (server, settings) = self.while_waiting(ask).await?;
        match settings {
            Ok(Ok(mut settings)) => {
                self.server = Some(server);
                // RESET leads back to what the client asked for when it logged in, as in a session of its own.
                for (name, value) in self.startup.iter() {
                    if settings.get(name).is_none() {
                        settings.set(name, value);
                    }
                }
                self.settings = Arc::new(settings);
                Ok(())
            }
            Ok(Err(error)) => Err(self.inquiry_failed(&error)),
            Err(late) => Err(self.inquiry_failed(&late)),
        }
    }

    async fn ask_pin(&mut self) -> Result<(), End> {
        self.inquiries.pin = false;
        let Some(mut server) = self.server.take() else { return Ok(()) };
        let limit = server.pool().spec.limits.connect_timeout;
        let ask = Box::pin(async {
            let held = tokio::time::timeout(limit, server.is_held()).await;
            (server, held)
        });
        let (server, held) = self.while_waiting(ask).await?;
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

    /// Without the answer nobody knows what the session has: it ends (S4).
    fn inquiry_failed(&self, error: &dyn std::error::Error) -> End {
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
