//! Secrets that programs print: one for each program, whoever asks, so that a new one is seen everywhere.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::command::Command;

/// How soon a program is run again that has failed, where its interval is not shorter.
const RETRY: Duration = Duration::from_secs(10);
/// How soon a program is run again whose secret is refused.
const REFUSED: Duration = Duration::from_secs(1);

/// All that are in use.
static KNOWN: LazyLock<Mutex<HashMap<Command, Weak<Renewable>>>> = LazyLock::new(Mutex::default);

static CHANGES: AtomicU64 = AtomicU64::new(0);

/// How often a secret of any program has become another one: whoever derives something from secrets looks whether it is more.
pub fn changes() -> u64 {
    CHANGES.load(Ordering::Acquire)
}

/// What a program has printed last.
pub struct Renewable {
    command: Command,
    text: Mutex<Arc<str>>,
    /// When the program has ended last. Held while it runs.
    ran: Mutex<Instant>,
    due: Mutex<Option<Instant>>,
}

/// The secrets that it is time to renew, and that nobody is renewing.
pub fn due() -> Vec<Arc<Renewable>> {
    let now = Instant::now();
    let mut known = KNOWN.lock();
    known.retain(|_, renewable| renewable.strong_count() > 0);
    let renewables = known.values().filter_map(Weak::upgrade);
    let is_due = |renewable: &Arc<Renewable>| {
        renewable.ran.try_lock().is_some() && renewable.due.lock().is_some_and(|due| due <= now)
    };
    renewables.filter(is_due).collect()
}

impl Renewable {
    /// Runs the program.
    pub(super) fn obtain(command: &Command) -> Result<(Arc<Self>, Arc<str>), String> {
        let known = KNOWN.lock().get(command).and_then(Weak::upgrade);
        if let Some(known) = known {
            known.renew()?;
            let text = known.text();
            return Ok((known, text));
        }
        let text: Arc<str> = command.run().map_err(|reason| about(command, &reason))?.into();
        let mut known = KNOWN.lock();
        // Somebody else may have run it meanwhile.
        let renewable = known.get(command).and_then(Weak::upgrade).unwrap_or_else(|| {
            let renewable = Arc::new(Self {
                command: command.clone(),
                text: Mutex::new(Arc::clone(&text)),
                ran: Mutex::new(Instant::now()),
                due: Mutex::new(command.interval.map(|interval| Instant::now() + interval)),
            });
            known.insert(command.clone(), Arc::downgrade(&renewable));
            renewable
        });
        let text = renewable.text();
        Ok((renewable, text))
    }

    /// What the program is.
    pub fn command(&self) -> &Command {
        &self.command
    }

    pub(super) fn text(&self) -> Arc<str> {
        Arc::clone(&self.text.lock())
    }

    /// Runs the program. Whether it printed another secret than before; where it fails, the old one stays.
    ///
    /// # Errors
    /// As [`Secret::from_command`](super::Secret::from_command).
    pub fn renew(&self) -> Result<bool, String> {
        self.run(&mut self.ran.lock())
    }

    pub(super) fn renew_refused(&self, refused: &str) -> bool {
        let mut ran = self.ran.lock();
        if *self.text() != *refused {
            return true;
        }
        ran.elapsed() >= REFUSED && self.run(&mut ran).unwrap_or(false)
    }

    fn run(&self, ran: &mut MutexGuard<'_, Instant>) -> Result<bool, String> {
        let outcome = self.command.run();
        let now = Instant::now();
        **ran = now;
        let next = |interval: Duration| if outcome.is_ok() { interval } else { interval.min(RETRY) };
        *self.due.lock() = self.command.interval.map(|interval| now + next(interval));
        let text: Arc<str> = outcome.map_err(|reason| about(&self.command, &reason))?.into();
        let mut known = self.text.lock();
        let is_another = *known != text;
        *known = text;
        drop(known);
        if is_another {
            CHANGES.fetch_add(1, Ordering::Release);
        }
        Ok(is_another)
    }
}

fn about(command: &Command, reason: &str) -> String {
    format!("the program \"{}\" {reason}", command.program().escape_debug())
}

#[cfg(test)]
mod tests {
    use crate::secret::Secret;

    use super::*;

    fn printing(path: &std::path::Path, interval: Option<Duration>) -> Command {
        let words = vec!["cat".to_owned(), path.display().to_string()];
        Command { words, timeout: Duration::from_secs(20), interval }
    }

    #[test]
    fn a_secret_is_renewed_for_all_who_have_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one\n").unwrap();
        let command = printing(file.path(), Some(Duration::ZERO));
        let secret = Secret::from_command(&command).unwrap();
        std::fs::write(file.path(), "two\n").unwrap();
        let mine = |renewable: &Arc<Renewable>| *renewable.command() == command;
        assert!(due().into_iter().find(mine).unwrap().renew().unwrap());
        assert_eq!((secret.expose(), secret.latest().expose()), ("one", "two"));
        assert!(secret == secret.latest() && secret != Secret::new("one"));

        std::fs::remove_file(file.path()).unwrap();
        let failed = due().into_iter().find(mine).unwrap().renew().unwrap_err();
        assert_eq!(failed, "the program \"cat\" failed (exit status: 1)");
        assert_eq!(secret.latest().expose(), "two");
        drop(secret);
        assert!(!due().iter().any(mine));
    }

    #[test]
    fn a_refused_secret_is_asked_for_again_but_not_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let secret = Secret::from_command(&printing(file.path(), None)).unwrap();
        std::fs::write(file.path(), "two").unwrap();
        let Some(renewable) = KNOWN.lock().get(&printing(file.path(), None)).and_then(Weak::upgrade) else { panic!() };
        *renewable.ran.lock() = Instant::now() + Duration::from_secs(60);
        assert!(!secret.renew_refused());
        *renewable.ran.lock() = Instant::now() - REFUSED;
        assert!(secret.renew_refused());
        assert!(secret.renew_refused(), "another one has renewed it");
        assert!(!secret.latest().renew_refused());
        assert_eq!(secret.latest().expose(), "two");
    }
}
