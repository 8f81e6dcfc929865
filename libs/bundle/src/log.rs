//! V7 and V8: the signature is in a log, and the entry speaks of this bundle and no other.
//!
//! For Rekor v2 the leaf is built from the bundle and then looked for in the tree: whatever the
//! entry's own copy says, it proves nothing about anything else. For Rekor v1 the leaf is the
//! entry's copy, so its parts are compared with the bundle one by one ([`crate::rekor_v1`]).

use std::collections::BTreeSet;

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, PublicKey, base64};
use sealwright_tlog::entry::{
    API_VERSION, DSSE_KIND, Entry, EntrySignature, HASHEDREKORD_KIND, HashedRekord,
    VerifierMaterial,
};
use sealwright_tlog::{Checkpoint, Error as TlogError, Hash, Note, dsse, hash, verify_inclusion};

use crate::artifact::Artifact;
use crate::bundle::{Bundle, Content, InclusionProof, LogEntry};
use crate::error::{EntryField, VerifyError};
use crate::rekor_v1;
use crate::trusted_root::{TransparencyLog, TrustedRoot};
use crate::verdict::{TimeSource, UnixTime, VerifiedEntry, VerifiedTime};

/// What the entries have to speak of.
pub(crate) struct Claim<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) artifact: &'a Artifact<'a>,
    pub(crate) key: &'a PublicKey,
    pub(crate) algorithms: &'a [Algorithm],
    pub(crate) times: &'a [VerifiedTime],
}

impl Claim<'_> {
    /// The digest that the signature is over, as far as the bundle or the artifact tells it.
    ///
    /// The bundle's own statement is preferred: check V9 compares it with the artifact, and an
    /// entry about another artifact is then told apart from a changed file.
    pub(crate) fn digest(&self, algorithm: HashAlgorithm) -> Option<Digest> {
        match self.bundle.content() {
            Content::Dsse(envelope) => Some(dsse::pae_digest(
                algorithm,
                &envelope.payload_type,
                &envelope.payload,
            )),
            Content::Message(message) => {
                let stated = message
                    .digest
                    .as_ref()
                    .filter(|digest| digest.algorithm() == algorithm);
                stated.cloned().or_else(|| {
                    self.artifact
                        .digest(algorithm)
                        .ok()
                        .map(|digest| digest.into_owned())
                })
            }
        }
    }

    fn verifier(&self) -> VerifierMaterial {
        match self.bundle.certificate() {
            Some(leaf) => VerifierMaterial::X509Certificate(leaf.der().to_vec()),
            None => VerifierMaterial::PublicKey(self.key.spki_der().to_vec()),
        }
    }
}

/// The entries that were proven, and those of logs that nobody here knows.
pub(crate) struct Logged {
    proven: Vec<Proven>,
    unknown: Vec<VerifyError>,
}

struct Proven {
    entry: VerifiedEntry,
    operator: String,
    /// The one algorithm that the entry names; `None` for entries that name none.
    algorithm: Option<Algorithm>,
}

impl Logged {
    pub(crate) fn entries(&self) -> Vec<VerifiedEntry> {
        self.proven
            .iter()
            .map(|proven| proven.entry.clone())
            .collect()
    }

    /// How many distinct operators hold the signature.
    pub(crate) fn operators(&self) -> usize {
        self.proven
            .iter()
            .map(|proven| proven.operator.as_str())
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Entries that did not count because their log is not in the trusted root.
    pub(crate) fn unknown(&self) -> &[VerifyError] {
        &self.unknown
    }

    /// The algorithms that remain possible once the entries have named theirs.
    pub(crate) fn algorithms(&self, candidates: &[Algorithm]) -> Vec<Algorithm> {
        let named = |algorithm: &&Algorithm| {
            self.proven
                .iter()
                .filter_map(|proven| proven.algorithm)
                .all(|named| named == **algorithm)
        };
        candidates.iter().filter(named).copied().collect()
    }
}

/// The kinds of entry that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    HashedRekordV2,
    DsseV2,
    V1(rekor_v1::Kind),
}

impl Kind {
    fn of(position: usize, entry: &LogEntry) -> Result<Self, VerifyError> {
        match (entry.kind.as_str(), entry.version.as_str()) {
            (HASHEDREKORD_KIND, API_VERSION) => Ok(Self::HashedRekordV2),
            (DSSE_KIND, API_VERSION) => Ok(Self::DsseV2),
            (kind, version) => rekor_v1::Kind::of(kind, version)
                .map(Self::V1)
                .ok_or_else(|| {
                    let kind_version = format!("{kind}/{version}").chars().take(128).collect();
                    VerifyError::UnsupportedEntryType {
                        entry: position,
                        kind_version,
                    }
                }),
        }
    }

    /// Whether the log has one index for the tree and none besides (Rekor v2).
    fn is_v2(self) -> bool {
        !matches!(self, Self::V1(_))
    }
}

/// Every entry, proven or passed over because its log is unknown; one that fails is fatal.
pub(crate) fn logged_entries(claim: &Claim<'_>, root: &TrustedRoot) -> Result<Logged, VerifyError> {
    let mut logged = Logged {
        proven: Vec::new(),
        unknown: Vec::new(),
    };
    for (position, entry) in claim.bundle.log_entries().iter().enumerate() {
        if root.logs_with_id(&entry.log_id).next().is_none() {
            logged.unknown.push(VerifyError::UnknownLog {
                entry: position,
                log_id: hex::encode(&entry.log_id),
            });
            continue;
        }
        logged.proven.push(proven(position, entry, claim, root)?);
    }
    Ok(logged)
}

/// V3 (b): the times that logs promised, each promise verified. Rekor v2 promises no times.
pub(crate) fn promised_times(
    bundle: &Bundle,
    root: &TrustedRoot,
    now: i64,
) -> Result<Vec<VerifiedTime>, VerifyError> {
    let mut times = Vec::new();
    for (position, entry) in bundle.log_entries().iter().enumerate() {
        let Some(promise) = &entry.promise else {
            continue;
        };
        if root.logs_with_id(&entry.log_id).next().is_none() || Kind::of(position, entry)?.is_v2() {
            continue;
        }
        let log = promising_log(position, entry, promise, root)?;
        let time = entry.integrated_time;
        if time > now {
            return Err(VerifyError::TimeInFuture { time, now });
        }
        times.push(VerifiedTime {
            time: UnixTime(time),
            source: TimeSource::LogPromise,
            uri: log.base_url().to_owned(),
            operator: log.operator().to_owned(),
        });
    }
    Ok(times)
}

fn promising_log<'a>(
    position: usize,
    entry: &'a LogEntry,
    promise: &[u8],
    root: &'a TrustedRoot,
) -> Result<&'a TransparencyLog, VerifyError> {
    let message = rekor_v1::promise_message(entry);
    let signed_by = |log: &&TransparencyLog| {
        log.key()
            .verify(log.checkpoint_algorithm(), message.as_bytes(), promise)
            .is_ok()
    };
    let mut signers = root
        .logs_with_id(&entry.log_id)
        .filter(signed_by)
        .peekable();
    if signers.peek().is_none() {
        return Err(VerifyError::PromiseInvalid { entry: position });
    }
    let time = entry.integrated_time;
    signers
        .find(|log| log.validity().covers(time))
        .ok_or(VerifyError::LogKeyNotValidAt {
            entry: position,
            time,
        })
}

/// One entry of a known log, from its checkpoint down to the leaf.
fn proven(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
    root: &TrustedRoot,
) -> Result<Proven, VerifyError> {
    let kind = Kind::of(position, entry)?;
    let times = trusted_times(kind, entry, claim);
    let Some((proof, note)) = entry
        .proof
        .as_ref()
        .and_then(|proof| Some((proof, proof.checkpoint.as_deref()?)))
    else {
        // Only v0.1 bundles come here; the promise was verified among the times.
        return promised(position, entry, claim, root, kind, &times);
    };
    let (checkpoint, log) = opened_checkpoint(position, note, &entry.log_id, root, &times)?;
    let leaf = leaf(position, entry, claim, kind)?;
    repetitions_agree(position, entry, proof, &checkpoint, kind)?;
    included(position, proof, &checkpoint, &leaf.hash)?;
    Ok(Proven {
        entry: VerifiedEntry {
            log: log.base_url().to_owned(),
            origin: checkpoint.origin,
            operator: log.operator().to_owned(),
            log_index: entry.log_index,
            tree_size: checkpoint.size,
        },
        operator: log.operator_or_url().to_owned(),
        algorithm: leaf.algorithm,
    })
}

fn promised(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
    root: &TrustedRoot,
    kind: Kind,
    times: &[i64],
) -> Result<Proven, VerifyError> {
    let promise = entry.promise.as_deref().filter(|_| !kind.is_v2());
    let promise = promise.ok_or_else(|| proof_invalid(position, "neither proof nor promise"))?;
    let log = promising_log(position, entry, promise, root)?;
    valid_at(position, log, times)?;
    let leaf = leaf(position, entry, claim, kind)?;
    Ok(Proven {
        entry: VerifiedEntry {
            log: log.base_url().to_owned(),
            origin: String::new(),
            operator: log.operator().to_owned(),
            log_index: entry.log_index,
            tree_size: 0,
        },
        operator: log.operator_or_url().to_owned(),
        algorithm: leaf.algorithm,
    })
}

/// The times at which the log's key must have been valid: v1 says itself when, v2 needs observers.
fn trusted_times(kind: Kind, entry: &LogEntry, claim: &Claim<'_>) -> Vec<i64> {
    if !kind.is_v2() && entry.promise.is_some() {
        return vec![entry.integrated_time];
    }
    claim.times.iter().map(|time| time.time.0).collect()
}

fn valid_at(position: usize, log: &TransparencyLog, times: &[i64]) -> Result<(), VerifyError> {
    match times.iter().find(|time| !log.validity().covers(**time)) {
        Some(time) => Err(VerifyError::LogKeyNotValidAt {
            entry: position,
            time: *time,
        }),
        None => Ok(()),
    }
}

/// Reads the note and checks it against the log that has both the entry's id and the note's origin.
fn opened_checkpoint<'a>(
    position: usize,
    note: &str,
    log_id: &'a [u8],
    root: &'a TrustedRoot,
    times: &[i64],
) -> Result<(Checkpoint, &'a TransparencyLog), VerifyError> {
    let malformed = |error: TlogError| VerifyError::CheckpointMalformed {
        entry: position,
        what: error.to_string(),
    };
    let note = Note::parse(note.as_bytes()).map_err(malformed)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(malformed)?;
    let mut named = root
        .logs_with_id(log_id)
        .filter(|log| log.note_key(&checkpoint.origin).is_some())
        .peekable();
    let Some(first) = named.peek().copied() else {
        let expected = root
            .logs_with_id(log_id)
            .map(TransparencyLog::origin)
            .collect::<Vec<_>>()
            .join(" or ");
        return Err(VerifyError::CheckpointOrigin {
            entry: position,
            found: checkpoint.origin,
            expected,
        });
    };
    // Entries that share id and origin differ in their windows alone, so any one's key will do.
    let keys: Vec<_> = first
        .note_key(&checkpoint.origin)
        .cloned()
        .into_iter()
        .collect();
    note.verify(&keys)
        .map_err(|error| VerifyError::CheckpointSignature {
            entry: position,
            origin: checkpoint.origin.clone(),
            what: error.to_string(),
        })?;
    let log = named
        .find(|log| valid_at(position, log, times).is_ok())
        .map_or_else(|| valid_at(position, first, times).map(|()| first), Ok)?;
    Ok((checkpoint, log))
}

/// The numbers that stand both beside the proof and in the checkpoint must be the same.
fn repetitions_agree(
    position: usize,
    entry: &LogEntry,
    proof: &InclusionProof,
    checkpoint: &Checkpoint,
    kind: Kind,
) -> Result<(), VerifyError> {
    // Rekor v1 counts over all its trees outside the proof, and within one tree inside it.
    if kind.is_v2() && proof.log_index != entry.log_index {
        return Err(mismatch(
            position,
            EntryField::LogIndex,
            entry.log_index,
            proof.log_index,
        ));
    }
    if proof.tree_size != checkpoint.size {
        return Err(mismatch(
            position,
            EntryField::TreeSize,
            proof.tree_size,
            checkpoint.size,
        ));
    }
    if proof.root_hash != checkpoint.root {
        let (found, expected) = (hex::encode(&proof.root_hash), hex::encode(checkpoint.root));
        return Err(mismatch(position, EntryField::RootHash, found, expected));
    }
    Ok(())
}

fn included(
    position: usize,
    proof: &InclusionProof,
    checkpoint: &Checkpoint,
    leaf: &Hash,
) -> Result<(), VerifyError> {
    let hashes = proof
        .hashes
        .iter()
        .map(|hash| Hash::try_from(hash.as_slice()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| proof_invalid(position, "a hash that has not 32 bytes"))?;
    verify_inclusion(
        proof.log_index,
        checkpoint.size,
        leaf,
        &hashes,
        &checkpoint.root,
    )
    .map_err(|error| proof_invalid(position, &error.to_string()))
}

struct Leaf {
    hash: Hash,
    algorithm: Option<Algorithm>,
}

/// The leaf that this bundle must have in the log.
fn leaf(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
    kind: Kind,
) -> Result<Leaf, VerifyError> {
    match kind {
        Kind::HashedRekordV2 => hashed_rekord_leaf(position, entry, claim),
        Kind::DsseV2 => dsse_leaf(position, entry, claim),
        Kind::V1(kind) => {
            rekor_v1::body_speaks_of(position, kind, &entry.body, claim)?;
            Ok(Leaf {
                hash: hash::leaf_hash(&entry.body),
                algorithm: None,
            })
        }
    }
}

fn hashed_rekord_leaf(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
) -> Result<Leaf, VerifyError> {
    let rebuilt: Vec<(Algorithm, HashedRekord, Vec<u8>)> = claim
        .algorithms
        .iter()
        .filter_map(|algorithm| hashed_rekord(*algorithm, claim))
        .collect();
    let Some((first_algorithm, first, first_body)) = rebuilt.first() else {
        return Err(unloggable(claim));
    };
    if entry.body.is_empty() {
        return Ok(Leaf {
            hash: hash::leaf_hash(first_body),
            algorithm: Some(*first_algorithm),
        });
    }
    match rebuilt.iter().find(|(_, _, body)| *body == entry.body) {
        Some((algorithm, _, body)) => Ok(Leaf {
            hash: hash::leaf_hash(body),
            algorithm: Some(*algorithm),
        }),
        None => Err(hashed_rekord_difference(
            position,
            &entry.body,
            first,
            claim,
        )),
    }
}

/// The entry that a signer with this algorithm has to have made; `None` when logs do not take it.
fn hashed_rekord(
    algorithm: Algorithm,
    claim: &Claim<'_>,
) -> Option<(Algorithm, HashedRekord, Vec<u8>)> {
    let data = claim.digest(algorithm.hash()?)?;
    let signature = EntrySignature {
        content: claim.bundle.signature().to_vec(),
        verifier: claim.verifier(),
        key_details: algorithm,
    };
    let entry = HashedRekord { data, signature };
    let body = entry.canonical_body().ok()?;
    Some((algorithm, entry, body))
}

fn unloggable(claim: &Claim<'_>) -> VerifyError {
    match claim
        .algorithms
        .iter()
        .find_map(|algorithm| algorithm.hash())
    {
        Some(hash) if claim.digest(hash).is_none() => VerifyError::DigestUnavailable {
            needed: hash.short_name().into(),
        },
        _ => VerifyError::UnsupportedKey {
            key_type: claim.key.key_type().to_string(),
        },
    }
}

/// Which part of a body that is not the one expected gives it away.
fn hashed_rekord_difference(
    position: usize,
    body: &[u8],
    expected: &HashedRekord,
    claim: &Claim<'_>,
) -> VerifyError {
    let Ok(Entry::HashedRekord(found)) = Entry::parse(body) else {
        let found = format!("of {} bytes that is no hashedrekord 0.0.2", body.len());
        return mismatch(position, EntryField::Body, found, "rebuilt from the bundle");
    };
    if found.data != expected.data {
        return mismatch(position, EntryField::Digest, &found.data, &expected.data);
    }
    if found.signature.content != expected.signature.content {
        let (found, expected) = (&found.signature.content, &expected.signature.content);
        return mismatch(
            position,
            EntryField::Signature,
            base64::encode(found),
            base64::encode(expected),
        );
    }
    if found.signature.verifier != expected.signature.verifier {
        return other_signer(position, claim);
    }
    let (found, expected) = (found.signature.key_details, expected.signature.key_details);
    mismatch(position, EntryField::Body, found, expected)
}

/// A `dsse` 0.0.2 entry, as logs took them until mid-2026: it must hold this payload and this signature.
fn dsse_leaf(position: usize, entry: &LogEntry, claim: &Claim<'_>) -> Result<Leaf, VerifyError> {
    let Content::Dsse(envelope) = claim.bundle.content() else {
        return Err(mismatch(
            position,
            EntryField::KindVersion,
            "of an envelope",
            "of a message signature",
        ));
    };
    let Ok(Entry::Dsse(found)) = Entry::parse(&entry.body) else {
        return Err(mismatch(
            position,
            EntryField::Body,
            "that is no dsse 0.0.2",
            "of a dsse 0.0.2 entry",
        ));
    };
    let payload = found.payload_hash.algorithm().digest(&envelope.payload);
    if found.payload_hash != payload {
        return Err(mismatch(
            position,
            EntryField::Digest,
            &found.payload_hash,
            &payload,
        ));
    }
    let verifier = claim.verifier();
    let mine = found
        .signatures
        .iter()
        .find(|signature| signature.content == envelope.signature);
    let mine = mine.ok_or_else(|| {
        let found = format!("none of {} is the envelope's", found.signatures.len());
        mismatch(
            position,
            EntryField::Signature,
            found,
            base64::encode(&envelope.signature),
        )
    })?;
    if mine.verifier != verifier {
        return Err(other_signer(position, claim));
    }
    Ok(Leaf {
        hash: hash::leaf_hash(&entry.body),
        algorithm: Some(mine.key_details),
    })
}

pub(crate) fn mismatch(
    entry: usize,
    field: EntryField,
    found: impl std::fmt::Display,
    expected: impl std::fmt::Display,
) -> VerifyError {
    VerifyError::EntryMismatch {
        entry,
        field,
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

/// The entry names another certificate, or another key: then the verifier was most likely given the wrong one.
pub(crate) fn other_signer(entry: usize, claim: &Claim<'_>) -> VerifyError {
    match claim.bundle.certificate() {
        Some(_) => mismatch(
            entry,
            EntryField::Verifier,
            "of another signer",
            "of this bundle",
        ),
        None => VerifyError::KeyMismatch { tried: 1 },
    }
}

fn proof_invalid(entry: usize, what: &str) -> VerifyError {
    VerifyError::InclusionProofInvalid {
        entry,
        what: what.to_owned(),
    }
}
