//! Everything that a client was ever told holds in what the logs serve now.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, ensure};
use sealwright_crypto::{PublicKey, base64};
use sealwright_integration_tests::{ClientView, http};
use sealwright_tlog::{
    checkpoint::Checkpoint,
    hash::{Hash, empty_root, leaf_hash, merkle_tree_hash, node_hash},
    note::{Note, NoteKey},
};
use serde_json::Value;

use super::crowd::Recorder;

/// A log read back whole: every leaf, and the checkpoint that covers them.
pub(super) struct Tree {
    pub(super) leaves: Vec<Hash>,
    pub(super) size: u64,
    root: Hash,
    note: String,
}

impl Tree {
    /// The roots that it had at these sizes, in one walk over its leaves.
    fn roots(&self, sizes: &BTreeSet<u64>) -> anyhow::Result<BTreeMap<u64, Hash>> {
        let largest = sizes.last().copied().unwrap_or_default();
        ensure!(
            largest <= self.size,
            "size {largest} of a log that has {}",
            self.size
        );
        // Whole subtrees, from the left: their width and root.
        let mut whole: Vec<(u64, Hash)> = Vec::new();
        let mut roots = BTreeMap::from([(0, empty_root())]);
        for (size, leaf) in (1_u64..).zip(&self.leaves) {
            whole.push((1, *leaf));
            while let [.., (left, one), (right, two)] = *whole.as_slice()
                && left == right
            {
                whole.truncate(whole.len() - 2);
                whole.push((left + right, node_hash(&one, &two)));
            }
            if sizes.contains(&size) {
                let joined = whole.iter().map(|(_, root)| *root).rev();
                let root = joined.reduce(|right, left| node_hash(&left, &right));
                roots.insert(size, root.context("a tree with a leaf has a subtree")?);
            }
        }
        Ok(roots)
    }
}

/// Fetches the checkpoint, verifies its signature, then every level-0 tile that it implies, and recomputes the root.
fn read_tree(base: &str, origin: &str, key: NoteKey) -> anyhow::Result<Tree> {
    let client = http();
    let note = client
        .get(format!("{base}/checkpoint"))
        .send()?
        .error_for_status()?
        .bytes()?;
    let opened = Checkpoint::open(&note, origin, &[key])?;
    let checkpoint = opened.checkpoint();
    let (size, root) = (checkpoint.size, checkpoint.root);
    let mut leaves = Vec::new();
    // Paths are written out here, so that a mistake in the server's own path writer cannot agree with itself.
    let tiles = size.div_ceil(256);
    for tile in 0..tiles {
        let width = (size - tile * 256).min(256);
        let partial = if width < 256 {
            format!(".p/{width}")
        } else {
            String::new()
        };
        let mut path = format!("{:03}", tile % 1000);
        if tile >= 1000 {
            path = format!("x{:03}/{path}", tile / 1000);
        }
        let bytes = client
            .get(format!("{base}/tile/0/{path}{partial}"))
            .send()?
            .error_for_status()?
            .bytes()?;
        ensure!(
            bytes.len() as u64 == width * 32,
            "tile {tile} has {} bytes",
            bytes.len()
        );
        leaves.extend(
            bytes
                .chunks_exact(32)
                .map(|hash| Hash::try_from(hash).expect("32 bytes")),
        );
    }
    ensure!(
        merkle_tree_hash(&leaves) == root,
        "the tiles do not give the checkpoint's root at size {size}"
    );
    let note = String::from_utf8(note.to_vec())?;
    Ok(Tree {
        leaves,
        size,
        root,
        note,
    })
}

fn log_key(trusted_root: &Value, kind: &str) -> anyhow::Result<PublicKey> {
    let raw = trusted_root[kind][0]["publicKey"]["rawBytes"]
        .as_str()
        .context("rawBytes")?;
    Ok(PublicKey::from_spki_der(&base64::decode(raw)?)?)
}

/// What logs are to clients: where they answer, and under which keys.
pub(super) struct Logs {
    log: (String, String, NoteKey),
    ct: (String, String, NoteKey),
}

impl Logs {
    /// By the files that clients trust; the signature log's origin is a host.
    pub(super) fn of(view: &ClientView, log_origin: &str) -> anyhow::Result<Self> {
        let root: Value =
            serde_json::from_slice(&fs::read(view.client_file("trusted_root.json"))?)?;
        let (log, ct) = (log_key(&root, "tlogs")?, log_key(&root, "ctlogs")?);
        let ct_origin = view.endpoints().ct.trim_start_matches("http://").to_owned();
        Ok(Self {
            log: (
                format!("{}/api/v2", view.endpoints().log),
                log_origin.to_owned(),
                NoteKey::for_log(log_origin, log)?,
            ),
            ct: (
                view.endpoints().ct.clone(),
                ct_origin.clone(),
                NoteKey::for_ct_log(&ct_origin, ct)?,
            ),
        })
    }

    pub(super) fn read(&self) -> anyhow::Result<(Tree, Tree)> {
        let read =
            |(base, origin, key): &(String, String, NoteKey)| read_tree(base, origin, key.clone());
        Ok((read(&self.log)?, read(&self.ct)?))
    }
}

/// What was audited before need not be verified again, only still be there.
#[derive(Default)]
pub(super) struct Auditor {
    /// Every checkpoint that was seen: name of the log, size, root.
    heads: BTreeMap<(&'static str, u64), Hash>,
    receipts: usize,
    notes: usize,
}

impl Auditor {
    /// Audits both logs. `witness` is the one without which nothing may have been shown.
    pub(super) fn audit(
        &mut self,
        logs: &Logs,
        recorder: &Recorder,
        witness: Option<&NoteKey>,
    ) -> anyhow::Result<()> {
        let (log, ct) = logs.read()?;
        self.take_notes(logs, recorder, witness)?;
        for (name, tree) in [("log", &log), ("ct", &ct)] {
            if let Some(witness) = witness {
                cosigned(&tree.note, witness)?;
            }
            self.head(name, tree.size, tree.root)?;
            self.extends(name, tree)?;
        }
        receipts_hold(recorder, &log)?;
        for promise in recorder.promises.lock().expect("lock").iter() {
            let stored = ct.leaves.get(usize::try_from(promise.index)?);
            ensure!(
                stored == Some(&leaf_hash(&promise.leaf)),
                "SCT {} is not in the log",
                promise.index
            );
        }
        Ok(())
    }

    /// A checkpoint that somebody saw; two of one size must be the same.
    fn head(&mut self, name: &'static str, size: u64, root: Hash) -> anyhow::Result<()> {
        let first = *self.heads.entry((name, size)).or_insert(root);
        ensure!(first == root, "the {name} was forked at size {size}");
        Ok(())
    }

    /// Verifies the checkpoints that came since the last audit.
    fn take_notes(
        &mut self,
        logs: &Logs,
        recorder: &Recorder,
        witness: Option<&NoteKey>,
    ) -> anyhow::Result<()> {
        let receipts = recorder.receipts.lock().expect("lock");
        let new = receipts.get(self.receipts..).unwrap_or_default();
        for receipt in new {
            self.head("log", receipt.size, receipt.root)?;
        }
        let notes = recorder.notes.lock().expect("lock");
        let of_receipts = new.iter().map(|one| ("log", one.checkpoint.as_str()));
        let seen = notes.get(self.notes..).unwrap_or_default();
        let seen = seen.iter().map(|(name, note)| (*name, note.as_str()));
        for (name, note) in of_receipts.chain(seen) {
            let (_, origin, key) = if name == "log" { &logs.log } else { &logs.ct };
            let opened = Checkpoint::open(note.as_bytes(), origin, std::slice::from_ref(key))?;
            self.head(name, opened.checkpoint().size, opened.checkpoint().root)?;
            if let Some(witness) = witness {
                cosigned(note, witness)?;
            }
        }
        (self.receipts, self.notes) = (receipts.len(), notes.len());
        Ok(())
    }

    /// The log is an extension of every checkpoint that was seen.
    fn extends(&self, name: &'static str, tree: &Tree) -> anyhow::Result<()> {
        let heads = self.heads.range((name, 0)..=(name, u64::MAX));
        let sizes = heads.clone().map(|((_, size), _)| *size).collect();
        let roots = tree
            .roots(&sizes)
            .with_context(|| format!("the {name} shrank"))?;
        for ((_, size), root) in heads {
            ensure!(
                roots.get(size) == Some(root),
                "the {name} does not extend its checkpoint of size {size}"
            );
        }
        Ok(())
    }
}

/// Each receipt's entry is where it says, and no index was given to two entries.
fn receipts_hold(recorder: &Recorder, log: &Tree) -> anyhow::Result<()> {
    for receipt in recorder.receipts.lock().expect("lock").iter() {
        let stored = log.leaves.get(usize::try_from(receipt.index)?);
        ensure!(
            stored == Some(&leaf_hash(&receipt.body)),
            "receipt {} is not in the log of size {}",
            receipt.index,
            log.size
        );
    }
    Ok(())
}

fn cosigned(note: &str, witness: &NoteKey) -> anyhow::Result<()> {
    let note = Note::parse(note.as_bytes())?;
    let verified = note.verify(std::slice::from_ref(witness));
    verified.with_context(|| format!("shown without the witness: {note}"))?;
    Ok(())
}
