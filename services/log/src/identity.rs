//! Which log a folder holds: name, kind, origin and key, written once and compared at every start.

use sealwright_crypto::{base64, sha256};
use sealwright_tlog::NoteKey;
use serde::{Deserialize, Serialize};

use crate::dedup::key::Keyed;
use crate::disk::Disk;
use crate::error::Error;
use crate::kind::Kind;
use crate::tree::PUBLIC;
use crate::wal::ChecksumKey;

/// The file that says which log a folder holds.
pub(crate) const IDENTITY_FILE: &str = "log.json";
const FORMAT: u32 = 1;

/// Which log: name, kind and origin never change after it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    /// Short name, in paths and metrics.
    pub name: String,
    /// Signature log or certificate log.
    pub kind: Kind,
    /// Origin line of its checkpoints.
    pub origin: String,
}

/// Whether a log can have this name: it is in paths, metrics and names of files.
pub(crate) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed)
}

/// What the folder says about the log in it. Written once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct IdentityRecord {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) origin: String,
    /// SubjectPublicKeyInfo, DER, base64.
    pub(crate) public_key: String,
    /// Unix seconds.
    pub(crate) created: i64,
    /// From this index on every entry has an attachment. Absent in a signature log, and where it is not known because the
    /// log is older than attachments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attachments_from: Option<u64>,
    /// Seeds the checksums of the write-ahead log and the keys of known entries. Not for outsiders.
    pub(crate) wal_key: String,
    /// SHA-256 over the others as JSON, hexadecimal: a wrong byte here would make everything else look wrong. Absent in logs
    /// older than it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) digest: Option<String>,
}

impl IdentityRecord {
    pub(crate) fn new(
        identity: &LogIdentity,
        key: &NoteKey,
        created: i64,
        secret: &[u8; 16],
    ) -> Self {
        Self {
            format: FORMAT,
            name: identity.name.clone(),
            kind: identity.kind,
            origin: identity.origin.clone(),
            public_key: base64::encode(key.public_key().spki_der()),
            created,
            attachments_from: (identity.kind == Kind::Ct).then_some(0),
            wal_key: hex::encode(secret),
            digest: None,
        }
        .sealed()
    }

    /// With the digest of what it says.
    fn sealed(mut self) -> Self {
        self.digest = None;
        let text = serde_json::to_vec(&self).unwrap_or_default();
        self.digest = Some(hex::encode(sha256(&text)));
        self
    }

    /// Reads the record of a folder; `None` when it holds no log.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let bytes = disk
            .read(IDENTITY_FILE)
            .map_err(|error| Error::disk("reading", IDENTITY_FILE, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::corrupt(IDENTITY_FILE, error.to_string()))?;
        if record.format != FORMAT {
            return Err(mismatch("format", FORMAT, record.format));
        }
        if record.digest.is_some() && record.digest != record.clone().sealed().digest {
            return Err(Error::corrupt(
                IDENTITY_FILE,
                "its digest is not that of what it says; take the file from a backup",
            ));
        }
        Ok(Some(record))
    }

    pub(crate) fn require_same(&self, identity: &LogIdentity, key: &NoteKey) -> Result<(), Error> {
        let public_key = base64::encode(key.public_key().spki_der());
        if self.origin != identity.origin {
            return Err(mismatch("origin", &identity.origin, &self.origin));
        }
        if self.kind != identity.kind {
            return Err(mismatch(
                "kind",
                format!("{:?}", identity.kind),
                format!("{:?}", self.kind),
            ));
        }
        if self.public_key != public_key {
            return Err(mismatch("public key", public_key, &self.public_key));
        }
        Ok(())
    }

    pub(crate) fn checksum_key(&self) -> Result<ChecksumKey, Error> {
        Ok(ChecksumKey::new(&self.secret()?))
    }

    /// How this log makes the keys of known entries.
    pub(crate) fn keyed(&self) -> Result<Keyed, Error> {
        Ok(Keyed::new(&self.secret()?))
    }

    fn secret(&self) -> Result<[u8; 16], Error> {
        let bytes = hex::decode(&self.wal_key)
            .ok()
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        bytes.ok_or(Error::corrupt(
            IDENTITY_FILE,
            "walKey is not 32 hexadecimal digits",
        ))
    }
}

fn mismatch(field: &'static str, configured: impl ToString, stored: impl ToString) -> Error {
    Error::Mismatch {
        field,
        configured: configured.to_string(),
        stored: stored.to_string(),
    }
}

/// Makes the record of a new log. `secret` seeds the checksums of its write-ahead log.
pub(crate) fn make(
    disk: &dyn Disk,
    identity: &LogIdentity,
    key: &NoteKey,
    created: i64,
    secret: &[u8; 16],
) -> Result<IdentityRecord, Error> {
    let leftovers = ["wal", PUBLIC]
        .iter()
        .any(|folder| disk.list(folder).is_ok_and(|names| !names.is_empty()));
    if leftovers {
        return Err(Error::corrupt(
            IDENTITY_FILE,
            "it is missing, but the folder holds a log",
        ));
    }
    let record = IdentityRecord::new(identity, key, created, secret);
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|error| Error::corrupt(IDENTITY_FILE, error.to_string()))?;
    disk.put(&[(IDENTITY_FILE.to_owned(), text)])
        .map_err(|error| Error::disk("writing", IDENTITY_FILE, error))?;
    Ok(record)
}
