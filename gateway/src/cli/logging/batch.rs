//! Lines of a worker thread, gathered and written together just before the thread sleeps: where many clients come and go,
//! that is one system call for several lines. Warnings and errors are written at once, with all that was said before, and so
//! is what its caller wants written.

use std::cell::OnceCell;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that are gathered at most.
const MOST: usize = 16 * 1024;

type Batch = Arc<Mutex<Vec<u8>>>;

/// Of all threads that gather lines, so that none is lost when the process ends.
static ALL: Mutex<Vec<Batch>> = Mutex::new(Vec::new());

thread_local! {
    static OWN: OnceCell<Batch> = const { OnceCell::new() };
}

/// From now on this thread gathers its lines: whoever calls this calls [`write_gathered`] whenever the thread is about to
/// sleep.
pub(crate) fn gather() {
    OWN.with(|own| {
        own.get_or_init(|| {
            let batch = Batch::default();
            ALL.lock().push(batch.clone());
            batch
        });
    });
}

/// Writes what this thread has gathered.
pub(crate) fn write_gathered() {
    OWN.with(|own| {
        if let Some(batch) = own.get() {
            let _ = write(&mut batch.lock());
        }
    });
}

/// Writes what all threads have gathered.
pub(crate) fn write_all() {
    for batch in ALL.lock().iter() {
        let _ = write(&mut batch.lock());
    }
}

/// What cannot be written is gone, as it is where each line is written at once.
fn write(lines: &mut Vec<u8>) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let outcome = io::stderr().lock().write_all(lines);
    lines.clear();
    outcome
}

/// Standard error, by way of the thread's batch.
pub(super) struct Lines;

/// See [`Lines`]; takes whole lines.
pub(super) struct LineWriter {
    urgent: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { urgent: true }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> LineWriter {
        LineWriter { urgent: *about.level() <= Level::WARN }
    }
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        OWN.with(|own| {
            let Some(batch) = own.get() else { return io::stderr().lock().write_all(bytes) };
            let mut lines = batch.lock();
            lines.extend_from_slice(bytes);
            if self.urgent || lines.len() >= MOST { write(&mut lines) } else { Ok(()) }
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
