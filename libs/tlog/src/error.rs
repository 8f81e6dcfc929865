//! What can be wrong with bytes that claim to come from a log.

/// One variant per decision a caller can take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The index, or the pair of sizes, does not exist in the tree. The caller asked for the wrong thing.
    #[error("{what} {value} is outside the tree: at most {limit} is possible")]
    OutsideTree {
        /// What was asked for, in the words of the RFC ("leaf index", "tree size").
        what: &'static str,
        /// The number given.
        value: u64,
        /// The largest number that would have been accepted.
        limit: u64,
    },
    /// A proof has a number of hashes that no proof for this index and size has.
    #[error("the {proof} proof has {actual} hashes where exactly {expected} are needed")]
    ProofLength {
        /// "inclusion" or "consistency".
        proof: &'static str,
        /// How many hashes a proof of this shape has.
        expected: usize,
        /// How many were given.
        actual: usize,
    },
    /// The proof leads to another root than the one that was signed: the leaf is not in that tree, or the trees fork.
    #[error("the {proof} proof leads to another root hash")]
    RootMismatch {
        /// "inclusion" or "consistency".
        proof: &'static str,
    },
    /// A signed note or one of its lines does not follow the grammar.
    #[error("malformed signed note: {0}")]
    MalformedNote(&'static str),
    /// The text of a note is not a checkpoint.
    #[error("malformed checkpoint: {0}")]
    MalformedCheckpoint(&'static str),
    /// The checkpoint is of another log.
    #[error("the checkpoint's origin is {actual:?}, expected {expected:?}")]
    WrongOrigin {
        /// The origin that was asked for.
        expected: String,
        /// The origin line found.
        actual: String,
    },
    /// A signature by a known key is wrong. The whole note must be refused: somebody tampered with it.
    #[error(
        "the signature of {name:?} (key id {}) on the note does not verify",
        hex::encode(key_id)
    )]
    BadSignature {
        /// The key name on the signature line.
        name: String,
        /// The key id on the signature line.
        key_id: [u8; 4],
    },
    /// None of the keys that were offered signed the note.
    #[error("none of the {known} known keys signed the note")]
    NoKnownSignature {
        /// How many keys were offered.
        known: usize,
    },
    /// A verifier key text, or the key for a given signature type, is not usable.
    #[error("unusable note key: {0}")]
    UnusableKey(&'static str),
    /// A witness policy does not follow its grammar, or contradicts itself.
    #[error("witness policy, line {line}: {what}")]
    WitnessPolicy {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, or what was expected.
        what: &'static str,
    },
    /// A tile path does not follow the layout.
    #[error("malformed tile path: {0}")]
    MalformedPath(&'static str),
    /// An entry bundle, a data tile or a leaf does not follow its encoding.
    #[error("malformed {what}: {problem}")]
    Malformed {
        /// Which structure.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Something is longer than its length field can say, or than the cap.
    #[error("{what} is {actual} bytes long; at most {limit} are allowed")]
    TooLong {
        /// Which field or structure.
        what: &'static str,
        /// Its length.
        actual: usize,
        /// The limit.
        limit: usize,
    },
}
