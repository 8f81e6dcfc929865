//! A bounded place for signature verifications, so that a flood of expensive ones (P-384 takes ten times as long as
//! P-256) neither stalls the runtime's threads nor grows without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sealwright_host::{Reason, ServiceError};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Runs at most so many pieces of work at once, and lets at most so many wait. Clones share the bounds.
#[derive(Debug, Clone)]
pub(crate) struct CpuPool {
    running: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    max_waiting: usize,
}

impl CpuPool {
    pub(crate) fn new(running: usize, max_waiting: usize) -> Self {
        let (running, waiting) = (
            Arc::new(Semaphore::new(running.max(1))),
            Arc::new(AtomicUsize::new(0)),
        );
        Self {
            running,
            waiting,
            max_waiting,
        }
    }

    /// Runs `work` on a thread that may block.
    ///
    /// # Errors
    /// `OVERLOADED` when too much waits already.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let place = self.take_place()?;
        let permit = self
            .running
            .clone()
            .acquire_owned()
            .await
            .map_err(ServiceError::internal)?;
        drop(place);
        // The permit goes with the work: whoever goes away while it runs does not make room for more.
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(ServiceError::internal)
    }

    fn take_place(&self) -> Result<Place, ServiceError> {
        let place = Place(self.waiting.clone());
        if place.0.fetch_add(1, Ordering::SeqCst) < self.max_waiting {
            return Ok(place);
        }
        Err(ServiceError::new(
            Reason::Overloaded,
            "The log has too many signatures to verify; try again",
        )
        .with_internal("verification pool"))
    }
}

/// A place in the queue, given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_neither_runs_nor_may_wait_is_refused() {
        let pool = CpuPool::new(1, 1);
        let barrier = Arc::new(Barrier::new(2));
        let held = {
            let (pool, barrier) = (pool.clone(), barrier.clone());
            tokio::spawn(async move { pool.run(move || barrier.wait()).await })
        };
        while pool.running.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waits = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(|| 7).await })
        };
        while pool.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let refused = pool.run(|| 8).await.expect_err("no place");
        assert_eq!(refused.reason(), Reason::Overloaded);
        barrier.wait();
        assert!(held.await.expect("ran").is_ok());
        assert_eq!(waits.await.expect("ran").ok(), Some(7));
        assert_eq!(pool.run(|| 9).await.ok(), Some(9));
    }
}
