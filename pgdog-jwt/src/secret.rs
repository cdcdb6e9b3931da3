//! Secrets: texts that are never printed, and where they come from.

mod command;
mod file;
mod renewable;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use command::Command;
pub use renewable::{Renewable, changes, due};

/// Largest secret, in bytes.
const MAX_SIZE: u64 = 16 * 1024;

/// A string that must not be printed: its `Debug` shows that it is set and nothing else (S5).
#[derive(Clone)]
pub struct Secret {
    text: Arc<str>,
    origin: Origin,
}

/// Where a secret comes from.
#[derive(Clone)]
pub enum Origin {
    /// The configuration itself, or a client.
    Text,
    /// A file.
    File(Arc<Path>),
    /// A variable of the environment.
    Variable(Arc<str>),
    /// A program that prints it.
    Command(Arc<Renewable>),
}

impl Secret {
    /// Wraps a secret.
    pub fn new(value: impl Into<String>) -> Self {
        Self { text: value.into().into(), origin: Origin::Text }
    }

    /// What a file holds, without the end of its last line.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no secret. The text does not repeat what is in it.
    pub fn from_file(path: &Path) -> Result<Self, String> {
        let text = file::read(path).map_err(|reason| format!("\"{}\" {reason}", path.display()))?;
        Ok(Self { text: text.into(), origin: Origin::File(path.into()) })
    }

    /// The value of a variable of the environment.
    ///
    /// # Errors
    /// There is no such variable, or it is empty.
    pub fn from_variable(name: &str, value: Option<String>) -> Result<Self, String> {
        match value {
            Some(text) if !text.is_empty() => Ok(Self { text: text.into(), origin: Origin::Variable(name.into()) }),
            Some(_) => Err(format!("the environment variable \"{name}\" is empty")),
            None => Err(format!("the environment variable \"{name}\" is not set")),
        }
    }

    /// What a program prints, without the end of its last line. The secret is renewed at the program's interval, where the host
    /// asks what is [`due`].
    ///
    /// # Errors
    /// The program fails, takes too long, or prints no secret. The text does not repeat what it has printed.
    pub fn from_command(command: &Command) -> Result<Self, String> {
        let (renewable, text) = Renewable::obtain(command)?;
        Ok(Self { text, origin: Origin::Command(renewable) })
    }

    /// The secret itself. Callers keep it out of logs and errors.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The secret as its program printed it last; any other secret as it is.
    #[must_use]
    pub fn latest(&self) -> Self {
        match &self.origin {
            Origin::Command(renewable) => Self { text: renewable.text(), origin: self.origin.clone() },
            _ => self.clone(),
        }
    }

    /// As [`Self::latest`], and a secret of a file is read again.
    ///
    /// # Errors
    /// As [`Self::from_file`].
    pub fn current(&self) -> Result<Self, String> {
        match &self.origin {
            Origin::File(path) => Self::from_file(path),
            _ => Ok(self.latest()),
        }
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Runs the program of a secret that was refused. Whether there is another secret now. May take as long as the program may.
    pub fn renew_refused(&self) -> bool {
        match &self.origin {
            Origin::Command(renewable) => renewable.renew_refused(&self.text),
            _ => false,
        }
    }

    /// A program prints it.
    pub fn is_renewable(&self) -> bool {
        matches!(self.origin, Origin::Command(_))
    }
}

/// Secrets of one program are the same whatever it has printed since: what was built with one goes on with the next.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.origin, &other.origin) {
            (Origin::Command(one), Origin::Command(other)) => Arc::ptr_eq(one, other),
            (Origin::Command(_), _) | (_, Origin::Command(_)) => false,
            _ => self.text == other.text,
        }
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A secret without the one line end that editors and programs put behind it.
fn without_line_end(bytes: Vec<u8>) -> Result<String, &'static str> {
    let mut text = String::from_utf8(bytes).map_err(|_| "is not UTF-8 text")?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err("is empty");
    }
    // A password message ends there.
    if text.contains('\0') { Err("holds a zero byte") } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_left_out_and_nothing_else() {
        let kept = |text: &str| without_line_end(text.as_bytes().to_vec());
        for (text, expected) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("a\r", "a\r"),
            (" a b \t\n", " a b \t"),
            ("'\"$x`;\u{e9}\u{1f511}\\n", "'\"$x`;\u{e9}\u{1f511}\\n"),
        ] {
            assert_eq!(kept(text).as_deref(), Ok(expected));
        }
        assert_eq!((kept(""), kept("\n"), kept("a\0b")), (Err("is empty"), Err("is empty"), Err("holds a zero byte")));
        assert_eq!(without_line_end(vec![0xff]), Err("is not UTF-8 text"));
    }

    #[test]
    fn it_does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(..)");
    }
}
