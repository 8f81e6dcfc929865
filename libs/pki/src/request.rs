//! Certification requests (PKCS #10, RFC 2986): a public key and a signature that proves its possession.
//!
//! Subject, attributes and requested extensions are not looked at: what goes into a certificate comes from the
//! identity token alone.

use sealwright_crypto::{Algorithm, HashAlgorithm, PrivateKey, PublicKey};

use crate::algorithm::{SignatureScheme, parse_signature_algorithm};
use crate::asn1::{self, Writer, tag};
use crate::error::{DerFault, Error, SignFault, Within as _};
use crate::name;
use crate::pem;

/// Largest request that is read: 16 KiB. A request with an RSA 4096 key takes about 1.7 KiB.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// PEM labels of requests; the second is Netscape's, still written by some tools.
pub const PEM_LABELS: [&str; 2] = ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

const ACCEPTED_LABELS: &str = "CERTIFICATE REQUEST, NEW CERTIFICATE REQUEST";
const WHAT: &str = "certification request";

/// Combinations of key and hash that an authority accepts in requests unless it is told otherwise. RSA of 2048 bits is
/// here since whether such keys are certified at all is the key policy's decision.
pub const DEFAULT_PERMITTED_ALGORITHMS: [Algorithm; 7] = [
    Algorithm::EcdsaP256Sha256,
    Algorithm::EcdsaP384Sha384,
    Algorithm::EcdsaP521Sha512,
    Algorithm::Ed25519,
    Algorithm::RsaPkcs1 {
        bits: 2048,
        hash: HashAlgorithm::Sha256,
    },
    Algorithm::RsaPkcs1 {
        bits: 3072,
        hash: HashAlgorithm::Sha256,
    },
    Algorithm::RsaPkcs1 {
        bits: 4096,
        hash: HashAlgorithm::Sha256,
    },
];

/// A well-formed request. Its signature is not checked until [`Self::verify`].
#[derive(Debug, Clone)]
pub struct CertificateRequest {
    info: Vec<u8>,
    public_key: PublicKey,
    scheme: SignatureScheme,
    signature: Vec<u8>,
}

impl CertificateRequest {
    /// Parses text with exactly one block of either label.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        if text.len() > 2 * MAX_REQUEST_BYTES {
            return Err(Error::TooLarge {
                what: WHAT,
                size: text.len(),
                limit: 2 * MAX_REQUEST_BYTES,
            });
        }
        Self::from_der(&pem::parse_one(text, &PEM_LABELS, ACCEPTED_LABELS)?)
    }

    /// Parses exactly one request; nothing may follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        if der.len() > MAX_REQUEST_BYTES {
            return Err(Error::TooLarge {
                what: WHAT,
                size: der.len(),
                limit: MAX_REQUEST_BYTES,
            });
        }
        let mut request = asn1::only(der, tag::SEQUENCE).within(WHAT)?.reader();
        let info = request
            .expect(tag::SEQUENCE)
            .within("certificationRequestInfo")?;
        let algorithm = request.expect(tag::SEQUENCE).within("signatureAlgorithm")?;
        let signature = request.bit_string_octets().within("signature")?;
        request.finish().within(WHAT)?;
        let spki = parse_info(info.value).within("certificationRequestInfo")?;
        Ok(Self {
            info: info.whole.to_vec(),
            public_key: PublicKey::from_spki_der(spki).map_err(Error::Key)?,
            scheme: parse_signature_algorithm(algorithm.whole)?,
            signature: signature.to_vec(),
        })
    }

    /// The key that asks to be certified.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What the request is signed with. Fails when that does not go with its key.
    pub fn algorithm(&self) -> Result<Algorithm, Error> {
        self.scheme.algorithm(self.public_key.key_type())
    }

    /// Checks that the request is signed by its own key with one of the `permitted` combinations. Proof of possession
    /// rests on this; which keys are strong enough is [`crate::key_policy`]'s answer.
    pub fn verify(&self, permitted: &[Algorithm]) -> Result<(), Error> {
        let algorithm = self.algorithm()?;
        if !permitted.contains(&algorithm) {
            return Err(Error::AlgorithmNotPermitted { found: algorithm });
        }
        self.public_key
            .verify(algorithm, &self.info, &self.signature)
            .map_err(|_| Error::Signature { what: WHAT })
    }
}

/// Answers the SubjectPublicKeyInfo.
fn parse_info(info: &[u8]) -> Result<&[u8], DerFault> {
    let mut reader = asn1::Reader::new(info);
    if reader.small_integer()? != 0 {
        return Err(DerFault::Value);
    }
    name::check(reader.value(tag::SEQUENCE)?)?;
    let spki = reader.expect(tag::SEQUENCE)?;
    // Mandatory in the RFC, left out by a few encoders when empty.
    reader.optional(tag::context_constructed(0))?;
    reader.finish()?;
    Ok(spki.whole)
}

/// Builds a request with an empty subject and no attributes, as the authority wants it. DER.
pub fn build_request(key: &PrivateKey, algorithm: Algorithm) -> Result<Vec<u8>, Error> {
    let scheme = SignatureScheme::of(algorithm).filter(|_| algorithm.fits(key.key_type()));
    let scheme = scheme.ok_or(Error::AlgorithmNotPermitted { found: algorithm })?;
    let mut info = Writer::with_capacity(key.public_key().spki_der().len() + 16);
    info.sequence(|w| {
        w.integer(0);
        w.sequence(|_| {});
        w.raw(key.public_key().spki_der());
        w.tlv(tag::context_constructed(0), &[]);
    });
    let info = info.finish();
    let signature = key
        .sign(algorithm, &info)
        .map_err(|error| Error::Sign(SignFault(error)))?;
    let mut request = Writer::with_capacity(info.len() + signature.len() + 32);
    request.sequence(|w| {
        w.raw(&info);
        w.raw(&scheme.identifier_der());
        w.bit_string(&signature);
    });
    Ok(request.finish())
}

/// [`build_request`] as PEM, with the key type's default algorithm.
pub fn build_request_pem(key: &PrivateKey) -> Result<String, Error> {
    let [label, _] = PEM_LABELS;
    Ok(pem::encode(
        label,
        &build_request(key, key.key_type().default_algorithm())?,
    ))
}
