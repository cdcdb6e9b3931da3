//! Where lines end up. A line is written whole or not at all: what a full disk has cut off is taken away again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// A file or the standard error of the process.
#[derive(Debug)]
pub(super) enum Target {
    Stderr,
    File(File),
}

impl Target {
    /// Opens the file to append to it. One that is made now is for its owner alone; others stay as they are.
    pub(super) fn file(path: &Path) -> io::Result<Self> {
        // To open a pipe would wait for a reader.
        if path.metadata().is_ok_and(|data| data.file_type().is_fifo()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe"));
        }
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(Self::File)
    }

    /// Writes whole lines in one piece.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(lines),
            Self::File(file) => {
                // Another process of the gateway may write to it, while one takes over from the other.
                let locked = file.lock().is_ok();
                let written = append(file, lines);
                if locked {
                    let _ = file.unlock();
                }
                written
            }
        }
    }
}

fn append(file: &mut File, lines: &[u8]) -> io::Result<()> {
    let before = file.metadata().map(|data| (data.is_file(), data.len()));
    let outcome = file.write_all(lines);
    if let (Err(_), Ok((true, length))) = (&outcome, before) {
        let _ = file.set_len(length);
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_file_is_for_its_owner_alone_and_an_old_one_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.json");
        Target::file(&path).unwrap().write(b"one\n").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        Target::file(&path).unwrap().write(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        assert!(Target::file(Path::new("/dev/full")).unwrap().write(b"one\n").is_err());
        assert!(Target::file(Path::new("/no/such/folder/audit.json")).is_err());
    }
}
