//! Entries of Rekor v1: the promise with its time, and bodies that have to be compared part by part.
//!
//! Their leaf cannot be built from the bundle (it may hold an envelope hash over unknown JSON), so
//! the body that the log vouches for is read, and everything it says about signature, signer and
//! content must be what the bundle says.

use sealwright_crypto::{Digest, HashAlgorithm, PublicKey, base64};
use sealwright_pki::certificate::Certificate;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::bundle::{Content, LogEntry};
use crate::error::{EntryField, VerifyError};
use crate::json::{Object, object};
use crate::log::{Claim, mismatch, other_signer};

/// The kinds of v1 entry that a bundle may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    HashedRekord,
    Dsse,
    Intoto,
}

impl Kind {
    pub(crate) fn of(kind: &str, version: &str) -> Option<Self> {
        match (kind, version) {
            ("hashedrekord", "0.0.1") => Some(Self::HashedRekord),
            ("dsse", "0.0.1") => Some(Self::Dsse),
            ("intoto", "0.0.2") => Some(Self::Intoto),
            _ => None,
        }
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord => ("hashedrekord", "0.0.1"),
            Self::Dsse => ("dsse", "0.0.1"),
            Self::Intoto => ("intoto", "0.0.2"),
        }
    }
}

/// The bytes under a signed entry timestamp: canonical JSON over body, time, log and index.
pub(crate) fn promise_message(entry: &LogEntry) -> String {
    format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        base64::encode(&entry.body),
        entry.integrated_time,
        hex::encode(&entry.log_id),
        entry.log_index,
    )
}

/// V8: everything in the body is what the bundle says.
pub(crate) fn body_speaks_of(
    position: usize,
    kind: Kind,
    body: &[u8],
    claim: &Claim<'_>,
) -> Result<(), VerifyError> {
    let check = Check { position, claim };
    match kind {
        Kind::HashedRekord => check.hashed_rekord(read(position, kind, body)?),
        Kind::Dsse => check.dsse(read(position, kind, body)?),
        Kind::Intoto => check.intoto(read(position, kind, body)?),
    }
}

/// The envelope of every body; members that no check needs are passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<S> {
    api_version: String,
    kind: String,
    #[serde(deserialize_with = "object", bound = "S: DeserializeOwned")]
    spec: S,
}

#[derive(Deserialize)]
struct HashedRekordSpec {
    #[serde(deserialize_with = "object")]
    data: HashedRekordData,
    #[serde(deserialize_with = "object")]
    signature: HashedRekordSignature,
}

#[derive(Deserialize)]
struct HashedRekordData {
    #[serde(deserialize_with = "object")]
    hash: HexHash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedRekordSignature {
    content: String,
    #[serde(deserialize_with = "object")]
    public_key: PublicKeyContent,
}

#[derive(Deserialize)]
struct PublicKeyContent {
    content: String,
}

#[derive(Deserialize)]
struct HexHash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DsseSpec {
    #[serde(deserialize_with = "object")]
    payload_hash: HexHash,
    signatures: Vec<Object<DsseSignature>>,
}

#[derive(Deserialize)]
struct DsseSignature {
    signature: String,
    verifier: String,
}

#[derive(Deserialize)]
struct IntotoSpec {
    #[serde(deserialize_with = "object")]
    content: IntotoContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoContent {
    #[serde(deserialize_with = "object")]
    envelope: IntotoEnvelope,
    #[serde(deserialize_with = "object")]
    payload_hash: HexHash,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoEnvelope {
    payload_type: String,
    signatures: Vec<Object<IntotoSignature>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoSignature {
    sig: String,
    public_key: String,
}

fn read<S: DeserializeOwned>(position: usize, kind: Kind, body: &[u8]) -> Result<S, VerifyError> {
    let unreadable = |error: serde_json::Error| {
        mismatch(position, EntryField::Body, error, "of the stated kind")
    };
    crate::json::refuse_repeated_members(body).map_err(unreadable)?;
    let Object(parsed): Object<Body<S>> = serde_json::from_slice(body).map_err(unreadable)?;
    let (name, version) = kind.names();
    if (parsed.kind.as_str(), parsed.api_version.as_str()) != (name, version) {
        let found = format!("{}/{}", parsed.kind, parsed.api_version);
        return Err(mismatch(
            position,
            EntryField::KindVersion,
            found,
            format!("{name}/{version}"),
        ));
    }
    Ok(parsed.spec)
}

struct Check<'a> {
    position: usize,
    claim: &'a Claim<'a>,
}

impl Check<'_> {
    fn hashed_rekord(&self, spec: HashedRekordSpec) -> Result<(), VerifyError> {
        let found = self.digest(&spec.data.hash)?;
        let expected = self.claim.digest(found.algorithm());
        if expected.as_ref() != Some(&found) {
            let expected =
                expected.map_or_else(|| "another digest".into(), |digest| digest.to_string());
            return Err(mismatch(self.position, EntryField::Digest, found, expected));
        }
        self.signature(&self.base64(EntryField::Signature, &spec.signature.content)?)?;
        self.verifier(&spec.signature.public_key.content)
    }

    fn dsse(&self, spec: DsseSpec) -> Result<(), VerifyError> {
        self.payload(&spec.payload_hash)?;
        let [Object(only)] = spec.signatures.as_slice() else {
            return Err(self.signature_count(spec.signatures.len()));
        };
        self.signature(&self.base64(EntryField::Signature, &only.signature)?)?;
        self.verifier(&only.verifier)
    }

    fn intoto(&self, spec: IntotoSpec) -> Result<(), VerifyError> {
        self.payload(&spec.content.payload_hash)?;
        let envelope = spec.content.envelope;
        if let Content::Dsse(own) = self.claim.bundle.content()
            && own.payload_type != envelope.payload_type
        {
            return Err(mismatch(
                self.position,
                EntryField::Body,
                envelope.payload_type,
                &own.payload_type,
            ));
        }
        let [Object(only)] = envelope.signatures.as_slice() else {
            return Err(self.signature_count(envelope.signatures.len()));
        };
        // This kind wraps the text of the envelope's signature, which is base64 already.
        let text = self.base64(EntryField::Signature, &only.sig)?;
        let text = String::from_utf8(text).unwrap_or_default();
        self.signature(&self.base64(EntryField::Signature, &text)?)?;
        self.verifier(&only.public_key)
    }

    fn payload(&self, found: &HexHash) -> Result<(), VerifyError> {
        let Content::Dsse(envelope) = self.claim.bundle.content() else {
            return Err(mismatch(
                self.position,
                EntryField::KindVersion,
                "of an envelope",
                "of a message signature",
            ));
        };
        let found = self.digest(found)?;
        let expected = found.algorithm().digest(&envelope.payload);
        if found == expected {
            Ok(())
        } else {
            Err(mismatch(self.position, EntryField::Digest, found, expected))
        }
    }

    fn signature(&self, found: &[u8]) -> Result<(), VerifyError> {
        let expected = self.claim.bundle.signature();
        if found == expected {
            return Ok(());
        }
        Err(mismatch(
            self.position,
            EntryField::Signature,
            base64::encode(found),
            base64::encode(expected),
        ))
    }

    /// The base64 of a PEM certificate or key, compared by its DER with what the bundle has.
    fn verifier(&self, encoded: &str) -> Result<(), VerifyError> {
        let pem =
            String::from_utf8(self.base64(EntryField::Verifier, encoded)?).unwrap_or_default();
        let certificate = || {
            let found = Certificate::from_pem(&pem);
            found.is_ok_and(|found| self.claim.certificate == Some(&found))
        };
        let key = || PublicKey::from_pem(&pem).is_ok_and(|found| found == *self.claim.key);
        let same = match self.claim.bundle.certificate() {
            Some(_) => certificate(),
            None => key() || certificate(),
        };
        if same {
            return Ok(());
        }
        Err(other_signer(self.position, self.claim))
    }

    fn digest(&self, hash: &HexHash) -> Result<Digest, VerifyError> {
        HashAlgorithm::from_short_name(&hash.algorithm)
            // Logs write the name in small letters alone, and other readers know no other.
            .filter(|algorithm| algorithm.short_name() == hash.algorithm)
            .and_then(|algorithm| Digest::new(algorithm, hex::decode(&hash.value).ok()?).ok())
            .ok_or_else(|| {
                mismatch(
                    self.position,
                    EntryField::Digest,
                    &hash.algorithm,
                    "a SHA-2 digest",
                )
            })
    }

    fn base64(&self, field: EntryField, text: &str) -> Result<Vec<u8>, VerifyError> {
        base64::decode(text)
            .map_err(|_| mismatch(self.position, field, "that is not base64", "base64"))
    }

    fn signature_count(&self, count: usize) -> VerifyError {
        mismatch(
            self.position,
            EntryField::Signature,
            format!("count {count}"),
            "count 1",
        )
    }
}
