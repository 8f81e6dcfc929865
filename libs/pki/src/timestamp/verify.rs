//! Deciding whether a timestamp holds: one function with the checks in order, and the value only it can make.

use const_oid::ObjectIdentifier;
use sealwright_crypto::{HashAlgorithm, constant_time_eq};

use super::error::TimestampError;
use super::names;
use super::response::{Attributes, SignerInfo, Token, TstInfo, read_hash_identifier};
use super::token::Accuracy;
use crate::algorithm::{SignatureScheme, hash_algorithm, parse_signature_algorithm};
use crate::asn1::{self, Element, Reader, tag};
use crate::certificate::Certificate;
use crate::chain::{Purpose, verify_chain};
use crate::error::{ChainFault, DerFault, Error};
use crate::oid;

/// A timestamp authority as the trust material describes it.
#[derive(Debug, Clone, Copy)]
pub struct Authority<'a> {
    /// Where paths end. At least one, or nothing verifies.
    pub roots: &'a [Certificate],
    /// Certificates between signer and root that the trust material holds. Those inside a token are used as well, with
    /// no more trust than any other bytes of it.
    pub intermediates: &'a [Certificate],
    /// The signer, when the trust material names it: then no other certificate of the same roots may sign.
    pub signer: Option<&'a Certificate>,
}

/// What the timestamp must be about.
#[derive(Debug, Clone, Copy)]
pub struct Expectation<'a> {
    /// The stamped bytes themselves: for a bundle, the signature.
    pub data: &'a [u8],
    /// Content octets of the nonce that was sent, when this is the answer to a request of one's own.
    pub nonce: Option<&'a [u8]>,
    /// The policy that is required, if any.
    pub policy: Option<ObjectIdentifier>,
}

impl<'a> Expectation<'a> {
    /// A timestamp over these bytes, under any policy, made at any time.
    #[must_use]
    pub const fn over(data: &'a [u8]) -> Self {
        Self {
            data,
            nonce: None,
            policy: None,
        }
    }
}

/// What a token says. By itself it proves nothing: [`inspect`] makes it from any well-formed response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp {
    /// Unix seconds; a fraction of a second is cut off.
    pub gen_time: i64,
    /// How far `gen_time` may be off, when the authority says so.
    pub accuracy: Option<Accuracy>,
    /// Content octets of the serial number.
    pub serial: Vec<u8>,
    /// The policy it was made under.
    pub policy: ObjectIdentifier,
    /// The algorithm of the imprint.
    pub hash_algorithm: HashAlgorithm,
    /// The digest that is stamped.
    pub hashed_message: Vec<u8>,
    /// Content octets of the request's nonce.
    pub nonce: Option<Vec<u8>>,
    /// DER of the GeneralName by which the authority calls itself. Informative: the signer is bound by
    /// signingCertificate, not by this name.
    pub tsa: Option<Vec<u8>>,
}

impl Timestamp {
    fn of(info: &TstInfo<'_>) -> Self {
        Self {
            gen_time: info.gen_time,
            accuracy: info.accuracy,
            serial: info.serial.to_vec(),
            policy: info.policy,
            hash_algorithm: info.hash_algorithm,
            hashed_message: info.hashed_message.to_vec(),
            nonce: info.nonce.map(<[u8]>::to_vec),
            tsa: info.tsa.map(|name| name.whole.to_vec()),
        }
    }
}

/// A timestamp that [`verify`] believed, with the certificate that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedTimestamp {
    timestamp: Timestamp,
    signer: Certificate,
}

impl VerifiedTimestamp {
    /// What the token says.
    #[must_use]
    pub const fn timestamp(&self) -> &Timestamp {
        &self.timestamp
    }

    /// When the data existed: Unix seconds.
    #[must_use]
    pub const fn gen_time(&self) -> i64 {
        self.timestamp.gen_time
    }

    /// The certificate whose key signed the token.
    #[must_use]
    pub const fn signer(&self) -> &Certificate {
        &self.signer
    }
}

/// Reads a response without verifying anything, for display.
///
/// # Errors
/// When the response is not granted or not well formed.
pub fn inspect(response: &[u8]) -> Result<Timestamp, TimestampError> {
    Token::from_response(response).map(|token| Timestamp::of(&token.tst_info))
}

/// Verifies a TimeStampResp against a trusted authority.
///
/// The checks, in order: status granted, one SignerInfo, the content type and digest among the signed attributes, the
/// signer found by issuer and serial and bound by signingCertificate, among the token's certificates where it brings any, its
/// extended key usage and its path to a root valid at `genTime`, the signature, no critical extension; then that the token is
/// about `expected`. Whether the authority was trusted at that time (`validFor` of its entry) is the caller's to compare.
///
/// # Errors
/// The first check that fails, see [`TimestampError`].
pub fn verify(
    response: &[u8],
    authority: &Authority<'_>,
    expected: &Expectation<'_>,
) -> Result<VerifiedTimestamp, TimestampError> {
    let token = Token::from_response(response)?;
    check_content_attributes(&token)?;
    let embedded = embedded_certificates(&token);
    let signer = find_signer(&token.signer, authority, &embedded)?;
    check_embedded(&token, &signer)?;
    let helpers = [authority.intermediates, &embedded].concat();
    verify_chain(
        &signer,
        &helpers,
        authority.roots,
        token.tst_info.gen_time,
        Purpose::TimeStamping,
    )
    .map_err(signer_fault)?;
    check_signature(&token.signer, &signer)?;
    if let Some(extension) = token.tst_info.critical_extension {
        return Err(TimestampError::CriticalExtension { extension });
    }
    check_expectation(&token.tst_info, expected)?;
    Ok(VerifiedTimestamp {
        timestamp: Timestamp::of(&token.tst_info),
        signer,
    })
}

/// contentType must say id-ct-TSTInfo, and messageDigest must be that of the TSTInfo.
fn check_content_attributes(token: &Token<'_>) -> Result<(), TimestampError> {
    let attributes = &token.signer.attributes;
    let content_type = attributes.content_type.filter(|value| {
        value.tag == tag::OBJECT_IDENTIFIER && value.value == names::CT_TST_INFO.as_bytes()
    });
    if content_type.is_none() {
        return Err(TimestampError::SignedAttribute {
            attribute: "contentType",
        });
    }
    let digest = token.signer.digest_algorithm.digest(token.tst_info_der);
    let message_digest = attributes.message_digest.filter(|value| {
        value.tag == tag::OCTET_STRING && constant_time_eq(value.value, digest.as_bytes())
    });
    if message_digest.is_none() {
        return Err(TimestampError::SignedAttribute {
            attribute: "messageDigest",
        });
    }
    Ok(())
}

/// What in the token can be read as a certificate. The rest is passed over: it is help that was not needed, or the path
/// will not be found.
fn embedded_certificates(token: &Token<'_>) -> Vec<Certificate> {
    token
        .certificates
        .iter()
        .filter_map(|der| Certificate::from_der(*der).ok())
        .collect()
}

/// A token that brings certificates has been asked to, and then it brings its signer's. They are not signed; this holds them
/// to what is.
fn check_embedded(token: &Token<'_>, signer: &Certificate) -> Result<(), TimestampError> {
    if token.certificates.is_empty() || token.certificates.contains(&signer.der()) {
        return Ok(());
    }
    Err(TimestampError::SignerNotEmbedded)
}

fn find_signer(
    signer: &SignerInfo<'_>,
    authority: &Authority<'_>,
    embedded: &[Certificate],
) -> Result<Certificate, TimestampError> {
    let named = |certificate: &&Certificate| {
        certificate.issuer_der() == signer.issuer && certificate.serial() == signer.serial
    };
    let (candidates, absent): (Vec<&Certificate>, _) = match authority.signer {
        Some(pinned) => (
            [pinned].into_iter().filter(named).collect(),
            TimestampError::SignerNotPinned,
        ),
        None => {
            let at_hand = embedded
                .iter()
                .chain(authority.intermediates)
                .chain(authority.roots);
            (
                at_hand.filter(named).collect(),
                TimestampError::SignerUnknown,
            )
        }
    };
    if candidates.is_empty() {
        return Err(absent);
    }
    let identifier = CertificateIdentifier::of(signer)?;
    // Names can be shared by two certificates; the signed hash tells which one is meant.
    candidates
        .into_iter()
        .find(|certificate| identifier.fits(certificate))
        .cloned()
        .ok_or(TimestampError::SignedAttribute {
            attribute: identifier.attribute,
        })
}

/// The first ESSCertID or ESSCertIDv2: the signer's certificate, under the signature (RFC 5035, RFC 5816).
struct CertificateIdentifier<'a> {
    attribute: &'static str,
    hash: CertificateHash<'a>,
    issuer_serial: Option<(Element<'a>, &'a [u8])>,
}

enum CertificateHash<'a> {
    /// ESSCertID. SHA-1 identifies the certificate here as it does in every token of its age; the certificate's own
    /// signature and the token's never use it.
    Sha1(&'a [u8]),
    Sha2(HashAlgorithm, &'a [u8]),
}

impl<'a> CertificateIdentifier<'a> {
    /// Of the two attributes the one with the stronger hash is used when both are there.
    fn of(signer: &SignerInfo<'a>) -> Result<Self, TimestampError> {
        let (attribute, value, version) = match &signer.attributes {
            Attributes {
                signing_certificate_v2: Some(value),
                ..
            } => ("signingCertificateV2", value, 2),
            Attributes {
                signing_certificate: Some(value),
                ..
            } => ("signingCertificate", value, 1),
            _ => {
                return Err(TimestampError::SignedAttribute {
                    attribute: "signingCertificate",
                });
            }
        };
        Self::read(*value, attribute, version)
            .map_err(|_| TimestampError::SignedAttribute { attribute })
    }

    fn read(value: Element<'a>, attribute: &'static str, version: u8) -> Result<Self, DerFault> {
        let mut signing_certificate = asn1::only(value.whole, tag::SEQUENCE)?.reader();
        let mut identifiers = signing_certificate.sequence()?;
        let mut identifier = identifiers.sequence()?;
        let hash = if version == 1 {
            CertificateHash::Sha1(identifier.octet_string()?)
        } else {
            let algorithm = certificate_hash_algorithm(&mut identifier)?;
            CertificateHash::Sha2(algorithm, identifier.octet_string()?)
        };
        let issuer_serial = issuer_serial(&mut identifier)?;
        identifier.finish()?;
        Ok(Self {
            attribute,
            hash,
            issuer_serial,
        })
    }

    fn fits(&self, certificate: &Certificate) -> bool {
        let hash_fits = match self.hash {
            CertificateHash::Sha1(hash) => constant_time_eq(
                hash,
                &sealwright_crypto::digest::sha1_identifier(certificate.der()),
            ),
            CertificateHash::Sha2(algorithm, hash) => {
                constant_time_eq(hash, algorithm.digest(certificate.der()).as_bytes())
            }
        };
        hash_fits
            && self.issuer_serial.is_none_or(|(issuer, serial)| {
                issuer.whole == certificate.issuer_der() && serial == certificate.serial()
            })
    }
}

/// `hashAlgorithm DEFAULT {algorithm id-sha256}`. Some authorities spell the default out; the value is the same.
fn certificate_hash_algorithm(identifier: &mut Reader<'_>) -> Result<HashAlgorithm, DerFault> {
    if identifier.peek_tag() != Some(tag::SEQUENCE) {
        return Ok(HashAlgorithm::Sha256);
    }
    hash_algorithm(read_hash_identifier(identifier)?).ok_or(DerFault::Value)
}

/// IssuerSerial with the one directoryName that an issuer has.
fn issuer_serial<'a>(
    identifier: &mut Reader<'a>,
) -> Result<Option<(Element<'a>, &'a [u8])>, DerFault> {
    if identifier.is_empty() {
        return Ok(None);
    }
    let mut issuer_serial = identifier.sequence()?;
    let mut general_names = issuer_serial.sequence()?;
    let directory_name = general_names.expect(tag::context_constructed(4))?;
    general_names.finish()?;
    let issuer = asn1::only(directory_name.value, tag::SEQUENCE)?;
    let serial = issuer_serial.integer()?;
    issuer_serial.finish()?;
    Ok(Some((issuer, serial)))
}

/// That the signer is for timestamps alone (RFC 3161 section 2.3) is the path's rule; who breaks it is told apart.
fn signer_fault(error: Error) -> TimestampError {
    match error {
        Error::Chain(ChainFault::Purpose { depth: 0, .. }) => TimestampError::SignerUsage,
        other => TimestampError::Chain(Box::new(other)),
    }
}

fn check_signature(info: &SignerInfo<'_>, signer: &Certificate) -> Result<(), TimestampError> {
    let scheme = parse_signature_algorithm(info.signature_algorithm).map_err(|_| {
        TimestampError::Malformed {
            part: "SignerInfo.signatureAlgorithm",
        }
    })?;
    let scheme = match scheme {
        // CMS names the key's algorithm here and leaves the hash to digestAlgorithm.
        SignatureScheme::Unsupported(oid::RSA_ENCRYPTION) => {
            SignatureScheme::RsaPkcs1(info.digest_algorithm)
        }
        named => named,
    };
    let not_accepted = || TimestampError::Algorithm {
        algorithm: scheme.oid(),
    };
    let hash = match scheme {
        SignatureScheme::Ecdsa(hash)
        | SignatureScheme::RsaPkcs1(hash)
        | SignatureScheme::RsaPss(hash) => hash,
        // RFC 8419 section 3.1.
        SignatureScheme::Ed25519 => HashAlgorithm::Sha512,
        SignatureScheme::Unsupported(_) => return Err(not_accepted()),
    };
    if hash != info.digest_algorithm {
        return Err(not_accepted());
    }
    let key = signer.public_key().map_err(|_| not_accepted())?;
    let algorithm = scheme
        .algorithm(key.key_type())
        .map_err(|_| not_accepted())?;
    // The attributes are signed under their own SET tag, not under the [0] they travel with.
    let message = asn1::encode(tag::SET, info.signed_attributes);
    key.verify(algorithm, &message, info.signature)
        .map_err(|_| TimestampError::Signature)
}

fn check_expectation(info: &TstInfo<'_>, expected: &Expectation<'_>) -> Result<(), TimestampError> {
    let digest = info.hash_algorithm.digest(expected.data);
    if !constant_time_eq(digest.as_bytes(), info.hashed_message) {
        return Err(TimestampError::Imprint);
    }
    if expected.nonce.is_some() && expected.nonce != info.nonce {
        return Err(TimestampError::Nonce);
    }
    match expected.policy {
        Some(policy) if policy != info.policy => Err(TimestampError::Policy { found: info.policy }),
        _ => Ok(()),
    }
}
