//! The file that revocations are kept in: read whole when it changes, and only ever appended to, so that several gateways
//! and other tools can write to it at the same time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{self, SHA256};

use super::line::{self, Line, Said};

/// Largest file, in bytes.
const MAX_SIZE: u64 = 64 * 1024 * 1024;
/// A file that changed less than this ago may change again without its times showing it.
const SETTLED: Duration = Duration::from_secs(2);

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileProblem {
    /// It is not there, or may not be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A folder, a pipe.
    #[error("is not a file")]
    NotAFile,
    /// More than 64 MiB.
    #[error("is larger than 64 MiB")]
    TooLarge,
    /// A line that says nothing clear.
    #[error("line {number}: {problem}")]
    Line {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// It has entries no more, and nothing says that this is meant. They still hold.
    #[error("{}", lost(*.0))]
    Lost(usize),
    /// More entries than there may be.
    #[error("has {entries} revocations that hold, and max_revocations is {limit}")]
    TooMany {
        /// Those that have not expired.
        entries: usize,
        /// `max_revocations`.
        limit: usize,
    },
}

fn lost(entries: usize) -> String {
    let (what, they) = match entries {
        1 => ("1 revocation that still holds is gone".to_owned(), "it"),
        more => (format!("{more} revocations that still hold are gone"), "them"),
    };
    let how =
        format!("write {they} again, UNREVOKE {they}, or end a file that is whole with a line {{\"end_of_list\": N}}");
    format!("{what}, and no line withdraws {they}: {how}")
}

/// What became of a look at the file.
pub(super) enum Content {
    /// As it was.
    Same,
    Lines(Lines),
}

/// All that a file says.
#[derive(Default)]
pub(super) struct Lines {
    pub(super) entries: Vec<Line>,
    /// Nothing is missing: the last line counts those before it.
    pub(super) is_whole: bool,
}

/// What tells one version of a file from another.
type Stamp = (u64, u64, SystemTime, (i64, i64));

pub(super) struct RevocationFile {
    path: PathBuf,
    stamp: Option<Stamp>,
    /// Of what was read last.
    digest: Option<Vec<u8>>,
}

impl RevocationFile {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), stamp: None, digest: None }
    }

    /// Reads the file if it has changed, or `anyway`.
    pub(super) fn read(&mut self, anyway: bool) -> Result<Content, FileProblem> {
        let stamp = stamp(&self.path);
        if !anyway && stamp.is_some() && stamp == self.stamp && stamp.is_some_and(is_settled) {
            return Ok(Content::Same);
        }
        // Taken before the content: what is written meanwhile is another version.
        self.stamp = stamp;
        let content = match content(&self.path) {
            Ok(content) => content,
            Err(problem) => {
                self.digest = None;
                return Err(problem);
            }
        };
        let digest = Some(digest::digest(&SHA256, &content).as_ref().to_vec());
        if !anyway && digest == self.digest {
            return Ok(Content::Same);
        }
        self.digest = digest;
        lines(&content).map(Content::Lines)
    }

    /// Adds a line, which is on the disk when this returns. The file must be there: one that somebody has moved away is not
    /// begun again, since what it said would be missing.
    pub(super) fn append(&self, line: &str) -> Result<(), FileProblem> {
        let mut file = OpenOptions::new().read(true).append(true).open(&self.path)?;
        let before = file.metadata()?.len();
        if before.saturating_add(line.len() as u64) >= MAX_SIZE {
            return Err(FileProblem::TooLarge);
        }
        // One write: those of several processes do not mix. A last line that was left without its end gets one.
        let text = if ends_its_line(&mut file)? { line.to_owned() } else { format!("\n{line}") };
        if let Err(error) = file.write_all(text.as_bytes()) {
            take_back(&mut file, before, text.as_bytes())?;
            return Err(error.into());
        }
        Ok(file.sync_data()?)
    }
}

/// A disk that is full may have taken half a line, with which no gateway would start. What came behind `before` goes again,
/// if it is the beginning of `text` and nobody else's.
pub(super) fn take_back(file: &mut File, before: u64, text: &[u8]) -> io::Result<()> {
    let mut written = Vec::new();
    file.seek(SeekFrom::Start(before))?;
    Read::by_ref(file).take(text.len() as u64 + 1).read_to_end(&mut written)?;
    if text.starts_with(&written) { file.set_len(before) } else { Ok(()) }
}

fn ends_its_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.modified().ok()?, (file.ctime(), file.ctime_nsec())))
}

fn is_settled((_, _, modified, _): Stamp) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| age > SETTLED)
}

fn content(path: &Path) -> Result<Vec<u8>, FileProblem> {
    if !fs::metadata(path)?.is_file() {
        return Err(FileProblem::NotAFile);
    }
    let mut content = Vec::new();
    File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_SIZE {
        return Err(FileProblem::TooLarge);
    }
    Ok(content)
}

/// All lines that say something, or the first that cannot be understood.
pub(super) fn lines(content: &[u8]) -> Result<Lines, FileProblem> {
    let mut lines = Lines::default();
    for (at, text) in content.split(|byte| *byte == b'\n').enumerate() {
        let problem = |problem| FileProblem::Line { number: at + 1, problem };
        match line::read(text).map_err(problem)? {
            None => {}
            Some(Said::Entry(entry)) => {
                lines.entries.push(entry);
                lines.is_whole = false;
            }
            Some(Said::End(count)) if count == lines.entries.len() => lines.is_whole = true,
            Some(Said::End(count)) => {
                let entries = lines.entries.len();
                return Err(problem(format!("it counts {count} lines before it, and there are {entries}")));
            }
        }
    }
    Ok(lines)
}
