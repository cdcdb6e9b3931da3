//! Whether files have changed.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

#[cfg(unix)]
use std::os::unix::fs::MetadataExt;

/// What is known of each file without reading it; `None`: it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Stamps(Vec<(PathBuf, Option<Stamp>)>);

type Stamp = (u64, SystemTime, (u64, i64, i64));

impl Stamps {
    pub(crate) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(paths.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// And of another file.
    pub(crate) fn and(mut self, path: PathBuf) -> Self {
        let stamp = stamp(&path);
        self.0.push((path, stamp));
        self
    }

    /// Of the same files, now.
    pub(crate) fn again(&self) -> Self {
        Self::of(self.0.iter().map(|(path, _)| path.clone()))
    }
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?, change(&metadata)))
}

/// A file that was put in another's place is another, however old it is.
#[cfg(unix)]
fn change(metadata: &fs::Metadata) -> (u64, i64, i64) {
    (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
}

#[cfg(not(unix))]
fn change(_metadata: &fs::Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}
