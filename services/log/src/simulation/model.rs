//! What a log must be, kept in the simplest way: every leaf it has, every checkpoint that anybody saw, and every receipt
//! that was handed out.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use sealwright_tlog::hash::{empty_root, merkle_tree_hash, node_hash};
use sealwright_tlog::tile::{TILE_WIDTH, TileId, TileKind, hashes_at_level};
use sealwright_tlog::{Checkpoint, Hash, NoteKey, verify_inclusion};

use super::machine::Machine;
use crate::kind::Kind;
use crate::log::Receipt;
use crate::publisher::CHECKPOINT_FILE;
use crate::tree::public_path;

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation(pub(super) String);

pub(super) type Outcome<T = ()> = Result<T, Violation>;

/// Fails with a formatted violation.
macro_rules! violated {
    ($($arguments:tt)*) => {
        return Err($crate::simulation::model::Violation(format!($($arguments)*)))
    };
}
pub(super) use violated;

/// The name of the witness among those who see checkpoints.
pub(super) const WITNESS: &str = "the witness";

/// A leaf of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ModelLeaf {
    pub(super) hash: Hash,
    pub(super) identity: Hash,
    pub(super) stored: Bytes,
}

/// A receipt that somebody has.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) leaf_hash: Hash,
    pub(super) stored: Bytes,
    pub(super) attachment: Bytes,
    pub(super) tree_size: u64,
    pub(super) root: Hash,
}

/// What everybody outside knows of a log.
pub(super) struct Model {
    pub(super) kind: Kind,
    key: NoteKey,
    /// What the engine has made durable, as far as anybody was told.
    pub(super) leaves: Vec<ModelLeaf>,
    identities: HashSet<Hash>,
    /// Roots of full tiles of level 0.
    tile_roots: Vec<Hash>,
    /// By size, every checkpoint that was seen outside.
    seen: BTreeMap<u64, Hash>,
    pub(super) receipts: Vec<Kept>,
    by_entry: HashMap<u64, usize>,
    pub(super) witness: Option<Checkpoint>,
    /// The checkpoint that the witness saw last, as text.
    pub(super) witnessed: Bytes,
    /// Somebody was told that the log is frozen.
    pub(super) frozen: bool,
    /// By index, when entries were sequenced.
    times: BTreeMap<u64, u64>,
    static_partials: bool,
    /// Nobody sees anything before the witness.
    cosigned: bool,
    /// The public checkpoint whose tiles were compared last.
    compared: Option<Vec<u8>>,
}

impl Model {
    pub(super) fn new(kind: Kind, key: NoteKey, static_partials: bool, cosigned: bool) -> Self {
        Self {
            kind,
            key,
            leaves: Vec::new(),
            identities: HashSet::new(),
            tile_roots: Vec::new(),
            seen: BTreeMap::new(),
            receipts: Vec::new(),
            by_entry: HashMap::new(),
            witness: None,
            witnessed: Bytes::new(),
            frozen: false,
            times: BTreeMap::new(),
            static_partials,
            cosigned,
            compared: None,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The largest checkpoint that anybody saw.
    pub(super) fn seen_size(&self) -> u64 {
        self.seen.keys().next_back().copied().unwrap_or(0)
    }

    /// Sizes of checkpoints that somebody saw.
    pub(super) fn seen_sizes(&self) -> Vec<u64> {
        self.seen.keys().copied().collect()
    }

    pub(super) fn root_at(&self, size: u64) -> Hash {
        if size == 0 {
            return empty_root();
        }
        self.subtree(0, size as usize)
    }

    fn subtree(&self, from: usize, to: usize) -> Hash {
        let width = usize::from(TILE_WIDTH);
        match to - from {
            1 => self.leaves[from].hash,
            span if span == width && from.is_multiple_of(width) => self.tile_roots[from / width],
            span => {
                let split = from + span.next_power_of_two() / 2;
                node_hash(&self.subtree(from, split), &self.subtree(split, to))
            }
        }
    }

    /// Adds leaves that the engine has made durable.
    pub(super) fn extend(&mut self, leaves: impl IntoIterator<Item = Bytes>) -> Outcome {
        for stored in leaves {
            let facts = match self.kind.facts(&stored) {
                Ok(facts) => facts,
                Err(error) => violated!("entry {} cannot be read: {error}", self.size()),
            };
            if !self.identities.insert(facts.identity) {
                violated!("I5: entry {} is one that the log has already", self.size());
            }
            self.leaves.push(ModelLeaf {
                hash: facts.leaf_hash,
                identity: facts.identity,
                stored,
            });
            if self.leaves.len().is_multiple_of(usize::from(TILE_WIDTH)) {
                let start = self.leaves.len() - usize::from(TILE_WIDTH);
                let hashes: Vec<Hash> = self.leaves[start..].iter().map(|leaf| leaf.hash).collect();
                self.tile_roots.push(merkle_tree_hash(&hashes));
            }
        }
        Ok(())
    }

    /// Takes what the engine has after it was opened again: all that anybody saw, and perhaps more or less behind it.
    pub(super) fn recover(&mut self, leaves: Vec<Bytes>) -> Outcome {
        let seen = self.seen_size() as usize;
        if leaves.len() < seen {
            violated!(
                "I1: the log has {} entries after a restart, and {seen} were shown",
                leaves.len()
            );
        }
        let differs = self.leaves[..seen]
            .iter()
            .zip(&leaves)
            .position(|(leaf, stored)| leaf.stored != stored);
        if let Some(index) = differs {
            violated!("I4: entry {index} is another one after a restart");
        }
        self.leaves.clear();
        self.identities.clear();
        self.tile_roots.clear();
        self.extend(leaves)
    }

    /// Somebody outside saw this checkpoint.
    pub(super) fn see(&mut self, note: &[u8], by: &str) -> Outcome<Checkpoint> {
        let opened = match Checkpoint::open(note, self.key.name(), std::slice::from_ref(&self.key))
        {
            Ok(opened) => opened,
            Err(error) => violated!("a checkpoint that {by} saw does not verify: {error}"),
        };
        let checkpoint = opened.checkpoint().clone();
        let (size, root) = (checkpoint.size, checkpoint.root);
        if size > self.size() {
            violated!(
                "R2: {by} saw a checkpoint of {size} entries, of which {} are durable",
                self.size()
            );
        }
        if root != self.root_at(size) {
            violated!("I2: {by} saw another tree of {size} entries than the log's");
        }
        let witnessed = self.witness.as_ref().map_or(0, |seen| seen.size);
        if self.cosigned && by != WITNESS && size > witnessed {
            violated!(
                "R2: {by} saw a checkpoint of {size} entries, the witness one of {witnessed}"
            );
        }
        self.seen.insert(size, root);
        Ok(checkpoint)
    }

    /// Somebody gets this receipt for the entry that the driver calls `entry`.
    pub(super) fn hand_out(&mut self, entry: u64, receipt: &Receipt) -> Outcome {
        let checkpoint = self.see(receipt.checkpoint.as_bytes(), "a client")?;
        if (checkpoint.size, checkpoint.root) != (receipt.tree_size, receipt.root) {
            violated!("a receipt speaks of another tree than its checkpoint");
        }
        let proven = verify_inclusion(
            receipt.index,
            receipt.tree_size,
            &receipt.leaf_hash,
            &receipt.proof,
            &receipt.root,
        );
        if let Err(error) = proven {
            violated!(
                "I1: the proof of entry {} does not verify: {error}",
                receipt.index
            );
        }
        let Some(leaf) = self.leaves.get(receipt.index as usize) else {
            violated!(
                "I1: a receipt is for entry {}, which is not durable",
                receipt.index
            );
        };
        if leaf.stored != receipt.stored || leaf.hash != receipt.leaf_hash {
            violated!(
                "I4: the receipt of entry {} is for another one",
                receipt.index
            );
        }
        if let Some(time_ms) = receipt.timestamp_ms.filter(|_| !receipt.duplicate) {
            let before = self.times.range(..receipt.index).next_back();
            let after = self.times.range(receipt.index..).next();
            if before.is_some_and(|(_, before)| *before > time_ms)
                || after.is_some_and(|(_, after)| *after < time_ms)
            {
                violated!(
                    "entry {} has the time {time_ms}, between {before:?} and {after:?}",
                    receipt.index
                );
            }
            self.times.insert(receipt.index, time_ms);
        }
        if self.kind == Kind::Ct && receipt.attachment.is_empty() {
            violated!(
                "I5: entry {} has no signature of its timestamp",
                receipt.index
            );
        }
        if let Some(first) = self.by_entry.get(&entry).map(|at| &self.receipts[*at])
            && (first.index, &first.attachment) != (receipt.index, &receipt.attachment)
        {
            violated!(
                "I5: entry {} was promised again as {}, or with other bytes",
                first.index,
                receipt.index
            );
        }
        self.by_entry.entry(entry).or_insert(self.receipts.len());
        self.receipts.push(Kept {
            index: receipt.index,
            leaf_hash: receipt.leaf_hash,
            stored: receipt.stored.clone(),
            attachment: receipt.attachment.clone(),
            tree_size: receipt.tree_size,
            root: receipt.root,
        });
        Ok(())
    }

    /// What a web server that serves the folder would show now: a checkpoint, and every file that it implies.
    pub(super) fn look(&mut self, machine: &Machine) -> Outcome {
        let Some(note) = machine.look(CHECKPOINT_FILE) else {
            return Ok(());
        };
        let size = self.see(&note, "a reader of the files")?.size;
        if self.compared.as_ref() == Some(&note) {
            return Ok(());
        }
        let mut hashes: Vec<Hash> = self.leaves[..size as usize]
            .iter()
            .map(|leaf| leaf.hash)
            .collect();
        for level in 0.. {
            if hashes.is_empty() {
                break;
            }
            let mut above = Vec::new();
            for (index, tile) in hashes.chunks(usize::from(TILE_WIDTH)).enumerate() {
                let id = TileId {
                    kind: TileKind::Hashes(level),
                    index: index as u64,
                    width: tile.len() as u16,
                };
                self.compare(machine, id, &tile.concat(), size)?;
                if id.is_full() {
                    above.push(if level == 0 {
                        self.tile_roots[index]
                    } else {
                        merkle_tree_hash(tile)
                    });
                }
            }
            debug_assert_eq!(above.len() as u64, hashes_at_level(level + 1, size));
            hashes = above;
        }
        for (index, leaves) in self.leaves[..size as usize]
            .chunks(usize::from(TILE_WIDTH))
            .enumerate()
        {
            let id = TileId {
                kind: self.kind.bundle(),
                index: index as u64,
                width: leaves.len() as u16,
            };
            let mut bundle = Vec::new();
            for leaf in leaves {
                if let Err(error) = self.kind.put_stored(&mut bundle, &leaf.stored) {
                    violated!("a stored leaf cannot be stored: {error}");
                }
            }
            self.compare(machine, id, &bundle, size)?;
        }
        self.compared = Some(note);
        Ok(())
    }

    fn compare(&self, machine: &Machine, id: TileId, expected: &[u8], size: u64) -> Outcome {
        if !id.is_full() && !self.static_partials {
            return Ok(());
        }
        match machine.look(&public_path(id)) {
            None => violated!("I7: the checkpoint file is of {size} entries, and {id} is missing"),
            Some(bytes) if bytes != expected => {
                violated!("I7: the checkpoint file is of {size} entries, and {id} is wrong")
            }
            Some(_) => Ok(()),
        }
    }

    /// The files may have changed otherwise than by the engine.
    pub(super) fn look_again(&mut self) {
        self.compared = None;
    }

    /// The size of the public checkpoint, if there is one that this log has signed.
    pub(super) fn public_size(&self, machine: &Machine) -> u64 {
        let note = machine.look(CHECKPOINT_FILE).unwrap_or_default();
        let opened = Checkpoint::open(&note, self.key.name(), std::slice::from_ref(&self.key));
        opened.map_or(0, |opened| opened.checkpoint().size)
    }
}
