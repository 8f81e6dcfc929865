//! A signed metadata file: `{"signatures": [...], "signed": {...}}`.

use std::collections::{BTreeMap, BTreeSet};

use sealwright_crypto::{PublicKey, Signer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::error::{Error, Problem};
use crate::key::{Key, KeyId};
use crate::metadata::{Metadata, Role, RoleKeys, Root};
use crate::trusted::exact_version;

/// One signature over the canonical form of `signed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// The key that made it.
    pub keyid: KeyId,
    /// Hex. ECDSA signatures are DER. An empty or unreadable one simply does not count.
    pub sig: String,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Metadata with its signatures. What `signed` held when it was read is kept member for member, so that unknown
/// members stay under the signatures.
#[derive(Debug, Clone)]
pub struct Envelope<T> {
    signatures: Vec<Signature>,
    signed: T,
    raw: Value,
    canonical: Vec<u8>,
}

#[derive(Deserialize)]
struct RawEnvelope {
    signatures: Vec<Signature>,
    signed: Value,
}

impl<T: Metadata> Envelope<T> {
    /// Reads a file and checks everything that needs no key and no time: JSON, `_type`, versions, the rules of the
    /// type, no key id twice among the signatures.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse_named(bytes, T::ROLE.name())
    }

    /// As [`Envelope::parse`], for a delegated role whose name errors should carry.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn parse_named(bytes: &[u8], name: &str) -> Result<Self, Error> {
        Self::read(bytes).map_err(|problem| Error::malformed(name, problem))
    }

    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let envelope: RawEnvelope = shaped(canonical::parse(bytes)?)?;
        let mut seen = BTreeSet::new();
        for signature in &envelope.signatures {
            if !seen.insert(&signature.keyid) {
                return Err(Problem::DuplicateKeyId(signature.keyid.to_string()));
            }
        }
        let signed = typed(envelope.signed.clone())?;
        Ok(Self {
            canonical: canonical::encode(&envelope.signed)?,
            signatures: envelope.signatures,
            signed,
            raw: envelope.signed,
        })
    }

    /// Metadata that nobody has signed yet.
    ///
    /// # Errors
    /// [`Error::Malformed`] when it breaks a rule of its type.
    pub fn unsigned(signed: T) -> Result<Self, Error> {
        Self::build(signed).map_err(|problem| Error::malformed(T::ROLE.name(), problem))
    }

    fn build(signed: T) -> Result<Self, Problem> {
        if signed.version() == 0 {
            return Err(Problem::VersionZero);
        }
        signed.check()?;
        let mut raw =
            serde_json::to_value(&signed).map_err(|error| Problem::Shape(error.to_string()))?;
        if let Value::Object(members) = &mut raw {
            members.insert("_type".to_owned(), Value::from(T::ROLE.name()));
        }
        Ok(Self {
            canonical: canonical::encode(&raw)?,
            signatures: Vec::new(),
            signed,
            raw,
        })
    }

    /// The metadata.
    #[must_use]
    pub fn signed(&self) -> &T {
        &self.signed
    }

    /// The signatures, unverified.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The bytes that every signature covers.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        &self.canonical
    }

    /// The file: ordinary JSON, members sorted, one newline at the end.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = serde_json::json!({ "signatures": self.signatures, "signed": self.raw });
        // Maps with text keys and numbers always have a JSON form.
        let mut bytes = serde_json::to_vec_pretty(&value).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Signs with one more key; a signature of the same key is replaced.
    ///
    /// # Errors
    /// [`Error::KeyNotPortable`], [`Error::Signer`].
    pub async fn sign(&mut self, signer: &dyn Signer) -> Result<(), Error> {
        let key = key_of(signer.public_key())?;
        // The scheme stands in the key object, and a signature of another would never count.
        let scheme = key.verifier().map(|(_, algorithm)| algorithm);
        if scheme != Some(signer.algorithm()) {
            return Err(Error::KeyNotPortable {
                found: format!("{} ({})", key.keytype, signer.algorithm()),
            });
        }
        let bytes = signer.sign(&self.canonical).await.map_err(Error::Signer)?;
        self.add_signature(Signature {
            keyid: key.id(),
            sig: hex::encode(bytes),
            extra: Map::new(),
        });
        Ok(())
    }

    /// Adds a signature made elsewhere, unverified; one of the same key is replaced.
    pub fn add_signature(&mut self, signature: Signature) {
        self.signatures
            .retain(|present| present.keyid != signature.keyid);
        self.signatures.push(signature);
    }

    /// Checks that at least `role.threshold` distinct keys of `role` have signed. A key listed under two ids counts
    /// once; unknown, unreadable and wrong signatures do not count and do no harm.
    ///
    /// # Errors
    /// [`Error::Threshold`] with `name`.
    pub fn verify(
        &self,
        keys: &BTreeMap<KeyId, Key>,
        role: &RoleKeys,
        name: &str,
    ) -> Result<(), Error> {
        let valid = self.valid_keys(keys, role).len();
        if valid >= role.threshold as usize && role.threshold > 0 {
            return Ok(());
        }
        Err(Error::Threshold {
            role: name.to_owned(),
            valid,
            threshold: role.threshold,
        })
    }

    /// Fingerprints of the distinct keys of `role` whose signature is valid.
    #[must_use]
    pub fn valid_keys(&self, keys: &BTreeMap<KeyId, Key>, role: &RoleKeys) -> BTreeSet<[u8; 32]> {
        // A set: whoever is delegated to may list a hundred thousand keys, and sign with as many.
        let authorised: BTreeSet<&KeyId> = role.keyids.iter().collect();
        let signatures = self.signatures.iter();
        signatures
            .filter(|signature| authorised.contains(&signature.keyid))
            .filter_map(|signature| {
                let key = keys.get(&signature.keyid)?;
                self.verified_by(key, &signature.sig)
            })
            .collect()
    }

    fn verified_by(&self, key: &Key, signature: &str) -> Option<[u8; 32]> {
        let (public, algorithm) = key.verifier()?;
        let signature = hex::decode(signature).ok()?;
        public
            .verify(algorithm, &self.canonical, &signature)
            .ok()
            .map(|()| public.fingerprint())
    }
}

impl Envelope<Root> {
    /// Reads a root that enough of its own keys have signed: one to start from, trusted by other means.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Threshold`].
    pub fn parse_self_signed(bytes: &[u8]) -> Result<Self, Error> {
        let root = Self::parse(bytes)?;
        root.signed().verify(&root)?;
        Ok(root)
    }

    /// Reads the root that follows this one (specification 5.3.4 and 5.3.5): signed by enough keys of this one and by
    /// enough of its own, and exactly one version on.
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::Threshold`], [`Error::WrongVersion`].
    pub fn successor(&self, bytes: &[u8]) -> Result<Self, Error> {
        let next = Self::parse(bytes)?;
        self.signed().verify(&next)?;
        next.signed().verify(&next)?;
        let (role, version) = (Role::Root.name(), self.signed().version);
        let expected = version
            .checked_add(1)
            .ok_or_else(|| Error::malformed(role, Problem::VersionsExhausted(version)))?;
        exact_version(role, expected, next.signed().version)?;
        Ok(next)
    }
}

/// The key object under which `public` signs.
///
/// # Errors
/// [`Error::KeyNotPortable`].
pub fn key_of(public: &PublicKey) -> Result<Key, Error> {
    Key::from_public_key(public)
}

/// `_type` and the specification version are judged before the shape, so that a file of another role is called that.
fn typed<T: Metadata>(mut value: Value) -> Result<T, Problem> {
    let Value::Object(members) = &mut value else {
        return Err(Problem::Shape("signed is not an object".to_owned()));
    };
    let found = members.remove("_type").unwrap_or_default();
    let found = found.as_str().unwrap_or_default();
    if found != T::ROLE.name() {
        return Err(Problem::WrongType {
            expected: T::ROLE.name(),
            found: found.to_owned(),
        });
    }
    let spec = members.get("spec_version").and_then(Value::as_str);
    let spec = spec.unwrap_or_default();
    if spec.split('.').next() != Some("1") {
        return Err(Problem::SpecVersion(spec.to_owned()));
    }
    let signed: T = shaped(value)?;
    if signed.version() == 0 {
        return Err(Problem::VersionZero);
    }
    signed.check()?;
    Ok(signed)
}

fn shaped<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::Shape(error.to_string()))
}
