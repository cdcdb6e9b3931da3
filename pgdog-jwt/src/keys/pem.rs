//! Public keys in PEM files. Files are read again when they change: a thread of its own looks at them once a second, so
//! that a withdrawn key stops working whether or not anybody logs in, and no login ever touches a disk.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::key::Key;
use super::{KeySet, MAX_TRIES, Verdict, Version};
use crate::config::{Algorithm, ConfigError};
use crate::deny::DenyReason;
use crate::status::KeyStatus;
use crate::token::Token;

mod parse;

/// How often the files are looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Largest key file, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;
/// A file that changed less than this ago may change again without its times showing it.
const SETTLED: Duration = Duration::from_secs(2);

/// Keys from files. They have no names: a token's `kid` is not looked at.
pub(crate) struct PemStore {
    current: Arc<ArcSwap<KeySet>>,
    /// Dropped with the store, which ends the thread.
    _watching: Sender<()>,
}

impl PemStore {
    /// Reads the files and starts to watch them.
    pub(crate) fn open(files: &[PathBuf], algorithms: &[Algorithm]) -> Result<Self, ConfigError> {
        let stamps = stamps(files);
        let contents = read_all(files)?;
        let current = Arc::new(ArcSwap::from_pointee(load(files, &contents, algorithms)?));
        let (sender, stop) = mpsc::channel();
        let watcher = Watcher {
            files: files.to_vec(),
            algorithms: algorithms.to_vec(),
            current: Arc::clone(&current),
            stamps,
            last: Ok(contents),
        };
        thread::Builder::new()
            .name("jwt-key-files".to_owned())
            .spawn(move || watcher.run(&stop))
            .map_err(|error| ConfigError::System(format!("cannot start watching the key files: {error}")))?;
        Ok(Self { current, _watching: sender })
    }

    pub(crate) fn keys(&self) -> Vec<KeyStatus> {
        self.current.load().status()
    }

    /// Whether one of the keys signed the token.
    pub(crate) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Version, DenyReason> {
        let keys = self.current.load();
        match keys.verify_by_any(token, algorithm) {
            Verdict::Signed => Ok(keys.version()),
            Verdict::WrongAlgorithm | Verdict::NoKey => Err(DenyReason::AlgorithmMismatch),
            Verdict::Ambiguous => Err(DenyReason::AmbiguousKey),
            Verdict::BadSignature => Err(DenyReason::BadSignature),
        }
    }

    /// What the files say now. They are here: a copy of them is never too old.
    pub(crate) fn in_use(&self) -> Version {
        self.current.load().version()
    }
}

/// What tells one version of a file from another. The change time catches a file put in place with an old time.
type Stamp = Option<(u64, u64, SystemTime, (i64, i64))>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let file = fs::metadata(path).ok()?;
        Some((file.ino(), file.len(), file.modified().ok()?, (file.ctime(), file.ctime_nsec())))
    };
    files.iter().map(stamp).collect()
}

fn settled(stamps: &[Stamp]) -> bool {
    let now = SystemTime::now();
    stamps.iter().flatten().all(|(_, _, modified, _)| now.duration_since(*modified).is_ok_and(|age| age > SETTLED))
}

struct Watcher {
    files: Vec<PathBuf>,
    algorithms: Vec<Algorithm>,
    current: Arc<ArcSwap<KeySet>>,
    stamps: Vec<Stamp>,
    /// What was read last, good or bad, so that each version is judged and logged once.
    last: Result<Vec<Vec<u8>>, String>,
}

impl Watcher {
    fn run(mut self, stop: &Receiver<()>) {
        while stop.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            self.look();
        }
    }

    fn look(&mut self) {
        let now = stamps(&self.files);
        if now == self.stamps && settled(&now) {
            return;
        }
        self.stamps = now;
        let read = read_all(&self.files);
        let comparable = read.as_ref().map(Clone::clone).map_err(ToString::to_string);
        if comparable == self.last {
            return;
        }
        self.last = comparable;
        match read.and_then(|contents| load(&self.files, &contents, &self.algorithms)) {
            Ok(set) => {
                tracing::info!(keys = set.len(), files = ?self.files, "key files read again");
                let set = set.after(&self.current.load());
                self.current.store(Arc::new(set));
            }
            Err(error) => {
                tracing::warn!(%error, "changed key files cannot be used, the old keys stay")
            }
        }
    }
}

fn problem(path: &Path, problem: impl ToString) -> ConfigError {
    ConfigError::KeyFile { path: path.to_owned(), problem: problem.to_string() }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, ConfigError> {
    files.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let metadata = fs::metadata(path).map_err(|error| problem(path, error))?;
    if !metadata.is_file() {
        return Err(problem(path, "is not a file"));
    }
    let mut content = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_SIZE + 1).read_to_end(&mut content))
        .map_err(|error| problem(path, error))?;
    if content.len() as u64 > MAX_FILE_SIZE {
        return Err(problem(path, "is larger than 1 MiB"));
    }
    Ok(content)
}

fn load(files: &[PathBuf], contents: &[Vec<u8>], algorithms: &[Algorithm]) -> Result<KeySet, ConfigError> {
    let mut keys: Vec<Key> = Vec::new();
    for (path, content) in files.iter().zip(contents) {
        keys.extend(parse::keys(content, algorithms).map_err(|error| problem(path, error))?);
        if keys.len() > MAX_TRIES {
            return Err(problem(path, format!("is the one that makes it more than {MAX_TRIES} keys")));
        }
    }
    Ok(KeySet::new(keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watching_ends_with_the_store() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        fs::write(file.path(), pair.public_key_pem()).unwrap();
        let store = PemStore::open(&[file.path().to_owned()], &Algorithm::ALL).unwrap();
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
