//! Files with keys, certificates and tokens, as somebody else writes them: of a limited size, and no pipe.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The content of a file of at most `limit` bytes, or what is wrong with it, as the end of a sentence.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    // Asked before it is opened: opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut content = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut content)).map_err(cannot)?;
    if content.len() as u64 > limit {
        return Err(format!("is larger than {limit} bytes"));
    }
    Ok(content)
}
