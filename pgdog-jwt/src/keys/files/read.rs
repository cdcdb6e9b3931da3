//! From files to keys.

use std::path::{Path, PathBuf};

use super::Place;
use crate::config::{Algorithm, DEFAULT_MAX_KEYS, Fault};
use crate::file;
use crate::keys::key::Key;
use crate::keys::{KeySet, MAX_TRIES, jwk, pem};

/// Largest key file, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// What the files hold, each with its path. Only in a directory may one be unreadable.
pub(super) type Contents = Vec<(PathBuf, Result<Vec<u8>, String>)>;

/// The keys of the files, and why others are left out.
pub(super) struct Loaded {
    pub(super) keys: KeySet,
    pub(super) skipped: Vec<String>,
}

fn problem(path: &Path, problem: impl ToString) -> Fault {
    Fault::KeyFile { path: path.to_owned(), problem: problem.to_string() }
}

pub(super) fn contents(place: &Place) -> Result<Contents, Fault> {
    let (files, excess) = place.files()?;
    let mut contents = Vec::new();
    for path in files {
        let content = file::read(&path, MAX_FILE_SIZE);
        match content {
            Err(error) if !matches!(place, Place::Directory(_)) => return Err(problem(&path, error)),
            content => contents.push((path, content)),
        }
    }
    if let (Place::Directory(path), 1..) = (place, excess) {
        contents.push((path.clone(), Err(format!("holds {excess} files more than are looked at"))));
    }
    Ok(contents)
}

pub(super) fn load(place: &Place, contents: &Contents, algorithms: &[Algorithm]) -> Result<Loaded, Fault> {
    match place {
        Place::Files(_) => all(contents, algorithms),
        Place::Directory(_) => Ok(usable(contents, algorithms)),
        Place::KeySet(_) => key_set(contents, algorithms),
    }
}

/// The keys of every file: one that cannot be used is an error.
fn all(contents: &Contents, algorithms: &[Algorithm]) -> Result<Loaded, Fault> {
    let mut keys: Vec<Key> = Vec::new();
    for (path, content) in contents {
        let content = content.as_ref().map_err(|error| problem(path, error))?;
        keys.extend(pem::keys(content, algorithms).map_err(|error| problem(path, error))?);
        if keys.len() > MAX_TRIES {
            return Err(problem(path, format!("is the one that makes it more than {MAX_TRIES} keys")));
        }
    }
    Ok(Loaded { keys: KeySet::new(keys), skipped: Vec::new() })
}

/// The keys of the files that can be used. Other people put files there, and may take one away while it is read.
fn usable(contents: &Contents, algorithms: &[Algorithm]) -> Loaded {
    let mut keys: Vec<Key> = Vec::new();
    let mut skipped = Vec::new();
    for (path, content) in contents {
        let read = content.as_ref().map_err(String::clone);
        match read.and_then(|content| pem::keys(content, algorithms).map_err(|error| error.to_string())) {
            Ok(mut found) => {
                found.retain(|key| !keys.contains(key));
                // Without names every key is tried, which is work that a forged token causes.
                match keys.len() + found.len() <= MAX_TRIES {
                    true => keys.extend(found),
                    false => skipped.push(format!("{}: there would be more than {MAX_TRIES} keys", path.display())),
                }
            }
            Err(error) => skipped.push(format!("{} {error}", path.display())),
        }
    }
    Loaded { keys: KeySet::new(keys), skipped }
}

fn key_set(contents: &Contents, algorithms: &[Algorithm]) -> Result<Loaded, Fault> {
    let mut loaded = Loaded { keys: KeySet::new(Vec::new()), skipped: Vec::new() };
    for (path, content) in contents {
        let content = content.as_ref().map_err(|error| problem(path, error))?;
        let set = jwk::parse(content, algorithms, DEFAULT_MAX_KEYS).map_err(|_| problem(path, NOT_A_KEY_SET))?;
        loaded = Loaded { keys: set.keys, skipped: set.skipped };
    }
    Ok(loaded)
}

/// What is wrong with a file that should be a key set.
const NOT_A_KEY_SET: &str = "is not a JSON Web Key Set";
