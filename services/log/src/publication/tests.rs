use std::sync::Mutex;

use futures::future::join_all;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
use sealwright_host::clock::ManualClock;
use sealwright_host::{Reason, ServiceError};
use sealwright_tlog::tile::TileId;
use sealwright_tlog::{SignatureKind, cosignature, verify_consistency, verify_inclusion};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::cosign::Alarm;
use crate::disk::FileDisk;
use crate::reader::{EntryRef, Reader};
use crate::{BodyLeaf, EngineOptions, EngineParts, Kind, Log, LogIdentity, Metrics};

/// What the one witness of a test does.
#[derive(Debug, Clone)]
enum Conduct {
    Cosigns,
    /// Is away: the round ends without it.
    Away,
    /// Answers when it is told to.
    Waits(Arc<Notify>),
    Alarms(Alarm),
}

#[derive(Debug)]
struct Witness {
    mode: WitnessMode,
    key: NoteKey,
    private: PrivateKey,
    conduct: Mutex<Conduct>,
    /// Sizes it was asked about.
    asked: Mutex<Vec<u64>>,
    /// What it has seen: every checkpoint must extend the one before.
    seen: Mutex<Option<(u64, Hash)>>,
}

impl Witness {
    fn new(mode: WitnessMode, conduct: Conduct) -> Arc<Self> {
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let public = private.public_key().clone();
        Arc::new(Self {
            mode,
            key: NoteKey::new("w.example", SignatureKind::CosignatureV1, public).unwrap(),
            private,
            conduct: Mutex::new(conduct),
            asked: Mutex::default(),
            seen: Mutex::default(),
        })
    }

    fn now(&self, conduct: Conduct) {
        *self.conduct.lock().unwrap() = conduct;
    }

    async fn cosign(&self, head: &CosignHead, proofs: &Arc<dyn Proofs>) -> Round {
        let note = Note::parse(&head.note).unwrap();
        let before = *self.seen.lock().unwrap();
        if let Some((size, root)) = before {
            let proof = proofs.consistency(size, head.size).await.unwrap();
            verify_consistency(size, &root, head.size, &head.root, &proof).unwrap();
        }
        *self.seen.lock().unwrap() = Some((head.size, head.root));
        let message = self.key.message(note.text(), 1_800_000_000_000).unwrap();
        let raw = self.private.sign(self.key.algorithm(), &message).unwrap();
        Round {
            cosignatures: vec![self.key.signature(&raw, 1_800_000_000_000).unwrap()],
            quorum_met: true,
            ..Round::default()
        }
    }

    /// The size of a checkpoint that this witness has cosigned below the log's own signature.
    fn size_cosigned(&self, log: &Log, checkpoint: &[u8]) -> Option<u64> {
        let note = Note::parse(checkpoint).unwrap();
        assert_eq!(
            note.signatures()[0].name(),
            log.identity().origin,
            "the log's line is first"
        );
        assert!(note.verify(std::slice::from_ref(log.key())).is_ok());
        let seen = cosignature::verify(&note, std::slice::from_ref(&self.key)).unwrap();
        let size = Checkpoint::parse(note.text()).unwrap().size;
        (!seen.is_empty()).then_some(size)
    }
}

impl Cosigner for Witness {
    fn round<'a>(
        &'a self,
        head: &'a CosignHead,
        proofs: &'a Arc<dyn Proofs>,
    ) -> BoxFuture<'a, Round> {
        Box::pin(async move {
            self.asked.lock().unwrap().push(head.size);
            assert!(proofs.durable_size() >= head.size, "R2");
            let conduct = self.conduct.lock().unwrap().clone();
            match conduct {
                Conduct::Cosigns => self.cosign(head, proofs).await,
                Conduct::Waits(told) => {
                    told.notified().await;
                    self.cosign(head, proofs).await
                }
                Conduct::Away => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Round {
                        missing: vec![("w".into(), "it is away".into())],
                        ..Round::default()
                    }
                }
                Conduct::Alarms(alarm) => Round {
                    alarm: Some(alarm),
                    ..Round::default()
                },
            }
        })
    }

    fn mode(&self) -> WitnessMode {
        self.mode
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// The folder and key of a log, over all its lives.
struct Home {
    folder: TempDir,
    signer: Arc<MemorySigner>,
}

impl Home {
    fn new() -> Self {
        let key = PrivateKey::generate(KeyType::Ed25519).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            signer: Arc::new(MemorySigner::new(key)),
        }
    }

    async fn open(&self, witness: Option<&Arc<Witness>>) -> Result<Log, Error> {
        let identity = LogIdentity {
            name: "a".into(),
            kind: Kind::Rekor,
            origin: "log.example".into(),
        };
        let options = EngineOptions {
            create: true,
            segment_bytes: 8 << 20,
            publish_interval: Duration::from_millis(1),
            ..EngineOptions::default()
        };
        let parts = EngineParts {
            signer: self.signer.clone(),
            clock: Arc::new(ManualClock::at(1_800_000_000)),
            metrics: Metrics::default(),
            cosigner: witness.map(|witness| witness.clone() as Arc<dyn Cosigner>),
        };
        Log::open(self.folder.path(), identity, options, parts).await
    }

    fn public_checkpoint(&self) -> Vec<u8> {
        std::fs::read(self.folder.path().join("public/checkpoint")).unwrap()
    }
}

fn leaf(number: u64) -> BodyLeaf {
    BodyLeaf::new(format!("entry {number}")).unwrap()
}

/// Submits until the log takes it: it may not have asked its witnesses yet, or they are only just back.
async fn submit(log: &Log, number: u64) -> crate::Receipt {
    for _ in 0..2000 {
        match log.submit(leaf(number)).await {
            Ok(receipt) => {
                let leaf_hash = receipt.leaf_hash;
                verify_inclusion(
                    receipt.index,
                    receipt.tree_size,
                    &leaf_hash,
                    &receipt.proof,
                    &receipt.root,
                )
                .unwrap();
                return receipt;
            }
            Err(Error::QuorumMissing { .. }) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the quorum stays away");
}

async fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if met() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_checkpoint_and_file_carry_the_cosignature() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    for number in 0..5 {
        let receipt = submit(&log, number).await;
        let size = witness.size_cosigned(&log, receipt.checkpoint.as_bytes());
        assert_eq!((receipt.index, size), (number, Some(receipt.tree_size)));
    }
    let duplicate = submit(&log, 2).await;
    assert!(duplicate.duplicate && duplicate.index == 2);
    assert_eq!(
        witness.size_cosigned(&log, duplicate.checkpoint.as_bytes()),
        Some(5)
    );
    assert_eq!(
        witness.size_cosigned(&log, &log.tree_head().checkpoint),
        Some(5)
    );
    assert!(matches!(
        log.witnessed(),
        Some((WitnessMode::Required, Ok(())))
    ));
    eventually("the file follows", || {
        witness.size_cosigned(&log, &home.public_checkpoint()) == Some(5)
    })
    .await;
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_quorum_is_required_nothing_is_taken_before_it_was_there_once() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Away),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    let refused = log.submit(leaf(0)).await.unwrap_err();
    assert!(matches!(refused, Error::QuorumMissing { .. }), "{refused}");
    assert_eq!(refused.reason(), Reason::Unavailable);
    assert!(log.condition().is_err() && log.inner.tree.snapshot().size() == 0);
    eventually("it says who is missing", || {
        let condition = log.witnessed().unwrap().1;
        condition.is_err_and(|words| words.contains("w: it is away"))
    })
    .await;
    witness.now(Conduct::Cosigns);
    assert_eq!(submit(&log, 0).await.index, 0);
    assert!(log.condition().is_ok());
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_quorum_is_required_nothing_is_shown_without_it() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    submit(&log, 0).await;
    let shown = log.tree_head();
    witness.now(Conduct::Away);
    let refused = log.submit(leaf(1)).await.unwrap_err();
    assert!(matches!(refused, Error::QuorumMissing { .. }), "{refused}");
    eventually("it takes no more", || log.condition().is_err()).await;
    assert_eq!(log.tree_head(), shown, "what was shown stays");
    assert_eq!(
        log.inner.tree.snapshot().size(),
        2,
        "the entry is logged all the same"
    );
    // What was shown can still be asked for.
    let known = log.submit(leaf(0)).await.unwrap();
    assert_eq!(
        (known.index, known.tree_size, known.duplicate),
        (0, 1, true)
    );
    let unseen = log.submit(leaf(1)).await.unwrap_err();
    assert!(matches!(unseen, Error::QuorumMissing { .. }), "{unseen}");
    witness.now(Conduct::Cosigns);
    let receipt = submit(&log, 1).await;
    assert_eq!((receipt.index, receipt.duplicate), (1, true));
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_nothing_beyond_what_is_shown() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    let seen = submit(&log, 0).await;
    witness.now(Conduct::Away);
    log.submit(leaf(1)).await.unwrap_err();
    assert_eq!(log.inner.tree.snapshot().size(), 2, "it is logged");
    let stored = log.stored(1).await.unwrap();
    let hash = Kind::Rekor.facts(&stored).unwrap().leaf_hash;
    let reader = Reader::of(&log);
    assert_eq!(reader.head().size, 1);
    let tile = |path: &str| TileId::parse(path).unwrap();
    let unseen = [
        reader.entry(EntryRef::Index(1)).await.err(),
        reader.entry(EntryRef::LeafHash(hash)).await.err(),
        reader.inclusion(EntryRef::Index(1), None).await.err(),
        reader.inclusion(EntryRef::Index(0), Some(2)).await.err(),
        reader.consistency(1, Some(2)).await.err(),
        reader.consistency(2, None).await.err(),
        reader.tlog_proof(EntryRef::Index(1)).await.err(),
        reader.tile(tile("tile/0/000.p/2")).await.err(),
        reader.tile(tile("tile/entries/000.p/2")).await.err(),
    ];
    for (position, refused) in unseen.iter().enumerate() {
        let reason = refused.as_ref().map(ServiceError::reason);
        assert_eq!(reason, Some(Reason::NotFound), "question {position}");
    }
    let first = reader.entry(EntryRef::Index(0)).await.unwrap();
    assert_eq!((first.tree_size, first.checkpoint), (1, seen.checkpoint));
    assert!(reader.tile(tile("tile/0/000.p/1")).await.is_ok());
    // Once it is cosigned the same questions have answers.
    witness.now(Conduct::Cosigns);
    submit(&log, 1).await;
    let reader = Reader::of(&log);
    assert_eq!(
        reader.entry(EntryRef::LeafHash(hash)).await.unwrap().index,
        1
    );
    assert!(reader.tlog_proof(EntryRef::Index(1)).await.is_ok());
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn best_effort_goes_on_without_the_quorum_and_takes_it_when_it_is_back() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::BestEffort, Conduct::Away),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    for number in 0..3 {
        let receipt = submit(&log, number).await;
        assert_eq!(
            witness.size_cosigned(&log, receipt.checkpoint.as_bytes()),
            None
        );
    }
    assert!(log.condition().is_ok());
    assert!(matches!(
        log.witnessed(),
        Some((WitnessMode::BestEffort, Err(_)))
    ));
    witness.now(Conduct::Cosigns);
    eventually("the head is cosigned", || {
        witness.size_cosigned(&log, &log.tree_head().checkpoint) == Some(3)
    })
    .await;
    let receipt = submit(&log, 3).await;
    assert_eq!(
        witness.size_cosigned(&log, receipt.checkpoint.as_bytes()),
        Some(4)
    );
    log.shutdown().await;
}

/// A thousand entries that come while one round runs wait for one more round, not for a thousand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_while_a_round_runs_shares_the_next() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    submit(&log, 0).await;
    let told = Arc::new(Notify::new());
    witness.now(Conduct::Waits(told.clone()));
    let before = witness.asked.lock().unwrap().len();
    let first = {
        let log = log.clone();
        tokio::spawn(async move { log.submit(leaf(1)).await })
    };
    eventually("the round began", || {
        witness.asked.lock().unwrap().len() == before + 1
    })
    .await;
    let many = (2..400).map(|number| {
        let log = log.clone();
        tokio::spawn(async move { log.submit(leaf(number)).await })
    });
    let many: Vec<_> = many.collect();
    eventually("all are durable", || {
        log.inner.tree.snapshot().size() == 400
    })
    .await;
    assert_eq!(log.tree_head().size, 1);
    witness.now(Conduct::Cosigns);
    told.notify_one();
    assert_eq!(first.await.unwrap().unwrap().tree_size, 2);
    for receipt in join_all(many).await {
        assert_eq!(receipt.unwrap().unwrap().tree_size, 400);
    }
    assert_eq!(witness.asked.lock().unwrap()[before..], [2, 400]);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_witness_that_knows_better_ends_the_writing_and_not_the_reading() {
    let alarms = [
        Alarm::Larger {
            witness: "w".into(),
            seen: 9,
            have: 1,
        },
        Alarm::Forked {
            witness: "w".into(),
            size: 1,
        },
    ];
    for (alarm, mode) in alarms
        .into_iter()
        .zip([WitnessMode::Required, WitnessMode::BestEffort])
    {
        let (home, witness) = (Home::new(), Witness::new(mode, Conduct::Cosigns));
        let log = home.open(Some(&witness)).await.unwrap();
        submit(&log, 0).await;
        let shown = log.tree_head();
        witness.now(Conduct::Alarms(alarm.clone()));
        let expected = alarm.to_error().to_string();
        let refused = log.submit(leaf(1)).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
        witness.now(Conduct::Cosigns);
        let refused = log.submit(leaf(2)).await.unwrap_err();
        assert_eq!(refused.to_string(), expected);
        assert_eq!(log.condition().unwrap_err().to_string(), expected);
        assert_eq!(log.witnessed().unwrap().1, Err(expected));
        assert_eq!(log.tree_head(), shown);
        assert_eq!(log.submit(leaf(0)).await.unwrap().tree_size, 1);
        assert!(
            log.fatal().borrow().is_none(),
            "the process stays for its readers"
        );
        log.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cosigned_checkpoint_survives_and_nothing_newer_is_shown_before_the_next() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    for number in 0..300 {
        submit(&log, number).await;
    }
    let shown = log.tree_head();
    witness.now(Conduct::Away);
    assert!(log.submit(leaf(300)).await.is_err());
    log.shutdown().await;
    assert_eq!(home.public_checkpoint(), shown.checkpoint);
    let partial = home.folder.path().join("public/tile/0/001.p/44");
    assert!(
        partial.exists(),
        "the tile that the public checkpoint implies"
    );

    // Also where the file that keeps it is lost: the public checkpoint is the same.
    for lost in [false, true] {
        if lost {
            std::fs::remove_file(home.folder.path().join(COSIGNED_FILE)).unwrap();
        }
        let log = home.open(Some(&witness)).await.unwrap();
        assert_eq!(log.inner.tree.snapshot().size(), 301);
        assert_eq!(log.tree_head().checkpoint, shown.checkpoint);
        assert!(matches!(
            log.submit(leaf(301)).await,
            Err(Error::QuorumMissing { .. })
        ));
        log.shutdown().await;
    }

    let log = home.open(Some(&witness)).await.unwrap();
    witness.now(Conduct::Cosigns);
    assert_eq!(submit(&log, 300).await.index, 300);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cosigned_checkpoint_that_the_log_does_not_have_keeps_it_from_opening() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    submit(&log, 0).await;
    log.shutdown().await;
    let forged = |size: u64, root: Hash| {
        let text = Checkpoint::new("log.example", size, root).to_text();
        let key = NoteKey::for_log("log.example", home.signer.public_key().clone()).unwrap();
        let message = key.message(&text, 0).unwrap();
        let raw = home.signer.sign_now(&message).unwrap().unwrap();
        let mut note = Note::new(text).unwrap();
        note.push(key.signature(&raw, 0).unwrap());
        let disk = FileDisk::open(home.folder.path()).unwrap();
        let (mut slots, _) = Slots::open(&disk).unwrap();
        let note = Bytes::from(note.to_string());
        let head = PublishedHead {
            size,
            root,
            time_ms: 1,
            note,
        };
        slots.keep(&head).unwrap();
    };
    use sealwright_crypto::Signer as _;
    forged(7, [7; 32]);
    let refused = home.open(Some(&witness)).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::RolledBack {
                seen: 7,
                have: 1,
                ..
            }
        ),
        "{refused}"
    );
    forged(1, [7; 32]);
    let refused = home.open(Some(&witness)).await.unwrap_err();
    assert!(
        matches!(refused, Error::Forked { size: 1, .. }),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_had_no_witnesses_shows_what_it_showed_when_it_gets_some() {
    let home = Home::new();
    let log = home.open(None).await.unwrap();
    assert!(log.witnessed().is_none());
    for number in 0..3 {
        submit(&log, number).await;
    }
    let shown = log.tree_head();
    log.shutdown().await;
    let witness = Witness::new(WitnessMode::Required, Conduct::Away);
    let log = home.open(Some(&witness)).await.unwrap();
    assert_eq!(log.tree_head(), shown);
    witness.now(Conduct::Cosigns);
    assert_eq!(submit(&log, 3).await.index, 3);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_the_witnesses_is_told_when_the_log_ends() {
    let (home, witness) = (
        Home::new(),
        Witness::new(WitnessMode::Required, Conduct::Cosigns),
    );
    let log = home.open(Some(&witness)).await.unwrap();
    submit(&log, 0).await;
    witness.now(Conduct::Waits(Arc::new(Notify::new())));
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.submit(leaf(1)).await })
    };
    eventually("it is durable", || log.inner.tree.snapshot().size() == 2).await;
    log.shutdown().await;
    let outcome = waiting.await.unwrap();
    assert!(matches!(outcome, Err(Error::ShuttingDown)), "{outcome:?}");
}

#[test]
fn a_record_that_was_torn_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FileDisk::open(folder.path()).unwrap();
    let _lock = disk.lock("LOCK").unwrap();
    let head = |text: &str| PublishedHead {
        size: 0,
        root: [0; 32],
        time_ms: 7,
        note: Bytes::copy_from_slice(text.as_bytes()),
    };
    let (mut slots, kept) = Slots::open(&disk).unwrap();
    assert_eq!(kept, None);
    for text in ["one", "two", "three"] {
        slots.keep(&head(text)).unwrap();
    }
    let newest = || Slots::open(&disk).unwrap().1;
    assert_eq!(newest(), Some(head("three")));
    let path = folder.path().join(COSIGNED_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[SLOT_BYTES as usize + HEADER_BYTES] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(newest(), Some(head("two")), "the newer record is damaged");
    bytes[HEADER_BYTES] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(newest(), None);
    assert!(slots.keep(&head(&"x".repeat(40 << 10))).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_quorum_is_required_from_now_on_only_what_was_shown_without_it_stays_shown() {
    let (home, lax) = (
        Home::new(),
        Witness::new(WitnessMode::BestEffort, Conduct::Away),
    );
    let log = home.open(Some(&lax)).await.unwrap();
    submit(&log, 0).await;
    log.shutdown().await;
    let shown = home.public_checkpoint();
    let log = home.open(Some(&lax)).await.unwrap();
    submit(&log, 1).await;
    log.shutdown().await;
    // As after a crash before the checkpoint was in its file.
    std::fs::write(home.folder.path().join("public/checkpoint"), &shown).unwrap();
    let strict = Witness::new(WitnessMode::Required, Conduct::Away);
    let log = home.open(Some(&strict)).await.unwrap();
    assert_eq!(log.inner.tree.snapshot().size(), 2);
    assert_eq!(log.tree_head().checkpoint, shown);
    strict.now(Conduct::Cosigns);
    assert_eq!(submit(&log, 1).await.index, 1);
    log.shutdown().await;
}
