//! V7 and V8: the signature is in a log, and the entry speaks of this bundle and no other.
//!
//! For Rekor v2 the leaf is built from the bundle and then looked for in the tree: whatever the
//! entry's own copy says, it proves nothing about anything else. For Rekor v1 the leaf is the
//! entry's copy, so its parts are compared with the bundle one by one ([`crate::rekor_v1`]).

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, PublicKey, base64};
use sealwright_pki::certificate::Certificate;
use sealwright_tlog::entry::{
    API_VERSION, DSSE_KIND, Entry, EntrySignature, HASHEDREKORD_KIND, HashedRekord,
    VerifierMaterial,
};
use sealwright_tlog::note::NoteKey;
use sealwright_tlog::{
    Checkpoint, Error as TlogError, Hash, Note, WitnessPolicy, dsse, hash, verify_inclusion,
};

use crate::artifact::Artifact;
use crate::bundle::{Bundle, Content, InclusionProof, LogEntry, MAX_CHECKPOINT_SIGNATURES};
use crate::error::{EntryField, VerifyError};
use crate::parties::{Party, distinct};
use crate::rekor_v1;
use crate::times::Seen;
use crate::trusted_root::{TransparencyLog, TrustedRoot};
use crate::verdict::{TimeSource, UnixTime, VerifiedEntry, VerifiedTime, VerifiedWitness};

/// What the entries have to speak of.
pub(crate) struct Claim<'a> {
    pub(crate) bundle: &'a Bundle,
    pub(crate) artifact: &'a Artifact<'a>,
    pub(crate) key: &'a PublicKey,
    /// The signer's certificate, the bundle's or the policy's.
    pub(crate) certificate: Option<&'a Certificate>,
    pub(crate) algorithms: &'a [Algorithm],
    pub(crate) times: &'a [VerifiedTime],
    /// Who has to have seen the log's tree, if the policy says.
    pub(crate) witnesses: Option<&'a WitnessPolicy>,
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

    /// How an entry may name the signer: by what the bundle carries. A policy's own certificate, for a bundle with a key
    /// hint, may stand there as well as its key.
    fn verifiers(&self) -> Vec<VerifierMaterial> {
        let certificate = self
            .certificate
            .map(|leaf| VerifierMaterial::X509Certificate(leaf.der().to_vec()));
        let key = || VerifierMaterial::PublicKey(self.key.spki_der().to_vec());
        match (certificate, self.bundle.certificate()) {
            (Some(certificate), Some(_)) => vec![certificate],
            (certificate, _) => std::iter::once(key()).chain(certificate).collect(),
        }
    }
}

/// The entries that were proven, and those that do not count.
pub(crate) struct Logged {
    proven: Vec<Proven>,
    passed_over: Vec<VerifyError>,
}

struct Proven {
    entry: VerifiedEntry,
    operator: String,
    /// The log's key, as SubjectPublicKeyInfo.
    key: Vec<u8>,
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

    /// How many distinct operators hold the signature; one key under two names is one.
    pub(crate) fn operators(&self) -> usize {
        distinct(self.proven.iter().map(|proven| Party {
            name: &proven.operator,
            key: &proven.key,
        }))
    }

    /// Why entries did not count: their log is not in the trusted root or in the witness policy, or witnesses are missing.
    pub(crate) fn passed_over(&self) -> &[VerifyError] {
        &self.passed_over
    }

    /// No entry counts.
    pub(crate) fn is_empty(&self) -> bool {
        self.proven.is_empty()
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

/// Every entry, proven or passed over because its log or its witnesses are not those of the verifier; one that fails is fatal.
pub(crate) fn logged_entries(claim: &Claim<'_>, root: &TrustedRoot) -> Result<Logged, VerifyError> {
    let mut logged = Logged {
        proven: Vec::new(),
        passed_over: Vec::new(),
    };
    for (position, entry) in claim.bundle.log_entries().iter().enumerate() {
        if root.logs_with_id(&entry.log_id).next().is_none() {
            logged.passed_over.push(unknown(position, entry));
            continue;
        }
        match proven(position, entry, claim, root)? {
            Outcome::Proven(proven) => logged.proven.push(proven),
            Outcome::PassedOver(reason) => logged.passed_over.push(reason),
        }
    }
    Ok(logged)
}

fn unknown(position: usize, entry: &LogEntry) -> VerifyError {
    VerifyError::UnknownLog {
        entry: position,
        log_id: hex::encode(&entry.log_id),
    }
}

/// The first promise of a log that is not in the trusted root: a time that nobody here can vouch for.
pub(crate) fn stranger(bundle: &Bundle, root: &TrustedRoot) -> Option<VerifyError> {
    let mut entries = bundle.log_entries().iter().enumerate();
    entries
        .find(|(_, entry)| {
            entry.promise.is_some() && root.logs_with_id(&entry.log_id).next().is_none()
        })
        .map(|(position, entry)| unknown(position, entry))
}

/// What came of an entry in which nothing is wrong.
enum Outcome {
    Proven(Proven),
    PassedOver(VerifyError),
}

/// V3 (b): the times that logs promised, each promise verified. Rekor v2 promises no times.
pub(crate) fn promised_times(
    bundle: &Bundle,
    root: &TrustedRoot,
    now: i64,
) -> Result<Vec<Seen>, VerifyError> {
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
        times.push(Seen {
            time: VerifiedTime {
                time: UnixTime(time),
                source: TimeSource::LogPromise,
                uri: log.base_url().to_owned(),
                operator: log.operator().to_owned(),
            },
            key: log.key().spki_der().to_vec(),
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
) -> Result<Outcome, VerifyError> {
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
    let opened = opened_checkpoint(position, note, &entry.log_id, root, &times)?;
    let leaves = leaves(position, entry, claim, kind)?;
    repetitions_agree(position, entry, proof, &opened.checkpoint, kind)?;
    let leaf = included(position, proof, &opened.checkpoint, &leaves)?;
    let witnesses = match witnessed(position, &opened, claim)? {
        Witnesses::Enough(witnesses) => witnesses,
        Witnesses::TooFew(reason) => return Ok(Outcome::PassedOver(reason)),
    };
    let log = opened.log;
    Ok(Outcome::Proven(Proven {
        entry: VerifiedEntry {
            log: log.base_url().to_owned(),
            origin: opened.checkpoint.origin,
            operator: log.operator().to_owned(),
            log_id: hex::encode(log.log_id()),
            kind: entry.kind_version(),
            log_index: proven_index(entry, proof),
            tree_size: opened.checkpoint.size,
            witnesses,
        },
        operator: log.operator_or_url().to_owned(),
        key: log.key().spki_der().to_vec(),
        algorithm: leaf.algorithm,
    }))
}

/// The index that something vouches for: a v1 log's promise, for the log as a whole; else the proof, within its tree. For a
/// v2 log both are one.
fn proven_index(entry: &LogEntry, proof: &InclusionProof) -> u64 {
    if entry.promise.is_some() {
        entry.log_index
    } else {
        proof.log_index
    }
}

fn promised(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
    root: &TrustedRoot,
    kind: Kind,
    times: &[i64],
) -> Result<Outcome, VerifyError> {
    let promise = entry.promise.as_deref().filter(|_| !kind.is_v2());
    let promise = promise.ok_or_else(|| proof_invalid(position, "neither proof nor promise"))?;
    let log = promising_log(position, entry, promise, root)?;
    valid_at(position, log, times)?;
    leaves(position, entry, claim, kind)?;
    if let Some(policy) = claim.witnesses {
        // A promise is the log's word alone: there is no tree that anybody could have seen.
        return Ok(Outcome::PassedOver(VerifyError::WitnessQuorum {
            entry: position,
            origin: String::new(),
            cosigned: Vec::new(),
            quorum: policy.quorum(),
        }));
    }
    Ok(Outcome::Proven(Proven {
        entry: VerifiedEntry {
            log: log.base_url().to_owned(),
            origin: String::new(),
            operator: log.operator().to_owned(),
            log_id: hex::encode(log.log_id()),
            kind: entry.kind_version(),
            log_index: entry.log_index,
            tree_size: 0,
            witnesses: Vec::new(),
        },
        operator: log.operator_or_url().to_owned(),
        key: log.key().spki_der().to_vec(),
        algorithm: None,
    }))
}

/// What the policy's witnesses say about a checkpoint.
enum Witnesses {
    Enough(Vec<VerifiedWitness>),
    TooFew(VerifyError),
}

fn witnessed(
    position: usize,
    opened: &Opened<'_>,
    claim: &Claim<'_>,
) -> Result<Witnesses, VerifyError> {
    let Some(policy) = claim.witnesses else {
        return Ok(Witnesses::Enough(Vec::new()));
    };
    let origin = || opened.checkpoint.origin.clone();
    if !policy.accepts_log(opened.key) {
        return Ok(Witnesses::TooFew(VerifyError::LogNotInPolicy {
            entry: position,
            origin: origin(),
        }));
    }
    let judged = policy
        .judge(&opened.note)
        .map_err(|error| VerifyError::CheckpointSignature {
            entry: position,
            origin: origin(),
            what: error.to_string(),
        })?;
    let witnesses: Vec<VerifiedWitness> = judged
        .cosignatures
        .iter()
        .filter_map(|cosignature| {
            let key = policy.witnesses().get(cosignature.witness)?;
            Some(VerifiedWitness {
                name: key.name().to_owned(),
                time: UnixTime(i64::try_from(cosignature.time).unwrap_or(i64::MAX)),
            })
        })
        .collect();
    if judged.quorum_met {
        return Ok(Witnesses::Enough(witnesses));
    }
    Ok(Witnesses::TooFew(VerifyError::WitnessQuorum {
        entry: position,
        origin: origin(),
        cosigned: witnesses.into_iter().map(|witness| witness.name).collect(),
        quorum: policy.quorum(),
    }))
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

/// A checkpoint that a log of the trusted root signed.
struct Opened<'a> {
    note: Note,
    checkpoint: Checkpoint,
    log: &'a TransparencyLog,
    /// The key that signed, under the name that it signed with.
    key: &'a NoteKey,
}

/// Reads the note and checks it against the log that has both the entry's id and the note's origin.
fn opened_checkpoint<'a>(
    position: usize,
    note: &str,
    log_id: &'a [u8],
    root: &'a TrustedRoot,
    times: &[i64],
) -> Result<Opened<'a>, VerifyError> {
    let malformed = |error: TlogError| VerifyError::CheckpointMalformed {
        entry: position,
        what: error.to_string(),
    };
    let note = Note::parse(note.as_bytes()).map_err(malformed)?;
    few_signatures(&note)?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(malformed)?;
    let mut named = root
        .logs_with_id(log_id)
        .filter_map(|log| Some((log, log.note_key(&checkpoint.origin)?)))
        .peekable();
    let Some((first, key)) = named.peek().copied() else {
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
    note.verify(std::slice::from_ref(key))
        .map_err(|error| VerifyError::CheckpointSignature {
            entry: position,
            origin: checkpoint.origin.clone(),
            what: error.to_string(),
        })?;
    let log = named
        .map(|(log, _)| log)
        .find(|log| valid_at(position, log, times).is_ok())
        .map_or_else(|| valid_at(position, first, times).map(|()| first), Ok)?;
    Ok(Opened {
        note,
        checkpoint,
        log,
        key,
    })
}

fn few_signatures(note: &Note) -> Result<(), VerifyError> {
    let (found, limit) = (note.signatures().len(), MAX_CHECKPOINT_SIGNATURES);
    if found <= limit {
        return Ok(());
    }
    Err(VerifyError::LimitExceeded {
        what: "signatures on a checkpoint",
        found: found as u64,
        limit: limit as u64,
    })
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

/// The one of these leaves that the proof leads to.
fn included<'a>(
    position: usize,
    proof: &InclusionProof,
    checkpoint: &Checkpoint,
    leaves: &'a [Leaf],
) -> Result<&'a Leaf, VerifyError> {
    let hashes = proof
        .hashes
        .iter()
        .map(|hash| Hash::try_from(hash.as_slice()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| proof_invalid(position, "a hash that has not 32 bytes"))?;
    let mut failure = proof_invalid(position, "no leaf");
    for leaf in leaves {
        let (index, size) = (proof.log_index, checkpoint.size);
        match verify_inclusion(index, size, &leaf.hash, &hashes, &checkpoint.root) {
            Ok(()) => return Ok(leaf),
            Err(error) => failure = proof_invalid(position, &error.to_string()),
        }
    }
    Err(failure)
}

struct Leaf {
    hash: Hash,
    /// The one algorithm that the entry names; `None` for entries that name none.
    algorithm: Option<Algorithm>,
}

/// The leaf that this bundle must have in the log; several where the entry does not say how the key signed.
fn leaves(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
    kind: Kind,
) -> Result<Vec<Leaf>, VerifyError> {
    match kind {
        Kind::HashedRekordV2 => hashed_rekord_leaves(position, entry, claim),
        Kind::DsseV2 => dsse_leaf(position, entry, claim).map(|leaf| vec![leaf]),
        Kind::V1(kind) => {
            rekor_v1::body_speaks_of(position, kind, &entry.body, claim)?;
            Ok(vec![Leaf {
                hash: hash::leaf_hash(&entry.body),
                algorithm: None,
            }])
        }
    }
}

fn hashed_rekord_leaves(
    position: usize,
    entry: &LogEntry,
    claim: &Claim<'_>,
) -> Result<Vec<Leaf>, VerifyError> {
    let rebuilt = rebuilt(claim);
    let Some(first) = rebuilt.first() else {
        return Err(unloggable(claim));
    };
    let leaves: Vec<Leaf> = rebuilt
        .iter()
        .filter(|rebuilt| entry.body.is_empty() || entry.body == rebuilt.body)
        .map(|rebuilt| Leaf {
            hash: hash::leaf_hash(&rebuilt.body),
            algorithm: Some(rebuilt.entry.signature.key_details),
        })
        .collect();
    if leaves.is_empty() {
        return Err(hashed_rekord_difference(
            position,
            &entry.body,
            &first.entry,
            claim,
        ));
    }
    Ok(leaves)
}

/// An entry that the signer may have made, and its bytes in the log.
struct Rebuilt {
    entry: HashedRekord,
    body: Vec<u8>,
}

/// The entries that a signer with this key may have made, the way of today first; none when logs do not take the key.
fn rebuilt(claim: &Claim<'_>) -> Vec<Rebuilt> {
    let verifiers = claim.verifiers();
    let entry = |algorithm: Algorithm, verifier: &VerifierMaterial| {
        let data = claim.digest(algorithm.hash()?)?;
        let signature = EntrySignature {
            content: claim.bundle.signature().to_vec(),
            verifier: verifier.clone(),
            key_details: algorithm,
        };
        let entry = HashedRekord { data, signature };
        let body = entry.canonical_body().ok()?;
        Some(Rebuilt { entry, body })
    };
    claim
        .algorithms
        .iter()
        .flat_map(|algorithm| verifiers.iter().map(move |verifier| (*algorithm, verifier)))
        .filter_map(|(algorithm, verifier)| entry(algorithm, verifier))
        .collect()
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
    if !claim.verifiers().contains(&found.signature.verifier) {
        return other_signer(position, claim);
    }
    let (found, expected) = (found.signature.key_details, expected.signature.key_details);
    mismatch(position, EntryField::Body, found, expected)
}

/// A `dsse` 0.0.2 entry, as logs took them until mid-2026: it must hold this payload and this signature, and no other.
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
    let [only] = found.signatures.as_slice() else {
        let count = format!("count {}", found.signatures.len());
        return Err(mismatch(position, EntryField::Signature, count, "count 1"));
    };
    if only.content != envelope.signature {
        return Err(mismatch(
            position,
            EntryField::Signature,
            base64::encode(&only.content),
            base64::encode(&envelope.signature),
        ));
    }
    if !claim.verifiers().contains(&only.verifier) {
        return Err(other_signer(position, claim));
    }
    Ok(Leaf {
        hash: hash::leaf_hash(&entry.body),
        algorithm: Some(only.key_details),
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
    match claim.certificate {
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
