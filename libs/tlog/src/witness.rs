//! The rules of a witness (C2SP tlog-witness), and the messages between it and a log.
//!
//! A witness cosigns a checkpoint when it extends the one it cosigned last. Everything that decides is here, without
//! storage or network: whoever keeps the state asks [`AddCheckpoint::authenticate`] first, which costs a signature check and
//! needs no state, and then [`SignedCheckpoint::extends`] with the state read in the same transaction that stores the
//! new one. Between reading and storing nobody else may store, or the witness forgets leaves.

use std::fmt;

use sealwright_crypto::{base64, sha256};

use crate::checkpoint::Checkpoint;
use crate::cosignature;
use crate::error::Error;
use crate::hash::{HASH_LEN, Hash, empty_root};
use crate::note::{MAX_NOTE_BYTES, MAX_SIGNATURES, Note, NoteKey, NoteSignature};
use crate::proof::verify_consistency;

/// The most hashes that a consistency proof between two 64-bit sizes needs, and the most lines that are read.
pub const MAX_PROOF_LINES: usize = 63;
/// The longest request: the line of the old size (25 bytes), [`MAX_PROOF_LINES`] hashes of 44 bytes and a line end, the
/// empty line, and a note.
pub const MAX_REQUEST_BYTES: usize = 25 + MAX_PROOF_LINES * 45 + 1 + MAX_NOTE_BYTES;
/// Content type of the answer 409, whose body is [`size_body`].
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";
/// The longest answer that a client reads: 16 lines of ML-DSA-44 cosignatures (2,432 bytes in base64, and a name) are below.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// A request to cosign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is believed to know.
    pub old_size: u64,
    /// Consistency proof from the old size to the checkpoint's.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub note: Note,
}

/// The last checkpoint that a witness has cosigned for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Tree size.
    pub size: u64,
    /// Root hash.
    pub root: Hash,
}

impl Seen {
    /// What is known of a log that nothing was cosigned for.
    pub fn nothing() -> Self {
        Self {
            size: 0,
            root: empty_root(),
        }
    }
}

/// Why a checkpoint is not cosigned, in the order in which it is found out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// 400: the request or its checkpoint does not follow the grammar.
    #[error("the request cannot be read: {0}")]
    Malformed(Error),
    /// 404: no key is configured for this origin.
    #[error("no log with the origin {origin:?} is known here")]
    UnknownOrigin {
        /// The first line of the checkpoint.
        origin: String,
    },
    /// 403: no known key of the log has signed the checkpoint, or one has signed something else.
    #[error("the checkpoint is not signed by the log: {0}")]
    NotSigned(Error),
    /// 400: the old size is above the new one.
    #[error("the old size {old} is above the checkpoint's size {new}")]
    OldAboveNew {
        /// The old size.
        old: u64,
        /// The checkpoint's size.
        new: u64,
    },
    /// 409: the witness knows another size than the request says.
    #[error("the last checkpoint cosigned here has {known} entries, the request begins at {old}")]
    Conflict {
        /// The old size of the request.
        old: u64,
        /// The size that the witness knows.
        known: u64,
    },
    /// 422: the checkpoint does not extend the one that was cosigned last, or the proof does not show it.
    #[error("the checkpoint is not shown to extend the last one cosigned here: {0}")]
    NotAnExtension(Error),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed(_) | Self::OldAboveNew { .. } => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownOrigin { .. } => 404,
            Self::Conflict { .. } => 409,
            Self::NotAnExtension(_) => 422,
        }
    }
}

impl AddCheckpoint {
    /// Reads a request body: `old <size>`, up to 63 lines of a hash in base64, an empty line, a signed checkpoint. Strict:
    /// the request written back is the request read.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        Self::read(body).map_err(Refusal::Malformed)
    }

    fn read(body: &[u8]) -> Result<Self, Error> {
        const BAD: fn(&'static str) -> Error = |problem| Error::Malformed {
            what: "add-checkpoint request",
            problem,
        };
        if body.len() > MAX_REQUEST_BYTES {
            return Err(Error::TooLong {
                what: "add-checkpoint request",
                actual: body.len(),
                limit: MAX_REQUEST_BYTES,
            });
        }
        let (first, mut rest) = line(body).ok_or(BAD("it has no line `old <size>`"))?;
        let old_size = first
            .strip_prefix(b"old ")
            .and_then(decimal)
            .ok_or(BAD("its first line is not `old <size>`"))?;
        let mut proof = Vec::new();
        loop {
            let (hash, after) = line(rest).ok_or(BAD("it has no empty line after the proof"))?;
            rest = after;
            if hash.is_empty() {
                break;
            }
            if proof.len() == MAX_PROOF_LINES {
                return Err(BAD("the proof has more than 63 hashes"));
            }
            proof.push(hash_line(hash).ok_or(BAD("a proof line is not the base64 of 32 bytes"))?);
        }
        Ok(Self {
            old_size,
            proof,
            note: Note::parse(rest)?,
        })
    }

    /// The log that the checkpoint claims to be of: its first line.
    pub fn origin(&self) -> &str {
        self.note.text().split('\n').next().unwrap_or_default()
    }

    /// Checks that the checkpoint is one, and that the log with these keys has signed it; `None` stands for a log that the
    /// witness does not know. Signatures of others are passed over.
    pub fn authenticate(self, keys: Option<&[NoteKey]>) -> Result<SignedCheckpoint, Refusal> {
        let checkpoint =
            Checkpoint::parse_any_root(self.note.text()).map_err(Refusal::Malformed)?;
        let keys = keys.ok_or_else(|| Refusal::UnknownOrigin {
            origin: checkpoint.origin.clone(),
        })?;
        let signatures = self.note.verify(keys).map_err(Refusal::NotSigned)?;
        if self.old_size > checkpoint.size {
            return Err(Refusal::OldAboveNew {
                old: self.old_size,
                new: checkpoint.size,
            });
        }
        // What nobody here can vouch for is not kept, and not handed on.
        let mut note = Note::new(self.note.text()).map_err(Refusal::Malformed)?;
        let known = |line: &&NoteSignature| {
            signatures
                .iter()
                .filter_map(|one| keys.get(one.key_index))
                .any(|key| key.name() == line.name() && key.key_id() == line.key_id())
        };
        let lines = self.note.signatures().iter().filter(known);
        lines.for_each(|line| note.push(line.clone()));
        Ok(SignedCheckpoint {
            old_size: self.old_size,
            proof: self.proof,
            checkpoint,
            note,
        })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        for hash in &self.proof {
            writeln!(f, "{}", base64::encode(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

/// A request whose checkpoint the log has signed; only [`AddCheckpoint::authenticate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    old_size: u64,
    proof: Vec<Hash>,
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint with the log's verified signatures alone.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// What the witness knows after it has cosigned this.
    pub fn seen(&self) -> Seen {
        Seen {
            size: self.checkpoint.size,
            root: self.checkpoint.root,
        }
    }

    /// Decides whether it may be cosigned by a witness that knows `seen`.
    ///
    /// The proof is checked from the root that the witness stored, never from one that the request brought.
    pub fn extends(&self, seen: &Seen) -> Result<(), Refusal> {
        if self.old_size != seen.size {
            return Err(Refusal::Conflict {
                old: self.old_size,
                known: seen.size,
            });
        }
        let new = self.seen();
        if new.size == 0 && new.root != empty_root() {
            return Err(Refusal::NotAnExtension(Error::RootMismatch {
                proof: "consistency",
            }));
        }
        let shown = verify_consistency(seen.size, &seen.root, new.size, &new.root, &self.proof);
        shown.map_err(Refusal::NotAnExtension)
    }
}

/// The body of the answer 409.
pub fn size_body(size: u64) -> String {
    format!("{size}\n")
}

/// Reads the body of an answer 409.
pub fn parse_size_body(body: &[u8]) -> Result<u64, Error> {
    body.strip_suffix(b"\n")
        .and_then(decimal)
        .ok_or(Error::Malformed {
            what: "size of a witness",
            problem: "it is not a decimal number and a line end",
        })
}

/// The body of the answer 200.
pub fn cosignature_body(lines: &[NoteSignature]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Reads the body of an answer 200, and keeps the lines of the witness with `key`.
///
/// Lines of others are passed over. A line of this witness that is not its cosignature of `note` refuses the answer, as
/// does an answer without any, or a time of zero.
pub fn parse_cosignatures(
    body: &[u8],
    note: &Note,
    key: &NoteKey,
) -> Result<Vec<NoteSignature>, Error> {
    const BAD: Error = Error::MalformedNote("the answer is not lines of signatures");
    if body.len() > MAX_RESPONSE_BYTES {
        return Err(Error::TooLong {
            what: "answer of a witness",
            actual: body.len(),
            limit: MAX_RESPONSE_BYTES,
        });
    }
    let lines = std::str::from_utf8(body).map_err(|_| BAD)?;
    let lines = lines.strip_suffix('\n').ok_or(BAD)?;
    let mut own = Note::new(note.text())?;
    for (number, line) in lines.split('\n').enumerate() {
        if number == MAX_SIGNATURES {
            return Err(Error::MalformedNote(
                "the answer has more than 64 signatures",
            ));
        }
        let line = NoteSignature::parse(line)?;
        if line.name() == key.name() && line.key_id() == key.key_id() {
            own.push(line);
        }
    }
    let verified = cosignature::verify(&own, std::slice::from_ref(key))?;
    if verified.is_empty() {
        return Err(Error::NoKnownSignature { known: 1 });
    }
    if verified.iter().any(|one| one.time == 0) {
        return Err(Error::MalformedNote("a cosignature has no time"));
    }
    Ok(own.signatures().to_vec())
}

/// Where a witness shows the last checkpoint it has cosigned for a log, below its monitoring prefix.
pub fn monitoring_path(origin: &str) -> String {
    format!("{}/checkpoint", hex::encode(sha256(origin.as_bytes())))
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    let canonical =
        digits.iter().all(u8::is_ascii_digit) && (digits == b"0" || !digits.starts_with(b"0"));
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| canonical)?
        .parse()
        .ok()
}

fn hash_line(line: &[u8]) -> Option<Hash> {
    let bytes = base64::decode(std::str::from_utf8(line).ok()?).ok()?;
    <[u8; HASH_LEN]>::try_from(bytes).ok()
}

#[cfg(test)]
mod tests;
