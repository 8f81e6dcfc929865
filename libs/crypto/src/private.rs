//! Private keys held in memory.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa,
    signature::{
        self as backend, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    },
};
use zeroize::Zeroizing;

use crate::{
    Algorithm, Digest, HashAlgorithm, KeyError, KeyType, PublicKey, SignError, VerifyError,
    der::{self, Reader},
    key::{self, Prehashed},
};

/// Larger than any key we accept: RSA of 8192 bits takes about 4.7 KiB.
const MAX_PKCS8_LEN: usize = 8 * 1024;

/// A private key in memory, erased when dropped.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(rsa::KeyPair),
}

impl PrivateKey {
    /// A new key. RSA is generated in sizes of 2048, 3072 and 4096 bits.
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        let failed = KeyError::Invalid { key_type };
        let pair = match key_type {
            KeyType::EcP256 | KeyType::EcP384 | KeyType::EcP521 => {
                let signing = ec_signing(key_type).ok_or(failed.clone())?;
                Pair::Ec(EcdsaKeyPair::generate(signing).map_err(|_| failed)?)
            }
            KeyType::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().map_err(|_| failed)?),
            KeyType::Rsa { bits } => {
                let size = match bits {
                    2048 => rsa::KeySize::Rsa2048,
                    3072 => rsa::KeySize::Rsa3072,
                    4096 => rsa::KeySize::Rsa4096,
                    _ => {
                        return Err(KeyError::Unsupported {
                            found: key_type.to_string(),
                        });
                    }
                };
                Pair::Rsa(rsa::KeyPair::generate(size).map_err(|_| failed)?)
            }
        };
        Self::from_pair(pair)
    }

    /// Reads an unencrypted PKCS#8 `PrivateKeyInfo` (RFC 5958) in DER.
    pub fn from_pkcs8_der(pkcs8: &[u8]) -> Result<Self, KeyError> {
        const EXPECTED: &str = "PKCS#8 private key in DER";
        let malformed = KeyError::Malformed { expected: EXPECTED };
        if pkcs8.len() > MAX_PKCS8_LEN {
            return Err(malformed);
        }
        let mut outer = Reader::new(pkcs8, EXPECTED);
        let mut info = outer.nested(der::SEQUENCE)?;
        outer.finish()?;
        info.unsigned()?;
        let mut algorithm = info.nested(der::SEQUENCE)?;
        let pair = match algorithm.value(der::OID)? {
            key::OID_ED25519 => Pair::Ed25519(ed25519_pair(info.value(der::OCTET_STRING)?)?),
            key::OID_RSA => Pair::Rsa(rsa::KeyPair::from_pkcs8(pkcs8).map_err(|_| malformed)?),
            key::OID_EC => {
                let signing = signing_on(algorithm.value(der::OID)?)?;
                Pair::Ec(EcdsaKeyPair::from_private_key_der(signing, pkcs8).map_err(|_| malformed)?)
            }
            other => return Err(key::unsupported(other)),
        };
        Self::from_pair(pair)
    }

    /// Reads PEM labelled `PRIVATE KEY` (PKCS#8), `EC PRIVATE KEY` (SEC 1) or `RSA PRIVATE KEY` (PKCS#1).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        const ACCEPTED: &str = "PRIVATE KEY, EC PRIVATE KEY and RSA PRIVATE KEY";
        let start = first_key_block(pem);
        let (label, der) = key::decode_pem(start)?;
        let der = Zeroizing::new(der);
        match label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8_der(&der),
            "EC PRIVATE KEY" => Self::from_sec1_der(&der),
            "RSA PRIVATE KEY" => {
                let pair = rsa::KeyPair::from_der(&der).map_err(|_| KeyError::Malformed {
                    expected: "PKCS#1 private key in DER",
                })?;
                Self::from_pair(Pair::Rsa(pair))
            }
            _ => Err(KeyError::PemLabel {
                found: label,
                accepted: ACCEPTED,
            }),
        }
    }

    fn from_sec1_der(sec1: &[u8]) -> Result<Self, KeyError> {
        const EXPECTED: &str = "SEC 1 private key with its curve, in DER";
        let mut outer = Reader::new(sec1, EXPECTED);
        let mut private = outer.nested(der::SEQUENCE)?;
        outer.finish()?;
        private.unsigned()?;
        private.value(der::OCTET_STRING)?;
        let signing = signing_on(private.nested(0xa0)?.value(der::OID)?)?;
        let pair = EcdsaKeyPair::from_private_key_der(signing, sec1)
            .map_err(|_| KeyError::Malformed { expected: EXPECTED })?;
        Self::from_pair(Pair::Ec(pair))
    }

    fn from_pair(pair: Pair) -> Result<Self, KeyError> {
        let public = match &pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let key_type = match point.len() {
                    65 => KeyType::EcP256,
                    97 => KeyType::EcP384,
                    _ => KeyType::EcP521,
                };
                PublicKey::from_ec_point(key_type, point)?
            }
            Pair::Ed25519(pair) => {
                let raw = pair.public_key().as_ref().try_into();
                PublicKey::from_ed25519_raw(&raw.map_err(|_| KeyError::Invalid {
                    key_type: KeyType::Ed25519,
                })?)?
            }
            Pair::Rsa(pair) => PublicKey::from_rsa_pkcs1_der(pair.public_key().as_ref())?,
        };
        Ok(Self { pair, public })
    }

    /// PKCS#8 in DER, unencrypted.
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        const REASON: &str = "a key held in memory can be encoded";
        match &self.pair {
            Pair::Ec(pair) => Zeroizing::new(pair.to_pkcs8v1().expect(REASON).as_ref().to_vec()),
            Pair::Ed25519(pair) => {
                Zeroizing::new(pair.to_pkcs8v1().expect(REASON).as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().expect(REASON);
                Zeroizing::new(der.as_ref().to_vec())
            }
        }
    }

    /// PKCS#8 in PEM labelled `PRIVATE KEY`, unencrypted, with a final line feed.
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        let pem = pem_rfc7468::encode_string(
            "PRIVATE KEY",
            pem_rfc7468::LineEnding::LF,
            self.to_pkcs8_der().as_slice(),
        );
        Zeroizing::new(pem.expect("the label is valid and the buffer grows"))
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Type and size.
    pub fn key_type(&self) -> KeyType {
        self.public.key_type()
    }

    /// Signs `message`. ECDSA signatures are DER. The algorithms kept for old signatures are refused.
    pub fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.check_signs(algorithm)?;
        match (&self.pair, algorithm) {
            (Pair::Ec(pair), _) => to_vec(pair.sign(&SystemRandom::new(), message)),
            (Pair::Ed25519(pair), Algorithm::Ed25519) => to_vec(pair.try_sign(message)),
            (Pair::Ed25519(pair), _) => {
                sign_ed25519ph(pair, &HashAlgorithm::Sha512.digest(message))
            }
            (Pair::Rsa(pair), _) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    rsa_encoding(algorithm)?,
                    &SystemRandom::new(),
                    message,
                    &mut signature,
                )
                .map_err(|_| SignError::Library)?;
                Ok(signature)
            }
        }
    }

    /// Signs the message that has this digest.
    pub fn sign_digest(&self, algorithm: Algorithm, digest: &Digest) -> Result<Vec<u8>, SignError> {
        self.check_signs(algorithm)?;
        key::check_digest(algorithm, digest)?;
        let imported = aws_lc_rs::digest::Digest::import_less_safe(
            digest.as_bytes(),
            digest.algorithm().backend(),
        )
        .map_err(|_| SignError::Library)?;
        match &self.pair {
            Pair::Ec(pair) => to_vec(pair.sign_digest(&imported)),
            Pair::Ed25519(pair) => sign_ed25519ph(pair, digest),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign_digest(rsa_encoding(algorithm)?, &imported, &mut signature)
                    .map_err(|_| SignError::Library)?;
                Ok(signature)
            }
        }
    }

    fn check_signs(&self, algorithm: Algorithm) -> Result<(), SignError> {
        let verified_only = matches!(
            algorithm,
            Algorithm::EcdsaP384Sha256
                | Algorithm::EcdsaP521Sha256
                | Algorithm::EcdsaP256Sha384
                | Algorithm::EcdsaP256Sha512
                | Algorithm::EcdsaP384Sha512
        );
        if algorithm.fits(self.key_type()) && !verified_only {
            return Ok(());
        }
        Err(VerifyError::Mismatch {
            algorithm,
            key_type: self.key_type(),
        }
        .into())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

fn to_vec(
    signature: Result<backend::Signature, aws_lc_rs::error::Unspecified>,
) -> Result<Vec<u8>, SignError> {
    signature
        .map(|signature| signature.as_ref().to_vec())
        .map_err(|_| SignError::Library)
}

fn sign_ed25519ph(pair: &Ed25519KeyPair, digest: &Digest) -> Result<Vec<u8>, SignError> {
    let seed = pair.seed().map_err(|_| SignError::Library)?;
    let bytes = aws_lc_rs::encoding::AsBigEndian::<aws_lc_rs::encoding::Curve25519SeedBin<'_>>::as_be_bytes(&seed)
        .map_err(|_| SignError::Library)?;
    let seed =
        Zeroizing::new(<[u8; 32]>::try_from(bytes.as_ref()).map_err(|_| SignError::Library)?);
    let key = ed25519_dalek::SigningKey::from_bytes(&seed);
    let signature = key
        .sign_prehashed(Prehashed::new(digest), None)
        .map_err(|_| SignError::Library)?;
    Ok(signature.to_bytes().to_vec())
}

/// The inner OCTET STRING of RFC 8410.
fn ed25519_pair(private_key: &[u8]) -> Result<Ed25519KeyPair, KeyError> {
    const EXPECTED: &str = "Ed25519 private key in DER";
    let mut reader = Reader::new(private_key, EXPECTED);
    let seed = reader.value(der::OCTET_STRING)?;
    reader.finish()?;
    Ed25519KeyPair::from_seed_unchecked(seed)
        .map_err(|_| KeyError::Malformed { expected: EXPECTED })
}

/// How keys on the curve with this identifier sign.
fn signing_on(curve: &[u8]) -> Result<&'static EcdsaSigningAlgorithm, KeyError> {
    ec_signing(key::curve_by_oid(curve)?).ok_or_else(|| key::unsupported(curve))
}

fn ec_signing(key_type: KeyType) -> Option<&'static EcdsaSigningAlgorithm> {
    match key_type {
        KeyType::EcP256 => Some(&backend::ECDSA_P256_SHA256_ASN1_SIGNING),
        KeyType::EcP384 => Some(&backend::ECDSA_P384_SHA384_ASN1_SIGNING),
        KeyType::EcP521 => Some(&backend::ECDSA_P521_SHA512_ASN1_SIGNING),
        KeyType::Ed25519 | KeyType::Rsa { .. } => None,
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Result<&'static dyn backend::RsaEncoding, SignError> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match algorithm {
        Algorithm::RsaPkcs1 { hash: Sha256, .. } => Ok(&backend::RSA_PKCS1_SHA256),
        Algorithm::RsaPkcs1 { hash: Sha384, .. } => Ok(&backend::RSA_PKCS1_SHA384),
        Algorithm::RsaPkcs1 { hash: Sha512, .. } => Ok(&backend::RSA_PKCS1_SHA512),
        Algorithm::RsaPss { hash: Sha256, .. } => Ok(&backend::RSA_PSS_SHA256),
        Algorithm::RsaPss { hash: Sha384, .. } => Ok(&backend::RSA_PSS_SHA384),
        Algorithm::RsaPss { hash: Sha512, .. } => Ok(&backend::RSA_PSS_SHA512),
        _ => Err(SignError::Library),
    }
}

/// OpenSSL writes an `EC PARAMETERS` block before the key itself; the key is what is wanted.
fn first_key_block(pem: &str) -> &str {
    let parameters_end = "-----END EC PARAMETERS-----";
    match pem.find(parameters_end) {
        Some(at) => pem.get(at + parameters_end.len()..).unwrap_or(pem),
        None => pem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [KeyType; 6] = [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 2048 },
        KeyType::Rsa { bits: 3072 },
    ];

    fn algorithms(key_type: KeyType) -> Vec<Algorithm> {
        match key_type {
            KeyType::Ed25519 => vec![Algorithm::Ed25519, Algorithm::Ed25519Ph],
            KeyType::Rsa { bits } => HashAlgorithm::ALL
                .into_iter()
                .flat_map(|hash| {
                    [
                        Algorithm::RsaPkcs1 { bits, hash },
                        Algorithm::RsaPss { bits, hash },
                    ]
                })
                .collect(),
            other => vec![other.default_algorithm()],
        }
    }

    #[test]
    fn every_algorithm_signs_what_it_verifies() {
        for key_type in ALL {
            let key = PrivateKey::generate(key_type).unwrap();
            let other = PrivateKey::generate(key_type).unwrap();
            for algorithm in algorithms(key_type) {
                let signature = key.sign(algorithm, b"message").unwrap();
                key.public_key()
                    .verify(algorithm, b"message", &signature)
                    .unwrap();
                assert_eq!(
                    key.public_key().verify(algorithm, b"massage", &signature),
                    Err(VerifyError::Signature)
                );
                assert_eq!(
                    other.public_key().verify(algorithm, b"message", &signature),
                    Err(VerifyError::Signature)
                );
                let mut bent = signature.clone();
                *bent.last_mut().unwrap() ^= 1;
                assert_eq!(
                    key.public_key().verify(algorithm, b"message", &bent),
                    Err(VerifyError::Signature)
                );
            }
        }
    }

    #[test]
    fn signatures_over_digests_equal_signatures_over_messages() {
        for key_type in ALL {
            let key = PrivateKey::generate(key_type).unwrap();
            for algorithm in algorithms(key_type) {
                let Some(hash) = algorithm.hash() else {
                    let digest = HashAlgorithm::Sha512.digest(b"message");
                    assert!(key.sign_digest(algorithm, &digest).is_err());
                    assert_eq!(
                        key.public_key().verify_digest(algorithm, &digest, &[0; 64]),
                        Err(VerifyError::NeedsMessage { algorithm })
                    );
                    continue;
                };
                let digest = hash.digest(b"message");
                let over_digest = key.sign_digest(algorithm, &digest).unwrap();
                key.public_key()
                    .verify(algorithm, b"message", &over_digest)
                    .unwrap();
                let over_message = key.sign(algorithm, b"message").unwrap();
                key.public_key()
                    .verify_digest(algorithm, &digest, &over_message)
                    .unwrap();
            }
        }
    }

    #[test]
    fn private_keys_round_trip() {
        for key_type in ALL {
            let key = PrivateKey::generate(key_type).unwrap();
            let again = PrivateKey::from_pem(&key.to_pkcs8_pem()).unwrap();
            assert_eq!(again.public_key(), key.public_key());
            assert!(!format!("{key:?}").contains("PRIVATE"));
        }
    }

    #[test]
    fn a_private_key_of_a_foreign_kind_is_named() {
        let pkcs8 = |algorithm: &[u8]| {
            let parts = [
                der::write_unsigned(&[]),
                der::write(der::SEQUENCE, &[algorithm]),
                der::write(der::OCTET_STRING, &[&[4, 0]]),
            ];
            PrivateKey::from_pkcs8_der(&der::write(der::SEQUENCE, &[&parts.concat()]))
                .map(drop)
                .unwrap_err()
        };
        // X25519, 1.3.101.110
        let x25519 = pkcs8(&der::write(der::OID, &[&[0x2b, 0x65, 0x6e]]));
        let found = "1.3.101.110".to_owned();
        assert_eq!(x25519, KeyError::Unsupported { found });
        // secp256k1, 1.3.132.0.10
        let ec = der::write(der::OID, &[key::OID_EC]);
        let curve = der::write(der::OID, &[&[0x2b, 0x81, 0x04, 0x00, 0x0a]]);
        let found = "1.3.132.0.10".to_owned();
        assert_eq!(
            pkcs8(&[ec, curve].concat()),
            KeyError::Unsupported { found }
        );
    }

    #[test]
    fn ed25519ph_gives_the_signature_of_rfc_8032_section_7_3() {
        let seed = hex::decode("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42")
            .unwrap();
        let key = PrivateKey::from_pair(Pair::Ed25519(
            Ed25519KeyPair::from_seed_unchecked(&seed).unwrap(),
        ))
        .unwrap();
        let signature = key.sign(Algorithm::Ed25519Ph, b"abc").unwrap();
        assert_eq!(
            hex::encode(&signature),
            "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
             31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
        );
        key.public_key()
            .verify(Algorithm::Ed25519Ph, b"abc", &signature)
            .unwrap();
        assert!(
            key.public_key()
                .verify(Algorithm::Ed25519, b"abc", &signature)
                .is_err()
        );
    }

    #[test]
    fn an_algorithm_of_another_key_is_refused() {
        let key = PrivateKey::generate(KeyType::EcP384).unwrap();
        for algorithm in [
            Algorithm::EcdsaP256Sha256,
            Algorithm::EcdsaP384Sha256,
            Algorithm::Ed25519,
        ] {
            assert!(matches!(
                key.sign(algorithm, b"m"),
                Err(SignError::Unsuitable(_))
            ));
        }
        let digest = HashAlgorithm::Sha256.digest(b"m");
        assert!(matches!(
            key.public_key()
                .verify_digest(Algorithm::EcdsaP384Sha384, &digest, b""),
            Err(VerifyError::DigestAlgorithm { .. })
        ));
    }

    #[test]
    fn legacy_combinations_verify_on_other_keys_of_the_curve() {
        let key = PrivateKey::generate(KeyType::EcP384).unwrap();
        let outcome = key
            .public_key()
            .verify(Algorithm::EcdsaP384Sha256, b"m", b"not a signature");
        assert_eq!(outcome, Err(VerifyError::Signature));
    }
}
