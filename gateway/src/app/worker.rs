//! Worker threads. Each has a runtime of its own and keeps the clients that it was given; sockets stay with the reactor
//! of their worker, so that a query is answered without waking another thread.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pgdog_jwt_guard::{Classifier, PgQuery, Watch};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::state::Generation;
use crate::cli::logging;

/// Stack of a worker: the SQL parser is recursive.
const STACK_SIZE: usize = 8 << 20;

thread_local! {
    static INDEX: Cell<usize> = const { Cell::new(usize::MAX) };
    static CLASSIFIERS: RefCell<Option<Classifiers>> = const { RefCell::new(None) };
}

/// The classifiers of one worker, for one configuration: of each kind of session that it has seen.
struct Classifiers {
    generation: u64,
    known: Vec<(Watch, Classifier)>,
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
        let Classifiers { known, .. } =
            slot.get_or_insert_with(|| Classifiers { generation: generation.number, known: Vec::new() });
        let at = known.iter().position(|(kind, _)| *kind == watch).unwrap_or_else(|| {
            known.push((watch, Classifier::new(generation.policies.of(watch), &PgQuery)));
            known.len() - 1
        });
        use_it(&mut known[at].1)
    })
}

/// All workers.
pub(crate) struct Workers {
    all: Vec<Worker>,
    /// The first one, which also accepts clients: those that it keeps never wake another thread.
    first: Handle,
}

/// See the module.
pub(crate) struct Worker {
    index: usize,
    handle: Handle,
    clients: Arc<AtomicUsize>,
    /// Dropping it ends the worker.
    _stop: oneshot::Sender<()>,
}

impl Workers {
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let worker = Worker::start(0)?;
        let first = worker.handle.clone();
        let others = (1..count).map(Worker::start);
        let all = std::iter::once(Ok(worker)).chain(others).collect::<Result<_, _>>()?;
        Ok(Self { all, first })
    }

    /// Clients of all workers, from the first byte to the last.
    pub(crate) fn clients(&self) -> usize {
        self.all.iter().map(|worker| worker.clients.load(Ordering::Relaxed)).sum()
    }

    /// The worker that has the fewest clients; of several the first.
    pub(crate) fn least_busy(&self) -> Option<&Worker> {
        self.all.iter().min_by_key(|worker| worker.clients.load(Ordering::Relaxed))
    }

    /// Runs something on the worker that accepts clients.
    pub(crate) fn spawn_on_first<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.first.spawn(task)
    }
}

impl Worker {
    fn start(index: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(logging::write_gathered).build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK_SIZE).spawn(move || {
            INDEX.set(index);
            logging::gather();
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self { index, handle, clients: Arc::default(), _stop: stop })
    }

    /// Whether this runs on it.
    pub(crate) fn is_current(&self) -> bool {
        self.index == current()
    }

    /// Runs a client, which holds its seat to the end.
    pub(crate) fn spawn<C: Future<Output = ()> + Send + 'static>(&self, client: impl FnOnce(Seat) -> C) {
        self.handle.spawn(client(Seat::take(&self.clients)));
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
