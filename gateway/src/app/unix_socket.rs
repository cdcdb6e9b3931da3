//! The Unix socket: a file that is ours while we listen, and nobody else's.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// The file of a socket. It is removed with this value, unless another process has put its own in its place.
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
    _lock: Option<Lock>,
}

/// Listens on `path`. The file appears with its permissions, or not at all.
///
/// What a process that crashed has left is replaced. A live one is an error, unless `share`: then this process takes its
/// place in one step, and clients that the other one has not accepted yet stay with it.
///
/// # Errors
/// Another process listens there, there is a file that is no socket, or the folder cannot be written to.
pub(super) fn open(path: PathBuf, permissions: u32, share: bool) -> io::Result<(UnixListener, SocketFile)> {
    let lock = Lock::take(&path)?;
    match fs::symlink_metadata(&path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name that is no socket"));
        }
        Ok(_) if !share && std::os::unix::net::UnixStream::connect(&path).is_ok() => return Err(in_use()),
        _ => {}
    }
    let draft = beside(&path, &std::process::id().to_string());
    let _ = fs::remove_file(&draft);
    let listener = UnixListener::bind(&draft)?;
    let file = match publish(&draft, &path, permissions) {
        Ok(identity) => SocketFile { path, identity, _lock: lock.keep(share)? },
        Err(error) => {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
    };
    Ok((listener, file))
}

fn publish(draft: &Path, path: &Path, permissions: u32) -> io::Result<(u64, u64)> {
    fs::set_permissions(draft, Permissions::from_mode(permissions))?;
    let identity = identity(draft)?;
    fs::rename(draft, path)?;
    Ok(identity)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn in_use() -> io::Error {
    io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")
}

impl SocketFile {
    /// Takes the file away, so that nobody new comes by it.
    pub(super) fn remove(&self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Keeps two processes that start at the same moment from each taking the other's socket for a leftover. The kernel lets
/// go of it when the process ends, however it ends.
struct Lock {
    path: PathBuf,
    file: File,
}

impl Lock {
    fn take(socket: &Path) -> io::Result<Self> {
        const ATTEMPTS: usize = 10;
        let path = beside(socket, "lock");
        for _ in 0..ATTEMPTS {
            let file =
                OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(in_use()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The one who had it before may have removed the file in between: then this lock keeps nobody out.
            let held = file.metadata()?;
            if identity(&path).is_ok_and(|found| found == (held.dev(), held.ino())) {
                return Ok(Self { path, file });
            }
        }
        Err(in_use())
    }

    /// Holds it while the socket lives, with the process id in it, as PostgreSQL does beside its own sockets. Who shares
    /// the socket lets it go.
    fn keep(mut self, share: bool) -> io::Result<Option<Self>> {
        if share {
            self.remove();
            return Ok(None);
        }
        self.file.set_len(0)?;
        writeln!(self.file, "{}", std::process::id())?;
        Ok(Some(self))
    }

    /// Removes the file where it is this process's. A PostgreSQL that listens there keeps its own.
    fn remove(&mut self) {
        let mut content = String::new();
        let read = File::open(&self.path).and_then(|mut file| file.read_to_string(&mut content));
        if read.is_ok() && (content.is_empty() || content.trim_end() == std::process::id().to_string()) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn refusal(path: &Path, share: bool) -> String {
        open(path.to_owned(), 0o777, share).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[tokio::test]
    async fn a_socket_has_its_permissions_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".s.PGSQL.1");
        let (listener, file) = open(path.clone(), 0o750, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
        assert_eq!(names(folder.path()), [".s.PGSQL.1", ".s.PGSQL.1.lock"]);
        drop((listener, file));
        assert_eq!(names(folder.path()), [""; 0]);
    }

    #[tokio::test]
    async fn a_live_socket_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".s.PGSQL.1");
        let held = open(path.clone(), 0o777, false).unwrap();
        assert_eq!(refusal(&path, false), "another process listens there");
        assert_eq!(refusal(&path, true), "another process listens there");
        drop(held);

        let postgresql = std::os::unix::net::UnixListener::bind(&path).unwrap();
        fs::write(beside(&path, "lock"), "4711\n/data\n").unwrap();
        assert_eq!(refusal(&path, false), "another process listens there");
        assert_eq!(names(folder.path()), [".s.PGSQL.1", ".s.PGSQL.1.lock"]);
        drop(postgresql);
    }

    #[tokio::test]
    async fn what_a_crash_left_is_replaced_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".s.PGSQL.1");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        fs::write(beside(&path, "lock"), "4711\n").unwrap();
        drop(open(path.clone(), 0o777, false).unwrap());

        fs::write(&path, "mine").unwrap();
        assert_eq!(refusal(&path, false), "there is a file of that name that is no socket");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[tokio::test]
    async fn a_shared_socket_goes_to_the_next_process_and_the_first_leaves_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".s.PGSQL.1");
        let (old, old_file) = open(path.clone(), 0o777, true).unwrap();
        let _queued = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let (new, _new_file) = open(path.clone(), 0o777, true).unwrap();
        let _later = std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(old_file);

        assert!(path.exists());
        old.accept().await.unwrap();
        new.accept().await.unwrap();
        assert_eq!(refusal(&path, false), "another process listens there");
    }
}
