//! The hook is synchronous, and the core is not: it may fetch keys. PgDog calls the hook on threads that may wait.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

/// A shared object has a tokio of its own: PgDog's runtime is nothing to it.
const WORKERS: usize = 2;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It took too long.
    TimedOut,
    /// What was to answer has panicked, or there is nothing to run it.
    Failed,
}

/// Starts with the first that needs it.
#[derive(Debug, Default)]
pub(crate) struct Threads(OnceLock<Runtime>);

impl Threads {
    pub(crate) fn start(&self) -> io::Result<&Runtime> {
        if let Some(runtime) = self.0.get() {
            return Ok(runtime);
        }
        let runtime =
            Builder::new_multi_thread().worker_threads(WORKERS).thread_name("pgdog-jwt").enable_all().build()?;
        Ok(self.0.get_or_init(|| runtime))
    }

    /// Waits for an answer, for so long. A panic in the future stays in its task.
    pub(crate) fn answer<T: Send + 'static>(
        &self,
        within: Duration,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let runtime = self.0.get().ok_or(NoAnswer::Failed)?;
        let (sender, receiver) = sync_channel(1);
        let task = runtime.spawn(async move {
            let answer = future.await;
            // Nobody waits any more.
            drop(sender.send(answer));
        });
        receiver.recv_timeout(within).map_err(|error| {
            task.abort();
            match error {
                RecvTimeoutError::Timeout => NoAnswer::TimedOut,
                RecvTimeoutError::Disconnected => NoAnswer::Failed,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn an_answer_a_panic_and_none() {
        let threads = Threads::default();
        assert_eq!(threads.answer(LONG, async { 1 }), Err(NoAnswer::Failed));
        threads.start().unwrap();
        assert_eq!(threads.answer(LONG, async { 1 }), Ok(1));
        assert_eq!(threads.answer(LONG, async { panic!("here") }), Err::<(), _>(NoAnswer::Failed));
        let never = std::future::pending::<()>();
        assert_eq!(threads.answer(Duration::from_millis(1), never), Err(NoAnswer::TimedOut));
        assert_eq!(threads.answer(LONG, async { 2 }), Ok(2));
    }
}
