//! A file that holds a secret.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{MAX_SIZE, without_line_end};

/// All of the file but one line end. The error is the rest of a sentence about the file.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_SIZE + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_SIZE {
        return Err(format!("has more than {MAX_SIZE} bytes"));
    }
    without_line_end(bytes).map_err(str::to_owned)
}
