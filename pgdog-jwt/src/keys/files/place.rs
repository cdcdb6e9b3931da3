//! Which files hold keys, and how it shows that one of them has changed.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::{Fault, KeySource};

/// Most entries of a directory that is meant for keys, of any kind.
const MAX_ENTRIES: usize = 4096;
/// Most files of a directory that are looked at.
const MAX_FILES: usize = 256;
/// A file that changed less than this ago may change again without its times showing it.
const SETTLED: Duration = Duration::from_secs(2);

/// Where the files are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    /// PEM files.
    Files(Vec<PathBuf>),
    /// A directory of PEM files.
    Directory(PathBuf),
    /// A file with a key set.
    KeySet(PathBuf),
}

impl Place {
    /// The place that a configuration names, if its keys are in files.
    pub(crate) fn of(source: &KeySource) -> Option<Self> {
        match source {
            KeySource::PemFiles(files) => Some(Self::Files(files.clone())),
            KeySource::PemDirectory(path) => Some(Self::Directory(path.clone())),
            KeySource::JwksFile(path) => Some(Self::KeySet(path.clone())),
            KeySource::JwksInline(_) | KeySource::Jwks(_) | KeySource::Discovery(_) | KeySource::None => None,
        }
    }

    pub(super) fn has_names(&self) -> bool {
        matches!(self, Self::KeySet(_))
    }

    /// The files that are there now, in the order of their names, and how many are more than are looked at.
    pub(super) fn files(&self) -> Result<(Vec<PathBuf>, usize), Fault> {
        match self {
            Self::Files(files) => Ok((files.clone(), 0)),
            Self::KeySet(path) => Ok((vec![path.clone()], 0)),
            Self::Directory(path) => {
                let problem = |problem: String| Fault::KeyFile { path: path.clone(), problem };
                let unlisted = |error: std::io::Error| problem(format!("cannot be listed: {error}"));
                let mut files = Vec::new();
                for entry in fs::read_dir(path).map_err(unlisted)? {
                    files.push(entry.map_err(unlisted)?.path());
                    if files.len() > MAX_ENTRIES {
                        return Err(problem(format!("holds more than {MAX_ENTRIES} entries")));
                    }
                }
                files.retain(|file| !is_passed_over(file));
                files.sort();
                let excess = files.len().saturating_sub(MAX_FILES);
                files.truncate(MAX_FILES);
                Ok((files, excess))
            }
        }
    }

    /// What the files look like from outside.
    pub(super) fn stamps(&self) -> Stamps {
        let files = self.files().map(|(files, _)| files).unwrap_or_default();
        Stamps(files.into_iter().map(|path| (stamp(&path), path)).collect())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(files) => {
                let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                f.write_str(&names.join(", "))
            }
            Self::Directory(path) | Self::KeySet(path) => path.display().fmt(f),
        }
    }
}

/// Hidden files are somebody's bookkeeping: an editor's, or that of Kubernetes, whose volumes have a hidden directory to
/// which the visible names lead.
fn is_passed_over(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    hidden || fs::metadata(path).is_ok_and(|found| found.is_dir())
}

/// What tells one version of a file from another. The change time catches a file put in place with an old time.
type Stamp = Option<(u64, u64, SystemTime, (i64, i64))>;

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.modified().ok()?, (file.ctime(), file.ctime_nsec())))
}

/// The stamps of some files.
#[derive(PartialEq)]
pub(super) struct Stamps(Vec<(Stamp, PathBuf)>);

impl Stamps {
    /// Whether the files would look different if they changed once more.
    pub(super) fn are_settled(&self) -> bool {
        let now = SystemTime::now();
        let mut times = self.0.iter().filter_map(|(stamp, _)| stamp.map(|(_, _, modified, _)| modified));
        times.all(|modified| now.duration_since(modified).is_ok_and(|age| age > SETTLED))
    }
}
