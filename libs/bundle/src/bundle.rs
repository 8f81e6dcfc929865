//! Sigstore bundles: one signature with everything that is needed to verify it offline.
//!
//! [`Bundle::parse`] checks structure and nothing else (check V1); what it returns is as
//! trustworthy as the file it came from. [`Bundle::assemble`] builds new bundles, always in
//! version 0.3, and holds them to the same rules.

use sealwright_crypto::{Digest, HashAlgorithm, base64};
use sealwright_pki::certificate::Certificate;
use sealwright_proto::bundle::v1 as proto;
use sealwright_proto::common::v1 as common;
use sealwright_proto::dsse;
use sealwright_proto::rekor::v1 as rekor;
use serde_json::{Map, Value, json};

use crate::error::{StructureFault, VerifyError};

/// The media type of the bundles that are written.
pub const MEDIA_TYPE_V0_3: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Bytes of JSON, unless the caller sets another limit: statements with large SBOMs need tens of megabytes.
pub const MAX_BUNDLE_BYTES: usize = 32 << 20;
/// Log entries in one bundle.
pub const MAX_LOG_ENTRIES: usize = 32;
/// Timestamp tokens in one bundle.
pub const MAX_TIMESTAMPS: usize = 32;
/// Certificates in one bundle.
pub const MAX_CHAIN: usize = 8;
/// Hashes in one inclusion proof: a tree of 2^63 leaves needs 63.
pub const MAX_PROOF_HASHES: usize = 64;
/// Bytes of one checkpoint.
pub const MAX_CHECKPOINT_BYTES: usize = 64 << 10;
/// Signature lines on one checkpoint, the log's own and its witnesses'.
pub const MAX_CHECKPOINT_SIGNATURES: usize = 32;

/// The versions of the format that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BundleVersion {
    /// Rests on promises of the log.
    V0_1,
    /// Rests on inclusion proofs.
    V0_2,
    /// As 0.2, with the signing certificate alone.
    V0_3,
}

const MEDIA_TYPES: [(&str, BundleVersion); 4] = [
    (MEDIA_TYPE_V0_3, BundleVersion::V0_3),
    (
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
        BundleVersion::V0_3,
    ),
    (
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        BundleVersion::V0_2,
    ),
    (
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        BundleVersion::V0_1,
    ),
];

impl BundleVersion {
    fn of(media_type: &str) -> Result<Self, VerifyError> {
        let known = MEDIA_TYPES.iter().find(|(name, _)| *name == media_type);
        known
            .map(|(_, version)| *version)
            .ok_or_else(|| VerifyError::UnsupportedBundleVersion {
                media_type: media_type.chars().take(128).collect(),
            })
    }

    /// The media type under which this version is written.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        MEDIA_TYPES
            .iter()
            .find(|(_, version)| *version == self)
            .map_or(MEDIA_TYPE_V0_3, |(name, _)| name)
    }
}

/// Who claims to have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignerMaterial {
    /// The signing certificate alone.
    Certificate(Certificate),
    /// The signing certificate, then what the signer sent along. Never a trust anchor.
    CertificateChain(Certificate, Vec<Certificate>),
    /// A name for a key that the verifier has to have already; unauthenticated.
    PublicKeyHint(String),
}

/// What was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// A signature over a file.
    Message(MessageSignature),
    /// A signature over a statement about files.
    Dsse(Envelope),
}

/// A signature over the digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSignature {
    /// The digest as the signer saw it; a help for finding the file, checked but never relied on.
    pub digest: Option<Digest>,
    /// The raw signature.
    pub signature: Vec<u8>,
}

/// A DSSE envelope with its one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// Media type of the payload, covered by the signature.
    pub payload_type: String,
    /// The signed bytes, exactly.
    pub payload: Vec<u8>,
    /// The raw signature over the pre-authentication encoding.
    pub signature: Vec<u8>,
    /// Name of the signing key; empty in most bundles.
    pub key_id: String,
}

/// One log's claim to hold the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Index of the entry; in the log as a whole for Rekor v1, in the tree for v2.
    pub log_index: u64,
    /// Identifier of the log.
    pub log_id: Vec<u8>,
    /// Kind of the entry, such as `hashedrekord`.
    pub kind: String,
    /// Version of the kind, such as `0.0.2`.
    pub version: String,
    /// When the log says it took the entry, Unix seconds; 0 from logs that say nothing.
    pub integrated_time: i64,
    /// The log's signed promise over time and body (Rekor v1).
    pub promise: Option<Vec<u8>>,
    /// The proof that the entry is in the tree.
    pub proof: Option<InclusionProof>,
    /// The bytes of the leaf.
    pub body: Vec<u8>,
}

impl LogEntry {
    /// Kind and version in one text, such as `hashedrekord/0.0.2`.
    pub(crate) fn kind_version(&self) -> String {
        format!("{}/{}", self.kind, self.version)
    }
}

/// The path from a leaf to a signed tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// Index of the leaf in the tree.
    pub log_index: u64,
    /// Root of the tree, as a repetition of the checkpoint's.
    pub root_hash: Vec<u8>,
    /// Size of the tree, as a repetition of the checkpoint's.
    pub tree_size: u64,
    /// Sibling hashes, from the leaf upwards.
    pub hashes: Vec<Vec<u8>>,
    /// The signed note; `None` only in v0.1 bundles.
    pub checkpoint: Option<String>,
}

/// A bundle whose structure is right. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    version: BundleVersion,
    signer: SignerMaterial,
    content: Content,
    entries: Vec<LogEntry>,
    timestamps: Vec<Vec<u8>>,
}

impl Bundle {
    /// Reads a bundle of at most [`MAX_BUNDLE_BYTES`].
    ///
    /// # Errors
    /// The variants of [`VerifyError`] whose step is [`crate::error::Step::Structure`].
    pub fn parse(json: &[u8]) -> Result<Self, VerifyError> {
        Self::parse_with_limit(json, MAX_BUNDLE_BYTES)
    }

    /// Reads a bundle of at most `max_bytes`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with_limit(json: &[u8], max_bytes: usize) -> Result<Self, VerifyError> {
        within("bytes of JSON", json.len(), max_bytes)?;
        Self::from_proto(crate::json::parse_message(json).map_err(malformed)?)
    }

    /// Checks and takes apart a decoded message.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn from_proto(message: proto::Bundle) -> Result<Self, VerifyError> {
        let version = BundleVersion::of(&message.media_type)?;
        let material = message
            .verification_material
            .ok_or(StructureFault::NoSigner)?;
        let timestamps = material
            .timestamp_verification_data
            .unwrap_or_default()
            .rfc3161_timestamps;
        let bundle = Self {
            version,
            signer: signer(material.content)?,
            content: content(message.content)?,
            entries: entries(material.tlog_entries)?,
            timestamps: timestamps
                .into_iter()
                .map(|token| token.signed_timestamp)
                .collect(),
        };
        bundle.check()?;
        Ok(bundle)
    }

    /// Builds a v0.3 bundle from what the services answered.
    ///
    /// # Errors
    /// As [`Self::parse`]: a service that answers nonsense does not make a bundle.
    pub fn assemble(
        signer: SignerMaterial,
        content: Content,
        log_entries: Vec<rekor::TransparencyLogEntry>,
        timestamps: Vec<Vec<u8>>,
    ) -> Result<Self, VerifyError> {
        let version = BundleVersion::V0_3;
        let bundle = Self {
            version,
            signer,
            content,
            entries: entries(log_entries)?,
            timestamps,
        };
        bundle.check()?;
        Ok(bundle)
    }

    /// The format's version.
    #[must_use]
    pub fn version(&self) -> BundleVersion {
        self.version
    }

    /// Who claims to have signed.
    #[must_use]
    pub fn signer(&self) -> &SignerMaterial {
        &self.signer
    }

    /// The signing certificate, in keyless bundles.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.signer {
            SignerMaterial::Certificate(leaf) | SignerMaterial::CertificateChain(leaf, _) => {
                Some(leaf)
            }
            SignerMaterial::PublicKeyHint(_) => None,
        }
    }

    /// What was signed.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The raw signature: of the message, or of the envelope.
    #[must_use]
    pub fn signature(&self) -> &[u8] {
        match &self.content {
            Content::Message(message) => &message.signature,
            Content::Dsse(envelope) => &envelope.signature,
        }
    }

    /// The claimed log entries.
    #[must_use]
    pub fn log_entries(&self) -> &[LogEntry] {
        &self.entries
    }

    /// The claimed timestamps, each the DER of a TimeStampResp.
    #[must_use]
    pub fn timestamps(&self) -> &[Vec<u8>] {
        &self.timestamps
    }

    /// The JSON document.
    ///
    /// Members that published verifiers insist on are written even when they hold protobuf's
    /// default: the index of a log's first entry, and the hashes of a tree of one.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut document = Map::new();
        document.insert("mediaType".into(), self.version.media_type().into());
        document.insert("verificationMaterial".into(), self.material_json());
        match &self.content {
            Content::Message(message) => {
                document.insert("messageSignature".into(), message_json(message))
            }
            Content::Dsse(envelope) => {
                document.insert("dsseEnvelope".into(), envelope_json(envelope))
            }
        };
        Value::Object(document).to_string()
    }

    fn material_json(&self) -> Value {
        let mut material = Map::new();
        match &self.signer {
            SignerMaterial::Certificate(leaf) => {
                material.insert("certificate".into(), raw_bytes(leaf.der()))
            }
            SignerMaterial::CertificateChain(leaf, others) => {
                let all: Vec<_> = std::iter::once(leaf)
                    .chain(others)
                    .map(|other| raw_bytes(other.der()))
                    .collect();
                material.insert(
                    "x509CertificateChain".into(),
                    json!({ "certificates": all }),
                )
            }
            SignerMaterial::PublicKeyHint(hint) => {
                material.insert("publicKey".into(), json!({ "hint": hint }))
            }
        };
        let entries: Vec<_> = self.entries.iter().map(entry_json).collect();
        material.insert("tlogEntries".into(), entries.into());
        let tokens: Vec<_> = self
            .timestamps
            .iter()
            .map(|token| json!({ "signedTimestamp": base64::encode(token) }))
            .collect();
        material.insert(
            "timestampVerificationData".into(),
            json!({ "rfc3161Timestamps": tokens }),
        );
        Value::Object(material)
    }

    /// The rules of the format that hold for every bundle of a version, read or built.
    fn check(&self) -> Result<(), VerifyError> {
        within("timestamps", self.timestamps.len(), MAX_TIMESTAMPS)?;
        if self.signature().is_empty() {
            return Err(StructureFault::EmptySignature.into());
        }
        self.check_signer()?;
        for (position, entry) in self.entries.iter().enumerate() {
            self.check_entry(position, entry)?;
        }
        Ok(())
    }

    fn check_signer(&self) -> Result<(), VerifyError> {
        if let SignerMaterial::CertificateChain(_, others) = &self.signer
            && others.iter().any(Certificate::is_self_issued)
        {
            return Err(StructureFault::RootInChain.into());
        }
        // The member came with 0.3: what reads only older bundles would see no signer here.
        if matches!(self.signer, SignerMaterial::Certificate(_))
            && self.version < BundleVersion::V0_3
        {
            return Err(StructureFault::CertificateTooEarly.into());
        }
        if self.certificate().is_some_and(Certificate::is_ca) {
            return Err(StructureFault::AuthorityAsLeaf.into());
        }
        if let (SignerMaterial::PublicKeyHint(hint), Content::Dsse(envelope)) =
            (&self.signer, &self.content)
            && !envelope.key_id.is_empty()
            && envelope.key_id != *hint
        {
            return Err(StructureFault::DsseKeyId.into());
        }
        Ok(())
    }

    fn check_entry(&self, position: usize, entry: &LogEntry) -> Result<(), VerifyError> {
        if self.version == BundleVersion::V0_1 {
            return if entry.promise.is_none() {
                Err(StructureFault::NoPromise(position).into())
            } else {
                Ok(())
            };
        }
        let proof = entry
            .proof
            .as_ref()
            .ok_or(StructureFault::NoProof(position))?;
        if proof.checkpoint.is_none() {
            return Err(StructureFault::NoCheckpoint(position).into());
        }
        Ok(())
    }
}

impl From<StructureFault> for VerifyError {
    fn from(fault: StructureFault) -> Self {
        Self::BundleStructure(fault)
    }
}

fn signer(
    material: Option<proto::verification_material::Content>,
) -> Result<SignerMaterial, VerifyError> {
    use proto::verification_material::Content as Material;
    match material.ok_or(StructureFault::NoSigner)? {
        Material::Certificate(leaf) => Ok(SignerMaterial::Certificate(certificate(&leaf)?)),
        Material::PublicKey(key) => Ok(SignerMaterial::PublicKeyHint(key.hint)),
        Material::X509CertificateChain(chain) => {
            within("certificates", chain.certificates.len(), MAX_CHAIN)?;
            let mut chain = chain
                .certificates
                .iter()
                .map(certificate)
                .collect::<Result<Vec<_>, _>>()?
                .into_iter();
            let leaf = chain.next().ok_or(StructureFault::EmptyChain)?;
            Ok(SignerMaterial::CertificateChain(leaf, chain.collect()))
        }
    }
}

fn certificate(message: &common::X509Certificate) -> Result<Certificate, VerifyError> {
    Certificate::from_der(message.raw_bytes.as_slice()).map_err(|error| {
        VerifyError::CertificateMalformed {
            what: error.to_string(),
        }
    })
}

fn content(content: Option<proto::bundle::Content>) -> Result<Content, VerifyError> {
    match content.ok_or(StructureFault::NoContent)? {
        proto::bundle::Content::MessageSignature(message) => {
            Ok(Content::Message(MessageSignature {
                digest: message.message_digest.map(digest).transpose()?,
                signature: message.signature,
            }))
        }
        proto::bundle::Content::DsseEnvelope(message) => Ok(Content::Dsse(envelope(message)?)),
    }
}

fn digest(message: common::HashOutput) -> Result<Digest, VerifyError> {
    HashAlgorithm::from_number(message.algorithm)
        .and_then(|algorithm| Digest::new(algorithm, message.digest).ok())
        .ok_or_else(|| StructureFault::MessageDigest.into())
}

fn envelope(message: dsse::Envelope) -> Result<Envelope, VerifyError> {
    let count = message.signatures.len();
    let mut signatures = message.signatures.into_iter();
    let (Some(only), None) = (signatures.next(), signatures.next()) else {
        return Err(StructureFault::DsseSignatureCount(count).into());
    };
    Ok(Envelope {
        payload_type: message.payload_type,
        payload: message.payload,
        signature: only.sig,
        key_id: only.keyid,
    })
}

fn entries(messages: Vec<rekor::TransparencyLogEntry>) -> Result<Vec<LogEntry>, VerifyError> {
    within("log entries", messages.len(), MAX_LOG_ENTRIES)?;
    messages
        .into_iter()
        .enumerate()
        .map(|(position, message)| entry(position, message))
        .collect()
}

fn entry(position: usize, message: rekor::TransparencyLogEntry) -> Result<LogEntry, VerifyError> {
    let log_id = message.log_id.map(|id| id.key_id).unwrap_or_default();
    if log_id.is_empty() {
        return Err(StructureFault::NoLogId(position).into());
    }
    let kind_version = message
        .kind_version
        .ok_or(StructureFault::NoKindVersion(position))?;
    if message.integrated_time < 0 {
        return Err(StructureFault::NegativeNumber(position).into());
    }
    Ok(LogEntry {
        log_index: natural(position, message.log_index)?,
        log_id,
        kind: kind_version.kind,
        version: kind_version.version,
        integrated_time: message.integrated_time,
        promise: message
            .inclusion_promise
            .map(|promise| promise.signed_entry_timestamp),
        proof: message
            .inclusion_proof
            .map(|message| proof(position, message))
            .transpose()?,
        body: message.canonicalized_body,
    })
}

fn proof(position: usize, message: rekor::InclusionProof) -> Result<InclusionProof, VerifyError> {
    within("hashes in a proof", message.hashes.len(), MAX_PROOF_HASHES)?;
    let checkpoint = message
        .checkpoint
        .map(|checkpoint| checkpoint.envelope)
        .filter(|note| !note.is_empty());
    within(
        "bytes in a checkpoint",
        checkpoint.as_deref().unwrap_or_default().len(),
        MAX_CHECKPOINT_BYTES,
    )?;
    Ok(InclusionProof {
        log_index: natural(position, message.log_index)?,
        root_hash: message.root_hash,
        tree_size: natural(position, message.tree_size)?,
        hashes: message.hashes,
        checkpoint,
    })
}

fn natural(position: usize, number: i64) -> Result<u64, VerifyError> {
    u64::try_from(number).map_err(|_| StructureFault::NegativeNumber(position).into())
}

fn raw_bytes(der: &[u8]) -> Value {
    json!({ "rawBytes": base64::encode(der) })
}

fn message_json(message: &MessageSignature) -> Value {
    let mut object = Map::new();
    if let Some(digest) = &message.digest {
        let value = json!({ "algorithm": digest.algorithm().name(), "digest": base64::encode(digest.as_bytes()) });
        object.insert("messageDigest".into(), value);
    }
    object.insert(
        "signature".into(),
        base64::encode(&message.signature).into(),
    );
    Value::Object(object)
}

fn envelope_json(envelope: &Envelope) -> Value {
    let mut signature = Map::new();
    signature.insert("sig".into(), base64::encode(&envelope.signature).into());
    if !envelope.key_id.is_empty() {
        signature.insert("keyid".into(), envelope.key_id.as_str().into());
    }
    json!({
        "payload": base64::encode(&envelope.payload),
        "payloadType": envelope.payload_type,
        "signatures": [signature],
    })
}

fn entry_json(entry: &LogEntry) -> Value {
    let mut object = Map::new();
    object.insert("logIndex".into(), entry.log_index.to_string().into());
    object.insert(
        "logId".into(),
        json!({ "keyId": base64::encode(&entry.log_id) }),
    );
    object.insert(
        "kindVersion".into(),
        json!({ "kind": entry.kind, "version": entry.version }),
    );
    if entry.integrated_time != 0 {
        object.insert(
            "integratedTime".into(),
            entry.integrated_time.to_string().into(),
        );
    }
    if let Some(promise) = &entry.promise {
        object.insert(
            "inclusionPromise".into(),
            json!({ "signedEntryTimestamp": base64::encode(promise) }),
        );
    }
    if let Some(proof) = &entry.proof {
        object.insert("inclusionProof".into(), proof_json(proof));
    }
    object.insert(
        "canonicalizedBody".into(),
        base64::encode(&entry.body).into(),
    );
    Value::Object(object)
}

fn proof_json(proof: &InclusionProof) -> Value {
    let hashes: Vec<_> = proof
        .hashes
        .iter()
        .map(|hash| base64::encode(hash))
        .collect();
    let mut object = Map::new();
    object.insert("logIndex".into(), proof.log_index.to_string().into());
    object.insert("rootHash".into(), base64::encode(&proof.root_hash).into());
    object.insert("treeSize".into(), proof.tree_size.to_string().into());
    object.insert("hashes".into(), hashes.into());
    if let Some(checkpoint) = &proof.checkpoint {
        object.insert("checkpoint".into(), json!({ "envelope": checkpoint }));
    }
    Value::Object(object)
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), VerifyError> {
    if found <= limit {
        return Ok(());
    }
    Err(VerifyError::LimitExceeded {
        what,
        found: found as u64,
        limit: limit as u64,
    })
}

fn malformed(error: serde_json::Error) -> VerifyError {
    VerifyError::BundleMalformed {
        what: error.to_string(),
    }
}
