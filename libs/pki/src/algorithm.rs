//! AlgorithmIdentifiers of signatures and hashes: which exist for us, how they are written, and which key each goes with.

use const_oid::ObjectIdentifier;
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType};

use crate::asn1::{self, Reader, Writer, tag};
use crate::error::{DerFault, Error, Within as _};
use crate::oid;

/// A signature algorithm as certificates name it: for ECDSA the curve, and for RSA the size, are the key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignatureScheme {
    /// ecdsa-with-SHA2 (RFC 5758)
    Ecdsa(HashAlgorithm),
    /// sha2WithRSAEncryption, PKCS #1 v1.5 (RFC 4055)
    RsaPkcs1(HashAlgorithm),
    /// RSASSA-PSS with one hash throughout and a salt of its length (RFC 4055)
    RsaPss(HashAlgorithm),
    /// Ed25519 (RFC 8410)
    Ed25519,
    /// Anything else, SHA-1 included. A certificate so signed parses; its signature never verifies.
    Unsupported(ObjectIdentifier),
}

impl SignatureScheme {
    /// The algorithm that verifies with a key of this type.
    pub fn algorithm(&self, key_type: KeyType) -> Result<Algorithm, Error> {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        Ok(match (*self, key_type) {
            (Self::Ecdsa(Sha256), KeyType::EcP256) => Algorithm::EcdsaP256Sha256,
            (Self::Ecdsa(Sha384), KeyType::EcP384) => Algorithm::EcdsaP384Sha384,
            (Self::Ecdsa(Sha512), KeyType::EcP521) => Algorithm::EcdsaP521Sha512,
            (Self::Ecdsa(Sha256), KeyType::EcP384) => Algorithm::EcdsaP384Sha256,
            (Self::Ecdsa(Sha256), KeyType::EcP521) => Algorithm::EcdsaP521Sha256,
            (Self::Ecdsa(Sha384), KeyType::EcP256) => Algorithm::EcdsaP256Sha384,
            (Self::Ecdsa(Sha512), KeyType::EcP256) => Algorithm::EcdsaP256Sha512,
            (Self::Ecdsa(Sha512), KeyType::EcP384) => Algorithm::EcdsaP384Sha512,
            (Self::Ed25519, KeyType::Ed25519) => Algorithm::Ed25519,
            (Self::RsaPkcs1(hash), KeyType::Rsa { bits }) => Algorithm::RsaPkcs1 { bits, hash },
            (Self::RsaPss(hash), KeyType::Rsa { bits }) => Algorithm::RsaPss { bits, hash },
            (scheme, key_type) => {
                return Err(Error::SignatureAlgorithm {
                    oid: scheme.oid(),
                    key_type: Some(key_type),
                });
            }
        })
    }

    /// The identifier of the algorithm.
    pub fn oid(&self) -> ObjectIdentifier {
        match *self {
            Self::Ecdsa(hash) => row(hash).ecdsa,
            Self::RsaPkcs1(hash) => row(hash).rsa_pkcs1,
            Self::RsaPss(_) => oid::RSASSA_PSS,
            Self::Ed25519 => oid::ED25519,
            Self::Unsupported(oid) => oid,
        }
    }

    /// The scheme that names this algorithm in certificates; `None` for Ed25519ph, which has no identifier.
    pub fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::Ed25519 => Some(Self::Ed25519),
            Algorithm::RsaPkcs1 { hash, .. } => Some(Self::RsaPkcs1(hash)),
            Algorithm::RsaPss { hash, .. } => Some(Self::RsaPss(hash)),
            Algorithm::Ed25519Ph => None,
            ecdsa => ecdsa.hash().map(Self::Ecdsa),
        }
    }

    /// DER of the AlgorithmIdentifier, parameters as the RFCs want them.
    pub fn identifier_der(&self) -> Vec<u8> {
        match *self {
            Self::RsaPkcs1(_) => algorithm_identifier(&self.oid(), true),
            Self::RsaPss(hash) => asn1::encode_sequence(&[
                &asn1::encode(tag::OBJECT_IDENTIFIER, self.oid().as_bytes()),
                &pss_parameters(hash),
            ]),
            Self::Ecdsa(_) | Self::Ed25519 | Self::Unsupported(_) => {
                algorithm_identifier(&self.oid(), false)
            }
        }
    }
}

struct HashRow {
    hash: HashAlgorithm,
    digest: ObjectIdentifier,
    ecdsa: ObjectIdentifier,
    rsa_pkcs1: ObjectIdentifier,
}

const ROWS: [HashRow; 3] = [
    HashRow {
        hash: HashAlgorithm::Sha256,
        digest: oid::SHA256,
        ecdsa: oid::ECDSA_WITH_SHA256,
        rsa_pkcs1: oid::SHA256_WITH_RSA,
    },
    HashRow {
        hash: HashAlgorithm::Sha384,
        digest: oid::SHA384,
        ecdsa: oid::ECDSA_WITH_SHA384,
        rsa_pkcs1: oid::SHA384_WITH_RSA,
    },
    HashRow {
        hash: HashAlgorithm::Sha512,
        digest: oid::SHA512,
        ecdsa: oid::ECDSA_WITH_SHA512,
        rsa_pkcs1: oid::SHA512_WITH_RSA,
    },
];

fn row(hash: HashAlgorithm) -> &'static HashRow {
    match hash {
        HashAlgorithm::Sha256 => &ROWS[0],
        HashAlgorithm::Sha384 => &ROWS[1],
        HashAlgorithm::Sha512 => &ROWS[2],
    }
}

/// The identifier of a hash function.
pub(crate) fn hash_identifier(hash: HashAlgorithm) -> ObjectIdentifier {
    row(hash).digest
}

/// The hash function with this identifier, if it is one that may be used.
pub(crate) fn hash_algorithm(identifier: ObjectIdentifier) -> Option<HashAlgorithm> {
    let known = ROWS.iter().find(|row| row.digest == identifier);
    known.map(|row| row.hash)
}

/// An AlgorithmIdentifier whose parameters are NULL or absent.
pub(crate) fn algorithm_identifier(oid: &ObjectIdentifier, null_parameters: bool) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.oid(oid);
        if null_parameters {
            w.null();
        }
    });
    writer.finish()
}

/// Reads an AlgorithmIdentifier. Parameters that the algorithm does not have are malformed; algorithms that are not
/// known are reported as such, not refused here.
pub(crate) fn parse_signature_algorithm(identifier: &[u8]) -> Result<SignatureScheme, Error> {
    const WHAT: &str = "signatureAlgorithm";
    let mut reader = asn1::only(identifier, tag::SEQUENCE).within(WHAT)?.reader();
    let oid = reader.oid().within(WHAT)?;
    let parameters = reader.rest();
    if let Some(found) = ROWS.iter().find(|row| row.ecdsa == oid) {
        return absent(parameters, SignatureScheme::Ecdsa(found.hash)).within(WHAT);
    }
    if let Some(found) = ROWS.iter().find(|row| row.rsa_pkcs1 == oid) {
        return null_or_absent(parameters, SignatureScheme::RsaPkcs1(found.hash)).within(WHAT);
    }
    match oid {
        oid::ED25519 => absent(parameters, SignatureScheme::Ed25519).within(WHAT),
        oid::RSASSA_PSS => {
            let known = ROWS
                .iter()
                .find(|row| pss_parameters(row.hash) == parameters);
            Ok(known.map_or(SignatureScheme::Unsupported(oid), |row| {
                SignatureScheme::RsaPss(row.hash)
            }))
        }
        _ => Ok(SignatureScheme::Unsupported(oid)),
    }
}

fn absent(parameters: &[u8], scheme: SignatureScheme) -> Result<SignatureScheme, DerFault> {
    if parameters.is_empty() {
        Ok(scheme)
    } else {
        Err(DerFault::TrailingBytes)
    }
}

/// RFC 4055 wants NULL; some encoders leave it out, and verifiers take both.
fn null_or_absent(parameters: &[u8], scheme: SignatureScheme) -> Result<SignatureScheme, DerFault> {
    if parameters.is_empty() {
        return Ok(scheme);
    }
    let mut reader = Reader::new(parameters);
    reader.null()?;
    reader.finish()?;
    Ok(scheme)
}

/// RSASSA-PSS-params: hash, MGF1 with the same hash, salt of the digest's length, trailer field at its default.
fn pss_parameters(hash: HashAlgorithm) -> Vec<u8> {
    let digest = algorithm_identifier(&row(hash).digest, true);
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.nested(tag::context_constructed(0), |w| w.raw(&digest));
        w.nested(tag::context_constructed(1), |w| {
            w.sequence(|w| {
                w.oid(&oid::MGF1);
                w.raw(&digest);
            });
        });
        w.nested(tag::context_constructed(2), |w| {
            w.integer(hash.output_len() as u64)
        });
    });
    writer.finish()
}
