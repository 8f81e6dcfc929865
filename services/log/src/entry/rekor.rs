//! Admission to a signature log: which requests become a `hashedrekord` 0.0.2 leaf, and which.
//!
//! The log vouches that a signature existed, verified and was seen, so it verifies each one before it takes it in. It
//! does not ask whether a certificate is trusted: any key and any self-made certificate may log, and whoever reads the
//! log decides whom to believe.
//!
//! Published clients still send DSSE envelopes as such. One with a single signature says nothing that a `hashedrekord`
//! over the envelope's pre-authentication encoding does not say, and every current verifier accepts that leaf; so it is
//! rewritten into one, and the envelope with its payload is not kept.

use sealwright_crypto::{Algorithm, Digest, HashAlgorithm, PublicKey};
use sealwright_host::{Reason, ServiceError};
use sealwright_pki::Certificate;
use sealwright_tlog::dsse::pae_digest;
use sealwright_tlog::entry::{EntrySignature, HashedRekord, VerifierMaterial};
use serde::Deserialize;

/// Most bytes of one signature: an RSA signature of 16,384 bits has 2 KiB.
const MAX_SIGNATURE_BYTES: usize = 2 * 1024;
/// Most bytes of one key or certificate, as a certificate is read elsewhere; the leaf must fit 64 KiB in base64.
const MAX_VERIFIER_BYTES: usize = 32 * 1024;

/// What a signature log takes in.
#[derive(Debug, Clone)]
pub struct Admission {
    /// Algorithms of accepted signatures.
    pub algorithms: Vec<Algorithm>,
    /// What to do with DSSE requests.
    pub legacy_dsse: LegacyDsse,
}

/// What to do with `dsseRequestV002`, which the protocol has dropped and published clients still send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LegacyDsse {
    /// Log a `hashedrekord` over the PAE, for envelopes with one signature.
    #[default]
    Rewrite,
    /// Answer 400, as the current upstream does.
    Reject,
}

impl Default for Admission {
    /// The seven algorithms of the registry that sign digests.
    fn default() -> Self {
        let rsa = |bits| Algorithm::RsaPkcs1 {
            bits,
            hash: HashAlgorithm::Sha256,
        };
        let algorithms = vec![
            Algorithm::EcdsaP256Sha256,
            Algorithm::EcdsaP384Sha384,
            Algorithm::EcdsaP521Sha512,
            Algorithm::Ed25519Ph,
            rsa(2048),
            rsa(3072),
            rsa(4096),
        ];
        Self {
            algorithms,
            legacy_dsse: LegacyDsse::Rewrite,
        }
    }
}

/// What comes with a signature for its verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    /// Key or certificate, DER.
    pub material: VerifierMaterial,
    /// A number of `PublicKeyDetails`.
    pub key_details: i32,
}

/// A request to log one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submission {
    /// A signature over a digest.
    HashedRekord {
        /// The digest that was signed.
        digest: Vec<u8>,
        /// The signature over it.
        signature: Vec<u8>,
        /// What verifies it.
        verifier: Verifier,
    },
    /// A DSSE envelope.
    Dsse {
        /// `payloadType` of the envelope.
        payload_type: String,
        /// The payload, decoded.
        payload: Vec<u8>,
        /// The signatures, decoded.
        signatures: Vec<Vec<u8>>,
        /// What verifies them.
        verifiers: Vec<Verifier>,
    },
}

/// Why a submission is not admitted. Each is the submitter's doing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A field is missing or empty.
    #[error("{field} is missing or empty")]
    Missing {
        /// Its JSON path.
        field: &'static str,
    },
    /// A field is larger than any honest one.
    #[error("{field} has {found} bytes; at most {limit} are accepted")]
    TooLarge {
        /// Its JSON path.
        field: &'static str,
        /// Its size.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The public key is not SubjectPublicKeyInfo in DER of a kind that exists for us.
    #[error(
        "publicKey.rawBytes is not a usable SubjectPublicKeyInfo in DER (PEM is not accepted): {problem}"
    )]
    Key {
        /// What the parser said.
        problem: String,
    },
    /// The certificate is not one X.509 certificate in DER with a key that exists for us.
    #[error(
        "x509Certificate.rawBytes is not one X.509 certificate in DER with a usable key: {problem}"
    )]
    Certificate {
        /// What the parser said.
        problem: String,
    },
    /// The number is not in the registry, or not permitted here.
    #[error("keyDetails {found} is not accepted by this log; accepted: {accepted}")]
    Algorithm {
        /// Name, or number where it has none.
        found: String,
        /// Names of the accepted ones.
        accepted: String,
    },
    /// Pure Ed25519 signs the message itself, which a log does not see.
    #[error(
        "PKIX_ED25519 signs the whole artifact, which the log never sees; sign with PKIX_ED25519_PH"
    )]
    NeedsPreimage,
    /// The key is of another type than `keyDetails` says.
    #[error("keyDetails {declared} does not go with the {key} key that was sent")]
    KeyMismatch {
        /// What was declared.
        declared: Algorithm,
        /// The type of the key.
        key: String,
    },
    /// The digest has another length than the hash of `keyDetails`.
    #[error("the digest has {found} bytes, but {declared} signs {expected}-byte digests")]
    DigestLength {
        /// What was declared.
        declared: Algorithm,
        /// Length of the digest.
        found: usize,
        /// Length it should have.
        expected: usize,
    },
    /// The signature does not verify.
    #[error("the signature does not verify over the digest with the given key")]
    Signature,
    /// An envelope with other than one signature and one verifier.
    #[error(
        "a DSSE envelope with {signatures} signatures and {verifiers} verifiers cannot be logged; send one of each"
    )]
    DsseShape {
        /// Signatures in the envelope.
        signatures: usize,
        /// Verifiers beside it.
        verifiers: usize,
    },
    /// DSSE requests are switched off.
    #[error(
        "this log takes hashedRekordRequestV002 only; log a DSSE signature over the digest of its PAE"
    )]
    DsseRejected,
}

impl Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Missing { .. } | Self::DigestLength { .. } | Self::DsseShape { .. } => {
                Reason::EntryInvalid
            }
            Self::TooLarge { .. } => Reason::EntryTooLarge,
            Self::Key { .. } => Reason::KeyUnreadable,
            Self::Certificate { .. } => Reason::CertificateUnreadable,
            Self::Algorithm { .. } | Self::NeedsPreimage | Self::KeyMismatch { .. } => {
                Reason::AlgorithmNotPermitted
            }
            Self::Signature => Reason::SignatureInvalid,
            Self::DsseRejected => Reason::EntryTypeUnsupported,
        }
    }
}

impl From<Refusal> for ServiceError {
    fn from(refusal: Refusal) -> Self {
        Self::new(
            refusal.reason(),
            format!("The entry is not accepted: {refusal}"),
        )
    }
}

impl Submission {
    /// Checks what costs nothing: that every field is there and of a sensible size.
    ///
    /// # Errors
    /// [`Refusal::Missing`], [`Refusal::TooLarge`].
    pub fn check_shape(&self) -> Result<(), Refusal> {
        match self {
            Self::HashedRekord {
                digest,
                signature,
                verifier,
            } => {
                require("signature.content", signature, MAX_SIGNATURE_BYTES)?;
                require("digest", digest, 64)?;
                verifier.check_shape()
            }
            Self::Dsse {
                payload_type,
                signatures,
                verifiers,
                ..
            } => {
                require("envelope.payloadType", payload_type.as_bytes(), 1024)?;
                signatures.iter().try_for_each(|one| {
                    require("envelope.signatures.sig", one, MAX_SIGNATURE_BYTES)
                })?;
                verifiers.iter().try_for_each(Verifier::check_shape)
            }
        }
    }
}

impl Verifier {
    /// The algorithm that the submitter declares, when it is one of the registry.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        Algorithm::from_key_details(self.key_details)
    }

    fn check_shape(&self) -> Result<(), Refusal> {
        let field = match self.material {
            VerifierMaterial::PublicKey(_) => "publicKey.rawBytes",
            VerifierMaterial::X509Certificate(_) => "x509Certificate.rawBytes",
        };
        require(field, self.material.raw_bytes(), MAX_VERIFIER_BYTES)
    }

    fn public_key(&self) -> Result<PublicKey, Refusal> {
        match &self.material {
            VerifierMaterial::PublicKey(der) => {
                PublicKey::from_spki_der(der).map_err(|error| Refusal::Key {
                    problem: error.to_string(),
                })
            }
            VerifierMaterial::X509Certificate(der) => {
                let certificate_problem = |problem: String| Refusal::Certificate { problem };
                let certificate = Certificate::from_der(der.as_slice())
                    .map_err(|error| certificate_problem(error.to_string()))?;
                certificate
                    .public_key()
                    .cloned()
                    .map_err(|error| certificate_problem(error.to_string()))
            }
        }
    }
}

fn require(field: &'static str, bytes: &[u8], limit: usize) -> Result<(), Refusal> {
    match bytes.len() {
        0 => Err(Refusal::Missing { field }),
        found if found > limit => Err(Refusal::TooLarge {
            field,
            found,
            limit,
        }),
        _ => Ok(()),
    }
}

impl Admission {
    /// Verifies a submission and makes its leaf. Costs a signature verification: 60 us for P-256, ten times that for
    /// P-384.
    ///
    /// # Errors
    /// The first check that fails, see [`Refusal`].
    pub fn admit(&self, submission: Submission) -> Result<HashedRekord, Refusal> {
        submission.check_shape()?;
        match submission {
            Submission::HashedRekord {
                digest,
                signature,
                verifier,
            } => {
                let key = verifier.public_key()?;
                let algorithm = self.algorithm(verifier.key_details, &key)?;
                let data = digest_of(algorithm, digest)?;
                admitted(&key, algorithm, data, signature, verifier.material)
            }
            Submission::Dsse {
                payload_type,
                payload,
                signatures,
                verifiers,
            } => {
                if self.legacy_dsse == LegacyDsse::Reject {
                    return Err(Refusal::DsseRejected);
                }
                let shape = Refusal::DsseShape {
                    signatures: signatures.len(),
                    verifiers: verifiers.len(),
                };
                let signature = only(signatures).ok_or(shape.clone())?;
                let verifier = only(verifiers).ok_or(shape)?;
                let key = verifier.public_key()?;
                let algorithm = self.algorithm(verifier.key_details, &key)?;
                let hash = algorithm.hash().ok_or(Refusal::NeedsPreimage)?;
                let data = pae_digest(hash, &payload_type, &payload);
                admitted(&key, algorithm, data, signature, verifier.material)
            }
        }
    }

    /// The declared algorithm, if this log permits it and the key is of its type.
    fn algorithm(&self, key_details: i32, key: &PublicKey) -> Result<Algorithm, Refusal> {
        let algorithm = Algorithm::from_key_details(key_details);
        if algorithm == Some(Algorithm::Ed25519) {
            return Err(Refusal::NeedsPreimage);
        }
        let permitted = algorithm.filter(|algorithm| self.algorithms.contains(algorithm));
        let algorithm = permitted.ok_or_else(|| Refusal::Algorithm {
            found: algorithm.map_or(key_details.to_string(), name),
            accepted: self
                .algorithms
                .iter()
                .copied()
                .map(name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        if algorithm.fits(key.key_type()) {
            return Ok(algorithm);
        }
        Err(Refusal::KeyMismatch {
            declared: algorithm,
            key: key.key_type().to_string(),
        })
    }
}

fn name(algorithm: Algorithm) -> String {
    algorithm
        .key_details_name()
        .map_or_else(|| algorithm.to_string(), str::to_owned)
}

fn only<T>(mut items: Vec<T>) -> Option<T> {
    if items.len() == 1 { items.pop() } else { None }
}

fn digest_of(algorithm: Algorithm, bytes: Vec<u8>) -> Result<Digest, Refusal> {
    let hash = algorithm.hash().ok_or(Refusal::NeedsPreimage)?;
    let (found, expected) = (bytes.len(), hash.output_len());
    Digest::new(hash, bytes).map_err(|_| Refusal::DigestLength {
        declared: algorithm,
        found,
        expected,
    })
}

fn admitted(
    key: &PublicKey,
    algorithm: Algorithm,
    data: Digest,
    signature: Vec<u8>,
    verifier: VerifierMaterial,
) -> Result<HashedRekord, Refusal> {
    key.verify_digest(algorithm, &data, &signature)
        .map_err(|_| Refusal::Signature)?;
    Ok(HashedRekord {
        data,
        signature: EntrySignature {
            content: signature,
            verifier,
            key_details: algorithm,
        },
    })
}

#[cfg(test)]
mod tests {
    use sealwright_crypto::{KeyType, PrivateKey};
    use sealwright_tlog::dsse::pae;

    use super::*;

    fn generate(key_type: KeyType) -> PrivateKey {
        PrivateKey::generate(key_type).expect("a key")
    }

    fn verifier(key: &PrivateKey, algorithm: Algorithm) -> Verifier {
        let material = VerifierMaterial::PublicKey(key.public_key().spki_der().to_vec());
        Verifier {
            material,
            key_details: algorithm.key_details().expect("registered"),
        }
    }

    fn signed(key: &PrivateKey, algorithm: Algorithm) -> Submission {
        let digest = algorithm.hash().expect("signs digests").digest(b"artifact");
        let signature = key.sign_digest(algorithm, &digest).expect("signs");
        Submission::HashedRekord {
            digest: digest.as_bytes().to_vec(),
            signature,
            verifier: verifier(key, algorithm),
        }
    }

    fn admit(submission: Submission) -> Result<HashedRekord, Refusal> {
        Admission::default().admit(submission)
    }

    fn p256() -> (PrivateKey, Submission) {
        let key = generate(KeyType::EcP256);
        let submission = signed(&key, Algorithm::EcdsaP256Sha256);
        (key, submission)
    }

    /// The same submission with one field changed.
    fn bent(
        submission: &Submission,
        change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>, &mut Verifier),
    ) -> Submission {
        let mut copy = submission.clone();
        if let Submission::HashedRekord {
            digest,
            signature,
            verifier,
        } = &mut copy
        {
            change(digest, signature, verifier);
        }
        copy
    }

    #[test]
    fn every_default_algorithm_is_admitted_and_kept_as_it_came() {
        for (key_type, algorithm) in [
            (KeyType::EcP256, Algorithm::EcdsaP256Sha256),
            (KeyType::EcP384, Algorithm::EcdsaP384Sha384),
            (KeyType::EcP521, Algorithm::EcdsaP521Sha512),
            (KeyType::Ed25519, Algorithm::Ed25519Ph),
            (
                KeyType::Rsa { bits: 2048 },
                Algorithm::RsaPkcs1 {
                    bits: 2048,
                    hash: HashAlgorithm::Sha256,
                },
            ),
        ] {
            let submission = signed(&generate(key_type), algorithm);
            let entry = admit(submission.clone()).expect("admitted");
            let Submission::HashedRekord {
                digest,
                signature,
                verifier,
            } = submission
            else {
                unreachable!()
            };
            assert_eq!(entry.data.as_bytes(), digest);
            assert_eq!(entry.signature.content, signature);
            assert_eq!(entry.signature.verifier, verifier.material);
            assert_eq!(entry.signature.key_details, algorithm);
        }
    }

    #[test]
    fn each_missing_field_is_named() {
        let (_, good) = p256();
        let missing = |field| Err(Refusal::Missing { field });
        assert_eq!(
            admit(bent(&good, |digest, _, _| digest.clear())),
            missing("digest")
        );
        assert_eq!(
            admit(bent(&good, |_, signature, _| signature.clear())),
            missing("signature.content")
        );
        let no_key = bent(&good, |_, _, verifier| {
            verifier.material = VerifierMaterial::PublicKey(vec![])
        });
        assert_eq!(admit(no_key), missing("publicKey.rawBytes"));
        let no_certificate = bent(&good, |_, _, verifier| {
            verifier.material = VerifierMaterial::X509Certificate(vec![])
        });
        assert_eq!(admit(no_certificate), missing("x509Certificate.rawBytes"));
    }

    #[test]
    fn keys_must_be_der_and_of_the_declared_type() {
        let (key, good) = p256();
        let pem = key.public_key().to_pem().into_bytes();
        let as_pem = bent(&good, |_, _, verifier| {
            verifier.material = VerifierMaterial::PublicKey(pem)
        });
        assert!(matches!(admit(as_pem), Err(Refusal::Key { .. })));
        let no_certificate = bent(&good, |_, _, verifier| {
            verifier.material =
                VerifierMaterial::X509Certificate(verifier.material.raw_bytes().to_vec());
        });
        assert!(matches!(
            admit(no_certificate),
            Err(Refusal::Certificate { .. })
        ));
        let p384 = bent(&good, |_, _, verifier| verifier.key_details = 12);
        assert!(matches!(admit(p384), Err(Refusal::KeyMismatch { .. })));
        let rsa = generate(KeyType::Rsa { bits: 2048 });
        let algorithm = Algorithm::RsaPkcs1 {
            bits: 2048,
            hash: HashAlgorithm::Sha256,
        };
        let other_size = bent(&signed(&rsa, algorithm), |_, _, verifier| {
            verifier.key_details = 10
        });
        assert!(matches!(
            admit(other_size),
            Err(Refusal::KeyMismatch { .. })
        ));
    }

    #[test]
    fn algorithms_outside_the_list_are_refused_by_name() {
        let (_, good) = p256();
        for number in [0, 1, 16, 19, 20, 21, 999, -1] {
            let other = bent(&good, |_, _, verifier| verifier.key_details = number);
            assert!(
                matches!(admit(other), Err(Refusal::Algorithm { .. })),
                "{number}"
            );
        }
        let pure = bent(&good, |_, _, verifier| verifier.key_details = 7);
        assert_eq!(admit(pure), Err(Refusal::NeedsPreimage));
    }

    #[test]
    fn a_digest_of_another_length_or_content_is_refused() {
        let (_, good) = p256();
        let short = bent(&good, |digest, _, _| digest.truncate(20));
        assert!(matches!(
            admit(short),
            Err(Refusal::DigestLength {
                found: 20,
                expected: 32,
                ..
            })
        ));
        let other = bent(&good, |digest, _, _| digest.fill(7));
        assert_eq!(admit(other), Err(Refusal::Signature));
        let forged = bent(&good, |_, signature, _| signature.reverse());
        assert_eq!(admit(forged), Err(Refusal::Signature));
        let huge = bent(&good, |_, signature, _| signature.resize(5000, 1));
        assert!(matches!(
            admit(huge),
            Err(Refusal::TooLarge { found: 5000, .. })
        ));
    }

    fn envelope(key: &PrivateKey, algorithm: Algorithm) -> Submission {
        let (payload_type, payload) = ("application/vnd.in-toto+json", b"{}".to_vec());
        let digest = algorithm
            .hash()
            .expect("signs digests")
            .digest(&pae(payload_type, &payload));
        let signature = key.sign_digest(algorithm, &digest).expect("signs");
        Submission::Dsse {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: vec![signature],
            verifiers: vec![verifier(key, algorithm)],
        }
    }

    #[test]
    fn an_envelope_with_one_signature_becomes_a_hashedrekord_over_its_pae() {
        for (key_type, algorithm) in [
            (KeyType::EcP256, Algorithm::EcdsaP256Sha256),
            (KeyType::EcP384, Algorithm::EcdsaP384Sha384),
        ] {
            let entry = admit(envelope(&generate(key_type), algorithm)).expect("admitted");
            let expected = pae_digest(
                algorithm.hash().expect("a hash"),
                "application/vnd.in-toto+json",
                b"{}",
            );
            assert_eq!(entry.data, expected);
        }
    }

    #[test]
    fn other_envelopes_are_refused() {
        let key = generate(KeyType::EcP256);
        let good = envelope(&key, Algorithm::EcdsaP256Sha256);
        let changed = |position: usize, extra: Vec<u8>| {
            let Submission::Dsse {
                mut payload,
                mut signatures,
                mut verifiers,
                payload_type,
            } = good.clone()
            else {
                unreachable!("an envelope")
            };
            match position {
                0 => payload.extend(extra),
                1 => signatures.push(extra),
                _ => verifiers.clear(),
            }
            admit(Submission::Dsse {
                payload_type,
                payload,
                signatures,
                verifiers,
            })
        };
        assert_eq!(changed(0, b" ".to_vec()), Err(Refusal::Signature));
        let shape = |signatures, verifiers| {
            Err(Refusal::DsseShape {
                signatures,
                verifiers,
            })
        };
        assert_eq!(changed(1, vec![1]), shape(2, 1));
        assert_eq!(changed(2, Vec::new()), shape(1, 0));
        let strict = Admission {
            legacy_dsse: LegacyDsse::Reject,
            ..Admission::default()
        };
        assert_eq!(strict.admit(good), Err(Refusal::DsseRejected));
    }
}
