//! Public keys as TUF metadata carries them.

use std::fmt;

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PublicKey, sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::canonical;
use crate::error::Error;

/// The name of a key inside metadata: by specification the SHA-256 (hex) of the canonical JSON of the key object.
///
/// A reader takes the id that metadata declares, since published repositories hold ids made by other rules; a writer
/// uses [`Key::id`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// An id as text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id as it stands in metadata.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.0)
    }
}

/// A key object. Members this crate does not know are kept, because the key id and every signature over the
/// surrounding metadata cover them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// `ecdsa` (or its old name `ecdsa-sha2-nistp256`), `ed25519`, `rsa`.
    pub keytype: String,
    /// `ecdsa-sha2-nistp256`, `ecdsa-sha2-nistp384`, `ed25519`, `rsassa-pss-sha256`.
    pub scheme: String,
    /// The key itself.
    pub keyval: KeyValue,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// The value of a key object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyValue {
    /// PEM of the SubjectPublicKeyInfo, or for Ed25519 the 32 raw bytes in hex.
    pub public: String,
    /// Members outside the specification.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Key {
    /// The key object of a public key, with exactly the members every client agrees on.
    ///
    /// # Errors
    /// [`Error::KeyNotPortable`] for any key other than ECDSA P-256, Ed25519 and RSA (with PSS and SHA-256): npm's client
    /// and `tough` refuse the others (specs 2.2).
    pub fn from_public_key(public: &PublicKey) -> Result<Self, Error> {
        let (keytype, scheme, value) = match (public.key_type(), public.ed25519_raw()) {
            (KeyType::EcP256, _) => ("ecdsa", "ecdsa-sha2-nistp256", public.to_pem()),
            (KeyType::Ed25519, Some(raw)) => ("ed25519", "ed25519", hex::encode(raw)),
            (KeyType::Rsa { .. }, _) => ("rsa", "rsassa-pss-sha256", public.to_pem()),
            (other, _) => {
                return Err(Error::KeyNotPortable {
                    found: other.to_string(),
                });
            }
        };
        Ok(Self {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            keyval: KeyValue {
                public: value,
                extra: Map::new(),
            },
            extra: Map::new(),
        })
    }

    /// The id the specification gives this key: SHA-256 over the canonical form of the whole object.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let value = serde_json::to_value(self).unwrap_or_default();
        // A key that was parsed holds no fraction, and one that was built holds only text.
        let bytes = canonical::encode(&value).unwrap_or_default();
        KeyId(hex::encode(sha256(&bytes)))
    }

    /// The key and the one algorithm its scheme allows, or nothing when this crate does not know the combination or
    /// the value does not parse. A key nobody can use does not spoil the metadata around it: it just never counts.
    #[must_use]
    pub fn verifier(&self) -> Option<(PublicKey, Algorithm)> {
        let public = self.public_key()?;
        let algorithm = match (self.scheme.as_str(), public.key_type()) {
            ("ecdsa-sha2-nistp256", KeyType::EcP256) => Algorithm::EcdsaP256Sha256,
            ("ecdsa-sha2-nistp384", KeyType::EcP384) => Algorithm::EcdsaP384Sha384,
            ("ed25519", KeyType::Ed25519) => Algorithm::Ed25519,
            ("rsassa-pss-sha256", KeyType::Rsa { bits }) => Algorithm::RsaPss {
                bits,
                hash: HashAlgorithm::Sha256,
            },
            _ => return None,
        };
        Some((public, algorithm))
    }

    fn public_key(&self) -> Option<PublicKey> {
        match self.keytype.as_str() {
            "ecdsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "rsa" => {
                PublicKey::from_pem(&self.keyval.public).ok()
            }
            "ed25519" => {
                let raw: [u8; 32] = hex::decode(&self.keyval.public).ok()?.try_into().ok()?;
                PublicKey::from_ed25519_raw(&raw).ok()
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use sealwright_crypto::PrivateKey;

    use super::*;

    fn object(keytype: &str, scheme: &str, public: &str) -> Key {
        Key {
            keytype: keytype.to_owned(),
            scheme: scheme.to_owned(),
            keyval: KeyValue {
                public: public.to_owned(),
                extra: Map::new(),
            },
            extra: Map::new(),
        }
    }

    /// The scheme and the key must fit; whatever does not is a key that never counts.
    #[test]
    fn a_scheme_names_one_algorithm_for_one_type_of_key() {
        const SCHEMES: [&str; 5] = [
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384",
            "ed25519",
            "rsassa-pss-sha256",
            "rsassa-pss-sha512",
        ];
        for (key_type, keytype, fitting, algorithm) in [
            (
                KeyType::EcP256,
                "ecdsa",
                "ecdsa-sha2-nistp256",
                Algorithm::EcdsaP256Sha256,
            ),
            (
                KeyType::EcP256,
                "ecdsa-sha2-nistp256",
                "ecdsa-sha2-nistp256",
                Algorithm::EcdsaP256Sha256,
            ),
            (
                KeyType::EcP384,
                "ecdsa-sha2-nistp384",
                "ecdsa-sha2-nistp384",
                Algorithm::EcdsaP384Sha384,
            ),
            (KeyType::Ed25519, "ed25519", "ed25519", Algorithm::Ed25519),
        ] {
            let private = PrivateKey::generate(key_type).unwrap();
            let public = private.public_key();
            let value = public
                .ed25519_raw()
                .map_or_else(|| public.to_pem(), hex::encode);
            for scheme in SCHEMES {
                let found = object(keytype, scheme, &value).verifier();
                let expected = (scheme == fitting).then(|| (public.clone(), algorithm));
                assert_eq!(found, expected, "{keytype} {scheme}");
            }
            assert_eq!(object("unknown", fitting, &value).verifier(), None);
            assert_eq!(object(keytype, fitting, "not a key").verifier(), None);
        }
    }

    #[test]
    fn an_id_is_shown_as_it_stands() {
        let id = KeyId::new("00ff");
        assert_eq!(
            (id.to_string(), format!("{id:?}")),
            ("00ff".into(), "KeyId(00ff)".into())
        );
    }
}
