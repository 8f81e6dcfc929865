//! Making tokens: TSTInfo, CMS SignedData and TimeStampResp (RFC 3161 sections 2.4.2 and 3.3, RFC 5816, RFC 5652).
//!
//! Everything that is the same in each token of a signer is encoded once in a [`TokenTemplate`]; a token then costs two
//! hashes, a signature and a few copies. One token is made in three steps, because the signature may come from a key
//! this crate cannot call: [`TokenTemplate::prepare`] renders the bytes to sign, the caller signs
//! [`PreparedToken::message`], and [`PreparedToken::finish`] assembles the response.

use const_oid::ObjectIdentifier;
use sealwright_crypto::{Algorithm, HashAlgorithm, sha256};

use super::error::{PkiFailureInfo, TemplateError, TimeOutOfRange};
use super::names;
use super::request::{MessageImprint, RequestExtensions};
use crate::algorithm::{SignatureScheme, algorithm_identifier, hash_identifier};
use crate::asn1::{self, Writer, tag};
use crate::certificate::Certificate;
use crate::oid;

/// How far `genTime` may be from the true time (RFC 3161 section 2.4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accuracy {
    /// Whole seconds.
    pub seconds: u32,
    /// Further milliseconds, 0 to 999.
    pub millis: u16,
    /// Further microseconds, 0 to 999.
    pub micros: u16,
}

impl Accuracy {
    /// Parts that are zero are left out: the RFC takes a missing part for zero.
    fn to_der(self) -> Vec<u8> {
        let mut out = Writer::new();
        out.sequence(|fields| {
            if self.seconds != 0 {
                fields.integer(self.seconds.into());
            }
            for (number, part) in [(0, self.millis), (1, self.micros)] {
                if part != 0 {
                    let part = part.min(999).to_be_bytes();
                    fields.tlv(tag::context(number), &asn1::unsigned_content(&part));
                }
            }
        });
        out.finish()
    }
}

/// What one token says.
#[derive(Debug, Clone, Copy)]
pub struct Stamp<'a> {
    /// The policy the token is made under.
    pub policy: ObjectIdentifier,
    /// The request's imprint, repeated.
    pub message_imprint: MessageImprint<'a>,
    /// The token's number, unsigned and big-endian; the authority never uses one twice.
    pub serial: [u8; 20],
    /// Unix seconds.
    pub gen_time: i64,
    /// The request's nonce, repeated.
    pub nonce: Option<&'a [u8]>,
    /// Whether the token carries the signer's chain (`certReq`).
    pub with_certificates: bool,
}

/// The constant parts of one signer's tokens, each in DER.
#[derive(Debug, Clone)]
pub struct TokenTemplate {
    pub(super) hash: HashAlgorithm,
    pub(super) accuracy: Vec<u8>,
    pub(super) tsa: Vec<u8>,
    pub(super) digest_algorithms: Vec<u8>,
    pub(super) certificates: Vec<u8>,
    /// SignerInfo's version, sid and digestAlgorithm.
    pub(super) signer: Vec<u8>,
    pub(super) content_type: Vec<u8>,
    pub(super) signing_certificate: Vec<u8>,
    pub(super) signature_algorithm: Vec<u8>,
}

impl TokenTemplate {
    /// `chain` has the signer's certificate first. All but a closing self-issued root are embedded in tokens whose
    /// request asks for certificates, so that a verifier needs the root alone.
    ///
    /// # Errors
    /// When the chain is empty, or when verifiers in the field refuse tokens of this algorithm.
    pub fn new(
        chain: &[Certificate],
        algorithm: Algorithm,
        accuracy: Option<Accuracy>,
    ) -> Result<Self, TemplateError> {
        let (signer, issuers) = chain.split_first().ok_or(TemplateError::EmptyChain)?;
        let (hash, signature_algorithm) = signature_algorithm(algorithm)?;
        let digest_algorithm = algorithm_identifier(&hash_identifier(hash), false);
        let embedded = std::iter::once(signer).chain(
            issuers
                .iter()
                .filter(|issuer| issuer.issuer_der() != issuer.subject_der()),
        );
        let serial = asn1::encode(tag::INTEGER, signer.serial());
        let issuer_and_serial = asn1::encode_sequence(&[signer.issuer_der(), &serial]);
        Ok(Self {
            hash,
            accuracy: accuracy.map(Accuracy::to_der).unwrap_or_default(),
            tsa: asn1::encode(
                tag::context_constructed(0),
                &directory_name(signer.subject_der()),
            ),
            digest_algorithms: asn1::encode(tag::SET, &digest_algorithm),
            certificates: certificate_set(embedded.map(Certificate::der).collect()),
            signer: [
                &[tag::INTEGER, 1, 1],
                issuer_and_serial.as_slice(),
                &digest_algorithm,
            ]
            .concat(),
            content_type: attribute(
                names::CONTENT_TYPE,
                &asn1::encode(tag::OBJECT_IDENTIFIER, names::CT_TST_INFO.as_bytes()),
            ),
            signing_certificate: signing_certificate(signer, &serial),
            signature_algorithm,
        })
    }

    /// Renders the bytes to be signed for one token.
    ///
    /// # Errors
    /// When `gen_time` cannot be written.
    pub fn prepare(&self, stamp: &Stamp<'_>) -> Result<PreparedToken<'_>, TimeOutOfRange> {
        self.prepare_with(stamp, None)
    }

    /// As [`Self::prepare`], for a token that repeats its request's extensions.
    ///
    /// # Errors
    /// When `gen_time` cannot be written.
    pub fn prepare_with(
        &self,
        stamp: &Stamp<'_>,
        extensions: Option<&RequestExtensions<'_>>,
    ) -> Result<PreparedToken<'_>, TimeOutOfRange> {
        let out_of_range = |_| TimeOutOfRange {
            unix: stamp.gen_time,
        };
        let gen_time = asn1::generalized_time(stamp.gen_time).map_err(out_of_range)?;
        let (signing_time_tag, signing_time) =
            asn1::certificate_time(stamp.gen_time).map_err(out_of_range)?;
        let tst_info = self.tst_info(stamp, &gen_time, extensions);
        let signing_time = asn1::encode(signing_time_tag, signing_time.as_bytes());
        let signed_attributes = self.signed_attributes(&tst_info, &signing_time);
        Ok(PreparedToken {
            template: self,
            tst_info,
            signed_attributes,
            with_certificates: stamp.with_certificates,
        })
    }

    fn tst_info(
        &self,
        stamp: &Stamp<'_>,
        gen_time: &str,
        extensions: Option<&RequestExtensions<'_>>,
    ) -> Vec<u8> {
        let mut out = Writer::with_capacity(256 + self.tsa.len());
        out.sequence(|fields| {
            fields.integer(1);
            fields.oid(&stamp.policy);
            stamp.message_imprint.write(fields);
            fields.unsigned_integer(&stamp.serial);
            fields.tlv(tag::GENERALIZED_TIME, gen_time.as_bytes());
            fields.raw(&self.accuracy);
            if let Some(nonce) = stamp.nonce {
                fields.tlv(tag::INTEGER, nonce);
            }
            fields.raw(&self.tsa);
            if let Some(extensions) = extensions {
                extensions.write(tag::context_constructed(1), fields);
            }
        });
        out.finish()
    }

    /// The signed attributes as the SET OF that is signed: members in ascending order of their encodings.
    pub(super) fn signed_attributes(&self, tst_info: &[u8], signing_time: &[u8]) -> Vec<u8> {
        let digest = self.hash.digest(tst_info);
        let message_digest = attribute(
            names::MESSAGE_DIGEST,
            &asn1::encode(tag::OCTET_STRING, digest.as_bytes()),
        );
        let signing_time = attribute(names::SIGNING_TIME, signing_time);
        let mut members = [
            self.content_type.as_slice(),
            &signing_time,
            &message_digest,
            &self.signing_certificate,
        ];
        members.sort_unstable();
        let mut out =
            Writer::with_capacity(16 + members.iter().map(|member| member.len()).sum::<usize>());
        out.nested(tag::SET, |set| {
            members.iter().for_each(|member| set.raw(member))
        });
        out.finish()
    }
}

/// A token that lacks only its signature.
#[derive(Debug)]
pub struct PreparedToken<'t> {
    template: &'t TokenTemplate,
    pub(super) tst_info: Vec<u8>,
    pub(super) signed_attributes: Vec<u8>,
    with_certificates: bool,
}

impl PreparedToken<'_> {
    /// The bytes to be signed: the signed attributes as a DER SET OF (RFC 5652 section 5.4).
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.signed_attributes
    }

    /// The whole TimeStampResp, status granted, around this signature.
    #[must_use]
    pub fn finish(&self, signature: &[u8]) -> Vec<u8> {
        let template = self.template;
        let room = 256
            + template.certificates.len()
            + template.signer.len()
            + self.tst_info.len()
            + self.signed_attributes.len()
            + signature.len();
        let mut out = Writer::with_capacity(room);
        out.sequence(|response| {
            response.sequence(|status| status.integer(0));
            response.sequence(|content_info| {
                content_info.oid(&names::SIGNED_DATA);
                content_info.nested(tag::context_constructed(0), |explicit| {
                    explicit.sequence(|signed_data| self.signed_data(signed_data, signature));
                });
            });
        });
        out.finish()
    }

    fn signed_data(&self, out: &mut Writer, signature: &[u8]) {
        let template = self.template;
        out.integer(3);
        out.raw(&template.digest_algorithms);
        out.sequence(|encapsulated| {
            encapsulated.oid(&names::CT_TST_INFO);
            // One primitive OCTET STRING: some verifiers do not assemble a constructed one.
            encapsulated.nested(tag::context_constructed(0), |content| {
                content.octet_string(&self.tst_info)
            });
        });
        if self.with_certificates {
            out.raw(&template.certificates);
        }
        out.nested(tag::SET, |signer_infos| {
            signer_infos.sequence(|signer_info| {
                signer_info.raw(&template.signer);
                // In the message the attributes carry the tag [0] in place of the SET tag that is signed.
                signer_info.raw(&[tag::context_constructed(0)]);
                signer_info.raw(self.signed_attributes.get(1..).unwrap_or_default());
                signer_info.raw(&template.signature_algorithm);
                signer_info.octet_string(signature);
            });
        });
    }
}

/// A TimeStampResp that refuses: status rejection(2), a sentence for people and one failure bit.
#[must_use]
pub fn rejection(failure: PkiFailureInfo, sentence: &str) -> Vec<u8> {
    let mut out = Writer::with_capacity(64 + sentence.len());
    out.sequence(|response| {
        response.sequence(|status| {
            status.integer(2);
            status.sequence(|text| text.utf8_string(sentence));
            status.tlv(tag::BIT_STRING, &failure_bits(failure));
        });
    });
    out.finish()
}

/// Content octets of a named-bit BIT STRING with this one bit: DER drops every zero bit behind it.
fn failure_bits(failure: PkiFailureInfo) -> Vec<u8> {
    let bit = failure.bit();
    let mut content = vec![7 - bit % 8];
    content.resize(1 + usize::from(bit / 8), 0);
    content.push(0x80 >> (bit % 8));
    content
}

/// The digest and the signature's AlgorithmIdentifier. RSA is written as rsaEncryption, as RFC 3370 section 3.2 has it.
fn signature_algorithm(algorithm: Algorithm) -> Result<(HashAlgorithm, Vec<u8>), TemplateError> {
    let ecdsa = |hash| (hash, SignatureScheme::Ecdsa(hash).identifier_der());
    Ok(match algorithm {
        Algorithm::EcdsaP256Sha256 => ecdsa(HashAlgorithm::Sha256),
        Algorithm::EcdsaP384Sha384 => ecdsa(HashAlgorithm::Sha384),
        Algorithm::RsaPkcs1 { hash, .. } => {
            (hash, algorithm_identifier(&oid::RSA_ENCRYPTION, true))
        }
        algorithm => return Err(TemplateError::Algorithm { algorithm }),
    })
}

pub(super) fn attribute(identifier: ObjectIdentifier, value: &[u8]) -> Vec<u8> {
    let mut out = Writer::with_capacity(32 + value.len());
    out.sequence(|attribute| {
        attribute.oid(&identifier);
        attribute.tlv(tag::SET, value);
    });
    out.finish()
}

/// ESSCertIDv2 over SHA-256, its default, which DER therefore leaves out (RFC 5816 section 2.2.1).
pub(super) fn signing_certificate(certificate: &Certificate, serial: &[u8]) -> Vec<u8> {
    let hash = asn1::encode(tag::OCTET_STRING, &sha256(certificate.der()));
    let issuer = asn1::encode_sequence(&[&directory_name(certificate.issuer_der())]);
    let issuer_serial = asn1::encode_sequence(&[&issuer, serial]);
    let identifier = asn1::encode_sequence(&[&hash, &issuer_serial]);
    let identifiers = asn1::encode_sequence(&[&identifier]);
    attribute(
        names::SIGNING_CERTIFICATE_V2,
        &asn1::encode_sequence(&[&identifiers]),
    )
}

/// GeneralName directoryName; Name is a CHOICE, so the tag is explicit.
fn directory_name(name: &[u8]) -> Vec<u8> {
    asn1::encode(tag::context_constructed(4), name)
}

/// `certificates [0]`, members in ascending order: a published verifier refuses any other.
fn certificate_set(mut certificates: Vec<&[u8]>) -> Vec<u8> {
    certificates.sort_unstable();
    asn1::encode(tag::context_constructed(0), &certificates.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_bits_are_trimmed() {
        assert_eq!(failure_bits(PkiFailureInfo::BadAlg), [7, 0x80]);
        assert_eq!(failure_bits(PkiFailureInfo::BadDataFormat), [2, 0x04]);
        assert_eq!(failure_bits(PkiFailureInfo::UnacceptedPolicy), [0, 0, 0x01]);
        assert_eq!(
            failure_bits(PkiFailureInfo::SystemFailure),
            [6, 0, 0, 0, 0x40]
        );
    }

    #[test]
    fn accuracy_leaves_zero_parts_out() {
        let one_second = Accuracy {
            seconds: 1,
            ..Accuracy::default()
        };
        assert_eq!(one_second.to_der(), [0x30, 3, 2, 1, 1]);
        let fine = Accuracy {
            seconds: 0,
            millis: 200,
            micros: 999,
        };
        assert_eq!(fine.to_der(), [0x30, 8, 0x80, 2, 0, 200, 0x81, 2, 3, 0xe7]);
    }
}
