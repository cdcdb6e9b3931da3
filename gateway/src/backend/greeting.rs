//! What a client is told when it is in: the parameters of the server, as they are with the client's own settings. Taken
//! from a real server connection once, kept for the next clients that ask for the same.

use std::sync::Arc;

use super::settings::Settings;
use crate::wire::message;

/// Distinct settings that are remembered for one set of pools.
const REMEMBERED: usize = 64;

/// ParameterStatus messages, ready to send.
pub(crate) type Greeting = Arc<[u8]>;

/// Greetings by settings. `application_name` is left out: PostgreSQL takes any text, so it needs no server.
#[derive(Default)]
pub(crate) struct Greetings(Vec<(Settings, Greeting)>);

impl Greetings {
    pub(crate) fn get(&self, settings: &Settings) -> Option<Greeting> {
        self.0.iter().find(|(known, _)| known == settings).map(|(_, greeting)| greeting.clone())
    }

    pub(crate) fn put(&mut self, settings: Settings, greeting: Greeting) {
        if self.0.len() >= REMEMBERED {
            self.0.remove(0);
        }
        self.0.push((settings, greeting));
    }
}

/// Builds the messages from what a server reports.
pub(crate) fn build(parameters: &[(String, String)]) -> Greeting {
    let mut out = Vec::with_capacity(512);
    for (name, value) in parameters.iter().filter(|(name, _)| name != "application_name") {
        message::parameter_status(&mut out, name, value);
    }
    out.into()
}
