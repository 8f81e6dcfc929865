//! Public keys and the verification of signatures.

use std::{fmt, sync::Arc};

use aws_lc_rs::signature::{
    self as backend, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::{
    Algorithm, Digest, HashAlgorithm, KeyError, VerifyError,
    der::{self, Reader},
    digest::sha256,
};

/// `1.2.840.10045.2.1`
pub(crate) const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// `1.2.840.10045.3.1.7`
pub(crate) const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `1.3.132.0.34`
pub(crate) const OID_P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// `1.3.132.0.35`
pub(crate) const OID_P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// `1.2.840.113549.1.1.1`
pub(crate) const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// `1.3.101.112`
pub(crate) const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

/// Larger than any key we accept: RSA of 8192 bits takes about 1.1 KiB.
const MAX_SPKI_LEN: usize = 2 * 1024;

/// The types of key in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// NIST P-256.
    EcP256,
    /// NIST P-384.
    EcP384,
    /// NIST P-521.
    EcP521,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// RSA.
    Rsa {
        /// Length of the modulus in bits.
        bits: u32,
    },
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcP256 => f.write_str("ECDSA P-256"),
            Self::EcP384 => f.write_str("ECDSA P-384"),
            Self::EcP521 => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

impl KeyType {
    /// The algorithm that a key of this type signs with when nothing else is said.
    pub fn default_algorithm(self) -> Algorithm {
        match self {
            Self::EcP256 => Algorithm::EcdsaP256Sha256,
            Self::EcP384 => Algorithm::EcdsaP384Sha384,
            Self::EcP521 => Algorithm::EcdsaP521Sha512,
            Self::Ed25519 => Algorithm::Ed25519,
            Self::Rsa { bits } => Algorithm::RsaPkcs1 {
                bits,
                hash: HashAlgorithm::Sha256,
            },
        }
    }

    /// Length of a coordinate in bytes; `None` unless the type is an elliptic curve of ECDSA.
    pub fn coordinate_len(self) -> Option<usize> {
        match self {
            Self::EcP256 => Some(32),
            Self::EcP384 => Some(48),
            Self::EcP521 => Some(66),
            Self::Ed25519 | Self::Rsa { .. } => None,
        }
    }
}

/// A public key that was checked to be one: points lie on their curves, moduli have a supported size.
#[derive(Clone)]
pub struct PublicKey {
    inner: Arc<Inner>,
}

struct Inner {
    spki: Vec<u8>,
    /// Uncompressed point, Ed25519 bytes, or RSAPublicKey.
    raw: Vec<u8>,
    key_type: KeyType,
    /// Ready for the default algorithm, so that repeated verification does not parse again.
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Reads a `SubjectPublicKeyInfo` (RFC 5280 section 4.1.2.7) in DER.
    pub fn from_spki_der(spki: &[u8]) -> Result<Self, KeyError> {
        const EXPECTED: &str = "SubjectPublicKeyInfo in DER";
        if spki.len() > MAX_SPKI_LEN {
            return Err(KeyError::Malformed { expected: EXPECTED });
        }
        let mut outer = Reader::new(spki, EXPECTED);
        let mut info = outer.nested(der::SEQUENCE)?;
        outer.finish()?;
        let mut algorithm = info.nested(der::SEQUENCE)?;
        let oid = algorithm.value(der::OID)?;
        let raw = info.bits()?;
        info.finish()?;
        let key_type = match oid {
            OID_EC => curve_by_oid(algorithm.value(der::OID)?)?,
            OID_ED25519 => KeyType::Ed25519,
            OID_RSA => {
                algorithm.nested(der::NULL)?.finish()?;
                KeyType::Rsa {
                    bits: modulus_bits(raw)?,
                }
            }
            other => return Err(unsupported(other)),
        };
        algorithm.finish()?;
        Self::checked(spki.to_vec(), raw.to_vec(), key_type)
    }

    /// Reads PEM labelled `PUBLIC KEY` (SubjectPublicKeyInfo) or `RSA PUBLIC KEY` (PKCS#1).
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let (label, der) = decode_pem(pem)?;
        match label.as_str() {
            "PUBLIC KEY" => Self::from_spki_der(&der),
            "RSA PUBLIC KEY" => Self::from_rsa_pkcs1_der(&der),
            _ => Err(KeyError::PemLabel {
                found: label,
                accepted: "PUBLIC KEY and RSA PUBLIC KEY",
            }),
        }
    }

    /// Reads an `RSAPublicKey` (RFC 8017) in DER.
    pub fn from_rsa_pkcs1_der(raw: &[u8]) -> Result<Self, KeyError> {
        let key_type = KeyType::Rsa {
            bits: modulus_bits(raw)?,
        };
        Self::checked(spki_der(key_type, raw), raw.to_vec(), key_type)
    }

    /// An RSA key from modulus and exponent, unsigned and big endian.
    pub fn from_rsa_components(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let raw = der::write(
            der::SEQUENCE,
            &[
                &der::write_unsigned(modulus),
                &der::write_unsigned(exponent),
            ],
        );
        Self::from_rsa_pkcs1_der(&raw)
    }

    /// A key on a NIST curve from affine coordinates, big endian, each as long as the curve's field.
    pub fn from_ec_coordinates(key_type: KeyType, x: &[u8], y: &[u8]) -> Result<Self, KeyError> {
        let length = key_type.coordinate_len().ok_or(KeyError::Malformed {
            expected: "curve of ECDSA",
        })?;
        if x.len() != length || y.len() != length {
            return Err(KeyError::Malformed {
                expected: "pair of coordinates of the curve's length",
            });
        }
        Self::from_raw(key_type, &[&[4], x, y].concat())
    }

    /// A key on a NIST curve from its uncompressed point (SEC 1).
    pub fn from_ec_point(key_type: KeyType, point: &[u8]) -> Result<Self, KeyError> {
        key_type.coordinate_len().ok_or(KeyError::Malformed {
            expected: "curve of ECDSA",
        })?;
        Self::from_raw(key_type, point)
    }

    /// An Ed25519 key from its 32 bytes.
    pub fn from_ed25519_raw(raw: &[u8; 32]) -> Result<Self, KeyError> {
        Self::from_raw(KeyType::Ed25519, raw)
    }

    fn from_raw(key_type: KeyType, raw: &[u8]) -> Result<Self, KeyError> {
        Self::checked(spki_der(key_type, raw), raw.to_vec(), key_type)
    }

    fn checked(spki: Vec<u8>, raw: Vec<u8>, key_type: KeyType) -> Result<Self, KeyError> {
        if let KeyType::Rsa { bits } = key_type
            && !(2048..=8192).contains(&bits)
        {
            return Err(KeyError::Unsupported {
                found: key_type.to_string(),
            });
        }
        let well_formed = match key_type.coordinate_len() {
            // Compressed points are legal in SEC 1 and used by nobody here; one form per key keeps comparisons honest.
            Some(length) => raw.len() == 1 + 2 * length && raw.first() == Some(&4),
            None => key_type != KeyType::Ed25519 || raw.len() == 32,
        };
        if !well_formed {
            return Err(KeyError::Invalid { key_type });
        }
        let parsed = ParsedPublicKey::new(verification(key_type.default_algorithm()), raw.clone())
            .map_err(|_| KeyError::Invalid { key_type })?;
        Ok(Self {
            inner: Arc::new(Inner {
                spki,
                raw,
                key_type,
                parsed,
            }),
        })
    }

    /// The `SubjectPublicKeyInfo` in DER; the very bytes it was read from.
    pub fn spki_der(&self) -> &[u8] {
        &self.inner.spki
    }

    /// PEM labelled `PUBLIC KEY`, with a final line feed.
    pub fn to_pem(&self) -> String {
        pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, &self.inner.spki)
            .expect("the label is valid and the buffer grows")
    }

    /// Type and size.
    pub fn key_type(&self) -> KeyType {
        self.inner.key_type
    }

    /// See [`KeyType::default_algorithm`].
    pub fn default_algorithm(&self) -> Algorithm {
        self.inner.key_type.default_algorithm()
    }

    /// SHA-256 of the `SubjectPublicKeyInfo`.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.inner.spki)
    }

    /// The 32 bytes of an Ed25519 key.
    pub fn ed25519_raw(&self) -> Option<[u8; 32]> {
        match self.inner.key_type {
            KeyType::Ed25519 => self.inner.raw.as_slice().try_into().ok(),
            _ => None,
        }
    }

    /// The uncompressed point of a key on a NIST curve.
    pub fn ec_point(&self) -> Option<&[u8]> {
        self.inner
            .key_type
            .coordinate_len()
            .map(|_| self.inner.raw.as_slice())
    }

    /// Modulus and exponent of an RSA key, unsigned, big endian, without leading zeros.
    pub fn rsa_components(&self) -> Option<(&[u8], &[u8])> {
        match self.inner.key_type {
            KeyType::Rsa { .. } => rsa_components(&self.inner.raw).ok(),
            _ => None,
        }
    }

    /// Content of the key's BIT STRING: what key identifiers of RFC 5280 and RFC 7093 are computed over.
    pub fn raw(&self) -> &[u8] {
        &self.inner.raw
    }

    /// Verifies a signature over `message`. ECDSA signatures are DER.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        self.check_fits(algorithm)?;
        let outcome = if algorithm == Algorithm::Ed25519Ph {
            return self.verify_ed25519ph(&HashAlgorithm::Sha512.digest(message), signature);
        } else if algorithm == self.default_algorithm() {
            self.inner.parsed.verify_sig(message, signature)
        } else {
            UnparsedPublicKey::new(verification(algorithm), &self.inner.raw)
                .verify(message, signature)
        };
        outcome.map_err(|_| VerifyError::Signature)
    }

    /// Verifies a signature over the message that has this digest.
    pub fn verify_digest(
        &self,
        algorithm: Algorithm,
        digest: &Digest,
        signature: &[u8],
    ) -> Result<(), VerifyError> {
        self.check_fits(algorithm)?;
        check_digest(algorithm, digest)?;
        if algorithm == Algorithm::Ed25519Ph {
            return self.verify_ed25519ph(digest, signature);
        }
        let imported = aws_lc_rs::digest::Digest::import_less_safe(
            digest.as_bytes(),
            digest.algorithm().backend(),
        )
        .map_err(|_| VerifyError::Signature)?;
        let outcome = if algorithm == self.default_algorithm() {
            self.inner.parsed.verify_digest_sig(&imported, signature)
        } else {
            UnparsedPublicKey::new(verification(algorithm), &self.inner.raw)
                .verify_digest(&imported, signature)
        };
        outcome.map_err(|_| VerifyError::Signature)
    }

    fn check_fits(&self, algorithm: Algorithm) -> Result<(), VerifyError> {
        if algorithm.fits(self.inner.key_type) {
            return Ok(());
        }
        Err(VerifyError::Mismatch {
            algorithm,
            key_type: self.inner.key_type,
        })
    }

    fn verify_ed25519ph(&self, digest: &Digest, signature: &[u8]) -> Result<(), VerifyError> {
        let raw = self.ed25519_raw().ok_or(VerifyError::Signature)?;
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(&raw).map_err(|_| VerifyError::Signature)?;
        let signature =
            ed25519_dalek::Signature::from_slice(signature).map_err(|_| VerifyError::Signature)?;
        key.verify_prehashed_strict(Prehashed::new(digest), None, &signature)
            .map_err(|_| VerifyError::Signature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.inner.spki == other.inner.spki
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.spki.hash(state);
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PublicKey({}, sha256:{})",
            self.inner.key_type,
            hex::encode(self.fingerprint())
        )
    }
}

/// The digest must exist and be of the algorithm's hash.
pub(crate) fn check_digest(algorithm: Algorithm, digest: &Digest) -> Result<(), VerifyError> {
    let expected = algorithm
        .hash()
        .ok_or(VerifyError::NeedsMessage { algorithm })?;
    if expected == digest.algorithm() {
        return Ok(());
    }
    Err(VerifyError::DigestAlgorithm {
        algorithm,
        expected,
        found: digest.algorithm(),
    })
}

/// Turns the fixed form r || s of an ECDSA signature (JSON Web Signatures, PKCS#11) into DER.
pub fn ecdsa_der_from_fixed(fixed: &[u8]) -> Option<Vec<u8>> {
    if fixed.is_empty() || !fixed.len().is_multiple_of(2) {
        return None;
    }
    let (r, s) = fixed.split_at_checked(fixed.len() / 2)?;
    Some(der::write(
        der::SEQUENCE,
        &[&der::write_unsigned(r), &der::write_unsigned(s)],
    ))
}

/// Turns a DER signature into the fixed form r || s for the curve of `key_type`.
pub fn ecdsa_fixed_from_der(key_type: KeyType, signature: &[u8]) -> Option<Vec<u8>> {
    let length = key_type.coordinate_len()?;
    let mut outer = Reader::new(signature, "ECDSA signature");
    let mut pair = outer.nested(der::SEQUENCE).ok()?;
    outer.finish().ok()?;
    let (r, s) = (pair.unsigned().ok()?, pair.unsigned().ok()?);
    pair.finish().ok()?;
    let mut fixed = vec![0; 2 * length];
    for (half, number) in [(0, r), (length, s)] {
        let start = (half + length)
            .checked_sub(number.len())
            .filter(|&start| start >= half)?;
        fixed.get_mut(start..half + length)?.copy_from_slice(number);
    }
    Some(fixed)
}

/// Label and content of the first PEM block; what stands before it is passed over, as OpenSSL writes text there. Lines may
/// have any one length: sigstore-java sends the whole key on a single one.
pub(crate) fn decode_pem(pem: &str) -> Result<(String, Vec<u8>), KeyError> {
    let malformed = KeyError::Malformed {
        expected: "PEM block",
    };
    let start = pem.find("-----BEGIN ").ok_or(malformed.clone())?;
    let block = pem.get(start..).unwrap_or_default();
    let mut decoder = pem_rfc7468::Decoder::new_detect_wrap(block.trim_end().as_bytes())
        .map_err(|_| malformed.clone())?;
    let mut der = Vec::new();
    decoder.decode_to_end(&mut der).map_err(|_| malformed)?;
    Ok((decoder.type_label().to_owned(), der))
}

/// Builds a `SubjectPublicKeyInfo` around the raw key.
fn spki_der(key_type: KeyType, raw: &[u8]) -> Vec<u8> {
    let oid = |bytes: &[u8]| der::write(der::OID, &[bytes]);
    let algorithm = match key_type {
        KeyType::EcP256 => [oid(OID_EC), oid(OID_P256)].concat(),
        KeyType::EcP384 => [oid(OID_EC), oid(OID_P384)].concat(),
        KeyType::EcP521 => [oid(OID_EC), oid(OID_P521)].concat(),
        KeyType::Ed25519 => oid(OID_ED25519),
        KeyType::Rsa { .. } => [oid(OID_RSA), der::write(der::NULL, &[])].concat(),
    };
    let algorithm = der::write(der::SEQUENCE, &[&algorithm]);
    der::write(
        der::SEQUENCE,
        &[&algorithm, &der::write(der::BIT_STRING, &[&[0], raw])],
    )
}

pub(crate) fn curve_by_oid(oid: &[u8]) -> Result<KeyType, KeyError> {
    match oid {
        OID_P256 => Ok(KeyType::EcP256),
        OID_P384 => Ok(KeyType::EcP384),
        OID_P521 => Ok(KeyType::EcP521),
        other => Err(unsupported(other)),
    }
}

pub(crate) fn unsupported(oid: &[u8]) -> KeyError {
    KeyError::Unsupported {
        found: format_oid(oid),
    }
}

fn rsa_components(raw: &[u8]) -> Result<(&[u8], &[u8]), KeyError> {
    let mut outer = Reader::new(raw, "RSAPublicKey in DER");
    let mut key = outer.nested(der::SEQUENCE)?;
    outer.finish()?;
    let (modulus, exponent) = (key.unsigned()?, key.unsigned()?);
    key.finish()?;
    Ok((modulus, exponent))
}

fn modulus_bits(raw: &[u8]) -> Result<u32, KeyError> {
    let (modulus, _) = rsa_components(raw)?;
    let high = modulus.first().map_or(8, |byte| byte.leading_zeros());
    u32::try_from(modulus.len() * 8)
        .ok()
        .and_then(|bits| bits.checked_sub(high))
        .ok_or(KeyError::Malformed {
            expected: "RSA modulus",
        })
}

/// Dotted form, for messages only.
fn format_oid(bytes: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0u64;
    for &byte in bytes.iter().take(64) {
        arc = arc.wrapping_shl(7) | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first.to_string());
                arc -= first * 40;
            }
            arcs.push(arc.to_string());
            arc = 0;
        }
    }
    arcs.join(".")
}

fn verification(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    match algorithm {
        Algorithm::EcdsaP256Sha256 => &backend::ECDSA_P256_SHA256_ASN1,
        Algorithm::EcdsaP384Sha384 => &backend::ECDSA_P384_SHA384_ASN1,
        Algorithm::EcdsaP521Sha512 => &backend::ECDSA_P521_SHA512_ASN1,
        Algorithm::EcdsaP384Sha256 => &backend::ECDSA_P384_SHA256_ASN1,
        Algorithm::EcdsaP521Sha256 => &backend::ECDSA_P521_SHA256_ASN1,
        Algorithm::EcdsaP256Sha384 => &backend::ECDSA_P256_SHA384_ASN1,
        Algorithm::EcdsaP256Sha512 => &backend::ECDSA_P256_SHA512_ASN1,
        Algorithm::EcdsaP384Sha512 => &backend::ECDSA_P384_SHA512_ASN1,
        Algorithm::Ed25519 | Algorithm::Ed25519Ph => &backend::ED25519,
        Algorithm::RsaPkcs1 { hash: Sha256, .. } => &backend::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RsaPkcs1 { hash: Sha384, .. } => &backend::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RsaPkcs1 { hash: Sha512, .. } => &backend::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::RsaPss { hash: Sha256, .. } => &backend::RSA_PSS_2048_8192_SHA256,
        Algorithm::RsaPss { hash: Sha384, .. } => &backend::RSA_PSS_2048_8192_SHA384,
        Algorithm::RsaPss { hash: Sha512, .. } => &backend::RSA_PSS_2048_8192_SHA512,
    }
}

/// A "hash function" that was already run: the Ed25519ph interface takes a hasher, and artifacts are hashed as streams
/// long before their key is at hand.
#[derive(Clone)]
pub(crate) struct Prehashed([u8; 64]);

impl Prehashed {
    pub(crate) fn new(digest: &Digest) -> Self {
        let mut bytes = [0; 64];
        bytes
            .iter_mut()
            .zip(digest.as_bytes())
            .for_each(|(to, from)| *to = *from);
        Self(bytes)
    }
}

impl Default for Prehashed {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl sha2::digest::OutputSizeUser for Prehashed {
    type OutputSize = sha2::digest::typenum::U64;
}

impl sha2::digest::Update for Prehashed {
    fn update(&mut self, _data: &[u8]) {}
}

impl sha2::digest::FixedOutput for Prehashed {
    fn finalize_into(self, out: &mut sha2::digest::Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}

impl sha2::digest::HashMarker for Prehashed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;

    const ALL: [KeyType; 5] = [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 2048 },
    ];

    #[test]
    fn public_keys_round_trip_through_every_form() {
        for key_type in ALL {
            let key = PrivateKey::generate(key_type).unwrap().public_key().clone();
            assert_eq!(PublicKey::from_spki_der(key.spki_der()).unwrap(), key);
            assert_eq!(PublicKey::from_pem(&key.to_pem()).unwrap(), key);
            assert_eq!(PublicKey::from_raw(key_type, key.raw()).unwrap(), key);
            if let Some((modulus, exponent)) = key.rsa_components() {
                assert_eq!(
                    PublicKey::from_rsa_components(modulus, exponent).unwrap(),
                    key
                );
            }
        }
    }

    #[test]
    fn pem_has_lines_of_any_one_length() {
        for key_type in ALL {
            let key = PrivateKey::generate(key_type).unwrap().public_key().clone();
            let body = crate::base64::encode(key.spki_der());
            for width in [32, 64, 76, body.len()] {
                let lines: Vec<&str> = (0..body.len())
                    .step_by(width)
                    .map(|start| &body[start..body.len().min(start + width)])
                    .collect();
                let lines = lines.join("\n");
                let pem = format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----");
                assert_eq!(PublicKey::from_pem(&pem).as_ref(), Ok(&key), "{width}");
                let damaged = pem.replacen('M', "*", 1);
                assert!(PublicKey::from_pem(&damaged).is_err(), "{width}");
            }
        }
    }

    #[test]
    fn truncated_and_extended_keys_are_refused() {
        for key_type in ALL {
            let key = PrivateKey::generate(key_type).unwrap().public_key().clone();
            let spki = key.spki_der();
            for cut in 0..spki.len() {
                assert!(PublicKey::from_spki_der(&spki[..cut]).is_err());
            }
            assert!(PublicKey::from_spki_der(&[spki, &[0]].concat()).is_err());
        }
    }

    #[test]
    fn an_rsa_key_has_one_encoding() {
        let key = PrivateKey::generate(KeyType::Rsa { bits: 2048 }).unwrap();
        let raw = key.public_key().raw();
        let with_parameters = |parameters: &[u8]| {
            let algorithm = [der::write(der::OID, &[OID_RSA]), parameters.to_vec()].concat();
            PublicKey::from_spki_der(&der::write(
                der::SEQUENCE,
                &[
                    &der::write(der::SEQUENCE, &[&algorithm]),
                    &der::write(der::BIT_STRING, &[&[0], raw]),
                ],
            ))
        };
        assert!(with_parameters(&[5, 0]).is_ok());
        for parameters in [&[][..], &[5, 1, 0], &[5, 0, 5, 0], &[4, 0]] {
            assert!(with_parameters(parameters).is_err(), "{parameters:?}");
        }
    }

    #[test]
    fn a_point_off_the_curve_is_refused() {
        let key = PrivateKey::generate(KeyType::EcP256)
            .unwrap()
            .public_key()
            .clone();
        let mut spki = key.spki_der().to_vec();
        *spki.last_mut().unwrap() ^= 1;
        assert_eq!(
            PublicKey::from_spki_der(&spki),
            Err(KeyError::Invalid {
                key_type: KeyType::EcP256
            })
        );
    }

    #[test]
    fn foreign_curves_are_named() {
        // secp256k1, 1.3.132.0.10
        let algorithm = [
            der::write(der::OID, &[OID_EC]),
            der::write(der::OID, &[&[0x2b, 0x81, 0x04, 0x00, 0x0a]]),
        ]
        .concat();
        let spki = der::write(
            der::SEQUENCE,
            &[
                &der::write(der::SEQUENCE, &[&algorithm]),
                &der::write(der::BIT_STRING, &[&[0; 66]]),
            ],
        );
        assert_eq!(
            PublicKey::from_spki_der(&spki),
            Err(KeyError::Unsupported {
                found: "1.3.132.0.10".into()
            })
        );
    }

    #[test]
    fn fixed_and_der_signatures_convert_both_ways() {
        for key_type in [KeyType::EcP256, KeyType::EcP384, KeyType::EcP521] {
            let key = PrivateKey::generate(key_type).unwrap();
            for _ in 0..20 {
                let signature = key.sign(key_type.default_algorithm(), b"m").unwrap();
                let fixed = ecdsa_fixed_from_der(key_type, &signature).unwrap();
                assert_eq!(fixed.len(), 2 * key_type.coordinate_len().unwrap());
                assert_eq!(ecdsa_der_from_fixed(&fixed).unwrap(), signature);
            }
        }
        assert_eq!(ecdsa_der_from_fixed(&[]), None);
        assert_eq!(ecdsa_der_from_fixed(&[1, 2, 3]), None);
        assert_eq!(ecdsa_fixed_from_der(KeyType::EcP256, &[0x30, 0]), None);
    }
}
