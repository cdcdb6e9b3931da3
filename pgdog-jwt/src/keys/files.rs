//! Public keys in files. Files are read again when they change: a thread of its own looks at them once a second, so that
//! a withdrawn key stops working whether or not anybody logs in, and no login ever touches a disk.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Verdict, Version, changes};
use crate::config::{Algorithm, Fault};
use crate::deny::DenyReason;
use crate::status::IssuerStatus;
use crate::token::Token;

mod place;
mod read;

pub(crate) use place::Place;
use place::Stamps;
use read::Loaded;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Keys from files.
pub(crate) struct FileStore {
    place: Place,
    /// Whether the keys have names, which tokens must use. Keys in PEM have none: a token's `kid` is not looked at.
    named: bool,
    current: Arc<ArcSwap<Loaded>>,
    /// Dropped with the store, which ends the thread.
    _watching: Sender<()>,
}

impl FileStore {
    /// Reads the files and starts to watch them. What they held before, if they were known, is no news.
    pub(crate) fn open(place: Place, algorithms: &[Algorithm], before: Option<&Self>) -> Result<Self, Fault> {
        let stamps = place.stamps();
        let contents = read::contents(&place)?;
        let loaded = read::load(&place, &contents, algorithms)?;
        let name = place.to_string();
        changes::warn_of_skipped(&name, &[], &loaded.skipped);
        let before = before.map(|before| before.current.load());
        changes::log(&name, before.as_ref().map(|before| &before.keys), &loaded.keys);
        let current = Arc::new(ArcSwap::from_pointee(loaded));
        let named = place.has_names();
        let (sender, stop) = mpsc::channel();
        let watcher = Watcher {
            place: place.clone(),
            algorithms: algorithms.to_vec(),
            current: Arc::clone(&current),
            stamps,
            last: Ok(contents),
        };
        thread::Builder::new()
            .name("jwt-key-files".to_owned())
            .spawn(move || watcher.run(&stop))
            .map_err(|error| Fault::System(format!("cannot start watching the key files: {error}")))?;
        Ok(Self { place, named, current, _watching: sender })
    }

    pub(crate) fn is_of(&self, place: &Place) -> bool {
        self.place == *place
    }

    /// Fills in what is known of the keys.
    pub(crate) fn describe(&self, status: &mut IssuerStatus) {
        let loaded = self.current.load();
        status.keys = loaded.keys.status();
        status.skipped.clone_from(&loaded.skipped);
    }

    /// Whether one of the keys signed the token.
    pub(crate) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Version, DenyReason> {
        let keys = &self.current.load().keys;
        match if self.named { keys.verify_by_name(token, algorithm) } else { keys.verify_by_any(token, algorithm) } {
            Verdict::NoKey if !self.named => Err(DenyReason::AlgorithmMismatch),
            verdict => verdict.of(keys),
        }
    }

    /// What the files say now. They are here: a copy of them is never too old.
    pub(crate) fn in_use(&self) -> Version {
        self.current.load().keys.version()
    }
}

struct Watcher {
    place: Place,
    algorithms: Vec<Algorithm>,
    current: Arc<ArcSwap<Loaded>>,
    stamps: Stamps,
    /// What was read last, good or bad, so that each version is judged and logged once.
    last: Result<read::Contents, String>,
}

impl Watcher {
    fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.look();
        }
    }

    fn look(&mut self) {
        let now = self.place.stamps();
        if now == self.stamps && now.are_settled() {
            return;
        }
        self.stamps = now;
        let read = read::contents(&self.place);
        let comparable = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if comparable == self.last {
            return;
        }
        self.last = comparable;
        match read.and_then(|contents| read::load(&self.place, &contents, &self.algorithms)) {
            Ok(loaded) => self.take(loaded),
            Err(error) => {
                tracing::warn!(%error, "changed key files cannot be used, the old keys stay")
            }
        }
    }

    fn take(&self, loaded: Loaded) {
        let before = self.current.load();
        let name = self.place.to_string();
        changes::warn_of_skipped(&name, &before.skipped, &loaded.skipped);
        changes::log(&name, Some(&before.keys), &loaded.keys);
        let keys = loaded.keys.after(&before.keys);
        self.current.store(Arc::new(Loaded { keys, skipped: loaded.skipped }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watching_ends_with_the_store() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        std::fs::write(file.path(), pair.public_key_pem()).unwrap();
        let store = FileStore::open(Place::Files(vec![file.path().to_owned()]), &Algorithm::ALL, None).unwrap();
        let keys = Arc::clone(&store.current);
        assert_eq!(Arc::strong_count(&keys), 3, "ours, the store's and the watcher's");
        drop(store);
        for _ in 0..100 {
            if Arc::strong_count(&keys) == 1 {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the watcher lives on");
    }
}
