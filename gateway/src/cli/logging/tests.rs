//! What the tests of the formats have in common: lines must read as the library's own.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::{debug, error, info, info_span, warn};
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

/// What was logged.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    pub(super) fn all(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

pub(super) fn subscriber(
    lines: &Lines,
) -> SubscriberBuilder<
    tracing_subscriber::fmt::format::DefaultFields,
    tracing_subscriber::fmt::format::Format,
    tracing_subscriber::filter::LevelFilter,
    Lines,
> {
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(lines.clone())
}

pub(super) fn log_something() {
    let (nothing, text) = (None::<&str>, "a\"\\\t\u{1b}é");
    info!(event = "login", session = 7_u32, tls = true, ratio = 0.5, nothing, text, user = "alice@example", "login");
    warn!(error = %io::Error::other("b\\"), debug = ?Some(1), offset = -3, "no {}", "message");
    error!(error = &io::Error::other("c\u{7}d") as &(dyn std::error::Error + 'static), "e\u{7}\"");
    debug!(event = "quiet");
    info!(r#type = "t", "typed");
    let _inside = info_span!("span", number = 1).entered();
    info!("within");
}
