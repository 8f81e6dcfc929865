//! A bounded place for signature verifications, so that a flood of dear ones (P-384 takes ten times as long as P-256)
//! neither stalls the others nor grows without end.
//!
//! There is one place a processor. Cheap work may take any of them and is done at once on the thread that asks: a hop to
//! another thread and back costs half as much as a P-256 verification. Dear work gets threads of its own and at most half of
//! the places, so that of two one is left for the others whatever is sent. What waits is bounded by what it will cost, for
//! each lane by itself; beyond that it is refused, and nothing that is waiting is turned away for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sealwright_crypto::{Algorithm, HashAlgorithm};
use sealwright_host::{Reason, ServiceError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

use crate::entry::rekor::{Submission, Verifier};
use crate::metrics::{LaneMetrics, Metrics};

/// What may wait in a lane for each of its places, in microseconds of work.
const MAX_WAITING_US: u64 = 200_000;
/// Work of more than this would hold up whatever else the thread serves.
const CHEAP_US: u32 = 150;
/// What an entry costs beside its signature: parsing, encoding, hashing.
const ENTRY_US: u32 = 15;

/// What a piece of work is expected to take, in microseconds of one processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cost(u32);

impl Cost {
    /// Verifying a signature of `algorithm`, on the machine of the other figures. What is not known may be anything.
    pub(crate) fn of(algorithm: Option<Algorithm>) -> Self {
        let signature = match algorithm {
            Some(Algorithm::EcdsaP256Sha256) => 45,
            Some(Algorithm::Ed25519 | Algorithm::Ed25519Ph) => 60,
            Some(Algorithm::RsaPkcs1 { bits: 1..=2048, .. }) => 20,
            Some(Algorithm::RsaPkcs1 {
                bits: 2049..=3072, ..
            }) => 40,
            // Twice what it takes, so that the largest keys wait among the dear.
            Some(Algorithm::RsaPkcs1 {
                bits: 3073..=4096, ..
            }) => 140,
            Some(Algorithm::EcdsaP384Sha384) => 580,
            _ => 1000,
        };
        Self(signature + ENTRY_US)
    }

    /// Admitting a submission, by what it declares: a key of another algorithm is refused before its signature is looked at.
    pub(crate) fn of_submission(submission: &Submission) -> Self {
        match submission {
            Submission::HashedRekord { verifier, .. } => Self::of(verifier.algorithm()),
            Submission::Dsse {
                payload, verifiers, ..
            } => {
                let algorithm = verifiers.first().and_then(Verifier::algorithm);
                let hash = algorithm.and_then(Algorithm::hash);
                Self::of(algorithm).and_hash(hash, payload.len())
            }
        }
    }

    /// With the hash of a message of so many bytes: 1 ns a byte for SHA-256, twice that for the others.
    pub(crate) fn and_hash(self, hash: Option<HashAlgorithm>, bytes: usize) -> Self {
        let slower = if hash == Some(HashAlgorithm::Sha256) {
            1
        } else {
            2
        };
        let hashing = u32::try_from(bytes / 1000 * slower).unwrap_or(u32::MAX);
        Self(self.0.saturating_add(hashing))
    }

    /// So many signatures.
    pub(crate) fn times(self, signatures: usize) -> Self {
        let signatures = u32::try_from(signatures).unwrap_or(u32::MAX);
        Self(self.0.saturating_mul(signatures))
    }

    fn is_cheap(self) -> bool {
        self.0 <= CHEAP_US
    }
}

/// Runs bounded work in two lanes. Clones share the bounds.
#[derive(Debug, Clone)]
pub(crate) struct CpuPool {
    places: Arc<Semaphore>,
    cheap: Arc<Lane>,
    dear: Arc<Lane>,
}

/// Who may wait for a place.
#[derive(Debug)]
struct Lane {
    /// How many of the pool's places it may take.
    share: Arc<Semaphore>,
    waiting_us: AtomicU64,
    max_waiting_us: u64,
    metrics: LaneMetrics,
}

impl Lane {
    fn new(places: usize, metrics: LaneMetrics) -> Arc<Self> {
        Arc::new(Self {
            share: Arc::new(Semaphore::new(places)),
            waiting_us: AtomicU64::new(0),
            max_waiting_us: places as u64 * MAX_WAITING_US,
            metrics,
        })
    }

    /// A place among those who wait. One that costs more than all may wait for is let in where nobody else is.
    fn join(self: &Arc<Self>, cost: Cost) -> Result<Waiting, ServiceError> {
        let cost = u64::from(cost.0);
        let before = self.waiting_us.fetch_add(cost, Ordering::SeqCst);
        let waiting = Waiting {
            lane: self.clone(),
            cost,
        };
        if before == 0 || before + cost <= self.max_waiting_us {
            return Ok(waiting);
        }
        self.metrics.refusals.inc();
        Err(ServiceError::new(
            Reason::Overloaded,
            "The log has too many signatures to verify; try again",
        )
        .with_internal("verification lane"))
    }
}

/// A place in the queue, given back when dropped.
struct Waiting {
    lane: Arc<Lane>,
    cost: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.lane.waiting_us.fetch_sub(self.cost, Ordering::SeqCst);
    }
}

/// What running work holds: one place of the pool out of the lane's share.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl CpuPool {
    /// A pool of one place for each of `processors`.
    pub(crate) fn new(processors: usize, metrics: &Metrics) -> Self {
        let places = processors.max(1);
        Self {
            places: Arc::new(Semaphore::new(places)),
            cheap: Lane::new(places, metrics.of_lane("cheap")),
            dear: Lane::new((places / 2).max(1), metrics.of_lane("dear")),
        }
    }

    /// Runs `work` when it is its turn: at once on this thread when it is cheap, else on one that may block.
    ///
    /// # Errors
    /// `OVERLOADED` when too much of its lane waits already. Work that has begun is not taken back when the caller goes
    /// away; its place is free again when it has ended.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        cost: Cost,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        if cost.is_cheap() {
            let permits = self.turn(&self.cheap, cost).await?;
            return Ok(timed(&self.cheap, permits, work));
        }
        self.run_apart(&self.dear, cost, work).await
    }

    /// Runs work of any cost in the cheap lane, on a thread that may block: for those of the deployment itself, who must not
    /// wait behind what strangers send.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_trusted<T: Send + 'static>(
        &self,
        cost: Cost,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        self.run_apart(&self.cheap, cost, work).await
    }

    async fn run_apart<T: Send + 'static>(
        &self,
        lane: &Arc<Lane>,
        cost: Cost,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let permits = self.turn(lane, cost).await?;
        let lane = lane.clone();
        // The permits go with the work: whoever goes away while it runs does not make room for more.
        let done = spawn_blocking(move || timed(&lane, permits, work));
        done.await.map_err(ServiceError::internal)
    }

    async fn turn(&self, lane: &Arc<Lane>, cost: Cost) -> Result<Permits, ServiceError> {
        let waiting = lane.join(cost)?;
        let joined = Instant::now();
        // The share first: who waits for a place has one of the lane's, so that few of the dear stand before the cheap.
        let share = lane.share.clone().acquire_owned().await;
        let share = share.map_err(ServiceError::internal)?;
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(ServiceError::internal)?;
        drop(waiting);
        lane.metrics
            .wait_seconds
            .observe(joined.elapsed().as_secs_f64());
        Ok((share, place))
    }
}

fn timed<T>(lane: &Lane, permits: Permits, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let outcome = work();
    lane.metrics
        .run_seconds
        .observe(begun.elapsed().as_secs_f64());
    drop(permits);
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use tokio::task::JoinHandle;

    use super::*;

    fn pool(processors: usize) -> CpuPool {
        CpuPool::new(processors, &Metrics::default())
    }

    fn dear() -> Cost {
        Cost::of(Some(Algorithm::EcdsaP384Sha384))
    }

    fn cheap() -> Cost {
        Cost::of(Some(Algorithm::EcdsaP256Sha256))
    }

    /// Dear work that runs until it is told to end, and says when it has begun.
    fn hold(
        pool: &CpuPool,
        begun: &Sender<()>,
    ) -> (Sender<()>, JoinHandle<Result<(), ServiceError>>) {
        let ((end, ended), begun, pool) = (channel(), begun.clone(), pool.clone());
        let running = tokio::spawn(async move {
            let work = move || {
                begun.send(()).expect("the test listens");
                ended.recv().expect("the test ends it");
            };
            pool.run(dear(), work).await
        });
        (end, running)
    }

    fn nothing_began(begun: &Receiver<()>) -> bool {
        begun.try_recv().is_err()
    }

    /// Until as much waits in the dear lane.
    async fn until_waiting(pool: &CpuPool, costs: &[Cost]) {
        let sum: u64 = costs.iter().map(|cost| u64::from(cost.0)).sum();
        while pool.dear.waiting_us.load(Ordering::SeqCst) != sum {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn cheap_work_runs_while_dear_work_fills_its_half() {
        let (pool, (begin, begun)) = (pool(2), channel());
        let (end_first, first) = hold(&pool, &begin);
        begun.recv().expect("the first runs");
        let (end_second, second) = hold(&pool, &begin);
        until_waiting(&pool, &[dear()]).await;
        for number in 0..100 {
            let done = pool.run(cheap(), move || number).await;
            assert_eq!(done.ok(), Some(number), "a place is left for it");
        }
        assert!(
            nothing_began(&begun),
            "the second waits: half of two is one"
        );
        end_first.send(()).expect("runs");
        begun
            .recv()
            .expect("the second runs when the first has ended");
        end_second.send(()).expect("runs");
        assert!(first.await.expect("ran").is_ok());
        assert!(second.await.expect("ran").is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_four_places_dear_work_has_two() {
        let (pool, (begin, begun)) = (pool(4), channel());
        let held: Vec<_> = (0..3).map(|_| hold(&pool, &begin)).collect();
        for _ in 0..2 {
            begun.recv().expect("two run");
        }
        until_waiting(&pool, &[dear()]).await;
        assert_eq!(pool.places.available_permits(), 2, "two are left");
        assert!(nothing_began(&begun));
        for (end, _) in &held {
            end.send(()).expect("runs, or will");
        }
        for (_, running) in held {
            assert!(running.await.expect("ran").is_ok());
        }
        assert_eq!(
            pool.places.available_permits(),
            4,
            "every place is given back"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_is_bounded_by_its_cost_and_for_each_lane_alone() {
        let (pool, (begin, begun)) = (pool(2), channel());
        let (end, held) = hold(&pool, &begin);
        begun.recv().expect("runs");
        let large = Cost(u32::try_from(MAX_WAITING_US).expect("fits"));
        let waits = {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(large, || 7).await })
        };
        until_waiting(&pool, &[large]).await;
        let refused = pool.run(dear(), || 8).await.expect_err("no room");
        assert_eq!(refused.reason(), Reason::Overloaded);
        assert!(refused.retry_after().is_some(), "it says when to try again");
        assert_eq!(pool.dear.metrics.refusals.get(), 1);
        assert_eq!(
            pool.run(cheap(), || 9).await.ok(),
            Some(9),
            "the other lane has room"
        );
        end.send(()).expect("runs");
        assert!(held.await.expect("ran").is_ok());
        assert_eq!(waits.await.expect("ran").ok(), Some(7));
        assert_eq!(pool.run(dear(), || 10).await.ok(), Some(10));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_goes_away_frees_a_place_in_the_queue_and_not_one_that_is_used() {
        let (pool, (begin, begun)) = (pool(2), channel());
        let (end, held) = hold(&pool, &begin);
        begun.recv().expect("runs");
        let (_never, waits) = hold(&pool, &begin);
        until_waiting(&pool, &[dear()]).await;
        waits.abort();
        until_waiting(&pool, &[]).await;
        held.abort();
        assert!(held.await.expect_err("aborted").is_cancelled());
        assert_eq!(pool.dear.share.available_permits(), 0, "it still runs");
        end.send(()).expect("runs");
        assert_eq!(pool.run(dear(), || 1).await.ok(), Some(1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn work_that_panics_gives_its_place_back() {
        let pool = pool(1);
        let failed = pool.run(dear(), || panic!("a bug")).await;
        let failed: ServiceError = failed.map(|(): ()| ()).expect_err("panicked");
        assert_eq!(failed.reason(), Reason::Internal);
        assert_eq!(pool.run(dear(), || 1).await.ok(), Some(1));
    }

    #[test]
    fn which_algorithms_are_cheap() {
        let rsa = |bits| Algorithm::RsaPkcs1 {
            bits,
            hash: HashAlgorithm::Sha256,
        };
        for algorithm in [
            Algorithm::EcdsaP256Sha256,
            Algorithm::Ed25519Ph,
            rsa(2048),
            rsa(3072),
        ] {
            assert!(Cost::of(Some(algorithm)).is_cheap(), "{algorithm}");
        }
        for algorithm in [
            Algorithm::EcdsaP384Sha384,
            Algorithm::EcdsaP521Sha512,
            rsa(4096),
        ] {
            assert!(!Cost::of(Some(algorithm)).is_cheap(), "{algorithm}");
        }
        assert!(
            !Cost::of(None).is_cheap(),
            "what is not known may be anything"
        );
        let large = cheap().and_hash(Some(HashAlgorithm::Sha256), 1 << 20);
        assert!(!large.is_cheap(), "a megabyte is hashed elsewhere");
        assert!(!cheap().times(8).is_cheap());
    }
}
