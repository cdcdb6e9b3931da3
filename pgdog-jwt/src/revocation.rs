//! Tokens that are no good any more although nothing in them says so: revoked by token id, subject, issuer, or moment of
//! issue. Checked at every login, also for tokens whose signature was verified before, and by the host for the sessions
//! that are there.
//!
//! - The list is kept in memory, and in a file where there is one. The file is read again when it changes, whole or not at
//!   all: a line that cannot be understood is refused aloud, and what was known stays known.
//! - What is revoked here is on the disk before the call returns. Several processes may share the file: all of them append.
//! - What the file has lost holds, until the loss is meant: a line withdraws it, or the file says that it is whole. A file that
//!   is written anew in its place is empty for a moment.
//! - An entry holds as long as any issuer could still take such a token: for the leeway beyond its end.
//! - Nothing is forgotten by a reload. The number of entries is bounded: when there is no room, a new one is refused, and
//!   no old one is given up.
//! - When in doubt a token is revoked: one that does not say when it was issued is, by every "issued before".

mod entry;
mod file;
mod line;
mod moment;
mod table;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::config::{Fault, JwtConfig};
use crate::deny::DenyReason;
use file::Content;
use table::{Replaced, Table};

pub use entry::{Kept, Listed, Revocation, RevocationError, Target, TokenIdentity};
pub use file::FileProblem;
pub use moment::parse_moment;

/// Whether a file could be the list of this configuration; how many entries it has.
///
/// # Errors
/// What is wrong with it.
pub fn check_file(path: &Path, config: &JwtConfig) -> Result<usize, FileProblem> {
    match file::RevocationFile::new(path).read(true)? {
        Content::Same => Ok(0),
        Content::Lines(lines) => {
            let ended = ended(leeway(config), SystemTime::now());
            Table::default().replace(lines, config.max_revocations, ended)?.entries()
        }
    }
}

/// By how much a token's `exp` may be later than it is shown, which is in whole seconds.
const FRACTION: Duration = Duration::from_secs(1);

/// The longest time beyond its `exp` for which an issuer's token is taken.
fn leeway(config: &JwtConfig) -> Duration {
    config.issuers.iter().map(|issuer| issuer.leeway).max().unwrap_or_default()
}

/// Entries that end at this moment hold no more.
fn ended(leeway: Duration, now: SystemTime) -> SystemTime {
    now.checked_sub(leeway.saturating_add(FRACTION)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// How often the file is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Entries that may be kept unless the configuration says otherwise.
pub const DEFAULT_MAX_REVOCATIONS: usize = 100_000;

/// What is revoked. Shared by every [`Authenticator`](crate::Authenticator) that came from the first by a reload.
pub struct Revocations {
    limit: usize,
    path: Option<PathBuf>,
    file: Option<Mutex<file::RevocationFile>>,
    table: RwLock<Table>,
    /// See [`leeway`](Self::leeway), in milliseconds. It never becomes less: a login that began before a reload goes by what
    /// held then.
    leeway: AtomicU64,
    /// Why the file cannot be used now.
    problem: Mutex<Option<String>>,
    changes: watch::Sender<u64>,
}

/// Why something was not revoked, or not for good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// There are as many entries as there may be. Nothing was changed.
    #[error("there are {0} revocations already, as many as max_revocations allows")]
    Full(usize),
    /// The file could not be written. The entry holds in this process, until it ends.
    #[error("the revocation holds in this process only: {0}")]
    NotStored(FileProblem),
    /// The file could not be written, and the revocation still holds.
    #[error("the revocation still holds: {0}")]
    NotWithdrawn(FileProblem),
    /// Nothing like it is revoked.
    #[error("there is no such revocation")]
    NotFound,
}

impl Revocations {
    /// The list of a configuration; `previous` is the one that held before, of which nothing is forgotten.
    ///
    /// # Errors
    /// The file is not there, cannot be read, has a line that cannot be understood or more entries than it may: without the
    /// list, revoked tokens would be good again.
    pub(crate) fn open(config: &JwtConfig, previous: Option<&Arc<Self>>) -> Result<Arc<Self>, Fault> {
        let path = config.revocation_file.as_deref();
        let problem = |problem: FileProblem| Fault::RevocationFile {
            path: path.map(Path::to_owned).unwrap_or_default(),
            problem: problem.to_string(),
        };
        if let Some(previous) = previous
            && previous.limit == config.max_revocations
            && previous.path() == path
        {
            previous.extend_leeway(leeway(config));
            previous.look(true).map_err(problem)?;
            return Ok(Arc::clone(previous));
        }
        let leeway = leeway(config).max(previous.map(|previous| previous.leeway()).unwrap_or_default());
        let same_file = previous.is_some_and(|previous| previous.path() == path);
        let mut table = match previous.map(|previous| previous.table.read()) {
            // What the file has lost since is missed.
            Some(table) if same_file => table.clone(),
            Some(table) => Table::beside(&table),
            None => Table::default(),
        };
        let file = match path {
            None => None,
            Some(path) => {
                let mut file = file::RevocationFile::new(path);
                let lines = match file.read(true).map_err(problem)? {
                    Content::Same => file::Lines::default(),
                    Content::Lines(lines) => lines,
                };
                let ended = ended(leeway, SystemTime::now());
                let replaced = table.replace(lines, config.max_revocations, ended);
                replaced.and_then(Replaced::entries).map_err(problem)?;
                Some(Mutex::new(file))
            }
        };
        if let Some(previous) = previous {
            table.inherit(&previous.table.read(), same_file);
        }
        let revocations = Arc::new(Self {
            limit: config.max_revocations,
            path: config.revocation_file.clone(),
            file,
            table: RwLock::new(table),
            leeway: AtomicU64::new(0),
            problem: Mutex::default(),
            changes: watch::Sender::new(0),
        });
        revocations.extend_leeway(leeway);
        if path.is_some() {
            Self::watch(&revocations)?;
        }
        Ok(revocations)
    }

    /// Ends within [`CHECK_INTERVAL`] of the list itself.
    fn watch(list: &Arc<Self>) -> Result<(), Fault> {
        let list = Arc::downgrade(list);
        let look = move || {
            while let Some(list) = list.upgrade() {
                // What is wrong was said when it was found.
                let _ = list.look(false);
                drop(list);
                std::thread::sleep(CHECK_INTERVAL);
            }
        };
        let spawned = std::thread::Builder::new().name("jwt-revocations".to_owned()).spawn(look);
        let failed = |error| Fault::System(format!("cannot start watching the revocation file: {error}"));
        spawned.map(drop).map_err(failed)
    }

    /// Reads the file, if it may have changed.
    fn look(&self, anyway: bool) -> Result<(), FileProblem> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.lock();
        let replaced = match file.read(anyway) {
            Ok(Content::Same) => return Ok(()),
            Ok(Content::Lines(lines)) => self.table.write().replace(lines, self.limit, self.ended()),
            Err(problem) => Err(problem),
        };
        let is_changed = replaced.is_ok();
        let outcome = replaced.and_then(Replaced::entries);
        let problem = outcome.as_ref().err().map(ToString::to_string);
        let path = self.path.as_deref().map(|path| path.display().to_string());
        match &outcome {
            Ok(entries) => tracing::info!(event = "revocation_file", path, entries, "revocation file read"),
            Err(_) if problem == *self.problem.lock() => {}
            Err(problem) => {
                tracing::error!(event = "revocation_file", path, %problem, "the revocation file cannot be used, what was known stays");
            }
        }
        *self.problem.lock() = problem;
        if is_changed {
            self.changed();
        }
        outcome.map(drop)
    }

    fn changed(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }

    /// Whether a token is revoked at this moment.
    ///
    /// # Errors
    /// [`DenyReason::Revoked`], with what it is revoked by.
    pub fn check(&self, token: &TokenIdentity<'_>) -> Result<(), DenyReason> {
        match self.table.read().find(token, self.ended()) {
            None => Ok(()),
            Some(by) => Err(DenyReason::Revoked(by)),
        }
    }

    /// Whether nothing is revoked, so that nobody needs to be looked up.
    pub fn is_empty(&self) -> bool {
        self.table.read().is_empty()
    }

    /// Revokes, from now on and durably where there is a file; gives the entry's number. May wait for the disk.
    ///
    /// # Errors
    /// See [`RevokeError`]. With [`RevokeError::NotStored`] the entry holds all the same.
    pub fn revoke(&self, revocation: Revocation) -> Result<u64, RevokeError> {
        let now = SystemTime::now();
        {
            let mut table = self.table.write();
            table.forget_ended(self.ended());
            if table.len() >= self.limit && table.number_of(&revocation).is_none() {
                return Err(RevokeError::Full(self.limit));
            }
        }
        let stored = match &self.file {
            None => Ok(()),
            Some(file) => file.lock().append(&line::write(&revocation, Some(now), false)),
        };
        let kept = if self.file.is_some() && stored.is_ok() { Kept::File } else { Kept::Memory };
        let number = self.table.write().put(revocation, Some(now), kept);
        self.changed();
        stored.map(|()| number).map_err(RevokeError::NotStored)
    }

    /// Ends the revocation with this number. May wait for the disk.
    ///
    /// # Errors
    /// See [`RevokeError`]. After an error it still holds.
    pub fn withdraw(&self, number: u64) -> Result<(), RevokeError> {
        let found = self.list().into_iter().find(|listed| listed.number == number);
        let listed = found.ok_or(RevokeError::NotFound)?;
        if let Some(file) = &self.file {
            let withdrawn = file.lock().append(&line::write(&listed.revocation, None, true));
            // One that is kept in memory need not be in the file, but may be there for a shorter time.
            if listed.kept != Kept::Memory {
                withdrawn.map_err(RevokeError::NotWithdrawn)?;
            }
        }
        self.table.write().remove(&listed.revocation);
        self.changed();
        Ok(())
    }

    /// The number of an entry for exactly this; when it expires does not matter.
    pub fn number_of(&self, revocation: &Revocation) -> Option<u64> {
        self.table.read().number_of(revocation)
    }

    /// All entries that hold, the oldest first.
    pub fn list(&self) -> Vec<Listed> {
        self.table.read().list(self.ended())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.table.read().len()
    }

    /// How many of them the file has lost without a word.
    pub fn lost(&self) -> usize {
        self.table.read().lost()
    }

    /// For how long an entry holds beyond its end: as long as the most generous issuer takes a token that has expired.
    pub fn leeway(&self) -> Duration {
        Duration::from_millis(self.leeway.load(Ordering::Relaxed))
    }

    fn extend_leeway(&self, leeway: Duration) {
        let millis = u64::try_from(leeway.as_millis()).unwrap_or(u64::MAX);
        self.leeway.fetch_max(millis, Ordering::Relaxed);
    }

    /// Entries that end at this moment hold no more.
    fn ended(&self) -> SystemTime {
        ended(self.leeway(), SystemTime::now())
    }

    /// The file that the list is kept in; `None`: it ends with the process.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Why the file cannot be used as it is now. What it said before holds.
    pub fn problem(&self) -> Option<String> {
        self.problem.lock().clone()
    }

    /// Changes with the list. Who is told looks at the sessions that are there.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocations").field("path", &self.path).field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod tests;
