//! Reading TimeStampResp and the token inside (RFC 3161 section 2.4.2, RFC 5652 section 5). Reading believes nothing:
//! what holds is decided by [`super::verify()`].

use const_oid::ObjectIdentifier;
use sealwright_crypto::HashAlgorithm;

use super::error::{PkiFailureInfo, TimestampError};
use super::names;
use super::token::Accuracy;
use crate::algorithm::hash_algorithm;
use crate::asn1::{self, Element, Reader, tag};
use crate::certificate::parse_general_name;
use crate::error::DerFault;

/// Largest response that is read: 64 KiB. One with a chain of three RSA-4096 certificates has about 7 KiB.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// Most certificates in a token that are looked at; more is refused.
pub(super) const MAX_EMBEDDED_CERTIFICATES: usize = 16;
/// Most signed attributes; RFC 3161 needs four.
const MAX_ATTRIBUTES: usize = 16;
/// How much of an authority's own words is kept, in characters.
const MAX_STATUS_TEXT: usize = 256;

/// TSTInfo, borrowing from the response.
#[derive(Debug, Clone, Copy)]
pub(super) struct TstInfo<'a> {
    pub(super) policy: ObjectIdentifier,
    pub(super) hash_algorithm: HashAlgorithm,
    pub(super) hashed_message: &'a [u8],
    pub(super) serial: &'a [u8],
    pub(super) gen_time: i64,
    pub(super) accuracy: Option<Accuracy>,
    pub(super) nonce: Option<&'a [u8]>,
    /// The GeneralName inside `tsa [0]`.
    pub(super) tsa: Option<Element<'a>>,
    /// The first extension that must not be passed over; this crate understands none.
    pub(super) critical_extension: Option<ObjectIdentifier>,
}

/// The one SignerInfo of a token.
#[derive(Debug, Clone)]
pub(super) struct SignerInfo<'a> {
    pub(super) issuer: &'a [u8],
    pub(super) serial: &'a [u8],
    pub(super) digest_algorithm: HashAlgorithm,
    /// Content octets of the attributes' SET.
    pub(super) signed_attributes: &'a [u8],
    pub(super) attributes: Attributes<'a>,
    /// The AlgorithmIdentifier of the signature, in DER.
    pub(super) signature_algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// The signed attributes that matter, each with its single value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Attributes<'a> {
    pub(super) content_type: Option<Element<'a>>,
    pub(super) message_digest: Option<Element<'a>>,
    pub(super) signing_certificate: Option<Element<'a>>,
    pub(super) signing_certificate_v2: Option<Element<'a>>,
}

/// A granted token, taken apart.
#[derive(Debug, Clone)]
pub(super) struct Token<'a> {
    pub(super) tst_info: TstInfo<'a>,
    /// The bytes whose digest is signed.
    pub(super) tst_info_der: &'a [u8],
    pub(super) certificates: Vec<&'a [u8]>,
    pub(super) signer: SignerInfo<'a>,
}

fn malformed(part: &'static str) -> impl Fn(DerFault) -> TimestampError {
    move |_| TimestampError::Malformed { part }
}

impl<'a> Token<'a> {
    /// Reads a response whose status is granted or grantedWithMods.
    pub(super) fn from_response(response: &'a [u8]) -> Result<Self, TimestampError> {
        if response.len() > MAX_RESPONSE_BYTES {
            return Err(TimestampError::TooLarge {
                found: response.len(),
            });
        }
        let mut fields = asn1::only(response, tag::SEQUENCE)
            .map_err(malformed("TimeStampResp"))?
            .reader();
        let status = fields.sequence().map_err(malformed("PKIStatusInfo"))?;
        Status::read(status)
            .map_err(malformed("PKIStatusInfo"))?
            .granted()?;
        let content_info = fields.sequence().map_err(malformed("timeStampToken"))?;
        fields.finish().map_err(malformed("TimeStampResp"))?;
        Self::from_content_info(content_info)
    }

    fn from_content_info(content_info: Reader<'a>) -> Result<Self, TimestampError> {
        let mut signed_data = signed_data(content_info).map_err(malformed("ContentInfo"))?;
        let announced =
            digest_algorithms(&mut signed_data).map_err(malformed("digestAlgorithms"))?;
        let tst_info_der = encapsulated(&mut signed_data).map_err(malformed("encapContentInfo"))?;
        let certificates = certificates(&mut signed_data).map_err(malformed("certificates"))?;
        signed_data
            .optional(tag::context_constructed(1))
            .map_err(malformed("crls"))?;
        let signer_infos = signed_data.set().map_err(malformed("signerInfos"))?;
        signed_data.finish().map_err(malformed("SignedData"))?;
        let signer = SignerInfo::only(signer_infos)?;
        if !announced.contains(&signer.digest_algorithm) {
            return Err(malformed("digestAlgorithms")(DerFault::Value));
        }
        Ok(Self {
            tst_info: TstInfo::read(tst_info_der)?,
            tst_info_der,
            certificates,
            signer,
        })
    }
}

struct Status {
    status: u64,
    failure: Option<PkiFailureInfo>,
    text: String,
}

impl Status {
    fn read(mut fields: Reader<'_>) -> Result<Self, DerFault> {
        let status = fields.small_integer()?;
        let text = match fields.optional(tag::SEQUENCE)? {
            Some(list) => status_text(list.reader())?,
            None => String::new(),
        };
        let failure = match fields.optional(tag::BIT_STRING)? {
            Some(bits) => first_failure(asn1::parse_bit_string(bits.value)?.0),
            None => None,
        };
        fields.finish()?;
        Ok(Self {
            status,
            failure,
            text,
        })
    }

    /// granted(0) or grantedWithMods(1).
    fn granted(self) -> Result<(), TimestampError> {
        if self.status <= 1 {
            return Ok(());
        }
        let status = u32::try_from(self.status).unwrap_or(u32::MAX);
        Err(TimestampError::NotGranted {
            status,
            failure: self.failure,
            text: self.text,
        })
    }
}

/// The sentences of a PKIFreeText, without control characters and cut short.
fn status_text(mut list: Reader<'_>) -> Result<String, DerFault> {
    let mut sentences = Vec::new();
    while !list.is_empty() {
        let sentence =
            std::str::from_utf8(list.value(tag::UTF8_STRING)?).map_err(|_| DerFault::Text)?;
        sentences.push(sentence);
    }
    let joined = sentences.join(" ");
    Ok(joined
        .chars()
        .filter(|character| !character.is_control())
        .take(MAX_STATUS_TEXT)
        .collect())
}

fn first_failure(octets: &[u8]) -> Option<PkiFailureInfo> {
    (0..=u8::MAX)
        .zip(
            octets
                .iter()
                .flat_map(|octet| (0..8).map(move |bit| octet & (0x80 >> bit) != 0)),
        )
        .filter(|(_, set)| *set)
        .find_map(|(bit, _)| PkiFailureInfo::from_bit(bit))
}

/// Enters the SignedData of a ContentInfo, past its version, by which nothing is decided.
fn signed_data(mut content_info: Reader<'_>) -> Result<Reader<'_>, DerFault> {
    if content_info.oid()? != names::SIGNED_DATA {
        return Err(DerFault::Value);
    }
    let explicit = content_info.value(tag::context_constructed(0))?;
    content_info.finish()?;
    let mut signed_data = asn1::only(explicit, tag::SEQUENCE)?.reader();
    signed_data.small_integer()?;
    Ok(signed_data)
}

/// The hash functions that a reader is told to run beforehand. The set is not signed; readers that work in one pass verify
/// nothing when the signer's is missing (RFC 5652 section 5.1), so nobody may rely on such a token.
fn digest_algorithms(signed_data: &mut Reader<'_>) -> Result<Vec<HashAlgorithm>, DerFault> {
    let mut set = signed_data.set()?;
    let mut known = Vec::new();
    while !set.is_empty() {
        known.extend(hash_algorithm(read_hash_identifier(&mut set)?));
    }
    Ok(known)
}

/// The content octets of the eContent, which must be one primitive OCTET STRING of type id-ct-TSTInfo.
fn encapsulated<'a>(signed_data: &mut Reader<'a>) -> Result<&'a [u8], DerFault> {
    let mut encapsulated = signed_data.sequence()?;
    if encapsulated.oid()? != names::CT_TST_INFO {
        return Err(DerFault::Value);
    }
    let explicit = encapsulated.value(tag::context_constructed(0))?;
    encapsulated.finish()?;
    asn1::only(explicit, tag::OCTET_STRING).map(|content| content.value)
}

/// The X.509 certificates of `certificates [0]`; other choices of CertificateChoices are passed over.
fn certificates<'a>(signed_data: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, DerFault> {
    let Some(set) = signed_data.optional(tag::context_constructed(0))? else {
        return Ok(Vec::new());
    };
    let mut list = set.reader();
    let mut certificates = Vec::new();
    while !list.is_empty() {
        let element = list.element()?;
        if certificates.len() == MAX_EMBEDDED_CERTIFICATES {
            return Err(DerFault::Length);
        }
        if element.tag == tag::SEQUENCE {
            certificates.push(element.whole);
        }
    }
    Ok(certificates)
}

impl<'a> TstInfo<'a> {
    fn read(der: &'a [u8]) -> Result<Self, TimestampError> {
        let mut fields = asn1::only(der, tag::SEQUENCE)
            .map_err(malformed("TSTInfo"))?
            .reader();
        if fields
            .small_integer()
            .map_err(malformed("TSTInfo.version"))?
            != 1
        {
            return Err(TimestampError::Malformed {
                part: "TSTInfo.version",
            });
        }
        let policy = fields.oid().map_err(malformed("TSTInfo.policy"))?;
        let (algorithm, hashed_message) =
            imprint(&mut fields).map_err(malformed("TSTInfo.messageImprint"))?;
        let hash_algorithm =
            hash_algorithm(algorithm).ok_or(TimestampError::Algorithm { algorithm })?;
        let serial = fields
            .integer()
            .map_err(malformed("TSTInfo.serialNumber"))?;
        let gen_time = fields
            .value(tag::GENERALIZED_TIME)
            .and_then(gen_time)
            .map_err(malformed("TSTInfo.genTime"))?;
        let accuracy = accuracy(&mut fields).map_err(malformed("TSTInfo.accuracy"))?;
        fields
            .boolean_default_false()
            .map_err(malformed("TSTInfo.ordering"))?;
        let nonce = optional_integer(&mut fields).map_err(malformed("TSTInfo.nonce"))?;
        let tsa = tsa(&mut fields).map_err(malformed("TSTInfo.tsa"))?;
        let critical_extension =
            critical_extension(&mut fields).map_err(malformed("TSTInfo.extensions"))?;
        fields.finish().map_err(malformed("TSTInfo"))?;
        Ok(Self {
            policy,
            hash_algorithm,
            hashed_message,
            serial,
            gen_time,
            accuracy,
            nonce,
            tsa,
            critical_extension,
        })
    }
}

fn imprint<'a>(fields: &mut Reader<'a>) -> Result<(ObjectIdentifier, &'a [u8]), DerFault> {
    let mut imprint = fields.sequence()?;
    let algorithm = read_hash_identifier(&mut imprint)?;
    let hashed_message = imprint.octet_string()?;
    imprint.finish()?;
    Ok((algorithm, hashed_message))
}

/// The AlgorithmIdentifier of a hash function, its parameters NULL or absent.
pub(super) fn read_hash_identifier(fields: &mut Reader<'_>) -> Result<ObjectIdentifier, DerFault> {
    let mut algorithm = fields.sequence()?;
    let identifier = algorithm.oid()?;
    if !algorithm.is_empty() {
        algorithm.null()?;
    }
    algorithm.finish()?;
    Ok(identifier)
}

/// Unix seconds of `YYYYMMDDHHMMSS[.f*]Z`. A fraction (RFC 3161 allows one, without trailing zeros) is cut off: a time
/// is compared with validity periods of whole seconds.
fn gen_time(content: &[u8]) -> Result<i64, DerFault> {
    let (seconds, rest) = content.split_at_checked(14).ok_or(DerFault::Time)?;
    let fraction = rest.strip_suffix(b"Z").ok_or(DerFault::Time)?;
    let well_formed = match fraction {
        [] => true,
        [b'.', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit) && digits.last().is_some_and(|last| *last != b'0')
        }
        _ => false,
    };
    if !well_formed {
        return Err(DerFault::Time);
    }
    asn1::parse_generalized_time(&[seconds, b"Z"].concat())
}

fn accuracy(fields: &mut Reader<'_>) -> Result<Option<Accuracy>, DerFault> {
    let Some(sequence) = fields.optional(tag::SEQUENCE)? else {
        return Ok(None);
    };
    let mut parts = sequence.reader();
    let seconds = match parts.peek_tag() {
        Some(tag::INTEGER) => {
            u32::try_from(parts.small_integer()?).map_err(|_| DerFault::Integer)?
        }
        _ => 0,
    };
    let millis = thousandths(parts.optional(tag::context(0))?)?;
    let micros = thousandths(parts.optional(tag::context(1))?)?;
    parts.finish()?;
    Ok(Some(Accuracy {
        seconds,
        millis,
        micros,
    }))
}

/// An implicitly tagged INTEGER (1..999).
fn thousandths(element: Option<Element<'_>>) -> Result<u16, DerFault> {
    let Some(element) = element else {
        return Ok(0);
    };
    let value = u16::try_from(asn1::parse_small_integer(element.value)?).ok();
    value
        .filter(|value| (1..1000).contains(value))
        .ok_or(DerFault::Integer)
}

fn optional_integer<'a>(fields: &mut Reader<'a>) -> Result<Option<&'a [u8]>, DerFault> {
    match fields.peek_tag() {
        Some(tag::INTEGER) => fields.integer().map(Some),
        _ => Ok(None),
    }
}

/// The authority's own name for itself: a hint that decides nothing, since signingCertificate names the signer (RFC 3161
/// section 2.4.2). It is a GeneralName all the same: what cannot be read does not pass as a part of something signed.
fn tsa<'a>(fields: &mut Reader<'a>) -> Result<Option<Element<'a>>, DerFault> {
    let Some(explicit) = fields.optional(tag::context_constructed(0))? else {
        return Ok(None);
    };
    let mut inner = explicit.reader();
    let name = inner.element()?;
    inner.finish()?;
    parse_general_name(name)?;
    Ok(Some(name))
}

fn critical_extension(fields: &mut Reader<'_>) -> Result<Option<ObjectIdentifier>, DerFault> {
    let Some(extensions) = fields.optional(tag::context_constructed(1))? else {
        return Ok(None);
    };
    let mut list = extensions.reader();
    let mut found = None;
    while !list.is_empty() {
        let mut extension = list.sequence()?;
        let identifier = extension.oid()?;
        if extension.boolean_default_false()? {
            found = found.or(Some(identifier));
        }
        extension.octet_string()?;
        extension.finish()?;
    }
    Ok(found)
}

impl<'a> SignerInfo<'a> {
    fn only(mut signer_infos: Reader<'a>) -> Result<Self, TimestampError> {
        let mut found = Vec::new();
        while !signer_infos.is_empty() {
            found.push(signer_infos.sequence().map_err(malformed("signerInfos"))?);
        }
        match found.as_slice() {
            [only] => Self::read(only.clone()),
            several => Err(TimestampError::SignerCount {
                found: several.len(),
            }),
        }
    }

    fn read(mut fields: Reader<'a>) -> Result<Self, TimestampError> {
        // Version 3 would name the signer by key identifier; verifiers in the field find it by issuer and serial only.
        if fields
            .small_integer()
            .map_err(malformed("SignerInfo.version"))?
            != 1
        {
            return Err(TimestampError::Malformed {
                part: "SignerInfo.version",
            });
        }
        let (issuer, serial) =
            issuer_and_serial(&mut fields).map_err(malformed("SignerInfo.sid"))?;
        let algorithm =
            read_hash_identifier(&mut fields).map_err(malformed("SignerInfo.digestAlgorithm"))?;
        let digest_algorithm =
            hash_algorithm(algorithm).ok_or(TimestampError::Algorithm { algorithm })?;
        let attributes_element = fields
            .expect(tag::context_constructed(0))
            .map_err(malformed("SignerInfo.signedAttrs"))?;
        let signature_algorithm = fields
            .expect(tag::SEQUENCE)
            .map_err(malformed("SignerInfo.signatureAlgorithm"))?;
        let signature = fields
            .octet_string()
            .map_err(malformed("SignerInfo.signature"))?;
        fields
            .optional(tag::context_constructed(1))
            .map_err(malformed("SignerInfo.unsignedAttrs"))?;
        fields.finish().map_err(malformed("SignerInfo"))?;
        Ok(Self {
            issuer,
            serial,
            digest_algorithm,
            signed_attributes: attributes_element.value,
            attributes: Attributes::read(attributes_element.reader())?,
            signature_algorithm: signature_algorithm.whole,
            signature,
        })
    }
}

fn issuer_and_serial<'a>(fields: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), DerFault> {
    let mut sid = fields.sequence()?;
    let issuer = sid.expect(tag::SEQUENCE)?.whole;
    let serial = sid.integer()?;
    sid.finish()?;
    Ok((issuer, serial))
}

impl<'a> Attributes<'a> {
    fn read(mut list: Reader<'a>) -> Result<Self, TimestampError> {
        const PART: &str = "SignerInfo.signedAttrs";
        let mut attributes = Self::default();
        let mut signing_time = None;
        let mut previous: &[u8] = &[];
        let mut count = 0;
        while !list.is_empty() {
            count += 1;
            let element = list.expect(tag::SEQUENCE).map_err(malformed(PART))?;
            // RFC 5652 section 5.3 wants DER, and DER has one order (X.690 section 11.6). What is signed is the DER, so that
            // readers who sort before they verify would see another message.
            if count > MAX_ATTRIBUTES || element.whole < previous {
                return Err(TimestampError::Malformed { part: PART });
            }
            previous = element.whole;
            let (identifier, values) = attribute(element).map_err(malformed(PART))?;
            let (slot, name) = match identifier {
                names::CONTENT_TYPE => (&mut attributes.content_type, "contentType"),
                names::MESSAGE_DIGEST => (&mut attributes.message_digest, "messageDigest"),
                names::SIGNING_CERTIFICATE => {
                    (&mut attributes.signing_certificate, "signingCertificate")
                }
                names::SIGNING_CERTIFICATE_V2 => (
                    &mut attributes.signing_certificate_v2,
                    "signingCertificateV2",
                ),
                // Nothing rests on it, genTime being the time; it is a time nevertheless.
                names::SIGNING_TIME => (&mut signing_time, "signingTime"),
                _ => continue,
            };
            let single = single_value(values)
                .map_err(|_| TimestampError::SignedAttribute { attribute: name })?;
            if slot.replace(single).is_some() {
                return Err(TimestampError::SignedAttribute { attribute: name });
            }
        }
        if let Some(time) = signing_time {
            Reader::new(time.whole)
                .time()
                .map_err(|_| TimestampError::SignedAttribute {
                    attribute: "signingTime",
                })?;
        }
        Ok(attributes)
    }
}

fn attribute(element: Element<'_>) -> Result<(ObjectIdentifier, Reader<'_>), DerFault> {
    let mut attribute = element.reader();
    let identifier = attribute.oid()?;
    let values = attribute.set()?;
    attribute.finish()?;
    Ok((identifier, values))
}

fn single_value(mut values: Reader<'_>) -> Result<Element<'_>, DerFault> {
    let value = values.element()?;
    values.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gen_time_may_have_a_fraction_which_is_cut_off() {
        assert_eq!(gen_time(b"20000229000000Z"), Ok(951_782_400));
        assert_eq!(gen_time(b"20000229000000.75Z"), Ok(951_782_400));
        for bad in [
            "20000229000000",
            "20000229000000.Z",
            "20000229000000.50Z",
            "20000230000000Z",
            "200002290000Z",
            "Z",
            "",
        ] {
            assert_eq!(gen_time(bad.as_bytes()), Err(DerFault::Time), "{bad}");
        }
    }

    #[test]
    fn parts_of_an_accuracy_are_integers_from_1_to_999_in_their_one_form() {
        let read = |content: &'static [u8]| {
            thousandths(Some(Element {
                tag: tag::context(0),
                value: content,
                whole: content,
            }))
        };
        assert_eq!(thousandths(None), Ok(0));
        assert_eq!(read(&[1]), Ok(1));
        assert_eq!(read(&[0, 0x80]), Ok(128));
        assert_eq!(read(&[3, 0xe7]), Ok(999));
        for bad in [&[][..], &[0], &[0x80], &[0, 5], &[3, 0xe8], &[0, 3, 0xe7]] {
            assert_eq!(read(bad), Err(DerFault::Integer), "{bad:?}");
        }
    }

    #[test]
    fn the_first_defined_failure_bit_is_reported() {
        assert_eq!(first_failure(&[0x80]), Some(PkiFailureInfo::BadAlg));
        assert_eq!(
            first_failure(&[0, 0, 0, 0x40]),
            Some(PkiFailureInfo::SystemFailure)
        );
        assert_eq!(first_failure(&[0x40]), None, "bit 1 is not defined");
        assert_eq!(first_failure(&[0; 100]), None);
    }

    #[test]
    fn the_authority_s_name_for_itself_is_a_well_formed_general_name() {
        let part = asn1::encode_sequence(&[
            &[0x06, 0x03, 0x55, 0x04, 0x03],
            &asn1::encode(tag::UTF8_STRING, b"tsa"),
        ]);
        let name = asn1::encode(tag::SEQUENCE, &asn1::encode(tag::SET, &part));
        let read = |general_name: &[u8]| {
            let field = asn1::encode(tag::context_constructed(0), general_name);
            tsa(&mut Reader::new(&field)).map(|_| ())
        };
        let directory_name = asn1::encode(tag::context_constructed(4), &name);
        assert_eq!(read(&directory_name), Ok(()));
        // The tags and lengths inside, down to the type of the attribute.
        for position in (2..=9).chain([14]) {
            let mut broken = directory_name.clone();
            broken[position] ^= 0x20;
            assert!(read(&broken).is_err(), "byte {position}");
        }
        for broken in [
            &[][..],
            &name,
            &[directory_name.clone(), vec![5, 0]].concat(),
        ] {
            assert!(read(broken).is_err(), "{broken:02x?}");
        }
    }
}
