//! TimeStampReq (RFC 3161 section 2.4.1).

use const_oid::ObjectIdentifier;
use sealwright_crypto::HashAlgorithm;

use super::ber::Reader;
use super::error::RequestError;
use crate::algorithm::{hash_algorithm, hash_identifier};
use crate::asn1::{self, Writer, tag};
use crate::error::DerFault;

/// A nonce is echoed up to 160 bits unless the authority chooses otherwise. The RFC suggests 64; more is storage of the
/// client's at the authority's cost.
pub const MAX_NONCE_OCTETS: usize = 20;

/// What is to be stamped: the digest of the data and how it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageImprint<'a> {
    hash_algorithm: HashAlgorithm,
    hashed_message: &'a [u8],
    null_parameters: bool,
}

impl<'a> MessageImprint<'a> {
    /// The imprint of a digest, with the NULL parameters that most clients write.
    ///
    /// # Errors
    /// When the digest has not the length its algorithm gives.
    pub fn new(
        hash_algorithm: HashAlgorithm,
        hashed_message: &'a [u8],
    ) -> Result<Self, RequestError> {
        Self::with_parameters(hash_algorithm, hashed_message, true)
    }

    /// `null_parameters`: whether the AlgorithmIdentifier carries an explicit NULL. Both forms are in use, and clients
    /// compare the token's imprint with their own byte for byte, so a token repeats its request's.
    fn with_parameters(
        hash_algorithm: HashAlgorithm,
        hashed_message: &'a [u8],
        null_parameters: bool,
    ) -> Result<Self, RequestError> {
        if hashed_message.len() == hash_algorithm.output_len() {
            return Ok(Self {
                hash_algorithm,
                hashed_message,
                null_parameters,
            });
        }
        Err(RequestError::ImprintLength {
            algorithm: hash_algorithm,
            found: hashed_message.len(),
        })
    }

    /// The algorithm of the digest.
    #[must_use]
    pub const fn hash_algorithm(&self) -> HashAlgorithm {
        self.hash_algorithm
    }

    /// The digest, as long as the algorithm says.
    #[must_use]
    pub const fn hashed_message(&self) -> &'a [u8] {
        self.hashed_message
    }

    fn read(fields: &mut Reader<'a>) -> Result<Self, RequestError> {
        let raw = RawImprint::read(fields).map_err(part("messageImprint"))?;
        let hash = hash_algorithm(raw.identifier).ok_or(RequestError::HashAlgorithm {
            algorithm: raw.identifier,
        })?;
        if raw.other_parameters {
            return Err(RequestError::Malformed {
                part: "messageImprint.hashAlgorithm",
            });
        }
        Self::with_parameters(hash, raw.hashed_message, raw.null_parameters)
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.sequence(|imprint| {
            imprint.sequence(|algorithm| {
                algorithm.oid(&hash_identifier(self.hash_algorithm));
                if self.null_parameters {
                    algorithm.null();
                }
            });
            imprint.octet_string(self.hashed_message);
        });
    }
}

/// An imprint whose algorithm has not been looked at.
struct RawImprint<'a> {
    identifier: ObjectIdentifier,
    null_parameters: bool,
    other_parameters: bool,
    hashed_message: &'a [u8],
}

impl<'a> RawImprint<'a> {
    fn read(fields: &mut Reader<'a>) -> Result<Self, DerFault> {
        let mut imprint = fields.sequence()?;
        let mut algorithm = imprint.sequence()?;
        let identifier = asn1::parse_oid(algorithm.value(tag::OBJECT_IDENTIFIER)?)?;
        let null = algorithm.optional(tag::NULL)?;
        let hashed_message = imprint.value(tag::OCTET_STRING)?;
        imprint.finish()?;
        Ok(Self {
            identifier,
            null_parameters: null.is_some(),
            other_parameters: !algorithm.is_empty()
                || null.is_some_and(|content| !content.is_empty()),
            hashed_message,
        })
    }
}

/// A request for one timestamp, borrowing from the bytes it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeStampReq<'a> {
    /// What is to be stamped.
    pub message_imprint: MessageImprint<'a>,
    /// The policy asked for.
    pub req_policy: Option<ObjectIdentifier>,
    /// Content octets of the nonce: two's complement in the fewest octets. Negative ones are echoed like any other.
    pub nonce: Option<&'a [u8]>,
    /// Whether the token shall carry the signer's certificate.
    pub cert_req: bool,
    /// The extension on which the request may fail: the first critical one, else the first.
    pub extension: Option<RequestExtension>,
    /// All of them, for an authority that repeats in its tokens what it does not understand.
    pub extensions: Option<RequestExtensions<'a>>,
}

/// The well-formed extensions of a request, as they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestExtensions<'a> {
    content: &'a [u8],
}

impl<'a> RequestExtensions<'a> {
    /// How many octets they took in the request.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        self.content.len()
    }

    /// The extensions in their order.
    pub fn iter(&self) -> impl Iterator<Item = RequestExtension> + use<'a> {
        self.with_values().map(|(extension, _)| extension)
    }

    fn with_values(&self) -> impl Iterator<Item = (RequestExtension, &'a [u8])> + use<'a> {
        let mut list = Reader::new(self.content);
        // What was read once is read again without a fault; at one the iteration would end.
        std::iter::from_fn(move || one_extension(&mut list).ok())
    }

    /// Writes them as a SEQUENCE OF Extension with the given tag, in DER whatever the request had.
    pub(super) fn write(&self, tag: u8, out: &mut Writer) {
        out.nested(tag, |list| {
            for (extension, value) in self.with_values() {
                list.sequence(|fields| {
                    fields.oid(&extension.identifier);
                    if extension.critical {
                        fields.boolean(true);
                    }
                    fields.octet_string(value);
                });
            }
        });
    }
}

/// An extension of a request, without what it carries: none is acted upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestExtension {
    /// The extension's identifier.
    pub identifier: ObjectIdentifier,
    /// Whether the requester insists that it be understood.
    pub critical: bool,
}

impl<'a> TimeStampReq<'a> {
    /// Reads a request. Loose BER is taken where clients in the field send it (an explicit `certReq FALSE`, long-form
    /// lengths, padded integers); whatever is echoed is written again in DER.
    ///
    /// # Errors
    /// Says which field is malformed or which value is not acceptable; [`RequestError::failure_info`] gives the bit.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RequestError> {
        Self::parse_with_nonce_limit(bytes, MAX_NONCE_OCTETS)
    }

    /// As [`Self::parse`], by an authority that echoes nonces of up to `max_nonce_octets`.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_with_nonce_limit(
        bytes: &'a [u8],
        max_nonce_octets: usize,
    ) -> Result<Self, RequestError> {
        let mut fields = Reader::only_sequence(bytes).map_err(part("the outer sequence"))?;
        if fields.integer().map_err(part("version"))? != [1] {
            return Err(RequestError::Version);
        }
        let message_imprint = MessageImprint::read(&mut fields)?;
        let policy = fields
            .optional(tag::OBJECT_IDENTIFIER)
            .map_err(part("reqPolicy"))?;
        let req_policy = policy
            .map(asn1::parse_oid)
            .transpose()
            .map_err(part("reqPolicy"))?;
        let nonce = fields.optional_integer().map_err(part("nonce"))?;
        let cert_req = fields.boolean_default_false().map_err(part("certReq"))?;
        let extensions = extensions(&mut fields).map_err(part("extensions"))?;
        fields
            .finish()
            .map_err(part("what follows the last field"))?;
        check_nonce(nonce, max_nonce_octets)?;
        Ok(Self {
            message_imprint,
            req_policy,
            nonce,
            cert_req,
            extension: extensions.as_ref().and_then(decisive),
            extensions,
        })
    }

    /// A client's request for a stamp over a SHA-256 digest; the token is asked to carry the authority's certificates.
    /// `nonce` is as [`nonce_content`] makes it.
    #[must_use]
    pub const fn sha256(digest: &'a [u8; 32], nonce: &'a [u8]) -> Self {
        Self {
            message_imprint: MessageImprint {
                hash_algorithm: HashAlgorithm::Sha256,
                hashed_message: digest,
                null_parameters: true,
            },
            req_policy: None,
            nonce: Some(nonce),
            cert_req: true,
            extension: None,
            extensions: None,
        }
    }

    /// The request in DER. Extensions are not written: no client of ours sends any.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut out = Writer::with_capacity(160);
        out.sequence(|fields| {
            fields.integer(1);
            self.message_imprint.write(fields);
            if let Some(policy) = &self.req_policy {
                fields.oid(policy);
            }
            if let Some(nonce) = self.nonce {
                fields.tlv(tag::INTEGER, nonce);
            }
            if self.cert_req {
                fields.boolean(true);
            }
        });
        out.finish()
    }
}

/// The content octets of a nonce made of random octets: an unsigned number, so that nobody reads a negative one.
#[must_use]
pub fn nonce_content(random: [u8; 8]) -> Vec<u8> {
    asn1::unsigned_content(&random).into_owned()
}

/// Refuses a nonce longer than `limit` octets. The zero octet that keeps a large unsigned number positive is not counted.
///
/// # Errors
/// [`RequestError::NonceLength`].
pub fn check_nonce(nonce: Option<&[u8]>, limit: usize) -> Result<(), RequestError> {
    let octets = match nonce {
        Some([0, magnitude @ ..]) => magnitude.len(),
        Some(content) => content.len(),
        None => 0,
    };
    if octets > limit {
        Err(RequestError::NonceLength {
            found: octets,
            limit,
        })
    } else {
        Ok(())
    }
}

/// Reads the optional list to its end, so that whoever walks it later meets no fault.
fn extensions<'a>(fields: &mut Reader<'a>) -> Result<Option<RequestExtensions<'a>>, DerFault> {
    let Some(content) = fields.optional(tag::context_constructed(0))? else {
        return Ok(None);
    };
    let mut list = Reader::new(content);
    // `Extensions` is a SEQUENCE SIZE (1..MAX): an empty one says nothing.
    one_extension(&mut list)?;
    while !list.is_empty() {
        one_extension(&mut list)?;
    }
    Ok(Some(RequestExtensions { content }))
}

fn one_extension<'a>(list: &mut Reader<'a>) -> Result<(RequestExtension, &'a [u8]), DerFault> {
    let mut fields = list.sequence()?;
    let identifier = asn1::parse_oid(fields.value(tag::OBJECT_IDENTIFIER)?)?;
    let critical = fields.boolean_default_false()?;
    let value = fields.value(tag::OCTET_STRING)?;
    fields.finish()?;
    let extension = RequestExtension {
        identifier,
        critical,
    };
    Ok((extension, value))
}

/// The first critical extension, else the first.
fn decisive(extensions: &RequestExtensions<'_>) -> Option<RequestExtension> {
    let critical = extensions.iter().find(|extension| extension.critical);
    critical.or_else(|| extensions.iter().next())
}

fn part(part: &'static str) -> impl Fn(DerFault) -> RequestError {
    move |_| RequestError::Malformed { part }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::PkiFailureInfo;

    const DIGEST: [u8; 32] = [0x5a; 32];

    /// A request with every field given as raw DER, so that a test can bend one of them.
    fn request(version: &[u8], imprint: &[u8], rest: &[&[u8]]) -> Vec<u8> {
        asn1::encode_sequence(&[&[version, imprint], rest].concat())
    }

    fn imprint(oid: &str, parameters: &[u8], digest: &[u8]) -> Vec<u8> {
        let oid: ObjectIdentifier = oid.parse().expect("dotted");
        let algorithm = asn1::encode_sequence(&[
            &asn1::encode(tag::OBJECT_IDENTIFIER, oid.as_bytes()),
            parameters,
        ]);
        asn1::encode_sequence(&[&algorithm, &asn1::encode(tag::OCTET_STRING, digest)])
    }

    fn sha256_imprint() -> Vec<u8> {
        imprint("2.16.840.1.101.3.4.2.1", &[5, 0], &DIGEST)
    }

    const V1: &[u8] = &[2, 1, 1];

    fn failure(der: &[u8]) -> PkiFailureInfo {
        TimeStampReq::parse(der)
            .expect_err("must be refused")
            .failure_info()
    }

    #[test]
    fn what_a_client_writes_is_what_the_authority_reads() {
        let nonce = nonce_content([0, 0, 0x80, 1, 2, 3, 4, 5]);
        let asked = TimeStampReq::sha256(&DIGEST, &nonce);
        let der = asked.to_der();
        assert_eq!(TimeStampReq::parse(&der), Ok(asked));
        assert_eq!(nonce, [0, 0x80, 1, 2, 3, 4, 5]);
        assert_eq!(nonce_content([0; 8]), [0]);
        assert_eq!(nonce_content([1; 8]), [1; 8]);
    }

    #[test]
    fn every_field_is_read() {
        let policy = [6, 3, 0x2a, 3, 4];
        let der = request(
            V1,
            &sha256_imprint(),
            &[&policy, &[2, 1, 0xfe], &[1, 1, 0xff]],
        );
        let parsed = TimeStampReq::parse(&der).expect("valid");
        assert_eq!(
            parsed.req_policy.map(|oid| oid.to_string()).as_deref(),
            Some("1.2.3.4")
        );
        assert_eq!(
            parsed.nonce,
            Some(&[0xfe][..]),
            "a negative nonce is kept as it is"
        );
        assert!(parsed.cert_req);
        assert_eq!(parsed.message_imprint.hashed_message(), DIGEST);
    }

    #[test]
    fn the_imprint_is_repeated_with_or_without_null_parameters() {
        for parameters in [&[5, 0][..], &[]] {
            let encoded = imprint("2.16.840.1.101.3.4.2.1", parameters, &DIGEST);
            let der = request(V1, &encoded, &[]);
            let parsed = TimeStampReq::parse(&der).expect("valid");
            let mut out = Writer::new();
            parsed.message_imprint.write(&mut out);
            assert_eq!(out.finish(), encoded);
        }
    }

    #[test]
    fn the_looseness_of_real_clients_is_taken() {
        let explicit_false = request(V1, &sha256_imprint(), &[&[1, 1, 0]]);
        assert_eq!(
            TimeStampReq::parse(&explicit_false).map(|req| req.cert_req),
            Ok(false)
        );
        let padded_nonce = request(V1, &sha256_imprint(), &[&[2, 3, 0, 0, 9]]);
        assert_eq!(
            TimeStampReq::parse(&padded_nonce).map(|req| req.nonce),
            Ok(Some(&[9][..]))
        );
    }

    #[test]
    fn refusals_carry_the_bit_that_fits() {
        let sha1 = imprint("1.3.14.3.2.26", &[5, 0], &[1; 20]);
        let sha3 = imprint("2.16.840.1.101.3.4.2.8", &[], &DIGEST);
        let short = imprint("2.16.840.1.101.3.4.2.1", &[5, 0], &[1; 31]);
        let empty = imprint("2.16.840.1.101.3.4.2.1", &[5, 0], &[]);
        let odd_parameters = imprint("2.16.840.1.101.3.4.2.1", &[2, 1, 0], &DIGEST);
        let long_nonce = asn1::encode(tag::INTEGER, &[0x41; 21]);
        let valid = request(V1, &sha256_imprint(), &[]);
        let trailing = [valid.as_slice(), &[0]].concat();
        for (der, expected) in [
            (
                request(&[2, 1, 0], &sha256_imprint(), &[]),
                PkiFailureInfo::BadRequest,
            ),
            (
                request(&[2, 1, 2], &sha256_imprint(), &[]),
                PkiFailureInfo::BadRequest,
            ),
            (request(V1, &sha1, &[]), PkiFailureInfo::BadAlg),
            (request(V1, &sha3, &[]), PkiFailureInfo::BadAlg),
            (request(V1, &short, &[]), PkiFailureInfo::BadDataFormat),
            (request(V1, &empty, &[]), PkiFailureInfo::BadDataFormat),
            (
                request(V1, &odd_parameters, &[]),
                PkiFailureInfo::BadDataFormat,
            ),
            (
                request(V1, &sha256_imprint(), &[&long_nonce]),
                PkiFailureInfo::BadRequest,
            ),
            (
                request(V1, &sha256_imprint(), &[&[0xa0, 0]]),
                PkiFailureInfo::BadDataFormat,
            ),
            (
                request(V1, &sha256_imprint(), &[&[2, 1, 1], &[6, 1, 0x2a]]),
                PkiFailureInfo::BadDataFormat,
            ),
            (trailing, PkiFailureInfo::BadDataFormat),
            (Vec::new(), PkiFailureInfo::BadDataFormat),
        ] {
            assert_eq!(failure(&der), expected, "{}", hex::encode(&der));
        }
    }

    #[test]
    fn a_nonce_of_160_bits_is_echoed_even_with_its_top_bit_set() {
        let nonce = asn1::encode(tag::INTEGER, &[&[0][..], &[0xff; 20]].concat());
        let der = request(V1, &sha256_imprint(), &[&nonce]);
        assert!(TimeStampReq::parse(&der).is_ok());
        let narrow = TimeStampReq::parse_with_nonce_limit(&der, 8);
        assert_eq!(
            narrow,
            Err(RequestError::NonceLength {
                found: 20,
                limit: 8
            })
        );
    }

    #[test]
    fn extensions_are_repeated_in_der_whatever_form_they_had() {
        // `critical FALSE` spelled out, and a length in the long form.
        let loose = [
            0x30, 0x81, 11, 6, 3, 0x2a, 3, 4, 1, 1, 0, 4, 1, 9, 0x30, 8, 6, 3, 0x2a, 3, 5, 4, 1, 7,
        ];
        let list = asn1::encode(tag::context_constructed(0), &loose);
        let der = request(V1, &sha256_imprint(), &[&list]);
        let parsed = TimeStampReq::parse(&der).expect("well formed");
        let extensions = parsed.extensions.expect("present");
        assert_eq!(
            (extensions.encoded_len(), extensions.iter().count()),
            (loose.len(), 2)
        );
        let mut out = Writer::new();
        extensions.write(tag::context_constructed(1), &mut out);
        let strict = [
            0xa1, 20, 0x30, 8, 6, 3, 0x2a, 3, 4, 4, 1, 9, 0x30, 8, 6, 3, 0x2a, 3, 5, 4, 1, 7,
        ];
        assert_eq!(out.finish(), strict);
    }

    #[test]
    fn the_critical_extension_is_the_one_reported() {
        let plain = [0x30, 8, 6, 3, 0x2a, 3, 4, 4, 1, 0];
        let critical = [0x30, 11, 6, 3, 0x2a, 3, 5, 1, 1, 0xff, 4, 1, 0];
        let list = asn1::encode(
            tag::context_constructed(0),
            &[&plain[..], &critical].concat(),
        );
        let der = request(V1, &sha256_imprint(), &[&list]);
        let extension = TimeStampReq::parse(&der)
            .expect("well formed")
            .extension
            .expect("present");
        assert_eq!(
            (
                extension.identifier.to_string().as_str(),
                extension.critical
            ),
            ("1.2.3.5", true)
        );
    }

    #[test]
    fn no_prefix_and_no_single_flipped_byte_panics() {
        let nonce = nonce_content([7; 8]);
        let der = TimeStampReq::sha256(&DIGEST, &nonce).to_der();
        for end in 0..der.len() {
            assert!(TimeStampReq::parse(der.get(..end).expect("in range")).is_err());
        }
        for position in 0..der.len() {
            for bit in 0..8 {
                let mut bent = der.clone();
                *bent.get_mut(position).expect("in range") ^= 1 << bit;
                let _ = TimeStampReq::parse(&bent);
            }
        }
    }
}
