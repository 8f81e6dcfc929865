//! Rendering of to-be-signed certificates with `rcgen`, and their assembly with a signature.
//!
//! `rcgen` signs synchronously with a key it holds; ours may be in a key management service. So it is given a key that
//! only records what it is asked to sign, and those recorded bytes are signed elsewhere. Its issuer is left empty and
//! the issuing certificate's subject put in its place byte for byte: `rcgen` cannot write every name that an
//! operator's own authority may have (repeated attributes, several values in one part), and a name that differs in one
//! byte breaks the path.

use std::cell::RefCell;

use rcgen::{CertificateParams, DistinguishedName, KeyIdMethod, PublicKeyData, SigningKey};
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PublicKey, sha256};

use crate::algorithm::SignatureScheme;
use crate::asn1::Writer;
use crate::certificate::Certificate;
use crate::error::{DerFault, Error, IssuerFault};
use crate::tbs;

/// What a certificate takes over from its issuer.
pub(crate) struct Issuance<'a> {
    /// DER of the issuer's name.
    pub(crate) issuer_name: &'a [u8],
    /// The issuer's subject key identifier.
    pub(crate) key_identifier: &'a [u8],
    /// What the issuer signs with.
    pub(crate) algorithm: Algorithm,
}

/// DER of a distinguished name as `rcgen` writes it.
pub(crate) fn subject_der(name: DistinguishedName) -> Result<Vec<u8>, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = rcgen::IsCa::ExplicitNoCa;
    params.serial_number = Some(1_u64.into());
    let recorder = Recorder {
        algorithm: &rcgen::PKCS_ED25519,
        recorded: RefCell::default(),
    };
    params
        .self_signed(&recorder)
        .map_err(|error| Error::Render {
            detail: error.to_string(),
        })?;
    let rendered = recorder.recorded.take();
    Ok(tbs::split(&rendered)?.fields[SUBJECT_FIELD].whole.to_vec())
}

/// Renders a TBSCertificate. The validity is set here, in whole seconds.
pub(crate) fn to_be_signed(
    mut params: CertificateParams,
    subject_key: &PublicKey,
    validity: (i64, i64),
    issuance: &Issuance<'_>,
) -> Result<Vec<u8>, Error> {
    params.not_before = date(validity.0)?;
    params.not_after = date(validity.1)?;
    let mut issuer_params = CertificateParams::default();
    issuer_params.distinguished_name = DistinguishedName::new();
    issuer_params.key_identifier_method =
        KeyIdMethod::PreSpecified(issuance.key_identifier.to_vec());
    let algorithm =
        rcgen_algorithm(issuance.algorithm).ok_or(Error::Issuer(IssuerFault::Algorithm {
            algorithm: issuance.algorithm,
        }))?;
    let recorder = Recorder {
        algorithm,
        recorded: RefCell::default(),
    };
    let issuer = rcgen::Issuer::from_params(&issuer_params, &recorder);
    params
        .signed_by(&SubjectKey(subject_key), &issuer)
        .map_err(|error| Error::Render {
            detail: error.to_string(),
        })?;
    with_issuer(&recorder.recorded.take(), issuance.issuer_name)
}

/// Positions of issuer and subject among the fields of a TBSCertificate.
const ISSUER_FIELD: usize = 3;
const SUBJECT_FIELD: usize = 5;

fn with_issuer(rendered: &[u8], issuer_name: &[u8]) -> Result<Vec<u8>, Error> {
    let parts = tbs::split(rendered)?;
    let fields = parts
        .fields
        .iter()
        .enumerate()
        .map(|(position, field)| match position {
            ISSUER_FIELD => issuer_name,
            _ => field.whole,
        });
    Ok(tbs::join(
        fields,
        parts.extensions.iter().map(|(_, whole)| *whole),
        rendered.len() + issuer_name.len(),
    ))
}

/// Puts a certificate together from what was signed and the signature.
pub(crate) fn assemble(
    tbs: &[u8],
    scheme: SignatureScheme,
    signature: &[u8],
) -> Result<Certificate, Error> {
    let mut writer = Writer::with_capacity(tbs.len() + signature.len() + 32);
    writer.sequence(|w| {
        w.raw(tbs);
        w.raw(&scheme.identifier_der());
        w.bit_string(signature);
    });
    Certificate::from_der(writer.finish())
}

/// Key identifier of RFC 7093 section 2, method 1: the leftmost 160 bits of SHA-256 of the subjectPublicKey.
pub fn key_identifier(key: &PublicKey) -> [u8; 20] {
    let digest = sha256(key.raw());
    let mut identifier = [0; 20];
    identifier.copy_from_slice(&digest[..20]);
    identifier
}

/// A key that signs nothing and remembers what it should have signed.
struct Recorder {
    algorithm: &'static rcgen::SignatureAlgorithm,
    recorded: RefCell<Vec<u8>>,
}

impl PublicKeyData for Recorder {
    fn der_bytes(&self) -> &[u8] {
        &[]
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for Recorder {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.recorded.replace(message.to_vec());
        Ok(Vec::new())
    }
}

struct SubjectKey<'a>(&'a PublicKey);

impl PublicKeyData for SubjectKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.raw()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.0.key_type() {
            KeyType::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::EcP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            KeyType::Ed25519 => &rcgen::PKCS_ED25519,
            KeyType::Rsa { .. } => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

/// How `rcgen` writes the algorithm of an issuer; `None` for those it has not.
pub(crate) fn rcgen_algorithm(algorithm: Algorithm) -> Option<&'static rcgen::SignatureAlgorithm> {
    match algorithm {
        Algorithm::EcdsaP256Sha256 => Some(&rcgen::PKCS_ECDSA_P256_SHA256),
        Algorithm::EcdsaP384Sha384 => Some(&rcgen::PKCS_ECDSA_P384_SHA384),
        Algorithm::EcdsaP521Sha512 => Some(&rcgen::PKCS_ECDSA_P521_SHA512),
        Algorithm::Ed25519 => Some(&rcgen::PKCS_ED25519),
        Algorithm::RsaPkcs1 {
            hash: HashAlgorithm::Sha256,
            ..
        } => Some(&rcgen::PKCS_RSA_SHA256),
        Algorithm::RsaPkcs1 {
            hash: HashAlgorithm::Sha384,
            ..
        } => Some(&rcgen::PKCS_RSA_SHA384),
        Algorithm::RsaPkcs1 {
            hash: HashAlgorithm::Sha512,
            ..
        } => Some(&rcgen::PKCS_RSA_SHA512),
        _ => None,
    }
}

fn date(unix: i64) -> Result<time::OffsetDateTime, Error> {
    let fault = Error::Malformed {
        what: "validity",
        fault: DerFault::Time,
    };
    time::OffsetDateTime::from_unix_timestamp(unix).map_err(|_| fault)
}
