//! Signed certificate timestamps (RFC 6962 section 3): encoding, what is signed, and verification.
//!
//! A timestamp in a certificate covers the certificate as it was before the timestamp went in: the to-be-signed bytes
//! without the list (and without the poison that marked them as a precertificate), with the hash of the issuer's key.
//! Both are rebuilt by cutting extensions out of the very bytes of the certificate, never by encoding it again.
//!
//! What a log writes (Merkle leaves, tiles, the same signed bytes from the other side) is `sealwright-tlog`'s. The two
//! crates do not know each other, and what they have in common is the layout of RFC 6962, which tests of each pin down.

use std::borrow::Cow;

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PublicKey};

use crate::asn1::{self, tag};
use crate::certificate::Certificate;
use crate::error::{Error, SctFault, Within as _};
use crate::oid;
use crate::tbs;

/// Most timestamps in one certificate.
pub const MAX_SCTS: usize = 16;
/// Version octet of v1.
const VERSION_1: u8 = 0;
/// SignatureType certificate_timestamp.
const CERTIFICATE_TIMESTAMP: u8 = 0;
/// LogEntryType
const X509_ENTRY: [u8; 2] = [0, 0];
const PRECERT_ENTRY: [u8; 2] = [0, 1];
/// CtExtensions of static-ct-api: extension type leaf_index (0), length 5.
const LEAF_INDEX_HEADER: [u8; 3] = [0, 0, 5];
/// Largest index that fits the 40 bits of a leaf_index.
pub const MAX_LEAF_INDEX: u64 = (1 << 40) - 1;

/// A log's promise to have, or proof of having, logged a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCertificateTimestamp {
    /// SHA-256 of the log's SubjectPublicKeyInfo.
    pub log_id: [u8; 32],
    /// Unix milliseconds.
    pub timestamp_ms: u64,
    /// CtExtensions, covered by the signature.
    pub extensions: Vec<u8>,
    /// HashAlgorithm and SignatureAlgorithm of TLS 1.2, see [`signature_algorithm_octets`].
    pub signature_algorithm: [u8; 2],
    /// The signature itself.
    pub signature: Vec<u8>,
}

/// What a timestamp is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SctEntry<'a> {
    /// A final certificate, DER.
    Certificate(Cow<'a, [u8]>),
    /// A precertificate.
    Precertificate {
        /// SHA-256 of the issuer's SubjectPublicKeyInfo.
        issuer_key_hash: [u8; 32],
        /// TBSCertificate without poison and without timestamps, DER.
        tbs: Cow<'a, [u8]>,
    },
}

impl SctEntry<'_> {
    /// The entry that timestamps inside this certificate, or for this precertificate, are about.
    pub fn precertificate_of(
        certificate: &Certificate,
        issuer_key_hash: [u8; 32],
    ) -> Result<Self, Error> {
        let tbs = Cow::Owned(precertificate_tbs(certificate.tbs_der())?);
        Ok(Self::Precertificate {
            issuer_key_hash,
            tbs,
        })
    }
}

/// The TBSCertificate that logs sign: `tbs` without poison and without timestamps.
pub fn precertificate_tbs(tbs: &[u8]) -> Result<Vec<u8>, Error> {
    tbs::without(tbs, &[oid::PRECERTIFICATE_POISON, oid::SCT_LIST])
}

/// LogID: SHA-256 of the log's SubjectPublicKeyInfo.
pub fn log_id(log_key: &PublicKey) -> [u8; 32] {
    log_key.fingerprint()
}

/// The bytes that a log signs for an entry (`digitally-signed` of RFC 6962 section 3.2).
pub fn signing_input(
    timestamp_ms: u64,
    entry: &SctEntry<'_>,
    extensions: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut input = vec![VERSION_1, CERTIFICATE_TIMESTAMP];
    input.extend_from_slice(&timestamp_ms.to_be_bytes());
    match entry {
        SctEntry::Certificate(der) => {
            input.extend_from_slice(&X509_ENTRY);
            push_opaque::<3>(&mut input, der, "certificate")?;
        }
        SctEntry::Precertificate {
            issuer_key_hash,
            tbs,
        } => {
            input.extend_from_slice(&PRECERT_ENTRY);
            input.extend_from_slice(issuer_key_hash);
            push_opaque::<3>(&mut input, tbs, "TBSCertificate")?;
        }
    }
    push_opaque::<2>(&mut input, extensions, "CtExtensions")?;
    Ok(input)
}

/// CtExtensions with the entry's index in its log (static-ct-api), 8 bytes. `None` above [`MAX_LEAF_INDEX`].
pub fn leaf_index_extensions(leaf_index: u64) -> Option<[u8; 8]> {
    if leaf_index > MAX_LEAF_INDEX {
        return None;
    }
    let [.., a, b, c, d, e] = leaf_index.to_be_bytes();
    let [x, y, z] = LEAF_INDEX_HEADER;
    Some([x, y, z, a, b, c, d, e])
}

/// HashAlgorithm and SignatureAlgorithm octets of TLS for the algorithm of a log's key; `None` for algorithms that
/// have none.
pub fn signature_algorithm_octets(algorithm: Algorithm) -> Option<[u8; 2]> {
    let hash = |hash: HashAlgorithm| match hash {
        HashAlgorithm::Sha256 => 4,
        HashAlgorithm::Sha384 => 5,
        HashAlgorithm::Sha512 => 6,
    };
    match algorithm {
        Algorithm::Ed25519 => Some([8, 7]),
        Algorithm::RsaPkcs1 { hash: with, .. } => Some([hash(with), 1]),
        Algorithm::RsaPss { .. } | Algorithm::Ed25519Ph => None,
        ecdsa => ecdsa.hash().map(|with| [hash(with), 3]),
    }
}

/// The algorithm that the octets mean with a key of this type.
fn algorithm_of(octets: [u8; 2], key_type: KeyType) -> Option<Algorithm> {
    let rsa = |bits, hash| Algorithm::RsaPkcs1 { bits, hash };
    let candidates = match key_type {
        KeyType::EcP256 => vec![Algorithm::EcdsaP256Sha256],
        KeyType::EcP384 => vec![Algorithm::EcdsaP384Sha384, Algorithm::EcdsaP384Sha256],
        KeyType::EcP521 => vec![Algorithm::EcdsaP521Sha512, Algorithm::EcdsaP521Sha256],
        KeyType::Ed25519 => vec![Algorithm::Ed25519],
        KeyType::Rsa { bits } => HashAlgorithm::ALL
            .into_iter()
            .map(|hash| rsa(bits, hash))
            .collect(),
    };
    candidates
        .into_iter()
        .find(|candidate| signature_algorithm_octets(*candidate) == Some(octets))
}

impl SignedCertificateTimestamp {
    /// Parses one serialized timestamp; nothing may follow it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut tls = Tls { rest: bytes };
        let [version] = tls.array()?;
        if version != VERSION_1 {
            return Err(Error::Sct(SctFault::Version(version)));
        }
        let timestamp = Self {
            log_id: tls.array()?,
            timestamp_ms: u64::from_be_bytes(tls.array()?),
            extensions: tls.opaque_u16()?.to_vec(),
            signature_algorithm: tls.array()?,
            signature: tls.opaque_u16()?.to_vec(),
        };
        tls.finish()?;
        Ok(timestamp)
    }

    /// The serialized form.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut out = vec![VERSION_1];
        out.extend_from_slice(&self.log_id);
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        push_opaque::<2>(&mut out, &self.extensions, "CtExtensions")?;
        out.extend_from_slice(&self.signature_algorithm);
        push_opaque::<2>(&mut out, &self.signature, "signature")?;
        Ok(out)
    }

    /// The index that a static-ct-api log put into the extensions. `None` when there is none, or more than one.
    pub fn leaf_index(&self) -> Option<u64> {
        let mut tls = Tls {
            rest: &self.extensions,
        };
        let mut found = None;
        while !tls.rest.is_empty() {
            let [kind] = tls.array().ok()?;
            let data = tls.opaque_u16().ok()?;
            if kind != 0 {
                continue;
            }
            let octets = <[u8; 5]>::try_from(data).ok()?;
            let index = octets
                .iter()
                .fold(0, |sum, octet| (sum << 8) | u64::from(*octet));
            if found.replace(index).is_some() {
                return None;
            }
        }
        found
    }

    /// Checks the log's signature over `entry`, with the log's key. Time and trust in the log are the caller's.
    pub fn verify(&self, entry: &SctEntry<'_>, log_key: &PublicKey) -> Result<(), Error> {
        let log_id = self.log_id;
        if log_id != self::log_id(log_key) {
            return Err(Error::Sct(SctFault::UnknownLog { log_id }));
        }
        let algorithm = algorithm_of(self.signature_algorithm, log_key.key_type());
        let algorithm = algorithm.ok_or(Error::Sct(SctFault::Algorithm))?;
        let input = signing_input(self.timestamp_ms, entry, &self.extensions)?;
        log_key
            .verify(algorithm, &input, &self.signature)
            .map_err(|_| Error::Sct(SctFault::Signature { log_id }))
    }

    /// Checks that this timestamp was made for this certificate (or precertificate) under an issuer with this
    /// `issuer_key_hash`, which [`crate::chain::VerifiedChain::issuer_key_hash`] gives.
    pub fn verify_embedded(
        &self,
        certificate: &Certificate,
        issuer_key_hash: [u8; 32],
        log_key: &PublicKey,
    ) -> Result<(), Error> {
        self.verify(
            &SctEntry::precertificate_of(certificate, issuer_key_hash)?,
            log_key,
        )
    }
}

/// The timestamps a certificate carries. Fails with [`SctFault::Missing`] when it carries none.
pub fn embedded_scts(certificate: &Certificate) -> Result<Vec<SignedCertificateTimestamp>, Error> {
    let extension = certificate
        .extension(&oid::SCT_LIST)
        .ok_or(Error::Sct(SctFault::Missing))?;
    parse_list_extension(extension.value)
}

/// Value of the extension: an OCTET STRING around the list.
pub fn encode_list_extension(timestamps: &[SignedCertificateTimestamp]) -> Result<Vec<u8>, Error> {
    Ok(asn1::encode(tag::OCTET_STRING, &encode_list(timestamps)?))
}

/// Reads the extension's value.
pub fn parse_list_extension(value: &[u8]) -> Result<Vec<SignedCertificateTimestamp>, Error> {
    let list = asn1::only(value, tag::OCTET_STRING).within("SignedCertificateTimestampList")?;
    parse_list(list.value)
}

/// A SignedCertificateTimestampList. RFC 6962 has no empty list.
pub fn encode_list(timestamps: &[SignedCertificateTimestamp]) -> Result<Vec<u8>, Error> {
    if timestamps.is_empty() {
        return Err(Error::Sct(SctFault::Missing));
    }
    let mut list = Vec::new();
    for timestamp in timestamps {
        push_opaque::<2>(&mut list, &timestamp.encode()?, "timestamp")?;
    }
    let mut out = Vec::with_capacity(list.len() + 2);
    push_opaque::<2>(&mut out, &list, "list of timestamps")?;
    Ok(out)
}

/// Reads a SignedCertificateTimestampList: one timestamp at least, [`MAX_SCTS`] at most.
pub fn parse_list(bytes: &[u8]) -> Result<Vec<SignedCertificateTimestamp>, Error> {
    let mut outer = Tls { rest: bytes };
    let mut list = Tls {
        rest: outer.opaque_u16()?,
    };
    outer.finish()?;
    let mut timestamps = Vec::new();
    while !list.rest.is_empty() {
        if timestamps.len() == MAX_SCTS {
            return Err(Error::TooLarge {
                what: "list of timestamps",
                size: MAX_SCTS + 1,
                limit: MAX_SCTS,
            });
        }
        timestamps.push(SignedCertificateTimestamp::parse(list.opaque_u16()?)?);
    }
    if timestamps.is_empty() {
        Err(Error::Sct(SctFault::Missing))
    } else {
        Ok(timestamps)
    }
}

/// Appends a vector with a length of `N` octets in front.
fn push_opaque<const N: usize>(
    out: &mut Vec<u8>,
    data: &[u8],
    what: &'static str,
) -> Result<(), Error> {
    let limit = (1_usize << (8 * N)) - 1;
    if data.len() > limit {
        return Err(Error::TooLarge {
            what,
            size: data.len(),
            limit,
        });
    }
    let length = data.len().to_be_bytes();
    out.extend(length.iter().skip(length.len() - N));
    out.extend_from_slice(data);
    Ok(())
}

/// Reads the presentation language of TLS.
struct Tls<'a> {
    rest: &'a [u8],
}

impl<'a> Tls<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(truncated())?;
        self.rest = rest;
        Ok(*head)
    }

    fn opaque_u16(&mut self) -> Result<&'a [u8], Error> {
        let length = usize::from(u16::from_be_bytes(self.array()?));
        let (head, rest) = self.rest.split_at_checked(length).ok_or(truncated())?;
        self.rest = rest;
        Ok(head)
    }

    fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Sct(SctFault::Malformed("bytes follow the end")))
        }
    }
}

fn truncated() -> Error {
    Error::Sct(SctFault::Malformed("the input ends too early"))
}
