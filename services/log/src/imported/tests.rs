//! Claims about imports, with logs of our own engine under other keys and other notes.

use std::sync::Arc;

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
use sealwright_host::clock::ManualClock;
use sealwright_tlog::ct::CtEntry;
use sealwright_tlog::{Note, note};
use tempfile::TempDir;

use super::*;
use crate::{BodyLeaf, CertificateLeaf, EngineOptions, EngineParts};

const NOW: i64 = 1_800_000_000;
const ORIGIN: &str = "log.other.example";

fn clock() -> SharedClock {
    Arc::new(ManualClock::at(NOW))
}

fn signer(key_type: KeyType) -> MemorySigner {
    MemorySigner::new(PrivateKey::generate(key_type).unwrap())
}

/// A log that another process wrote: its folder, and its key.
struct Source {
    folder: TempDir,
    plan: ImportPlan,
    size: u64,
    root: Hash,
}

impl Source {
    async fn of(kind: Kind, key_type: KeyType, entries: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = signer(key_type);
        let identity = LogIdentity {
            name: "theirs".into(),
            kind,
            origin: ORIGIN.into(),
        };
        let options = EngineOptions {
            create: true,
            segment_bytes: 16 << 20,
            ..EngineOptions::default()
        };
        let parts = EngineParts {
            signer: Arc::new(signer.clone()),
            clock: clock(),
            metrics: Metrics::default(),
            cosigner: None,
        };
        let log = Log::open(folder.path(), identity, options, parts)
            .await
            .unwrap();
        let submitted = (0..entries).map(|number| {
            let log = log.clone();
            async move {
                match kind {
                    Kind::Rekor => {
                        let leaf = BodyLeaf::new(format!("entry {number}")).unwrap();
                        log.submit(leaf).await.unwrap();
                    }
                    Kind::Ct => {
                        let issuer = log.store_issuer(b"an issuer").await.unwrap();
                        let certificate = format!("certificate {number}").into_bytes();
                        let entry = CtEntry::X509 { certificate };
                        let leaf = CertificateLeaf::new(entry, vec![issuer]).unwrap();
                        log.submit(leaf).await.unwrap();
                    }
                }
            }
        });
        futures::future::join_all(submitted).await;
        let head = log.tree_head();
        let vkey = log.key().to_vkey().unwrap();
        log.shutdown().await;
        let plan = ImportPlan {
            from: folder.path().join("public").display().to_string(),
            vkey,
            origin: ORIGIN.into(),
            name: "ours".into(),
            kind,
        };
        Self {
            folder,
            plan,
            size: head.size,
            root: head.root,
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join("public").join(below)
    }

    /// Puts another note under the same tree.
    async fn sign_again(&mut self, key_type: KeyType, name: &str, extensions: &[&str]) {
        let private = PrivateKey::generate(key_type).unwrap();
        let key = NoteKey::for_log(name, private.public_key().clone()).unwrap();
        let signer = MemorySigner::with_algorithm(private, key.algorithm()).unwrap();
        let mut checkpoint = Checkpoint::new(ORIGIN, self.size, self.root);
        checkpoint.extensions = extensions.iter().map(|line| (*line).to_owned()).collect();
        let text = checkpoint.to_text();
        let mut note = Note::new(text.clone()).unwrap();
        let stranger = self::signer(KeyType::Ed25519);
        let other = NoteKey::for_log("witness.example", stranger.public_key().clone()).unwrap();
        note.push(note::sign(&text, &other, &stranger, 0).await.unwrap());
        note.push(note::sign(&text, &key, &signer, 0).await.unwrap());
        std::fs::write(self.path("checkpoint"), note.to_string()).unwrap();
        self.plan.vkey = key.to_vkey().unwrap();
    }

    async fn import(&self, into: &Path) -> Result<Imported, Error> {
        import(&self.plan, into, NOW, |_, _| {}).await
    }
}

async fn open_at(folder: &Path) -> Log {
    open(
        folder.join("ours"),
        "ours".into(),
        Metrics::default(),
        clock(),
    )
    .await
    .unwrap()
}

/// Whether the log proves its first, a middle and its last entry, and finds them by their hashes.
async fn proves(log: &Log, source: &Source) {
    let head = log.tree_head();
    assert_eq!((head.size, head.root), (source.size, source.root));
    for index in [0, source.size / 2, source.size - 1] {
        let stored = log.stored(index).await.unwrap();
        let leaf = source.plan.kind.facts(&stored).unwrap().leaf_hash;
        let proof = log.inclusion_proof(index, head.size).await.unwrap();
        sealwright_tlog::verify_inclusion(index, head.size, &leaf, &proof, &head.root).unwrap();
        assert_eq!(log.find_leaf(&leaf).await.unwrap(), Some(index));
    }
    let proof = log.consistency_proof(1, head.size).await.unwrap();
    let first = log.root_at(1).await.unwrap();
    sealwright_tlog::verify_consistency(1, &first, head.size, &head.root, &proof).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_every_key_are_imported_and_prove_their_entries() {
    let mut ed25519 = Source::of(Kind::Rekor, KeyType::Ed25519, 600).await;
    let p256 = Source::of(Kind::Rekor, KeyType::EcP256, 256).await;
    let ct = Source::of(Kind::Ct, KeyType::EcP256, 300).await;
    for source in [&ed25519, &p256, &ct] {
        let folder = tempfile::tempdir().unwrap();
        let imported = source.import(folder.path()).await.unwrap();
        assert_eq!(
            (imported.size, &imported.vkey),
            (source.size, &source.plan.vkey)
        );
        let log = open_at(folder.path()).await;
        proves(&log, source).await;
        let refused = log.submit(BodyLeaf::new("late").unwrap()).await;
        assert!(matches!(refused, Err(Error::Frozen)), "{refused:?}");
        assert!(log.frozen());
        log.shutdown().await;
    }
    // Other notes over the same tree: a key of another name, further signatures, extension lines.
    let extensions = [
        "Timestamp: 1",
        "Log frozen \u{2014} Tue Nov 24 19:13:24 UTC 2026",
    ];
    for (key_type, name) in [
        (KeyType::Rsa { bits: 2048 }, ORIGIN),
        (KeyType::Ed25519, "another.name.example"),
        (KeyType::EcP256, ORIGIN),
    ] {
        ed25519.sign_again(key_type, name, &extensions).await;
        let folder = tempfile::tempdir().unwrap();
        ed25519.import(folder.path()).await.unwrap();
        let log = open_at(folder.path()).await;
        proves(&log, &ed25519).await;
        assert_eq!(log.key().name(), name);
        let served = log.tree_head().checkpoint;
        assert_eq!(served, std::fs::read(ed25519.path("checkpoint")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_was_cut_short_goes_on_and_a_wrong_one_leaves_nothing() {
    let source = Source::of(Kind::Rekor, KeyType::Ed25519, 600).await;
    let folder = tempfile::tempdir().unwrap();
    let staging = folder.path().join("ours.importing");
    // What a first attempt had brought: the checkpoint and one bundle. The source has lost the bundle since.
    std::fs::create_dir_all(staging.join("public/tile/entries")).unwrap();
    let first = source.path("tile/entries/000");
    std::fs::copy(source.path("checkpoint"), staging.join("public/checkpoint")).unwrap();
    std::fs::copy(&first, staging.join("public/tile/entries/000")).unwrap();
    std::fs::remove_file(&first).unwrap();
    assert_eq!(source.import(folder.path()).await.unwrap().size, 600);
    assert!(!staging.exists());
    proves(&open_at(folder.path()).await, &source).await;
    let again = source.import(folder.path()).await.unwrap_err();
    assert!(again.to_string().contains("is there already"), "{again}");

    // A source that goes away leaves what there is, and nothing by the log's name.
    let elsewhere = tempfile::tempdir().unwrap();
    let mut away = source.plan.clone();
    away.from = folder.path().join("nowhere").display().to_string();
    let cut = import(&away, elsewhere.path(), NOW, |_, _| {})
        .await
        .unwrap_err();
    assert!(matches!(cut, Error::MirrorUnreachable { .. }), "{cut:?}");
    assert!(elsewhere.path().join("ours.importing").exists());
    assert!(!elsewhere.path().join("ours").exists());
    // A missing bundle is no accident of the way: nothing stays.
    let missing = source.import(elsewhere.path()).await.unwrap_err();
    assert!(
        missing.to_string().contains("tile/entries/000"),
        "{missing}"
    );
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_that_cannot_be_are_refused_before_anything_is_read() {
    let source = Source::of(Kind::Rekor, KeyType::Ed25519, 1).await;
    let ct = Source::of(Kind::Ct, KeyType::EcP256, 1).await;
    let folder = tempfile::tempdir().unwrap();
    let refused = async |change: &dyn Fn(&mut ImportPlan)| {
        let mut plan = source.plan.clone();
        change(&mut plan);
        let error = import(&plan, folder.path(), NOW, |_, _| {})
            .await
            .unwrap_err();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "{error}"
        );
        error.to_string()
    };
    assert!(
        refused(&|plan| plan.name = "../x".into())
            .await
            .contains("lower-case")
    );
    assert!(
        refused(&|plan| plan.vkey = "a+b+c".into())
            .await
            .contains("verifier key")
    );
    assert!(refused(&|plan| plan.kind = Kind::Ct).await.contains("vkey"));
    assert!(
        refused(&|plan| plan.vkey.clone_from(&ct.plan.vkey))
            .await
            .contains("vkey")
    );
    assert!(
        refused(&|plan| plan.origin = "log.else.example".into())
            .await
            .contains("checkpoint")
    );
    assert!(
        refused(&|plan| plan.from = "http://log.example".into())
            .await
            .contains("https")
    );
}
