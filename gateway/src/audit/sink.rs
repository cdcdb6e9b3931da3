//! The writer of the events: one thread with a bounded queue in front of it, so that lines are whole and a slow disk slows
//! down no session. What cannot be written is never dropped in silence: events of sessions go to the log instead, events of
//! statements are counted, and the count is written as soon as something can be.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, info};

use super::file::Target;
use super::{Event, Record};
use crate::app::trial::can_write_into;
use crate::config::{Audit, AuditDestination, AuditFailure};

/// Lines that may wait to be written.
const QUEUE: usize = 8192;
/// Of these, lines that are left to events other than statements.
const RESERVED: usize = QUEUE / 4;
/// Bytes of lines that may wait before statements are not recorded any more.
const MAX_PENDING: usize = 16 << 20;
/// Lines that are written in one piece.
const BATCH: usize = 256;
/// How long a login waits for its event to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// `None`: events are lines of the log.
static CURRENT: ArcSwapOption<Sink> = ArcSwapOption::const_empty();

/// Events that were written, and those that were not, in the order of [`Event::ALL`].
static WRITTEN: [AtomicU64; Event::ALL.len()] = [const { AtomicU64::new(0) }; Event::ALL.len()];
static LOST: [AtomicU64; Event::ALL.len()] = [const { AtomicU64::new(0) }; Event::ALL.len()];

/// Events of statements that were not recorded since the last line.
static GAP: AtomicU64 = AtomicU64::new(0);

/// Whether the last attempt to write failed.
static FAILING: AtomicBool = AtomicBool::new(false);

struct Sink {
    queue: mpsc::Sender<Task>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// The file that was opened in place of the one that is written to.
    next: Mutex<Option<Target>>,
    /// Logins depend on their events.
    refuses: AtomicBool,
    /// Bytes in the queue.
    pending: AtomicUsize,
}

enum Task {
    Line {
        event: Event,
        text: Vec<u8>,
        told: Option<oneshot::Sender<bool>>,
    },
    Flush(oneshot::Sender<()>),
    /// Look at [`Shared::next`].
    Look,
}

/// An event that has to be written could not be.
#[derive(Debug, thiserror::Error)]
#[error("the audit event could not be written")]
pub(crate) struct Unwritten;

/// A destination that is open.
pub(crate) struct Prepared {
    target: Option<Target>,
    refuses: bool,
}

/// Opens what the configuration names.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn prepare(audit: &Audit) -> Result<Prepared, String> {
    let refuses = audit.on_failure == AuditFailure::RefuseLogins;
    let target = match (audit.destination, &audit.file) {
        (AuditDestination::Log, _) => None,
        (AuditDestination::File, Some(path)) => Some(Target::file(path).map_err(|error| unusable(path, error))?),
        _ => Some(Target::Stderr),
    };
    Ok(Prepared { target, refuses })
}

/// Whether [`prepare`] would succeed. Makes no file.
///
/// # Errors
/// As there.
pub(crate) fn try_out(audit: &Audit) -> Result<(), String> {
    match (audit.destination, &audit.file) {
        (AuditDestination::File, Some(path)) if path.exists() => prepare(audit).map(drop),
        (AuditDestination::File, Some(path)) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            can_write_into(folder.unwrap_or(Path::new("."))).map_err(|reason| unusable(path, reason))
        }
        _ => Ok(()),
    }
}

fn unusable(path: &Path, reason: impl Display) -> String {
    format!("the audit file {} cannot be opened: {reason}", path.display())
}

/// From now on events go there. Those that are waiting are written there too.
///
/// # Errors
/// The thread that writes cannot be started.
pub(crate) fn install(prepared: Prepared) -> io::Result<()> {
    let Some(target) = prepared.target else {
        CURRENT.store(None);
        return Ok(());
    };
    if let Some(sink) = &*CURRENT.load() {
        sink.shared.refuses.store(prepared.refuses, Ordering::Relaxed);
        *sink.shared.next.lock() = Some(target);
        // With a full queue, the writer looks by itself.
        let _ = sink.queue.try_send(Task::Look);
        return Ok(());
    }
    let (queue, tasks) = mpsc::channel(QUEUE);
    let shared = Arc::new(Shared { refuses: AtomicBool::new(prepared.refuses), ..Shared::default() });
    let writer = Writer { target, shared: shared.clone() };
    std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(tasks))?;
    CURRENT.store(Some(Arc::new(Sink { queue, shared })));
    Ok(())
}

/// Whether events are lines of the log.
pub(super) fn is_log() -> bool {
    CURRENT.load().is_none()
}

/// Gives a line to the writer.
pub(super) fn send(event: Event, text: Vec<u8>) {
    let Some(sink) = CURRENT.load_full() else { return lose(event, &text) };
    let is_full = || {
        let waits = sink.shared.pending.load(Ordering::Relaxed) > MAX_PENDING;
        event == Event::Statement && (waits || sink.queue.capacity() < RESERVED)
    };
    if is_full() {
        return lose(event, &text);
    }
    let size = text.len();
    sink.shared.pending.fetch_add(size, Ordering::Relaxed);
    match sink.queue.try_send(Task::Line { event, text, told: None }) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(task) | mpsc::error::TrySendError::Closed(task)) => {
            sink.shared.pending.fetch_sub(size, Ordering::Relaxed);
            if let Task::Line { text, .. } = task {
                lose(event, &text);
            }
        }
    }
}

/// Gives a line to the writer and waits until it is written.
pub(super) async fn write(event: Event, text: Vec<u8>) -> Result<(), Unwritten> {
    let Some(sink) = CURRENT.load_full() else {
        lose(event, &text);
        return Ok(());
    };
    let (tell, told) = oneshot::channel();
    let size = text.len();
    let written = async {
        // In two steps: a line that finds no room in time is still here.
        let place = timeout(PATIENCE, sink.queue.reserve()).await;
        let Ok(Ok(place)) = place else {
            lose(event, &text);
            return false;
        };
        sink.shared.pending.fetch_add(size, Ordering::Relaxed);
        place.send(Task::Line { event, text, told: Some(tell) });
        matches!(timeout(PATIENCE, told).await, Ok(Ok(true)))
    };
    if written.await || !sink.shared.refuses.load(Ordering::Relaxed) { Ok(()) } else { Err(Unwritten) }
}

/// Waits until everything that is in the queue is written.
pub(crate) async fn flush() {
    let Some(sink) = CURRENT.load_full() else { return };
    let (tell, told) = oneshot::channel();
    let done = async {
        if sink.queue.send(Task::Flush(tell)).await.is_ok() {
            let _ = told.await;
        }
    };
    if timeout(PATIENCE, done).await.is_err() {
        error!(event = "audit", "audit events were not written before the end");
    }
}

/// Events so far: what, how many were written, how many were not.
pub(crate) fn counts() -> impl Iterator<Item = (Event, u64, u64)> {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Event::ALL.into_iter().zip(WRITTEN.iter().zip(&LOST)).map(move |(event, (one, two))| (event, read(one), read(two)))
}

/// Whether the last attempt to write failed.
pub(crate) fn is_failing() -> bool {
    FAILING.load(Ordering::Relaxed)
}

fn count(counters: &[AtomicU64], event: Event) {
    if let Some(counter) = counters.get(event as usize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// An event that is not written: it goes to the log, where it is more than a statement.
fn lose(event: Event, text: &[u8]) {
    count(&LOST, event);
    if event == Event::Statement {
        GAP.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let record = String::from_utf8_lossy(text);
    error!(event = "audit", record = record.trim_end(), "an audit event could not be written");
}

/// What runs in the thread.
struct Writer {
    target: Target,
    shared: Arc<Shared>,
}

impl Writer {
    fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let mut batch = Vec::with_capacity(BATCH);
        while tasks.blocking_recv_many(&mut batch, BATCH) > 0 {
            if let Some(next) = self.shared.next.lock().take() {
                self.target = next;
            }
            self.write(&mut batch);
        }
    }

    fn write(&mut self, batch: &mut Vec<Task>) {
        let gap = GAP.swap(0, Ordering::Relaxed);
        let mut text = if gap > 0 { Record::lost(gap).line() } else { Vec::new() };
        for task in batch.iter() {
            if let Task::Line { text: line, .. } = task {
                text.extend_from_slice(line);
            }
        }
        let written = text.is_empty() || self.append(&text);
        if !written {
            GAP.fetch_add(gap, Ordering::Relaxed);
        } else if gap > 0 {
            count(&WRITTEN, Event::Lost);
        }
        for task in batch.drain(..) {
            match task {
                Task::Line { event, text, told } => {
                    self.shared.pending.fetch_sub(text.len(), Ordering::Relaxed);
                    if written {
                        count(&WRITTEN, event);
                    } else {
                        lose(event, &text);
                    }
                    if let Some(told) = told {
                        let _ = told.send(written);
                    }
                }
                Task::Flush(told) => {
                    let _ = told.send(());
                }
                Task::Look => {}
            }
        }
    }

    /// Writes, and says in the log when that begins and ends to fail.
    fn append(&mut self, text: &[u8]) -> bool {
        match self.target.write(text) {
            Ok(()) => {
                if FAILING.swap(false, Ordering::Relaxed) {
                    info!(event = "audit", "audit events are written again");
                }
                true
            }
            Err(problem) => {
                if !FAILING.swap(true, Ordering::Relaxed) {
                    error!(event = "audit", error = %problem, "audit events cannot be written");
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn statement() -> Vec<Task> {
        vec![Task::Line { event: Event::Statement, text: b"{}\n".to_vec(), told: None }]
    }

    #[test]
    fn statements_that_were_not_recorded_are_counted_in_the_next_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.json");
        let target = Target::file(Path::new("/dev/full")).unwrap();
        let mut writer = Writer { target, shared: Arc::default() };
        writer.shared.pending.store(1 << 20, Ordering::Relaxed);
        writer.write(&mut statement());
        writer.write(&mut statement());
        writer.target = Target::file(&path).unwrap();
        writer.write(&mut statement());

        let text = std::fs::read_to_string(&path).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert!(first.contains("\"event\":\"audit_lost\"") && first.ends_with("\"lost\":2}"), "{first}");
        assert_eq!(rest, "{}\n");
    }
}
