//! What commands print. A reader that has gone, as `head` does, is no error: the command does the rest of its work.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints to standard output.
///
/// # Errors
/// It cannot be written to, and not because nobody reads it any more.
pub(super) fn print(text: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    unless_closed(write!(output, "{text}").and_then(|()| output.flush()))
}

/// The same, as a line.
///
/// # Errors
/// As [`print`].
pub(super) fn line(text: impl Display) -> io::Result<()> {
    print(format_args!("{text}\n"))
}

/// Says something on standard error, for a person. Where that cannot be written, nothing can be said.
pub(super) fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Takes a closed pipe for a quiet end.
fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
