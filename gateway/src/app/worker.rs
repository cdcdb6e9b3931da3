//! Worker threads. Each has a runtime of its own and keeps the clients that it was given; sockets stay with the reactor
//! of their worker, so that a query is answered without waking another thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::state::Generation;
use crate::router::{Classifier, GuardMode};

/// Stack of a worker: the SQL parser is recursive.
const STACK_SIZE: usize = 8 << 20;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
    static CLASSIFIERS: RefCell<Option<Classifiers>> = const { RefCell::new(None) };
}

/// The classifiers of one worker, for one configuration.
struct Classifiers {
    generation: u64,
    guarded: Classifier,
    read_only: Classifier,
    open: Classifier,
}

/// What watches over a session's statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watch {
    /// Nothing: statements are only told apart.
    Open,
    /// The guard (S3).
    Guarded,
    /// The guard, which also keeps the session read-only (S10).
    ReadOnly,
}

/// The number of the worker that runs this; `usize::MAX` outside of them.
#[inline]
pub(crate) fn current() -> usize {
    INDEX.get()
}

/// Lends the worker's classifier.
#[inline]
pub(crate) fn with_classifier<T>(
    generation: &Generation,
    watch: Watch,
    use_it: impl FnOnce(&mut Classifier) -> T,
) -> T {
    CLASSIFIERS.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|known| known.generation < generation.number) {
            *slot = None;
        }
        let classifiers = slot.get_or_insert_with(|| Classifiers {
            generation: generation.number,
            guarded: Classifier::new(generation.policy.clone()),
            read_only: Classifier::new(generation.read_only_policy.clone()),
            open: Classifier::new(crate::router::Policy { guard: GuardMode::Off, ..generation.policy.clone() }),
        });
        use_it(match watch {
            Watch::Open => &mut classifiers.open,
            Watch::Guarded => &mut classifiers.guarded,
            Watch::ReadOnly => &mut classifiers.read_only,
        })
    })
}

/// All workers.
pub(crate) struct Workers(Vec<Worker>);

struct Worker {
    handle: Handle,
    clients: Arc<AtomicUsize>,
    /// Dropping it ends the worker.
    _stop: oneshot::Sender<()>,
}

impl Workers {
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        (0..count.max(1)).map(Worker::start).collect::<Result<_, _>>().map(Self)
    }

    /// Clients of all workers, from the first byte to the last.
    pub(crate) fn clients(&self) -> usize {
        self.0.iter().map(|worker| worker.clients.load(Ordering::Relaxed)).sum()
    }

    /// Runs a client on the worker that has the fewest. The client holds its seat to the end.
    pub(crate) fn spawn<C: Future<Output = ()> + Send + 'static>(&self, client: impl FnOnce(Seat) -> C) {
        let Some(worker) = self.0.iter().min_by_key(|worker| worker.clients.load(Ordering::Relaxed)) else { return };
        worker.handle.spawn(client(Seat::take(&worker.clients)));
    }
}

impl Worker {
    fn start(index: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK_SIZE).spawn(move || {
            INDEX.set(index);
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { handle, clients: Arc::default(), _stop: stop })
    }
}

/// A client's place at a worker, counted also when its task ends in a panic.
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(clients: &Arc<AtomicUsize>) -> Self {
        clients.fetch_add(1, Ordering::Relaxed);
        Self(clients.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
