//! Offline proofs of inclusion as text (C2SP tlog-proof): index, inclusion proof and the signed checkpoint in one file.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>          (may be absent)
//! index <decimal>
//! <base64 of a hash>      (one line for each hash of the proof)
//!
//! <signed checkpoint>
//! ```
//!
//! A proof says where a leaf is, not which one: whoever verifies it computes the leaf hash from what he has.

use std::fmt;

use sealwright_crypto::base64;

use crate::checkpoint::{Checkpoint, OpenedCheckpoint};
use crate::error::Error;
use crate::hash::Hash;
use crate::note::{MAX_NOTE_BYTES, Note, NoteKey};
use crate::proof::verify_inclusion;
use crate::witness_policy::{WitnessPolicy, Witnessed};

/// First line of a proof.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Extension of files that hold a proof.
pub const FILE_EXTENSION: &str = "tlog-proof";
/// Most hashes an inclusion proof can have: one for each bit of an index.
pub const MAX_HASHES: usize = 64;
/// Longest extra data that is read or written, bytes.
pub const MAX_EXTRA_BYTES: usize = 64 * 1024;
/// Longest proof that is read: a checkpoint, extra data in base64, 64 hashes of 44 characters, and the fixed words.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + MAX_EXTRA_BYTES / 3 * 4 + 8 * 1024;

/// What errors call it.
const WHAT: &str = "tlog-proof";

/// A proof as it is written: nothing is checked beyond the grammar. [`TlogProof::open`] says what it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    extra: Option<Vec<u8>>,
    index: u64,
    hashes: Vec<Hash>,
    note: Note,
    /// What the note says.
    checkpoint: Checkpoint,
}

impl TlogProof {
    /// A proof without extra data. `note` is the signed checkpoint of the tree that `hashes` lead to.
    ///
    /// # Errors
    /// [`Error::MalformedCheckpoint`] when `note` is none; [`Error::OutsideTree`] when the tree has no such leaf;
    /// [`Error::Malformed`] for more than [`MAX_HASHES`].
    pub fn new(index: u64, hashes: Vec<Hash>, note: Note) -> Result<Self, Error> {
        let checkpoint = Checkpoint::parse(note.text())?;
        require_leaf(index, &checkpoint)?;
        if hashes.len() > MAX_HASHES {
            return Err(malformed("it has more than 64 hashes"));
        }
        Ok(Self {
            extra: None,
            index,
            hashes,
            note,
            checkpoint,
        })
    }

    /// Adds opaque data for the application, in place of what there was. It is not authenticated.
    ///
    /// # Errors
    /// [`Error::TooLong`] beyond [`MAX_EXTRA_BYTES`].
    pub fn with_extra(mut self, extra: Vec<u8>) -> Result<Self, Error> {
        require_extra(extra.len())?;
        self.extra = Some(extra);
        Ok(self)
    }

    /// Reads a proof. Strict: what is written back is what was read.
    ///
    /// # Errors
    /// [`Error::Malformed`] for what the grammar does not allow, the errors of [`Note::parse`] and [`Checkpoint::parse`] for
    /// its checkpoint, [`Error::OutsideTree`] for an index that the checkpoint's tree does not have.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(Error::TooLong {
                what: WHAT,
                actual: bytes.len(),
                limit: MAX_PROOF_BYTES,
            });
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        // The note has empty lines of its own; the first one of the file is the one that ends the proof.
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(malformed("it has no empty line before a checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = extra.map(parse_extra).transpose()?;
        let index = parse_index(lines.next().unwrap_or_default())?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() == MAX_HASHES {
                return Err(malformed("it has more than 64 hashes"));
            }
            hashes.push(parse_hash(line)?);
        }
        let proof = Self::new(index, hashes, Note::parse(note.as_bytes())?)?;
        match extra {
            Some(extra) => proof.with_extra(extra),
            None => Ok(proof),
        }
    }

    /// The data for the application, if there is any. Nobody vouches for it.
    pub fn extra(&self) -> Option<&[u8]> {
        self.extra.as_deref()
    }

    /// Index of the leaf.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The inclusion proof, leaf to root, both ends left out.
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// The signed checkpoint, not verified.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// What the checkpoint says, not verified.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Verifies that the log of `origin` vouches for a tree that has the leaf with `leaf_hash` at the proof's index: the
    /// checkpoint is signed by one of `keys`, and the inclusion proof leads to its root.
    ///
    /// Whether witnesses saw that tree is [`TlogProof::open_witnessed`]'s question.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] and [`verify_inclusion`].
    pub fn open(
        &self,
        leaf_hash: &Hash,
        origin: &str,
        keys: &[NoteKey],
    ) -> Result<OpenedCheckpoint, Error> {
        let opened = Checkpoint::open(self.note.to_string().as_bytes(), origin, keys)?;
        let Checkpoint { size, root, .. } = opened.checkpoint();
        verify_inclusion(self.index, *size, leaf_hash, &self.hashes, root)?;
        Ok(opened)
    }

    /// As [`TlogProof::open`] with the policy's logs as keys, and says which of its witnesses saw the tree. The caller
    /// looks at whether the quorum was reached.
    ///
    /// # Errors
    /// Those of [`TlogProof::open`] and [`WitnessPolicy::judge`].
    pub fn open_witnessed(
        &self,
        leaf_hash: &Hash,
        origin: &str,
        policy: &WitnessPolicy,
    ) -> Result<(OpenedCheckpoint, Witnessed), Error> {
        let opened = self.open(leaf_hash, origin, policy.logs())?;
        let witnessed = policy.judge(opened.note())?;
        Ok((opened, witnessed))
    }
}

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64::encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", base64::encode(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

fn malformed(problem: &'static str) -> Error {
    Error::Malformed {
        what: WHAT,
        problem,
    }
}

fn require_leaf(index: u64, checkpoint: &Checkpoint) -> Result<(), Error> {
    if index < checkpoint.size {
        return Ok(());
    }
    Err(Error::OutsideTree {
        what: "leaf index",
        value: index,
        limit: checkpoint.size.saturating_sub(1),
    })
}

fn require_extra(actual: usize) -> Result<(), Error> {
    if actual <= MAX_EXTRA_BYTES {
        return Ok(());
    }
    Err(Error::TooLong {
        what: "extra data of a tlog-proof",
        actual,
        limit: MAX_EXTRA_BYTES,
    })
}

fn parse_extra(line: &str) -> Result<Vec<u8>, Error> {
    let text = line.strip_prefix("extra ").unwrap_or_default();
    let extra = base64::decode(text).map_err(|_| malformed("its extra data is not base64"))?;
    require_extra(extra.len())?;
    Ok(extra)
}

fn parse_index(line: &str) -> Result<u64, Error> {
    const BAD: Error = Error::Malformed {
        what: WHAT,
        problem: "it has no line \"index\" with a decimal number without leading zeros",
    };
    let digits = line.strip_prefix("index ").ok_or(BAD)?;
    let index: u64 = digits.parse().map_err(|_| BAD)?;
    // One number, one spelling.
    if index.to_string() == digits {
        Ok(index)
    } else {
        Err(BAD)
    }
}

fn parse_hash(line: &str) -> Result<Hash, Error> {
    let bytes = base64::decode(line).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(malformed(
            "a line of the proof is not the base64 of 32 bytes",
        ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sealwright_crypto::{KeyType, PrivateKey};

    use super::*;
    use crate::hash::{leaf_hash, merkle_tree_hash, node_hash};
    use crate::note::SignatureKind;

    const ORIGIN: &str = "log.example";

    struct World {
        keys: Vec<NoteKey>,
        leaf: Hash,
        proof: TlogProof,
    }

    /// The second of three leaves, and the checkpoint of their tree.
    fn world() -> World {
        let leaves = [b"a", b"b", b"c"].map(|data| leaf_hash(data));
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let key = NoteKey::for_log(ORIGIN, private.public_key().clone()).unwrap();
        let text = Checkpoint::new(ORIGIN, 3, merkle_tree_hash(&leaves)).to_text();
        let raw = private.sign(key.algorithm(), &key.message(&text, 0).unwrap());
        let mut note = Note::new(text).unwrap();
        note.push(key.signature(&raw.unwrap(), 0).unwrap());
        let proof = TlogProof::new(1, vec![leaves[0], leaves[2]], note).unwrap();
        World {
            keys: vec![key],
            leaf: leaves[1],
            proof,
        }
    }

    #[test]
    fn a_proof_that_is_read_back_verifies() {
        let World { keys, leaf, proof } = world();
        for proof in [proof.clone(), proof.with_extra(b"\0any".to_vec()).unwrap()] {
            let text = proof.to_string();
            let read = TlogProof::parse(text.as_bytes()).unwrap();
            assert_eq!(read, proof);
            let opened = read.open(&leaf, ORIGIN, &keys).unwrap();
            assert_eq!(opened.checkpoint().size, 3);
        }
    }

    #[test]
    fn another_leaf_key_or_origin_is_refused() {
        let World { keys, leaf, proof } = world();
        assert_eq!(
            proof.open(&leaf_hash(b"c"), ORIGIN, &keys),
            Err(Error::RootMismatch { proof: "inclusion" })
        );
        let foreign = world().keys;
        assert!(matches!(
            proof.open(&leaf, ORIGIN, &foreign),
            Err(Error::NoKnownSignature { .. })
        ));
        assert!(matches!(
            proof.open(&leaf, "other.example", &keys),
            Err(Error::WrongOrigin { .. })
        ));
        let short = TlogProof::new(1, vec![proof.hashes()[0]], proof.note().clone()).unwrap();
        assert!(matches!(
            short.open(&leaf, ORIGIN, &keys),
            Err(Error::ProofLength { .. })
        ));
        let elsewhere = TlogProof::new(0, proof.hashes().to_vec(), proof.note().clone()).unwrap();
        assert!(elsewhere.open(&leaf, ORIGIN, &keys).is_err());
    }

    #[test]
    fn the_quorum_of_a_policy_is_told() {
        let World {
            keys,
            leaf,
            mut proof,
        } = world();
        let private = PrivateKey::generate(KeyType::Ed25519).unwrap();
        let witness = NoteKey::new(
            "w.example",
            SignatureKind::CosignatureV1,
            private.public_key().clone(),
        )
        .unwrap();
        let policy = format!(
            "log {}\nwitness w {}\nquorum w\n",
            keys[0].to_vkey().unwrap(),
            witness.to_vkey().unwrap()
        );
        let policy = WitnessPolicy::parse(policy.as_bytes()).unwrap();
        let (_, alone) = proof.open_witnessed(&leaf, ORIGIN, &policy).unwrap();
        assert!(!alone.quorum_met);
        let time_ms = 1_800_000_000_000;
        let message = witness.message(proof.note.text(), time_ms).unwrap();
        let raw = private.sign(witness.algorithm(), &message).unwrap();
        proof.note.push(witness.signature(&raw, time_ms).unwrap());
        let read = TlogProof::parse(proof.to_string().as_bytes()).unwrap();
        let (_, seen) = read.open_witnessed(&leaf, ORIGIN, &policy).unwrap();
        assert!(seen.quorum_met);
    }

    #[test]
    fn what_is_not_written_so_is_refused() {
        let good = world().proof.to_string();
        let note = good.split_once("\n\n").unwrap().1;
        let hash = base64::encode(&[7; 32]);
        let refused = [
            String::new(),
            good.replace("@v1", "@v2"),
            good.replace("c2sp", " c2sp"),
            good.replace("index 1", "index 01"),
            good.replace("index 1", "index +1"),
            good.replace("index 1", "index -1"),
            good.replace("index 1", "index  1"),
            good.replace("index 1", "index 18446744073709551616"),
            good.replace("index 1", "index 3"),
            good.replace("index 1", "Index 1"),
            good.replace("index 1\n", ""),
            good.replace("index 1", "extra"),
            good.replace("index 1", "extra !\nindex 1"),
            good.replace("index 1", "extra AA\nindex 1"),
            good.replace("index 1", "extra AA==\nextra AA==\nindex 1"),
            good.replace("index 1\n", "index 1\nextra AA==\n"),
            good.replace('\n', "\r\n"),
            good.replacen("\n\n", "\n\n\n", 1),
            good.trim_end().to_owned(),
            format!("{good}\n"),
            format!("{HEADER}\nindex 1\n{}\n\n{note}", &hash[..43]),
            format!("{HEADER}\nindex 1\n{hash} \n\n{note}"),
            format!(
                "{HEADER}\nindex 1\n{}\n{note}",
                format!("{hash}\n").repeat(65)
            ),
            format!("{HEADER}\nindex 1\n\nno checkpoint\n"),
            format!("{HEADER}\nindex 0\n"),
        ];
        for text in refused {
            assert!(
                TlogProof::parse(text.as_bytes()).is_err(),
                "{text:?} was read"
            );
        }
        let long = format!("{HEADER}\nextra {}\n", "A".repeat(MAX_PROOF_BYTES));
        assert!(matches!(
            TlogProof::parse(long.as_bytes()),
            Err(Error::TooLong { .. })
        ));
        assert!(matches!(
            world().proof.with_extra(vec![0; MAX_EXTRA_BYTES + 1]),
            Err(Error::TooLong { .. })
        ));
    }

    #[test]
    fn the_largest_proof_is_read() {
        let World { proof, .. } = world();
        let hashes = vec![node_hash(&[1; 32], &[2; 32]); MAX_HASHES];
        let proof = TlogProof::new(1, hashes, proof.note().clone()).unwrap();
        let proof = proof.with_extra(vec![0; MAX_EXTRA_BYTES]).unwrap();
        assert_eq!(TlogProof::parse(proof.to_string().as_bytes()), Ok(proof));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            extra in proptest::option::of("[A-Za-z0-9+/]{0,12}={0,2}"),
            index in "[0-9]{1,3}",
            lines in prop::collection::vec("[A-Za-z0-9+/]{40,44}=?", 0..3),
        ) {
            let extra = extra.map(|text| format!("extra {text}\n")).unwrap_or_default();
            let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let text = format!("{HEADER}\n{extra}index {index}\n{lines}\n{}", world().proof.note());
            if let Ok(proof) = TlogProof::parse(text.as_bytes()) {
                prop_assert_eq!(proof.to_string(), text);
            }
        }
    }
}
