//! Who a session is for those who look at PostgreSQL: its `application_name`, where a template makes it.

use std::net::SocketAddr;

use super::grant::Who;
use crate::backend::settings::Settings;
use crate::config::{Config, NameParts, NameTemplate};

/// The setting.
pub(crate) const APPLICATION_NAME: &str = "application_name";

/// Names that the gateway has sent and not found again yet.
const MAX_SENT: usize = 64;

/// A session's person, and the names that were made of it.
#[derive(Debug)]
pub(crate) struct Person {
    template: NameTemplate,
    user: String,
    subject: String,
    database: String,
    address: String,
    sent: Vec<String>,
}

impl Person {
    /// `None`: clients name themselves.
    pub(super) fn new(config: &Config, who: &Who, database: &str, address: Option<SocketAddr>) -> Option<Box<Self>> {
        let template = config.jwt.as_ref()?.application_name.clone()?;
        let user = who.user().to_owned();
        let subject = who.grant().map_or_else(|| user.clone(), |grant| grant.subject.clone());
        // Without the port, so that a server connection keeps its name for the next session.
        let address = address.map_or_else(|| "[local]".to_owned(), |address| address.ip().to_string());
        Some(Box::new(Self { template, user, subject, database: database.to_owned(), address, sent: Vec::new() }))
    }

    /// The name for a client that calls itself `own`.
    pub(super) fn name(&self, own: &str) -> String {
        let (user, subject) = (self.user.as_str(), self.subject.as_str());
        self.template.fill(own, NameParts { user, subject, database: &self.database, address: &self.address })
    }

    /// Puts the name in place of the client's own, which is given.
    pub(super) fn name_in(&self, settings: &mut Settings) -> String {
        let own = settings.get(APPLICATION_NAME).unwrap_or_default().to_owned();
        settings.set(APPLICATION_NAME, &self.name(&own));
        own
    }

    /// A statement that sets this name, which is made already, is about to run.
    pub(super) fn sends(&mut self, name: String) {
        if self.sent.len() >= MAX_SENT {
            self.sent.remove(0);
        }
        self.sent.push(name);
    }

    /// Looks at the settings that a server says it has: a name that the client has set by other ways than the gateway
    /// follows becomes part of one that is made. `known` are names that were made.
    pub(super) fn settle(&mut self, settings: &mut Settings, known: [Option<&str>; 2]) {
        let now = settings.get(APPLICATION_NAME).unwrap_or_default();
        let is_made = known.contains(&Some(now)) || self.sent.iter().any(|sent| sent == now);
        self.sent.clear();
        if !is_made {
            self.name_in(settings);
        }
    }
}
