//! Many bundles at once: on every processor, verdicts in order, and memory that does not grow with their number.
//!
//! Each worker takes the next item, a place in the line of verdicts with it, and judges. The line is short: when nobody
//! takes verdicts, no more items are taken either. Nothing is kept from one verdict to the next; what all of them share is
//! the trusted root, whose certificates and keys were read once.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use sealwright_bundle::{Bundle, Policy, TrustedRoot, Verified};
use tokio::sync::{mpsc, oneshot};

use crate::artifact::{Artifact, Reading};
use crate::error::Error;
use crate::verify::{judge, read_bundle};

/// Most workers of one batch, however many processors there are.
const MAX_WORKERS: usize = 64;
/// Verdicts for each worker that wait to be taken.
const LINE_PER_WORKER: usize = 4;

type Verdict = Result<Verified, Error>;

/// A bundle in the form in which it is at hand. Those that are not read yet are read by the worker that judges them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BundleSource {
    /// Read already.
    Parsed(Box<Bundle>),
    /// Its JSON.
    Json(Vec<u8>),
    /// The file it is in.
    Path(PathBuf),
}

impl From<Bundle> for BundleSource {
    fn from(bundle: Bundle) -> Self {
        Self::Parsed(Box::new(bundle))
    }
}

impl From<Vec<u8>> for BundleSource {
    fn from(json: Vec<u8>) -> Self {
        Self::Json(json)
    }
}

impl From<PathBuf> for BundleSource {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl BundleSource {
    fn read(self) -> Result<Bundle, Error> {
        match self {
            Self::Parsed(bundle) => Ok(*bundle),
            Self::Json(json) => Ok(Bundle::parse(&json)?),
            Self::Path(path) => read_bundle(&path),
        }
    }
}

/// Verifies many bundles, each against its artifact, with one policy and one trusted root. `now` is Unix seconds.
///
/// The items are taken one by one as there is room, from threads of the batch's own, one a processor: an iterator that
/// reads a long list from a disk or a queue is never ahead by more than a few. One that fails says so in its place and
/// stops nobody. Large files are read on the worker's thread, in pieces.
///
/// ```
/// use sealwright_sdk::bundle::{IdentityRule, Policy, TrustedRoot};
/// use sealwright_sdk::{Artifact, verify_many};
/// # use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, NOW, Signing, World};
/// # let mut world = World::new();
/// # let root = world.trusted_root_json();
/// # let mut sign = |artifact: &[u8]| {
/// #     serde_json::to_vec(&world.sign_blob(artifact, &Signing::default())).expect("JSON")
/// # };
/// # let (one, two) = (sign(b"one"), sign(b"two"));
/// # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
///
/// let root = TrustedRoot::parse(root.as_bytes())?;
/// let policy = Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER)?).blob();
/// let items = [
///     (one.clone(), Artifact::Bytes(b"one".to_vec())),
///     (one, Artifact::Bytes(b"exchanged".to_vec())),
///     (two, Artifact::Bytes(b"two".to_vec())),
/// ];
/// let mut verdicts = verify_many(items, &root, &policy, NOW)?;
/// let mut said = Vec::new();
/// while let Some(verdict) = verdicts.next().await {
///     said.push(verdict.map_or_else(|error| error.code(), |_| "OK"));
/// }
/// assert_eq!(said, ["OK", "SIGNATURE_INVALID", "OK"]);
/// # Ok::<(), sealwright_sdk::Error>(())
/// # }).expect("they are judged");
/// ```
///
/// # Errors
/// [`Error::Internal`] when the operating system gives not one thread.
pub fn verify_many<B, I>(
    items: I,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verdicts, Error>
where
    B: Into<BundleSource> + 'static,
    I: IntoIterator<Item = (B, Artifact)>,
    I::IntoIter: Send + 'static,
{
    let workers = thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS));
    let (line, verdicts) = mpsc::channel(workers * LINE_PER_WORKER);
    let complete = Arc::new(AtomicBool::new(false));
    let batch = Arc::new(Batch {
        items: Mutex::new(Some(items.into_iter())),
        line,
        complete: Arc::clone(&complete),
        root: root.clone(),
        policy: policy.clone(),
        now,
    });
    let start = |number: usize| {
        let batch = Arc::clone(&batch);
        thread::Builder::new()
            .name(format!("sealwright-verify-{number}"))
            .spawn(move || batch.work())
    };
    // One that starts is enough: it does the work of those that the operating system would not give.
    let started: Vec<_> = (0..workers).map(start).collect();
    match started.into_iter().reduce(Result::or) {
        Some(Err(error)) => Err(Error::Internal(format!("no thread to verify on: {error}"))),
        _ => Ok(Verdicts {
            line: Some(verdicts),
            first: None,
            complete,
        }),
    }
}

/// What the workers of one batch share.
struct Batch<I> {
    /// Gone once it is at its end, or nobody wants more.
    items: Mutex<Option<I>>,
    line: mpsc::Sender<oneshot::Receiver<Verdict>>,
    complete: Arc<AtomicBool>,
    root: TrustedRoot,
    policy: Policy,
    now: i64,
}

impl<B: Into<BundleSource>, I: Iterator<Item = (B, Artifact)>> Batch<I> {
    fn work(&self) {
        while let Some((bundle, artifact, place)) = self.take() {
            let verdict = self.verdict(bundle.into(), &artifact, &|| !place.is_closed());
            // Whoever dropped the verdicts does not want this one.
            let _ = place.send(verdict);
        }
    }

    /// The next item with its place in the line. Both are taken under one lock, which is what keeps the order.
    fn take(&self) -> Option<(B, Artifact, oneshot::Sender<Verdict>)> {
        // Poisoned when the caller's iterator has panicked; the batch then ends incomplete.
        let mut items = self.items.lock().ok()?;
        let Some((bundle, artifact)) = items.as_mut()?.next() else {
            self.complete.store(true, Ordering::Release);
            *items = None;
            return None;
        };
        let (place, verdict) = oneshot::channel();
        if self.line.blocking_send(verdict).is_err() {
            *items = None;
            return None;
        }
        Some((bundle, artifact, place))
    }

    fn verdict(
        &self,
        bundle: BundleSource,
        artifact: &Artifact,
        still_wanted: &dyn Fn() -> bool,
    ) -> Verdict {
        let reading = Reading {
            ahead: false,
            still_wanted,
        };
        let bundle = bundle.read()?;
        judge(
            &bundle,
            artifact,
            &self.root,
            &self.policy,
            self.now,
            &reading,
        )
    }
}

/// The verdicts of [`verify_many`], in the order of its items. Dropping it ends the batch: workers stop at the item, or at
/// the piece of a file, that they have in hand.
#[derive(Debug)]
pub struct Verdicts {
    line: Option<mpsc::Receiver<oneshot::Receiver<Verdict>>>,
    /// Taken out of the line and not answered yet: kept here, so that a call of `next` that is dropped loses nothing.
    first: Option<oneshot::Receiver<Verdict>>,
    complete: Arc<AtomicBool>,
}

impl Verdicts {
    /// The next verdict; `None` after the last. Dropping the call loses no verdict.
    ///
    /// [`Error::Internal`] stands for an item whose verification did not end, and as the last answer when not all items
    /// were seen because their iterator panicked.
    pub async fn next(&mut self) -> Option<Verdict> {
        let line = self.line.as_mut()?;
        if self.first.is_none() {
            self.first = line.recv().await;
        }
        let Some(first) = self.first.as_mut() else {
            self.line = None;
            return self.last_word();
        };
        let verdict = first.await;
        self.first = None;
        Some(verdict.unwrap_or_else(|_| {
            Err(Error::Internal(
                "a verification ended without a verdict".into(),
            ))
        }))
    }

    fn last_word(&self) -> Option<Verdict> {
        let complete = self.complete.load(Ordering::Acquire);
        (!complete).then(|| {
            Err(Error::Internal(
                "the batch ended before its last item; the iterator over the items panicked".into(),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use sealwright_bundle::IdentityRule;
    use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, NOW, Signing, World};

    use super::*;

    struct Scene {
        root: TrustedRoot,
        policy: Policy,
        bundle: Vec<u8>,
    }

    const RELEASE: &[u8] = b"release";

    fn scene() -> Scene {
        let mut world = World::new();
        let root = world.trusted_root_json();
        let bundle = world.sign_blob(RELEASE, &Signing::default());
        let rule = IdentityRule::exact(EMAIL, ISSUER).expect("a rule");
        Scene {
            root: TrustedRoot::parse(root.as_bytes()).expect("a root"),
            policy: Policy::signed_by_identity(rule).blob(),
            bundle: serde_json::to_vec(&bundle).expect("JSON"),
        }
    }

    impl Scene {
        fn item(&self, artifact: &[u8]) -> (Vec<u8>, Artifact) {
            (self.bundle.clone(), Artifact::Bytes(artifact.to_vec()))
        }

        fn batch<I>(&self, items: I) -> Verdicts
        where
            I: IntoIterator<Item = (Vec<u8>, Artifact)>,
            I::IntoIter: Send + 'static,
        {
            verify_many(items, &self.root, &self.policy, NOW).expect("threads")
        }
    }

    async fn codes(mut verdicts: Verdicts) -> Vec<&'static str> {
        let mut codes = Vec::new();
        while let Some(verdict) = verdicts.next().await {
            codes.push(verdict.map_or_else(|error| error.code(), |_| "OK"));
        }
        codes
    }

    #[tokio::test]
    async fn verdicts_come_in_the_order_of_their_items_and_one_stops_no_other() {
        let scene = scene();
        let dir = tempfile::tempdir().expect("a directory");
        let large = dir.path().join("large");
        std::fs::write(&large, vec![0; 4 << 20]).expect("it is written");
        let items = (0..200).map(|number| match number % 5 {
            0 => scene.item(b"exchanged"),
            1 => (b"{".to_vec(), Artifact::Bytes(RELEASE.to_vec())),
            2 => (
                scene.bundle.clone(),
                Artifact::Path("/nonexistent/artifact".into()),
            ),
            // What takes longest is answered where it stands.
            3 => (scene.bundle.clone(), Artifact::Path(large.clone())),
            _ => scene.item(RELEASE),
        });
        let items: Vec<_> = items.collect();
        let expected = [
            "SIGNATURE_INVALID",
            "BUNDLE_MALFORMED",
            "FILE_ERROR",
            "SIGNATURE_INVALID",
            "OK",
        ];
        let expected: Vec<_> = expected.into_iter().cycle().take(200).collect();
        assert_eq!(codes(scene.batch(items)).await, expected);
    }

    #[tokio::test]
    async fn items_are_taken_as_verdicts_are_and_no_more_once_nobody_wants_any() {
        let scene = scene();
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let item = scene.item(RELEASE);
        // Without end: a batch that read its items first would never answer.
        let items = std::iter::repeat_with(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            item.clone()
        });
        let mut verdicts = scene.batch(items);
        let workers = thread::available_parallelism().map_or(1, |n| n.get().min(MAX_WORKERS));
        // In the line, in the hands of each worker, and one that waits for its place.
        let ahead = workers * (LINE_PER_WORKER + 1) + 1;
        for answered in 1..=50 {
            let verdict = verdicts.next().await.expect("there are more");
            verdict.expect("it verifies");
            assert!(taken.load(Ordering::SeqCst) <= answered + ahead + 1);
        }
        drop(verdicts);
        // The iterator, and with it the counter, goes when the last worker has left.
        while Arc::strong_count(&taken) > 1 {
            tokio::task::yield_now().await;
        }
        assert!(taken.load(Ordering::SeqCst) <= 50 + ahead + 1);
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_loses_no_verdict() {
        let scene = scene();
        let items: Vec<_> = [RELEASE, b"exchanged"].map(|it| scene.item(it)).into();
        let mut verdicts = scene.batch(items);
        for _ in 0..3 {
            // Polled once and dropped, with or without something in hand.
            let once = futures::future::poll_immediate(verdicts.next()).await;
            if let Some(verdict) = once {
                verdict.expect("the first").expect("it verifies");
                assert_eq!(codes(verdicts).await, ["SIGNATURE_INVALID"]);
                return;
            }
        }
        assert_eq!(codes(verdicts).await, ["OK", "SIGNATURE_INVALID"]);
    }

    #[tokio::test]
    async fn an_iterator_that_panics_is_told_from_the_end() {
        let scene = scene();
        let item = scene.item(RELEASE);
        let items = (0..).map(move |number| {
            assert!(number < 3, "a test of a panic");
            item.clone()
        });
        assert_eq!(
            codes(scene.batch(items)).await,
            ["OK", "OK", "OK", "INTERNAL"]
        );
        assert!(codes(scene.batch(Vec::new())).await.is_empty());
    }
}
