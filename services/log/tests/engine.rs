//! The engine as a whole: what it promises over batches, restarts, damage and failing disks.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use futures::future::join_all;
use proptest::prelude::*;
use sealwright_crypto::{
    Algorithm, BoxFuture, Digest, KeyType, MemorySigner, PrivateKey, PublicKey, SignError, Signer,
    sha256,
};
use sealwright_host::SharedClock;
use sealwright_host::clock::ManualClock;
use sealwright_log::disk::{Disk, FileDisk, Segment};
use sealwright_log::{
    BodyLeaf, CertificateLeaf, EngineOptions, EngineParts, Error, FinishedLeaf, Kind, Leaf, Log,
    LogIdentity, Metrics, Receipt, fsck,
};
use sealwright_tlog::ct::{self, CtEntry, TileLeaf};
use sealwright_tlog::hash::{leaf_hash, merkle_tree_hash};
use sealwright_tlog::tile::{TileId, TileKind, changed_tiles, parse_bundle, width_in_tree};
use sealwright_tlog::{Checkpoint, Hash, NoteKey, verify_consistency, verify_inclusion};

#[path = "engine/adversary.rs"]
mod adversary;

const ORIGIN: &str = "log.example";
const NOW_MS: i64 = 1_800_000_000_000;

/// A folder, a key, and everything needed to open the log in it again and again.
struct Fixture {
    folder: tempfile::TempDir,
    identity: LogIdentity,
    options: EngineOptions,
    signer: Arc<dyn Signer>,
    clock: Arc<ManualClock>,
}

impl Fixture {
    fn new(kind: Kind) -> Self {
        let key_type = if kind == Kind::Rekor {
            KeyType::Ed25519
        } else {
            KeyType::EcP256
        };
        let clock = ManualClock::at(0);
        clock.set_ms(NOW_MS);
        Self {
            folder: tempfile::tempdir().unwrap(),
            identity: LogIdentity {
                name: "test".into(),
                kind,
                origin: ORIGIN.into(),
            },
            options: EngineOptions {
                create: true,
                segment_bytes: 1 << 20,
                spare_segments: 1,
                batch_bytes: 256 << 10,
                batch_entries: 1000,
                publish_interval: Duration::from_millis(5),
                ..EngineOptions::default()
            },
            signer: Arc::new(MemorySigner::new(PrivateKey::generate(key_type).unwrap())),
            clock: Arc::new(clock),
        }
    }

    fn parts(&self) -> EngineParts {
        let clock: SharedClock = self.clock.clone();
        EngineParts {
            signer: self.signer.clone(),
            clock,
            metrics: Metrics::default(),
            cosigner: None,
        }
    }

    async fn try_open_at(&self, dir: &Path) -> Result<Log, Error> {
        Log::open(
            dir,
            self.identity.clone(),
            self.options.clone(),
            self.parts(),
        )
        .await
    }

    async fn open(&self) -> Log {
        self.try_open_at(self.folder.path()).await.unwrap()
    }

    async fn open_on(&self, disk: Arc<dyn Disk>) -> Log {
        let dir = self.folder.path();
        Log::open_on(
            disk,
            dir,
            self.identity.clone(),
            self.options.clone(),
            self.parts(),
        )
        .await
        .unwrap()
    }

    fn key(&self) -> NoteKey {
        self.identity
            .kind
            .note_key(ORIGIN, self.signer.public_key().clone())
            .unwrap()
    }

    fn checkpoint(&self, note: &[u8]) -> Checkpoint {
        Checkpoint::open(note, ORIGIN, &[self.key()])
            .unwrap()
            .checkpoint()
            .clone()
    }

    /// Nothing in the folder of a closed log is wrong.
    fn audit_files(&self) {
        let report = fsck(self.folder.path()).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a receipt claims, checked as a client would.
    fn audit(&self, receipt: &Receipt) {
        let checkpoint = self.checkpoint(receipt.checkpoint.as_bytes());
        assert_eq!(
            (checkpoint.size, checkpoint.root),
            (receipt.tree_size, receipt.root)
        );
        let facts = self.identity.kind.facts(&receipt.stored).unwrap();
        assert_eq!(facts.leaf_hash, receipt.leaf_hash);
        verify_inclusion(
            receipt.index,
            receipt.tree_size,
            &facts.leaf_hash,
            &receipt.proof,
            &receipt.root,
        )
        .unwrap();
    }

    /// That an earlier receipt is still honoured: the log extends its tree, and has its entry.
    async fn audit_later(&self, log: &Log, receipt: &Receipt) {
        let head = log.tree_head();
        let proof = log
            .consistency_proof(receipt.tree_size, head.size)
            .await
            .unwrap();
        verify_consistency(
            receipt.tree_size,
            &receipt.root,
            head.size,
            &head.root,
            &proof,
        )
        .unwrap();
        assert_eq!(log.stored(receipt.index).await.unwrap(), receipt.stored);
    }
}

fn body(number: u64) -> BodyLeaf {
    BodyLeaf::new(format!("body {number}")).unwrap()
}

async fn submit_all(log: &Log, numbers: impl IntoIterator<Item = u64>) -> Vec<Receipt> {
    join_all(numbers.into_iter().map(|number| log.submit(body(number))))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

/// A copy of the folder of a running log: what a crash at this moment would leave.
fn crash_image(from: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                // A temporary file may be renamed away under our feet, as in a crash.
                let _ = std::fs::copy(entry.path(), target);
            }
        }
    }
    let image = tempfile::tempdir().unwrap();
    copy(from, image.path());
    image
}

/// Every tile and every entry of the tree, against the definition.
async fn audit_tree(fixture: &Fixture, log: &Log) {
    let head = log.tree_head();
    let checkpoint = fixture.checkpoint(&head.checkpoint);
    assert_eq!((checkpoint.size, checkpoint.root), (head.size, head.root));
    let stored = log.stored_range(0, head.size).await.unwrap();
    let leaves: Vec<Hash> = stored
        .iter()
        .map(|stored| fixture.identity.kind.facts(stored).unwrap().leaf_hash)
        .collect();
    assert_eq!(merkle_tree_hash(&leaves), head.root);
    for id in changed_tiles(0, head.size) {
        let TileKind::Hashes(level) = id.kind else {
            panic!("only hash tiles change")
        };
        let span = 256usize.pow(u32::from(level));
        let expected: Vec<u8> = (0..u64::from(id.width))
            .flat_map(|i| {
                let first = (id.index * 256 + i) as usize * span;
                merkle_tree_hash(&leaves[first..first + span])
            })
            .collect();
        assert_eq!(log.tile(id).await.unwrap().bytes, expected, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_proves_its_entry_at_once() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    assert_eq!(log.tree_head().size, 0);
    for number in 0..5 {
        let receipt = log.submit(body(number)).await.unwrap();
        fixture.audit(&receipt);
        assert_eq!((receipt.index, receipt.duplicate), (number, false));
        assert_eq!(receipt.timestamp_ms, Some(NOW_MS as u64));
    }
    audit_tree(&fixture, &log).await;
    log.shutdown().await;
    assert!(matches!(
        log.submit(body(9)).await,
        Err(Error::ShuttingDown)
    ));
    assert_eq!(log.tree_head().size, 5, "reads go on");
}

#[test]
fn any_sequence_of_batches_and_restarts_makes_the_tree_of_the_definition() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig {
        cases: 12,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in prop::collection::vec((0usize..300, any::<bool>()), 1..8), partials in any::<bool>())| {
        runtime.block_on(async {
            let mut fixture = Fixture::new(Kind::Rekor);
            fixture.options.static_partials = partials;
            let mut log = fixture.open().await;
            let mut receipts = Vec::new();
            let mut next = 0;
            for (count, restart) in steps {
                let batch = submit_all(&log, next..next + count as u64).await;
                next += count as u64;
                batch.iter().for_each(|receipt| fixture.audit(receipt));
                receipts.extend(batch);
                if restart {
                    log.shutdown().await;
                    log = fixture.open().await;
                }
            }
            let indexes: HashSet<u64> = receipts.iter().map(|receipt| receipt.index).collect();
            assert_eq!((indexes.len() as u64, log.tree_head().size), (next, next));
            audit_tree(&fixture, &log).await;
            for receipt in receipts.iter().step_by(37) {
                fixture.audit_later(&log, receipt).await;
            }
            log.shutdown().await;
            fixture.audit_files();
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_keeps_every_receipt() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.publish_interval = Duration::from_millis(20);
    let log = fixture.open().await;
    let mut receipts = Vec::new();
    for round in 0..12u64 {
        receipts.extend(submit_all(&log, round * 90..round * 90 + 90).await);
        let image = crash_image(fixture.folder.path());
        let recovered = fixture.try_open_at(image.path()).await.unwrap();
        for receipt in &receipts {
            fixture.audit_later(&recovered, receipt).await;
        }
        audit_tree(&fixture, &recovered).await;
        recovered.shutdown().await;
    }
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_last_frame_is_cut_off_when_nobody_saw_it() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.publish_interval = Duration::from_secs(3600);
    let log = fixture.open().await;
    let kept = log.submit(body(0)).await.unwrap();
    log.submit(body(1)).await.unwrap();
    let image = crash_image(fixture.folder.path());
    let segment = first_segment(image.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    // The frames of the empty tree and of the first entry come before.
    bytes[2 * 4096 + 150] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let recovered = fixture.try_open_at(image.path()).await.unwrap();
    assert_eq!(recovered.tree_head().size, 1);
    fixture.audit_later(&recovered, &kept).await;
    let again = recovered.submit(body(2)).await.unwrap();
    assert_eq!(again.index, 1);
    audit_tree(&fixture, &recovered).await;
    recovered.shutdown().await;
    log.shutdown().await;
}

fn first_segment(dir: &Path) -> PathBuf {
    let mut names: Vec<_> = std::fs::read_dir(dir.join("wal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_frame_in_the_middle_refuses_to_start() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    for number in 0..4 {
        log.submit(body(number)).await.unwrap();
    }
    log.shutdown().await;
    let segment = first_segment(fixture.folder.path());
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[2 * 4096 + 150] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let refused = fixture
        .try_open_at(fixture.folder.path())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_write_ahead_log_beside_newer_files_is_refused() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    submit_all(&log, 0..3).await;
    let old = crash_image(fixture.folder.path());
    submit_all(&log, 3..6).await;
    log.shutdown().await;
    for (kept, evidence) in [("public", "public/checkpoint"), ("state.db", "state.db")] {
        let image = crash_image(old.path());
        let target = image.path().join(kept);
        if fixture.path(kept).is_dir() {
            let _ = std::fs::remove_dir_all(&target);
            let newer = crash_image(&fixture.path(kept));
            std::fs::rename(newer.path(), &target).unwrap();
        } else {
            std::fs::copy(fixture.path(kept), &target).unwrap();
            let _ = std::fs::remove_file(image.path().join("state.db-wal"));
            let _ = std::fs::remove_file(image.path().join("state.db-shm"));
        }
        let refused = fixture.try_open_at(image.path()).await.unwrap_err();
        assert!(
            matches!(refused, Error::RolledBack { evidence: found, seen: 6, .. } if found == evidence),
            "{kept}: {refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_derived_can_be_lost() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.segment_bytes = 64 << 20;
    let log = fixture.open().await;
    let receipts = submit_all(&log, 0..700).await;
    log.shutdown().await;
    for lost in ["state.db", "dedup", "public", "tmp"] {
        let path = fixture.path(lost);
        if path.is_dir() {
            std::fs::remove_dir_all(&path).unwrap()
        } else if path.exists() {
            std::fs::remove_file(&path).unwrap()
        }
        let log = fixture.open().await;
        audit_tree(&fixture, &log).await;
        for receipt in receipts.iter().step_by(100) {
            let again = log
                .submit(BodyLeaf::new(receipt.stored.clone()).unwrap())
                .await
                .unwrap();
            assert_eq!(
                (again.index, again.duplicate),
                (receipt.index, true),
                "without {lost}"
            );
        }
        log.shutdown().await;
        fixture.audit_files();
        assert!(fixture.path("public/checkpoint").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resubmitted_entry_gets_its_first_index_and_a_fresh_proof() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    let first = log.submit(body(7)).await.unwrap();
    submit_all(&log, 100..900).await;
    let again = log.submit(body(7)).await.unwrap();
    fixture.audit(&again);
    assert_eq!(
        (again.index, again.duplicate, again.timestamp_ms),
        (first.index, true, None)
    );
    assert_eq!((again.tree_size, log.tree_head().size), (801, 801));
    log.shutdown().await;
    let log = fixture.open().await;
    for number in [7, 100, 355, 356, 899] {
        let receipt = log.submit(body(number)).await.unwrap();
        assert!(receipt.duplicate, "{number}");
        fixture.audit(&receipt);
    }
    assert_eq!(log.tree_head().size, 801);
    log.shutdown().await;
}

/// A leaf that claims an identity of which only the first eight bytes are another entry's.
struct Collision(Hash);

impl Leaf for Collision {
    fn identity(&self) -> Hash {
        let mut identity = self.0;
        identity[31] ^= 1;
        identity
    }

    fn weight(&self) -> usize {
        1
    }

    fn finish(self: Box<Self>, _: u64, _: u64) -> Result<FinishedLeaf, sealwright_tlog::Error> {
        let stored = bytes::Bytes::from_static(b"another entry");
        Ok(FinishedLeaf {
            leaf_hash: leaf_hash(&stored),
            stored,
            promise: None,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_equal_bytes_of_hash_do_not_make_a_duplicate() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    let first = log.submit(body(1)).await.unwrap();
    let other = log.submit(Collision(first.leaf_hash)).await.unwrap();
    assert_eq!((other.index, other.duplicate), (1, false));
    assert_eq!(log.find_leaf(&first.leaf_hash).await.unwrap(), Some(0));
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_opener_is_refused_until_the_first_is_done() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    let refused = fixture
        .try_open_at(fixture.folder.path())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    assert!(refused.to_string().contains("LOCK"));
    log.shutdown().await;
    fixture.open().await.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_or_no_log_is_refused() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.create = false;
    let refused = fixture
        .try_open_at(fixture.folder.path())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::NotALog { .. }), "{refused}");
    fixture.options.create = true;
    fixture.open().await.shutdown().await;

    let mut other = Fixture::new(Kind::Rekor);
    let refused = other.try_open_at(fixture.folder.path()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Mismatch {
                field: "public key",
                ..
            }
        ),
        "{refused}"
    );
    other.signer = fixture.signer.clone();
    other.identity.origin = "other.example".into();
    let refused = other.try_open_at(fixture.folder.path()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Mismatch {
                field: "origin",
                ..
            }
        ),
        "{refused}"
    );

    std::fs::remove_file(fixture.path("log.json")).unwrap();
    let refused = fixture
        .try_open_at(fixture.folder.path())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Corrupt { .. }),
        "a log without its name is not made anew: {refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_of_every_width_are_served_and_files_are_what_is_served() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    for chunk in 0..6u64 {
        submit_all(&log, chunk * 100..chunk * 100 + 100).await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let full = log
        .tile(TileId::full(TileKind::Entries, 0))
        .await
        .unwrap()
        .bytes;
    let entries = parse_bundle(&full).unwrap();
    for width in [1u16, 100, 255] {
        let id = TileId {
            kind: TileKind::Entries,
            index: 0,
            width,
        };
        let part = log.tile(id).await.unwrap().bytes;
        assert_eq!(parse_bundle(&part).unwrap(), entries[..usize::from(width)]);
        let id = TileId {
            kind: TileKind::Hashes(0),
            index: 0,
            width,
        };
        assert_eq!(
            log.tile(id).await.unwrap().bytes.len(),
            usize::from(width) * 32
        );
    }
    for missing in [
        "tile/0/002.p/89",
        "tile/0/002",
        "tile/0/003.p/1",
        "tile/2/000.p/1",
        "tile/data/000",
        "tile/entries/002.p/89",
    ] {
        let id = TileId::parse(missing).unwrap();
        assert!(
            matches!(log.tile(id).await, Err(Error::NotInTree(_))),
            "{missing}"
        );
    }
    log.shutdown().await;

    let checkpoint = fixture.checkpoint(&std::fs::read(fixture.path("public/checkpoint")).unwrap());
    assert_eq!(checkpoint.size, 600);
    let mut ids = changed_tiles(0, 600);
    ids.extend((0..3).filter_map(|index| TileId::in_tree(TileKind::Entries, index, 600)));
    for id in ids {
        let file = std::fs::read(fixture.path(&format!("public/{id}"))).unwrap();
        assert_eq!(log.tile(id).await.unwrap().bytes, file, "{id}");
    }
    assert!(
        !fixture.path("public/tile/0/000.p").exists(),
        "partial tiles of a full tile are removed"
    );
    assert_eq!(width_in_tree(0, 2, 600), 88);
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_reused_once_their_entries_are_in_files() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    let large = |number: u64| BodyLeaf::new(vec![number as u8; 60_000 + number as usize]).unwrap();
    for round in 0..20u64 {
        let batch = join_all((0..40).map(|i| log.submit(large(round * 40 + i)))).await;
        batch
            .into_iter()
            .for_each(|receipt| fixture.audit(&receipt.unwrap()));
    }
    log.shutdown().await;
    let segments = std::fs::read_dir(fixture.path("wal")).unwrap().count();
    // 800 entries of 60 KB are 48 MB; up to 255 of them are not in a full bundle yet.
    assert!(segments <= 25, "{segments} segments of 1 MiB are kept");
    let log = fixture.open().await;
    audit_tree(&fixture, &log).await;
    assert!(log.submit(large(3)).await.unwrap().duplicate);
    log.shutdown().await;
    fixture.audit_files();
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_files_answers_when_the_files_are_there() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.strict_files = true;
    fixture.options.publish_interval = Duration::from_secs(3600);
    let log = fixture.open().await;
    for number in 0..3 {
        let receipt = log.submit(body(number)).await.unwrap();
        let file = std::fs::read(fixture.path("public/checkpoint")).unwrap();
        assert!(fixture.checkpoint(&file).size >= receipt.tree_size);
        let partial = fixture.path(&format!("public/tile/entries/000.p/{}", receipt.tree_size));
        assert!(partial.exists());
    }
    log.shutdown().await;
}

fn certificate(number: u64) -> CertificateLeaf {
    let entry = CtEntry::Precert {
        issuer_key_hash: sha256(b"issuer key"),
        tbs_certificate: format!("tbs {number}").into_bytes(),
        pre_certificate: format!("precertificate {number}").into_bytes(),
    };
    CertificateLeaf::new(entry, vec![sha256(b"issuer")]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_log_puts_index_and_time_into_the_leaf() {
    let fixture = Fixture::new(Kind::Ct);
    let log = fixture.open().await;
    let fingerprint = log.store_issuer(b"issuer").await.unwrap();
    assert_eq!(fingerprint, sha256(b"issuer"));
    let mut first = Vec::new();
    for number in 0..300 {
        fixture.clock.advance_ms(10);
        first.push(log.submit(certificate(number)).await.unwrap());
    }
    for (number, receipt) in (0u64..).zip(&first) {
        fixture.audit(receipt);
        let (leaf, rest) = TileLeaf::parse(&receipt.stored).unwrap();
        assert!(rest.is_empty());
        assert_eq!(
            ct::parse_leaf_index(&leaf.extensions).unwrap(),
            receipt.index
        );
        assert_eq!(
            (receipt.index, Some(leaf.time_ms)),
            (number, receipt.timestamp_ms)
        );
        assert_eq!(leaf.time_ms, NOW_MS as u64 + 10 * (number + 1));
    }
    log.shutdown().await;

    let log = fixture.open().await;
    fixture.clock.advance_ms(1_000_000);
    for number in [0, 255, 256, 299] {
        let again = log.submit(certificate(number)).await.unwrap();
        let before = &first[number as usize];
        assert_eq!(
            (again.duplicate, &again.stored, again.timestamp_ms),
            (true, &before.stored, before.timestamp_ms)
        );
        fixture.audit(&again);
        assert_eq!(
            log.find_leaf(&before.leaf_hash).await.unwrap(),
            Some(number)
        );
    }
    assert_eq!(log.find_leaf(&[0; 32]).await.unwrap(), None);
    assert_eq!(
        log.issuer(&fingerprint).await.unwrap(),
        b"issuer".as_slice()
    );
    assert!(matches!(
        log.issuer(&[0; 32]).await,
        Err(Error::NotInTree(_))
    ));
    audit_tree(&fixture, &log).await;
    let tile = log
        .tile(TileId::full(TileKind::Data, 0))
        .await
        .unwrap()
        .bytes;
    assert_eq!(TileLeaf::parse_tile(&tile).unwrap().len(), 256);
    log.shutdown().await;
    assert_eq!(
        std::fs::read(fixture.path("public/tile/data/000")).unwrap(),
        tile
    );
}

/// The signature that a certificate log promised for an entry.
fn require_promise(fixture: &Fixture, receipt: &Receipt) {
    let (leaf, _) = TileLeaf::parse(&receipt.stored).unwrap();
    let message = leaf
        .entry
        .sct_message(leaf.time_ms, &leaf.extensions)
        .unwrap();
    let key = fixture.signer.public_key();
    key.verify(Algorithm::EcdsaP256Sha256, &message, &receipt.attachment)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_submitted_again_gets_the_identical_signature() {
    let mut fixture = Fixture::new(Kind::Ct);
    fixture.options.segment_bytes = 512 << 10;
    fixture.options.batch_bytes = 64 << 10;
    let log = fixture.open().await;
    log.store_issuer(b"issuer").await.unwrap();
    let mut first = Vec::new();
    for round in 0..40u64 {
        let batch = join_all((0..30).map(|i| log.submit(certificate(round * 30 + i)))).await;
        first.extend(batch.into_iter().map(Result::unwrap));
    }
    first
        .iter()
        .for_each(|receipt| require_promise(&fixture, receipt));
    let same = async |log: &Log, number: u64| {
        let again = log.submit(certificate(number)).await.unwrap();
        assert!(again.duplicate, "{number}");
        assert_eq!(
            again.attachment, first[number as usize].attachment,
            "{number}"
        );
    };
    for number in [0, 255, 256, 700, 1199] {
        same(&log, number).await;
    }
    log.shutdown().await;
    fixture.audit_files();
    let log = fixture.open().await;
    for number in (0..1200).step_by(97) {
        same(&log, number).await;
    }
    log.shutdown().await;
    let first_index = first[0].index;
    assert_eq!(
        first_index >> 8,
        0,
        "the first batch is in the first bundle"
    );
    assert!(fixture.path("attachments/000").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_damaged_attachments_are_named_and_do_not_stop_the_log() {
    let fixture = Fixture::new(Kind::Ct);
    let log = fixture.open().await;
    log.store_issuer(b"issuer").await.unwrap();
    let receipts = join_all((0..700).map(|number| log.submit(certificate(number)))).await;
    let of_first_bundle = receipts
        .iter()
        .position(|receipt| receipt.as_ref().unwrap().index == 3)
        .unwrap();
    log.shutdown().await;
    fixture.audit_files();
    let (file, swapped) = ("attachments/000", "attachments/001");
    let sound = std::fs::read(fixture.path(file)).unwrap();
    let mut flipped = sound.clone();
    flipped[100] ^= 1;
    let other = std::fs::read(fixture.path(swapped)).unwrap();
    for damage in [None, Some(flipped), Some(other), Some(Vec::new())] {
        match damage {
            None => std::fs::remove_file(fixture.path(file)).unwrap(),
            Some(bytes) => std::fs::write(fixture.path(file), bytes).unwrap(),
        }
        let faults = fsck(fixture.folder.path()).unwrap().faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].file, file);
        let log = fixture.open().await;
        let again = log
            .submit(certificate(of_first_bundle as u64))
            .await
            .unwrap();
        assert!(again.duplicate && again.attachment.is_empty());
        fixture.audit(&again);
        log.shutdown().await;
    }
    std::fs::write(fixture.path(file), sound).unwrap();
    fixture.audit_files();
}

const FROZEN: &str = "Log frozen — Fri Jan 15 08:00:00 UTC 2027";

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_log_says_so_for_ever_and_is_still_read() {
    for kind in [Kind::Rekor, Kind::Ct] {
        let fixture = Fixture::new(kind);
        let log = fixture.open().await;
        let submit = async |log: &Log, number: u64| match kind {
            Kind::Rekor => log.submit(body(number)).await,
            Kind::Ct => log.submit(certificate(number)).await,
        };
        log.store_issuer(b"issuer").await.unwrap();
        let mut receipts = Vec::new();
        for number in 0..300 {
            receipts.push(submit(&log, number).await.unwrap());
        }
        let before = log.tree_head();
        assert!(!log.frozen());
        let head = log.freeze().await.unwrap();
        assert_eq!((head.size, head.root), (300, before.root));
        let checkpoint = fixture.checkpoint(&head.checkpoint);
        let expected: &[&str] = if kind == Kind::Rekor { &[FROZEN] } else { &[] };
        assert_eq!(checkpoint.extensions, expected);
        assert_eq!(log.freeze().await.unwrap(), head, "once is enough");
        let refused = submit(&log, 1000).await.unwrap_err();
        assert!(matches!(refused, Error::Frozen), "{refused}");
        assert!(submit(&log, 7).await.unwrap().duplicate);
        log.shutdown().await;
        fixture.audit_files();
        let file = std::fs::read(fixture.path("public/checkpoint")).unwrap();
        assert_eq!(file, head.checkpoint);

        fixture.clock.advance_ms(86_400_000);
        let log = fixture.open().await;
        assert!(log.frozen());
        assert_eq!(log.tree_head(), head);
        let refused = submit(&log, 1000).await.unwrap_err();
        assert!(matches!(refused, Error::Frozen), "{refused}");
        assert_eq!(log.freeze().await.unwrap(), head);
        for receipt in &receipts {
            fixture.audit_later(&log, receipt).await;
        }
        let again = submit(&log, 7).await.unwrap();
        assert_eq!((again.index, again.duplicate), (7, true));
        audit_tree(&fixture, &log).await;
        log.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_before_a_freeze_is_logged_and_nothing_after() {
    let fixture = Fixture::new(Kind::Rekor);
    let (log, faults) = fixture.held().await;
    let submit = |number: u64| {
        let log = log.clone();
        tokio::spawn(async move { log.submit(body(number)).await })
    };
    let blocker = submit(0);
    taken(&log).await;
    let queued_before = [submit(1), submit(2)];
    queued(&log, 2).await;
    let freezing = {
        let log = log.clone();
        tokio::spawn(async move { log.freeze().await })
    };
    let refused = loop {
        match log.condition() {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Frozen), "{refused}");
    assert!(matches!(log.submit(body(3)).await, Err(Error::Frozen)));
    faults.release();
    fixture.audit(&blocker.await.unwrap().unwrap());
    for receipt in queued_before {
        fixture.audit(&receipt.await.unwrap().unwrap());
    }
    assert_eq!(freezing.await.unwrap().unwrap().size, 3);
    log.shutdown().await;
    fixture.audit_files();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_frozen_goes_on() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    log.submit(body(0)).await.unwrap();
    Faults::set(&faults.full_writes, true);
    let refused = log.freeze().await.unwrap_err();
    assert!(matches!(refused, Error::StorageFull), "{refused}");
    Faults::set(&faults.full_writes, false);
    assert!(!log.frozen());
    assert_eq!(log.submit(body(1)).await.unwrap().index, 1);
    assert_eq!(log.freeze().await.unwrap().size, 2);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_does_not_go_backwards_in_a_log() {
    let fixture = Fixture::new(Kind::Ct);
    let log = fixture.open().await;
    let first = log.submit(certificate(0)).await.unwrap();
    fixture.clock.advance_ms(-30_000);
    let second = log.submit(certificate(1)).await.unwrap();
    assert_eq!(
        second.timestamp_ms, first.timestamp_ms,
        "a small step is waited out"
    );
    fixture.clock.advance_ms(-3_600_000);
    let refused = log.submit(certificate(2)).await.unwrap_err();
    assert!(matches!(refused, Error::ClockBehind { .. }), "{refused}");
    fixture.clock.set_ms(NOW_MS + 5);
    let third = log.submit(certificate(2)).await.unwrap();
    assert_eq!(
        (third.index, third.timestamp_ms),
        (2, Some(NOW_MS as u64 + 5))
    );
    log.shutdown().await;
}

/// A disk that fails when told to.
#[derive(Debug)]
struct FaultyDisk {
    inner: FileDisk,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    fail_sync: AtomicBool,
    /// Syncs of the write-ahead log say that there is no space.
    full_sync: AtomicBool,
    /// Files are renamed into place, and then the sync of their folders says that there is no space.
    full_folders: AtomicBool,
    /// That has happened.
    unsynced: AtomicBool,
    /// Paths of the files that were put and synced.
    puts: Mutex<Vec<String>>,
    full_segments: AtomicBool,
    full_writes: AtomicBool,
    full_files: AtomicBool,
    /// Files cannot be written at all.
    fail_files: AtomicBool,
    /// Each time files are written, it takes a while.
    slow_files: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

impl Faults {
    /// Lets syncs wait until [`Faults::release`].
    fn hold(&self) {
        *self.held.lock().unwrap() = true;
    }

    fn release(&self) {
        *self.held.lock().unwrap() = false;
        self.released.notify_all();
    }

    fn set(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::SeqCst);
    }

    fn full(flag: &AtomicBool) -> io::Result<()> {
        if flag.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        }
    }
}

#[derive(Debug)]
struct FaultySegment {
    inner: Box<dyn Segment>,
    faults: Arc<Faults>,
}

impl Segment for FaultySegment {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        self.inner.read()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(full) = Faults::full(&self.faults.full_writes) {
            // Half of it arrives, as on a real disk.
            self.inner.write(offset, &bytes[..bytes.len() / 2])?;
            return Err(full);
        }
        self.inner.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mut held = self.faults.held.lock().unwrap();
        while *held {
            held = self.faults.released.wait(held).unwrap();
        }
        drop(held);
        if self.faults.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        Faults::full(&self.faults.full_sync)?;
        self.inner.sync()
    }
}

impl FaultyDisk {
    fn segment(&self, inner: Box<dyn Segment>) -> Box<dyn Segment> {
        Box::new(FaultySegment {
            inner,
            faults: self.faults.clone(),
        })
    }
}

impl Disk for FaultyDisk {
    fn lock(&self, path: &str) -> io::Result<Box<dyn Debug + Send + Sync>> {
        self.inner.lock(path)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn put(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        Faults::full(&self.faults.full_files)?;
        if self.faults.fail_files.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        if self.faults.slow_files.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(30));
        }
        self.inner.put(files)?;
        Faults::full(&self.faults.full_folders).inspect_err(|_| {
            Faults::set(&self.faults.unsynced, true);
        })?;
        let paths = files.iter().map(|(path, _)| path.clone());
        self.faults.puts.lock().unwrap().extend(paths);
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(path, offset, bytes)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn create_segment(&self, path: &str, len: u64) -> io::Result<Box<dyn Segment>> {
        Faults::full(&self.faults.full_segments)?;
        Ok(self.segment(self.inner.create_segment(path, len)?))
    }

    fn open_segment(&self, path: &str) -> io::Result<Box<dyn Segment>> {
        Ok(self.segment(self.inner.open_segment(path)?))
    }
}

impl Fixture {
    fn faulty(&self) -> (Arc<FaultyDisk>, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        let inner = FileDisk::open(self.folder.path()).unwrap();
        (
            Arc::new(FaultyDisk {
                inner,
                faults: faults.clone(),
            }),
            faults,
        )
    }

    /// An open log whose syncs wait until they are released.
    async fn held(&self) -> (Log, Arc<Faults>) {
        let (disk, faults) = self.faulty();
        let log = self.open_on(disk).await;
        faults.hold();
        (log, faults)
    }
}

/// Waits until the sequencer has taken what was submitted, and is held in the sync.
async fn taken(log: &Log) {
    while log.queue_depth().0 > 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Waits until `count` entries are in the queue while the sequencer is held in a sync.
async fn queued(log: &Log, count: usize) {
    while log.queue_depth().0 != count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_stops_the_log_and_a_restart_recovers() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    let kept = log.submit(body(0)).await.unwrap();
    let mut fatal = log.fatal();
    faults.hold();
    Faults::set(&faults.fail_sync, true);
    let waiters: Vec<_> = (1..4)
        .map(|number| {
            tokio::spawn({
                let log = log.clone();
                async move { log.submit(body(number)).await }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    faults.release();
    for waiter in waiters {
        let refused = waiter.await.unwrap().unwrap_err();
        assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
    }
    assert!(
        fatal
            .wait_for(Option::is_some)
            .await
            .unwrap()
            .as_ref()
            .unwrap()
            .contains("syncing")
    );
    assert!(matches!(
        log.submit(body(9)).await,
        Err(Error::Stopped { .. })
    ));
    assert!(log.condition().is_err());
    assert_eq!(
        log.tree_head().size,
        1,
        "nothing that was not synced is shown"
    );
    log.shutdown().await;

    Faults::set(&faults.fail_sync, false);
    let log = fixture.open().await;
    fixture.audit_later(&log, &kept).await;
    // The frames that were not synced may have survived; what they hold keeps its index.
    let receipts = submit_all(&log, 0..4).await;
    let indexes: HashSet<u64> = receipts.iter().map(|receipt| receipt.index).collect();
    assert_eq!((indexes.len(), log.tree_head().size), (4, 4));
    audit_tree(&fixture, &log).await;
    log.shutdown().await;
    fixture.audit_files();
}

/// A file system that finds room for data at the sync only may say then that there is none: what it kept is as unknown as
/// after any other failed sync.
#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_for_want_of_space_stops_the_log() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    let kept = log.submit(body(0)).await.unwrap();
    Faults::set(&faults.full_sync, true);
    let refused = log.submit(body(1)).await.unwrap_err();
    assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
    log.shutdown().await;
    Faults::set(&faults.full_sync, false);
    let log = fixture.open().await;
    fixture.audit_later(&log, &kept).await;
    log.shutdown().await;
}

/// R2: before its frame is durable, nobody sees a batch: not its checkpoint, not its entries, not its files.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_batch_is_seen_before_its_sync() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    let first = log.submit(body(0)).await.unwrap();
    let before = log.tree_head();
    let public_size = || {
        let file = std::fs::read(fixture.path("public/checkpoint"));
        file.map_or(0, |file| fixture.checkpoint(&file).size)
    };
    while public_size() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    faults.hold();
    let waiting = {
        let log = log.clone();
        tokio::spawn(async move { log.submit(body(1)).await })
    };
    while log.queue_depth().0 > 0 {
        tokio::task::yield_now().await;
    }
    // Time for several rounds of the publisher.
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(!waiting.is_finished());
    assert_eq!(log.tree_head(), before);
    assert!(matches!(log.stored(1).await, Err(Error::NotInTree(_))));
    let file = fixture.checkpoint(&std::fs::read(fixture.path("public/checkpoint")).unwrap());
    assert_eq!((file.size, file.root), (1, before.root));
    let id = TileId::parse("tile/0/000.p/2").unwrap();
    assert!(matches!(log.tile(id).await, Err(Error::NotInTree(_))));
    let leaf = leaf_hash(b"body 1");
    assert_eq!(log.find_leaf(&leaf).await.unwrap(), None);
    faults.release();
    let receipt = waiting.await.unwrap().unwrap();
    fixture.audit(&receipt);
    fixture.audit_later(&log, &first).await;
    assert_eq!(log.find_leaf(&leaf).await.unwrap(), Some(1));
    log.shutdown().await;
}

/// A lone entry is a batch at once; a batch gathers only while another one is synced.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_gathers_while_another_is_synced_and_never_waits_otherwise() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    for number in 0..3 {
        let receipt = log.submit(body(number)).await.unwrap();
        assert_eq!(receipt.tree_size, number + 1, "alone in its frame");
    }
    faults.hold();
    let submit = |number: u64| {
        let log = log.clone();
        tokio::spawn(async move { log.submit(body(number)).await.unwrap() })
    };
    let first = submit(3);
    while log.queue_depth().0 > 0 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let gathered: Vec<_> = (4..24).map(submit).collect();
    queued(&log, 20).await;
    faults.release();
    assert_eq!(first.await.unwrap().tree_size, 4);
    for receipt in join_all(gathered).await {
        let receipt = receipt.unwrap();
        fixture.audit(&receipt);
        assert_eq!(receipt.tree_size, 24, "one frame for all that waited");
    }
    log.shutdown().await;
}

/// A leaf that takes the sequencer with it.
struct Panicking;

impl Leaf for Panicking {
    fn identity(&self) -> Hash {
        [9; 32]
    }

    fn weight(&self) -> usize {
        1
    }

    fn finish(self: Box<Self>, _: u64, _: u64) -> Result<FinishedLeaf, sealwright_tlog::Error> {
        panic!("a fault in the code of an entry kind")
    }
}

/// R3: what nobody expected stops the log as a failed sync does, and nobody waits for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_panic_stops_the_log_and_tells_everybody() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    let kept = log.submit(body(0)).await.unwrap();
    let mut fatal = log.fatal();
    let refused = log.submit(Panicking).await.unwrap_err();
    assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
    let cause = fatal.wait_for(Option::is_some).await.unwrap().clone();
    assert!(cause.unwrap().contains("sequencer panicked"));
    let refused = log.submit(body(1)).await.unwrap_err();
    assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
    fixture.audit_later(&log, &kept).await;
    log.shutdown().await;
    let log = fixture.open().await;
    fixture.audit_later(&log, &kept).await;
    assert_eq!(log.submit(body(1)).await.unwrap().index, 1);
    log.shutdown().await;
}

/// R3: files that cannot be written, other than for want of space, stop the log too: its disk cannot be trusted.
#[tokio::test(flavor = "multi_thread")]
async fn files_that_fail_stop_the_log_and_a_restart_makes_them() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    let mut receipts = vec![log.submit(body(0)).await.unwrap()];
    Faults::set(&faults.fail_files, true);
    let refused = loop {
        match log.submit(body(receipts.len() as u64)).await {
            Ok(receipt) => receipts.push(receipt),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
    log.fatal().wait_for(Option::is_some).await.unwrap();
    log.shutdown().await;
    Faults::set(&faults.fail_files, false);
    let log = fixture.open().await;
    for receipt in &receipts {
        fixture.audit_later(&log, receipt).await;
    }
    let size = log.tree_head().size;
    log.shutdown().await;
    fixture.audit_files();
    let file = fixture.checkpoint(&std::fs::read(fixture.path("public/checkpoint")).unwrap());
    assert_eq!(file.size, size);
}

/// R5: the lock may fail to keep a second writer out (a copied folder, a network file system); the head does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_somebody_else_moved_stops_the_log() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    log.submit(body(0)).await.unwrap();
    let state = fixture.path("state.db");
    let pool = sqlx::SqlitePool::connect(&format!("sqlite:{}", state.display()))
        .await
        .unwrap();
    let moved = sqlx::query("UPDATE head SET epoch = epoch + 1")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(moved.rows_affected(), 1);
    pool.close().await;
    let _may_be_refused = log.submit(body(1)).await;
    let mut fatal = log.fatal();
    let cause = fatal.wait_for(Option::is_some).await.unwrap().clone();
    assert!(cause.unwrap().contains("took over the log"));
    let refused = log.submit(body(2)).await.unwrap_err();
    assert!(matches!(refused, Error::Stopped { .. }), "{refused}");
    log.shutdown().await;
}

/// A disk that said that files were synced and lost them: what was written last is read again at a start.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_a_sync_promised_and_the_disk_lost_is_noticed_at_the_start() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    submit_all(&log, 0..1500).await;
    log.shutdown().await;
    for file in ["public/tile/entries/004", "public/tile/0/003"] {
        let path = fixture.path(file);
        let sound = std::fs::read(&path).unwrap();
        for lost in [None, Some(Vec::new()), Some(vec![0; sound.len()])] {
            match lost {
                None => std::fs::remove_file(&path).unwrap(),
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            }
            let refused = fixture
                .try_open_at(fixture.folder.path())
                .await
                .unwrap_err();
            assert!(
                matches!(&refused, Error::Corrupt { file: named, .. } if named == file),
                "{refused}"
            );
        }
        std::fs::write(&path, sound).unwrap();
    }
    fixture.open().await.shutdown().await;
}

/// R4: a file that is in its place is not yet durable there; its folder has to be synced before its segment is reused.
#[tokio::test(flavor = "multi_thread")]
async fn files_whose_folder_was_not_synced_are_put_again() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    Faults::set(&faults.full_folders, true);
    submit_all(&log, 0..300).await;
    let bundle = fixture.folder.path().join("public/tile/entries/000");
    while !bundle.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Faults::set(&faults.unsynced, false);
    while !faults.unsynced.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Faults::set(&faults.full_folders, false);
    log.shutdown().await;
    let puts = faults.puts.lock().unwrap();
    for path in ["public/tile/entries/000", "public/tile/0/000"] {
        assert!(puts.iter().any(|put| put == path), "{path}: {puts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_entries_and_corrupts_nothing() {
    for halfway in [false, true] {
        let fixture = Fixture::new(Kind::Rekor);
        let (disk, faults) = fixture.faulty();
        let log = fixture.open_on(disk).await;
        let mut receipts = submit_all(&log, 0..10).await;
        Faults::set(
            if halfway {
                &faults.full_writes
            } else {
                &faults.full_segments
            },
            true,
        );
        Faults::set(&faults.full_files, true);
        let large = |number: u64| BodyLeaf::new(vec![number as u8; 50_000]).unwrap();
        let mut refused = None;
        for number in 0..60 {
            match log.submit(large(number)).await {
                Ok(receipt) => receipts.push(receipt),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        assert!(matches!(refused, Some(Error::StorageFull)), "{refused:?}");
        assert!(matches!(
            log.submit(body(99)).await,
            Err(Error::StorageFull)
        ));
        assert!(
            log.submit(body(3)).await.unwrap().duplicate,
            "what is logged is still proved"
        );
        let size = log.tree_head().size;
        assert_eq!(size, receipts.len() as u64);
        let image = crash_image(fixture.folder.path());

        Faults::set(&faults.full_writes, false);
        Faults::set(&faults.full_segments, false);
        Faults::set(&faults.full_files, false);
        fixture.clock.advance_ms(1100);
        assert_eq!(
            log.submit(body(99)).await.unwrap().index,
            size,
            "space came back"
        );
        audit_tree(&fixture, &log).await;
        log.shutdown().await;

        let recovered = fixture.try_open_at(image.path()).await.unwrap();
        for receipt in &receipts {
            fixture.audit_later(&recovered, receipt).await;
        }
        recovered.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_written_hold_up_receipts_only_when_too_many_wait() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.backlog_bytes = 400_000;
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    Faults::set(&faults.full_files, true);
    submit_all(&log, 0..1000).await;
    let large = |number: u64| BodyLeaf::new(vec![number as u8; 1000 + number as usize]).unwrap();
    let outcomes = join_all((0..600).map(|number| log.submit(large(number)))).await;
    assert!(outcomes.iter().any(Result::is_ok));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = log.submit(body(5000)).await.unwrap_err();
    assert!(
        matches!(refused, Error::StorageFull | Error::Overloaded { .. }),
        "{refused}"
    );
    Faults::set(&faults.full_files, false);
    fixture.clock.advance_ms(1100);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    log.submit(body(5000)).await.unwrap();
    audit_tree(&fixture, &log).await;
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_slow_slow_writers_down_and_refuse_nobody() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.backlog_bytes = 200_000;
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    Faults::set(&faults.slow_files, true);
    let large = |number: u64| BodyLeaf::new(format!("{number:>10}").repeat(100)).unwrap();
    // Many times of what may wait for its file.
    let outcomes = join_all((0..3000).map(|number| log.submit(large(number)))).await;
    for receipt in outcomes {
        fixture.audit(&receipt.unwrap());
    }
    log.shutdown().await;
    fixture.audit_files();
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_entries_in_flight_share_one_index() {
    let fixture = Fixture::new(Kind::Rekor);
    let (disk, faults) = fixture.faulty();
    let log = fixture.open_on(disk).await;
    faults.hold();
    let submit = |number: u64| {
        let log = log.clone();
        tokio::spawn(async move { log.submit(body(number)).await.unwrap() })
    };
    let blocker = submit(0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let tasks: Vec<_> = [1, 1, 2, 1, 0].into_iter().map(submit).collect();
    queued(&log, 2).await;
    faults.release();
    let receipts: Vec<Receipt> = join_all(tasks)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(blocker.await.unwrap().index, 0);
    let [a, b, c, d, e] = receipts.as_slice() else {
        panic!("five receipts")
    };
    assert!(a.index == b.index && b.index == d.index && c.index != a.index && e.index == 0);
    assert_eq!(
        receipts.iter().filter(|receipt| receipt.duplicate).count(),
        3
    );
    receipts.iter().for_each(|receipt| fixture.audit(receipt));
    assert_eq!(log.tree_head().size, 3);
    log.shutdown().await;
}

/// A round that puts files and then finds no space for a spare segment leaves partial tiles that nobody needs; they go with
/// the first round that finds space.
#[tokio::test(flavor = "multi_thread")]
async fn partial_tiles_that_a_full_disk_left_go_when_there_is_space() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.spare_segments = 0;
    // All frames have room in the first one.
    fixture.options.segment_bytes = 4 << 20;
    fixture.open().await.shutdown().await;
    fixture.options.spare_segments = 1;
    let (disk, faults) = fixture.faulty();
    Faults::set(&faults.full_segments, true);
    let log = fixture.open_on(disk).await;
    let bundles = fixture.folder.path().join("public/tile/entries");
    let there = async |path: &str, wanted: bool| {
        for _ in 0..4000 {
            if bundles.join(path).exists() == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "{path} is still {}",
            if wanted { "missing" } else { "there" }
        );
    };
    for number in 0..10 {
        log.submit(body(number)).await.unwrap();
    }
    there("000.p/10", true).await;
    for number in 10..260 {
        log.submit(body(number)).await.unwrap();
    }
    there("000", true).await;
    assert!(bundles.join("000.p").exists());
    Faults::set(&faults.full_segments, false);
    there("000.p", false).await;
    log.shutdown().await;
    assert!(bundles.join("001.p/4").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_forgets() {
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.options.queue_entries = 2;
    let (log, faults) = fixture.held().await;
    let submit = |number: u64| {
        let log = log.clone();
        tokio::spawn(async move { log.submit(body(number)).await })
    };
    let blocker = submit(0);
    taken(&log).await;
    let waiting = [submit(1), submit(2)];
    queued(&log, 2).await;
    let refused = log.submit(body(3)).await.unwrap_err();
    assert!(
        matches!(refused, Error::Overloaded { entries: 2, .. }),
        "{refused}"
    );
    faults.release();
    assert!(blocker.await.unwrap().is_ok());
    for waiting in waiting {
        waiting.await.unwrap().unwrap();
    }
    assert!(!log.submit(body(3)).await.unwrap().duplicate);
    log.shutdown().await;
}

/// A remote key that can be out of reach, or answer with nonsense.
#[derive(Debug)]
struct RemoteSigner {
    inner: MemorySigner,
    away: AtomicBool,
    lies: AtomicBool,
}

impl Signer for RemoteSigner {
    fn public_key(&self) -> &PublicKey {
        self.inner.public_key()
    }

    fn algorithm(&self) -> Algorithm {
        self.inner.algorithm()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.away.load(Ordering::SeqCst) {
                return Err(SignError::Unavailable {
                    detail: "no route".into(),
                });
            }
            let lies = self.lies.load(Ordering::SeqCst);
            self.inner
                .sign(if lies { b"something else" } else { message })
                .await
        })
    }

    fn sign_digest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.inner.sign_digest(digest)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_away_or_lies_costs_the_batch_and_nothing_else() {
    let mut fixture = Fixture::new(Kind::Rekor);
    let inner = MemorySigner::new(PrivateKey::generate(KeyType::Ed25519).unwrap());
    let signer = Arc::new(RemoteSigner {
        inner,
        away: AtomicBool::new(false),
        lies: AtomicBool::new(false),
    });
    fixture.signer = signer.clone();
    let log = fixture.open().await;
    log.submit(body(0)).await.unwrap();
    for fault in [&signer.away, &signer.lies] {
        fault.store(true, Ordering::SeqCst);
        let refused = log.submit(body(1)).await.unwrap_err();
        assert!(matches!(refused, Error::Signer(_)), "{refused}");
        fault.store(false, Ordering::SeqCst);
    }
    let receipt = log.submit(body(1)).await.unwrap();
    assert_eq!((receipt.index, receipt.duplicate), (1, false));
    log.shutdown().await;
    fixture.open().await.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_wrong_type_is_refused_at_the_door() {
    let mut fixture = Fixture::new(Kind::Ct);
    fixture.signer = Arc::new(MemorySigner::new(
        PrivateKey::generate(KeyType::Ed25519).unwrap(),
    ));
    let refused = fixture
        .try_open_at(fixture.folder.path())
        .await
        .unwrap_err();
    assert!(matches!(refused, Error::Config { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_and_roots_of_every_earlier_tree_are_given() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    submit_all(&log, 0..520).await;
    log.shutdown().await;
    let log = fixture.open().await;
    let stored = log.stored_range(0, 520).await.unwrap();
    let leaves: Vec<Hash> = stored.iter().map(|stored| leaf_hash(stored)).collect();
    for size in [1u64, 2, 255, 256, 257, 511, 512, 519, 520] {
        let root = log.root_at(size).await.unwrap();
        assert_eq!(root, merkle_tree_hash(&leaves[..size as usize]));
        for index in [0, size / 2, size - 1] {
            let proof = log.inclusion_proof(index, size).await.unwrap();
            verify_inclusion(index, size, &leaves[index as usize], &proof, &root).unwrap();
        }
        let proof = log.consistency_proof(size, 520).await.unwrap();
        verify_consistency(size, &root, 520, &log.tree_head().root, &proof).unwrap();
    }
    assert!(matches!(
        log.inclusion_proof(0, 521).await,
        Err(Error::NotInTree(_))
    ));
    assert!(matches!(
        log.inclusion_proof(520, 520).await,
        Err(Error::NotInTree(_))
    ));
    assert!(matches!(
        log.consistency_proof(3, 521).await,
        Err(Error::NotInTree(_))
    ));
    assert!(matches!(log.root_at(521).await, Err(Error::NotInTree(_))));
    assert!(matches!(log.stored(520).await, Err(Error::NotInTree(_))));
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_names_the_file_that_is_wrong() {
    let fixture = Fixture::new(Kind::Rekor);
    let log = fixture.open().await;
    for chunk in 0..7 {
        submit_all(&log, chunk * 10_000..(chunk + 1) * 10_000).await;
    }
    log.shutdown().await;
    let report = fsck(fixture.folder.path()).unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    assert_eq!(
        (report.size, report.entries, report.tiles),
        (70_000, 70_000, 273 + 1)
    );
    assert_eq!(report.origin, ORIGIN);

    let files = [
        "public/checkpoint",
        "public/tile/0/007",
        "public/tile/1/000",
        "public/tile/entries/007",
        "public/tile/entries/273.p/112",
        "public/tile/0/273.p/112",
        "public/tile/1/001.p/17",
        "public/tile/2/000.p/1",
    ];
    for file in files {
        let path = fixture.path(file);
        let sound = std::fs::read(&path).unwrap();
        let mut wrong = sound.clone();
        wrong[20] ^= 1;
        std::fs::write(&path, wrong).unwrap();
        let report = fsck(fixture.folder.path()).unwrap();
        assert!(
            report.faults.iter().any(|fault| fault.file == file),
            "{file}: {:?}",
            report.faults
        );
        std::fs::remove_file(&path).unwrap();
        let report = fsck(fixture.folder.path()).unwrap();
        let optional = file.contains(".p/") || file.ends_with("checkpoint");
        assert_eq!(
            report.faults.iter().any(|fault| fault.file == file),
            !optional,
            "{file}: {:?}",
            report.faults
        );
        std::fs::write(&path, sound).unwrap();
    }
    assert!(fsck(fixture.folder.path()).unwrap().is_sound());
    let mut runs = 0;
    for run in std::fs::read_dir(fixture.path("dedup")).unwrap() {
        let path = run.unwrap().path();
        let sound = std::fs::read(&path).unwrap();
        for position in [20, sound.len() - 20] {
            let mut wrong = sound.clone();
            wrong[position] ^= 1;
            std::fs::write(&path, wrong).unwrap();
            let report = fsck(fixture.folder.path()).unwrap();
            let named: Vec<_> = report.faults.iter().map(|fault| &fault.file).collect();
            assert_eq!(
                named,
                [path
                    .strip_prefix(fixture.folder.path())
                    .unwrap()
                    .to_str()
                    .unwrap()]
            );
        }
        std::fs::write(&path, sound).unwrap();
        runs += 1;
    }
    assert!(runs > 0, "70,000 entries make at least one run");
    assert!(matches!(
        fsck(&fixture.path("public")),
        Err(Error::NotALog { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn fsck_misses_an_issuer_that_an_entry_names() {
    let fixture = Fixture::new(Kind::Ct);
    let log = fixture.open().await;
    let fingerprint = log.store_issuer(b"issuer").await.unwrap();
    let receipts = join_all((0..300).map(|number| log.submit(certificate(number)))).await;
    assert!(receipts.iter().all(Result::is_ok));
    log.shutdown().await;
    fixture.audit_files();
    let file = format!("public/issuer/{}", hex::encode(fingerprint));
    std::fs::write(fixture.path(&file), b"another").unwrap();
    assert_eq!(fsck(fixture.folder.path()).unwrap().faults[0].file, file);
    std::fs::remove_file(fixture.path(&file)).unwrap();
    assert_eq!(fsck(fixture.folder.path()).unwrap().faults[0].file, file);
}

/// On a real file system that is really full. Give one of 40 MB or so, for example a small tmpfs.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a small, empty file system in SEALWRIGHT_SMALL_DISK"]
async fn a_disk_that_is_really_full_refuses_entries_and_corrupts_nothing() {
    let place = std::env::var_os("SEALWRIGHT_SMALL_DISK").expect("SEALWRIGHT_SMALL_DISK");
    let ballast = Path::new(&place).join("ballast");
    std::fs::write(&ballast, vec![0; 10 << 20]).unwrap();
    let mut fixture = Fixture::new(Kind::Rekor);
    fixture.folder = tempfile::tempdir_in(&place).unwrap();
    let log = fixture.open().await;
    let large = |number: u64| BodyLeaf::new(format!("{number:>10}").repeat(5000)).unwrap();
    let mut receipts = Vec::new();
    let refused = loop {
        match log.submit(large(receipts.len() as u64)).await {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, Error::StorageFull | Error::Overloaded { .. }),
        "{refused}"
    );
    assert!(receipts.len() > 100);
    let image = crash_image(fixture.folder.path());
    std::fs::remove_file(&ballast).unwrap();
    fixture.clock.advance_ms(1100);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    receipts.push(log.submit(body(1)).await.unwrap());
    audit_tree(&fixture, &log).await;
    log.shutdown().await;
    fixture.audit_files();
    let recovered = fixture.try_open_at(image.path()).await.unwrap();
    for receipt in receipts.iter().rev().skip(1) {
        fixture.audit_later(&recovered, receipt).await;
    }
    recovered.shutdown().await;
}
