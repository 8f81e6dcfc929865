//! X.509 certificates (RFC 5280): parsed once, strictly, into a value that keeps the bytes it was read from.
//!
//! A [`Certificate`] is well-formed, and that is all: nothing here says that it is trusted. Trust is
//! [`crate::chain`]'s verdict. What signatures cover (`tbs_der`, `spki_der`, the names) is always a slice of the
//! original bytes and never encoded again.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use const_oid::ObjectIdentifier;
use sealwright_crypto::{KeyError, PublicKey, sha256};

use crate::algorithm::{self, SignatureScheme};
use crate::asn1::{self, Element, Reader, tag};
use crate::error::{DerFault, Error, Within as _};
use crate::name;
use crate::oid;
use crate::pem;

/// Largest certificate that is read: 64 KiB. The largest in Sigstore's use is under 4 KiB.
pub const MAX_CERTIFICATE_BYTES: usize = 64 * 1024;
/// Most certificates in one PEM bundle.
pub const MAX_BUNDLE_CERTIFICATES: usize = 64;
/// Most extensions in one certificate: the profile has under 40.
pub const MAX_EXTENSIONS: usize = 128;
/// Most general names in one extension.
pub const MAX_GENERAL_NAMES: usize = 1024;
/// PEM label of certificates.
pub const PEM_LABEL: &str = "CERTIFICATE";

const WHAT: &str = "certificate";

/// A well-formed certificate. Cloning is cheap; equality is equality of the bytes.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

pub(crate) type Span = Range<usize>;

struct Parsed {
    der: Vec<u8>,
    tbs: Span,
    version: u8,
    serial: Span,
    tbs_signature_algorithm: Span,
    issuer: Span,
    not_before: i64,
    not_after: i64,
    subject: Span,
    spki: Span,
    public_key: OnceLock<Result<PublicKey, KeyError>>,
    /// The key that made the signature, once one was found to have made it.
    signed_by: OnceLock<PublicKey>,
    extensions: Vec<ExtensionSpan>,
    scheme: SignatureScheme,
    signature: Span,
    known: KnownExtensions,
}

struct ExtensionSpan {
    oid: ObjectIdentifier,
    critical: bool,
    value: Span,
    whole: Span,
}

#[derive(Default)]
struct KnownExtensions {
    subject_alt_names: Option<Vec<GeneralName>>,
    key_usage: Option<KeyUsage>,
    extended_key_usage: Option<ExtendedKeyUsage>,
    basic_constraints: Option<BasicConstraints>,
    subject_key_identifier: Option<Span>,
    authority_key_identifier: Option<Span>,
}

/// One extension as it stands in the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension<'a> {
    /// extnID
    pub oid: ObjectIdentifier,
    /// Whether who does not understand it must refuse the certificate.
    pub critical: bool,
    /// Content of extnValue.
    pub value: &'a [u8],
    /// The whole Extension SEQUENCE.
    pub der: &'a [u8],
}

/// GeneralName (RFC 5280 section 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GeneralName {
    /// rfc822Name, ASCII
    Email(String),
    /// dNSName, ASCII
    Dns(String),
    /// uniformResourceIdentifier, ASCII
    Uri(String),
    /// otherName 1.3.6.1.4.1.57264.1.7: the `username!domain` of the profile
    Username(String),
    /// iPAddress: 4 or 16 octets
    Ip(Vec<u8>),
    /// directoryName: DER of the Name
    Directory(Vec<u8>),
    /// An otherName of another type, with its value as DER
    Other {
        /// type-id
        type_id: ObjectIdentifier,
        /// value, without the EXPLICIT tag
        value: Vec<u8>,
    },
    /// The remaining forms, as identifier octet and content
    Raw {
        /// Identifier octet
        tag: u8,
        /// Content octets
        value: Vec<u8>,
    },
}

/// KeyUsage (RFC 5280 section 4.2.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUsage(u16);

impl KeyUsage {
    /// digitalSignature
    pub fn digital_signature(self) -> bool {
        self.bit(0)
    }

    /// nonRepudiation, also called contentCommitment
    pub fn non_repudiation(self) -> bool {
        self.bit(1)
    }

    /// keyCertSign
    pub fn key_cert_sign(self) -> bool {
        self.bit(5)
    }

    /// cRLSign
    pub fn crl_sign(self) -> bool {
        self.bit(6)
    }

    /// The bits: bit 0 of the standard is the most significant.
    pub fn bits(self) -> u16 {
        self.0
    }

    fn bit(self, number: u32) -> bool {
        self.0 & (0x8000 >> number) != 0
    }
}

/// ExtKeyUsage (RFC 5280 section 4.2.1.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtendedKeyUsage {
    /// Purposes, in the order of the certificate; at least one.
    pub purposes: Vec<ObjectIdentifier>,
    /// Whether the extension is critical, as time stamping needs.
    pub critical: bool,
}

impl ExtendedKeyUsage {
    /// Whether this purpose is listed by name.
    pub fn contains(&self, purpose: &ObjectIdentifier) -> bool {
        self.purposes.contains(purpose)
    }
}

/// BasicConstraints (RFC 5280 section 4.2.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BasicConstraints {
    /// cA
    pub ca: bool,
    /// pathLenConstraint
    pub path_len: Option<u32>,
}

impl Certificate {
    /// Parses exactly one certificate; nothing may follow it.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let der = der.into();
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(Error::TooLarge {
                what: WHAT,
                size: der.len(),
                limit: MAX_CERTIFICATE_BYTES,
            });
        }
        let parsed = parse(&der)?;
        Ok(Self(Arc::new(Parsed { der, ..parsed })))
    }

    /// Parses text with exactly one `CERTIFICATE` block.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        Self::from_der(pem::parse_one(text, &[PEM_LABEL], PEM_LABEL)?)
    }

    /// The whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// As one PEM block.
    pub fn to_pem(&self) -> String {
        pem::encode(PEM_LABEL, self.der())
    }

    /// The TBSCertificate: what the issuer signed.
    pub fn tbs_der(&self) -> &[u8] {
        self.slice(&self.0.tbs)
    }

    /// 1 to 3, as people count.
    pub fn version(&self) -> u8 {
        self.0.version + 1
    }

    /// Content of the serial number INTEGER: two's complement, shortest form.
    pub fn serial(&self) -> &[u8] {
        self.slice(&self.0.serial)
    }

    /// The serial number in lower-case hexadecimal.
    pub fn serial_hex(&self) -> String {
        hex::encode(self.serial())
    }

    /// DER of the issuer's Name.
    pub fn issuer_der(&self) -> &[u8] {
        self.slice(&self.0.issuer)
    }

    /// DER of the subject's Name.
    pub fn subject_der(&self) -> &[u8] {
        self.slice(&self.0.subject)
    }

    /// The issuer's name as text, most specific part first (RFC 4514).
    pub fn issuer(&self) -> String {
        name::display(self.issuer_der())
    }

    /// The subject's name as text, most specific part first (RFC 4514); empty for an empty subject.
    pub fn subject(&self) -> String {
        name::display(self.subject_der())
    }

    /// First moment of validity, Unix seconds.
    pub fn not_before(&self) -> i64 {
        self.0.not_before
    }

    /// Last moment of validity, Unix seconds, inclusive.
    pub fn not_after(&self) -> i64 {
        self.0.not_after
    }

    /// Whether `at` (Unix seconds) lies within the validity, both ends included.
    pub fn is_valid_at(&self, at: i64) -> bool {
        (self.not_before()..=self.not_after()).contains(&at)
    }

    /// DER of the SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        self.slice(&self.0.spki)
    }

    /// The subject's key, read at the first call. Fails for kinds of keys that nobody uses and for invalid ones; such
    /// a certificate still parses, since what it says can matter when its key does not.
    pub fn public_key(&self) -> Result<&PublicKey, Error> {
        let parsed = self
            .0
            .public_key
            .get_or_init(|| PublicKey::from_spki_der(self.spki_der()));
        parsed.as_ref().map_err(|error| Error::Key(error.clone()))
    }

    /// How the issuer signed.
    pub fn signature_scheme(&self) -> &SignatureScheme {
        &self.0.scheme
    }

    /// DER of the AlgorithmIdentifier inside the TBSCertificate; the outer one is equal to it.
    pub fn signature_algorithm_der(&self) -> &[u8] {
        self.slice(&self.0.tbs_signature_algorithm)
    }

    /// The issuer's signature, without the BIT STRING around it.
    pub fn signature(&self) -> &[u8] {
        self.slice(&self.0.signature)
    }

    /// Checks the issuer's signature with its key. Says nothing about whether that key may issue.
    ///
    /// A success is remembered with this certificate and its clones: the certificates of a trust root are asked again
    /// in every verification, and neither their bytes nor the answer can change.
    pub fn verify_signature(&self, issuer_key: &PublicKey) -> Result<(), Error> {
        if self.0.signed_by.get() == Some(issuer_key) {
            return Ok(());
        }
        let algorithm = self.0.scheme.algorithm(issuer_key.key_type())?;
        issuer_key
            .verify(algorithm, self.tbs_der(), self.signature())
            .map_err(|_| Error::Signature { what: WHAT })?;
        self.0.signed_by.get_or_init(|| issuer_key.clone());
        Ok(())
    }

    /// Whether subject and issuer are the same name.
    pub fn is_self_issued(&self) -> bool {
        self.subject_der() == self.issuer_der()
    }

    /// The extensions, in order.
    pub fn extensions(&self) -> impl Iterator<Item = Extension<'_>> {
        self.0
            .extensions
            .iter()
            .map(|extension| self.view(extension))
    }

    /// The extension with this identifier; there is at most one.
    pub fn extension(&self, oid: &ObjectIdentifier) -> Option<Extension<'_>> {
        self.0
            .extensions
            .iter()
            .find(|extension| extension.oid == *oid)
            .map(|extension| self.view(extension))
    }

    /// Subject alternative names; empty when there is no such extension.
    pub fn subject_alt_names(&self) -> &[GeneralName] {
        self.0
            .known
            .subject_alt_names
            .as_deref()
            .unwrap_or_default()
    }

    /// keyUsage
    pub fn key_usage(&self) -> Option<KeyUsage> {
        self.0.known.key_usage
    }

    /// extKeyUsage
    pub fn extended_key_usage(&self) -> Option<&ExtendedKeyUsage> {
        self.0.known.extended_key_usage.as_ref()
    }

    /// basicConstraints
    pub fn basic_constraints(&self) -> Option<BasicConstraints> {
        self.0.known.basic_constraints
    }

    /// Whether basicConstraints says CA:TRUE.
    pub fn is_ca(&self) -> bool {
        self.basic_constraints()
            .is_some_and(|constraints| constraints.ca)
    }

    /// subjectKeyIdentifier
    pub fn subject_key_identifier(&self) -> Option<&[u8]> {
        self.0
            .known
            .subject_key_identifier
            .as_ref()
            .map(|span| self.slice(span))
    }

    /// keyIdentifier of authorityKeyIdentifier
    pub fn authority_key_identifier(&self) -> Option<&[u8]> {
        self.0
            .known
            .authority_key_identifier
            .as_ref()
            .map(|span| self.slice(span))
    }

    /// SHA-256 of the whole certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(self.der())
    }

    /// SHA-256 of the SubjectPublicKeyInfo: `issuer_key_hash` of RFC 6962 when this certificate is the issuer.
    pub fn spki_sha256(&self) -> [u8; 32] {
        sha256(self.spki_der())
    }

    fn slice(&self, span: &Span) -> &[u8] {
        self.0
            .der
            .get(span.clone())
            .expect("spans were measured on this very buffer")
    }

    fn view(&self, extension: &ExtensionSpan) -> Extension<'_> {
        Extension {
            oid: extension.oid,
            critical: extension.critical,
            value: self.slice(&extension.value),
            der: self.slice(&extension.whole),
        }
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("issuer", &self.issuer())
            .field("serial", &self.serial_hex())
            .finish_non_exhaustive()
    }
}

/// Parses text with one or more `CERTIFICATE` blocks, in order.
pub fn parse_pem_chain(text: &str) -> Result<Vec<Certificate>, Error> {
    pem::parse(text, MAX_BUNDLE_CERTIFICATES)?
        .into_iter()
        .map(|block| {
            if block.label != PEM_LABEL {
                return Err(pem::label_fault(&block.label, PEM_LABEL));
            }
            Certificate::from_der(block.contents)
        })
        .collect()
}

/// Writes certificates as PEM blocks, one after the other.
pub fn pem_chain<'a>(certificates: impl IntoIterator<Item = &'a Certificate>) -> String {
    certificates.into_iter().map(Certificate::to_pem).collect()
}

/// Measures slices against the buffer they were cut from.
pub(crate) struct Measure {
    base: usize,
}

impl Measure {
    pub(crate) fn of(buffer: &[u8]) -> Self {
        Self {
            base: buffer.as_ptr() as usize,
        }
    }

    pub(crate) fn span(&self, slice: &[u8]) -> Span {
        let start = slice.as_ptr() as usize - self.base;
        start..start + slice.len()
    }
}

fn parse(der: &[u8]) -> Result<Parsed, Error> {
    let measure = Measure::of(der);
    let mut certificate = asn1::only(der, tag::SEQUENCE).within(WHAT)?.reader();
    let tbs = certificate.expect(tag::SEQUENCE).within("TBSCertificate")?;
    let outer_algorithm = certificate
        .expect(tag::SEQUENCE)
        .within("signatureAlgorithm")?;
    let signature = certificate.bit_string_octets().within("signatureValue")?;
    certificate.finish().within(WHAT)?;
    let fields = parse_tbs(tbs)?;
    // RFC 5280 section 4.1.1.2: the unsigned copy must say what the signed one says.
    if outer_algorithm.whole != fields.algorithm.whole {
        return Err(Error::Malformed {
            what: "signatureAlgorithm",
            fault: DerFault::Value,
        });
    }
    let extensions = parse_extensions(fields.extensions, &measure)?;
    let known = parse_known(der, &extensions, &measure)?;
    Ok(Parsed {
        der: Vec::new(),
        tbs: measure.span(tbs.whole),
        version: fields.version,
        serial: measure.span(fields.serial),
        tbs_signature_algorithm: measure.span(fields.algorithm.whole),
        issuer: measure.span(fields.issuer.whole),
        not_before: fields.not_before,
        not_after: fields.not_after,
        subject: measure.span(fields.subject.whole),
        spki: measure.span(fields.spki.whole),
        public_key: OnceLock::new(),
        signed_by: OnceLock::new(),
        extensions,
        scheme: algorithm::parse_signature_algorithm(fields.algorithm.whole)?,
        signature: measure.span(signature),
        known,
    })
}

struct TbsFields<'a> {
    version: u8,
    serial: &'a [u8],
    algorithm: Element<'a>,
    issuer: Element<'a>,
    not_before: i64,
    not_after: i64,
    subject: Element<'a>,
    spki: Element<'a>,
    extensions: Option<Element<'a>>,
}

const VERSION_1: u8 = 0;
const VERSION_3: u8 = 2;

fn parse_tbs(tbs: Element<'_>) -> Result<TbsFields<'_>, Error> {
    let mut reader = tbs.reader();
    let version = parse_version(&mut reader).within("version")?;
    let serial = reader.integer().within("serialNumber")?;
    let algorithm = reader.expect(tag::SEQUENCE).within("signature")?;
    let issuer = reader.expect(tag::SEQUENCE).within("issuer")?;
    name::check(issuer.value).within("issuer")?;
    let (not_before, not_after) = parse_validity(&mut reader).within("validity")?;
    let subject = reader.expect(tag::SEQUENCE).within("subject")?;
    name::check(subject.value).within("subject")?;
    let spki = reader
        .expect(tag::SEQUENCE)
        .within("subjectPublicKeyInfo")?;
    if version != VERSION_1 {
        reader.optional(tag::context(1)).within("issuerUniqueID")?;
        reader.optional(tag::context(2)).within("subjectUniqueID")?;
    }
    let extensions = if version == VERSION_3 {
        reader
            .optional(tag::context_constructed(3))
            .within("extensions")?
    } else {
        None
    };
    reader.finish().within("TBSCertificate")?;
    Ok(TbsFields {
        version,
        serial,
        algorithm,
        issuer,
        not_before,
        not_after,
        subject,
        spki,
        extensions,
    })
}

fn parse_version(reader: &mut Reader<'_>) -> Result<u8, DerFault> {
    let Some(explicit) = reader.optional(tag::context_constructed(0))? else {
        return Ok(VERSION_1);
    };
    let mut inner = explicit.reader();
    let version = inner.small_integer()?;
    inner.finish()?;
    // An explicit v1 would be an encoded default.
    match version {
        1 => Ok(1),
        2 => Ok(VERSION_3),
        _ => Err(DerFault::Value),
    }
}

fn parse_validity(reader: &mut Reader<'_>) -> Result<(i64, i64), DerFault> {
    let mut validity = reader.sequence()?;
    let not_before = validity.time()?;
    let not_after = validity.time()?;
    validity.finish()?;
    Ok((not_before, not_after))
}

fn parse_extensions(
    explicit: Option<Element<'_>>,
    measure: &Measure,
) -> Result<Vec<ExtensionSpan>, Error> {
    const WHAT: &str = "extensions";
    let Some(explicit) = explicit else {
        return Ok(Vec::new());
    };
    let mut list = asn1::only(explicit.value, tag::SEQUENCE)
        .within(WHAT)?
        .reader();
    let mut extensions: Vec<ExtensionSpan> = Vec::new();
    while !list.is_empty() {
        let extension = parse_extension(&mut list, measure).within(WHAT)?;
        if extensions
            .iter()
            .any(|earlier| earlier.oid == extension.oid)
        {
            return Err(Error::Malformed {
                what: WHAT,
                fault: DerFault::Duplicate,
            });
        }
        if extensions.len() == MAX_EXTENSIONS {
            return Err(Error::TooLarge {
                what: "list of extensions",
                size: MAX_EXTENSIONS + 1,
                limit: MAX_EXTENSIONS,
            });
        }
        extensions.push(extension);
    }
    // Extensions ::= SEQUENCE SIZE (1..MAX)
    if extensions.is_empty() {
        Err(Error::Malformed {
            what: WHAT,
            fault: DerFault::Length,
        })
    } else {
        Ok(extensions)
    }
}

fn parse_extension(list: &mut Reader<'_>, measure: &Measure) -> Result<ExtensionSpan, DerFault> {
    let extension = read_extension(list)?;
    Ok(ExtensionSpan {
        oid: extension.oid,
        critical: extension.critical,
        value: measure.span(extension.value),
        whole: measure.span(extension.der),
    })
}

/// Reads one Extension of a list, of a certificate or of a revocation list.
pub(crate) fn read_extension<'a>(list: &mut Reader<'a>) -> Result<Extension<'a>, DerFault> {
    let element = list.expect(tag::SEQUENCE)?;
    let mut reader = element.reader();
    let oid = reader.oid()?;
    let critical = reader.boolean_default_false()?;
    let value = reader.octet_string()?;
    reader.finish()?;
    Ok(Extension {
        oid,
        critical,
        value,
        der: element.whole,
    })
}

fn parse_known(
    der: &[u8],
    extensions: &[ExtensionSpan],
    measure: &Measure,
) -> Result<KnownExtensions, Error> {
    let mut known = KnownExtensions::default();
    for extension in extensions {
        let value = der.get(extension.value.clone()).unwrap_or_default();
        match extension.oid {
            oid::SUBJECT_ALT_NAME => known.subject_alt_names = Some(parse_general_names(value)?),
            oid::KEY_USAGE => known.key_usage = Some(parse_key_usage(value).within("keyUsage")?),
            oid::EXTENDED_KEY_USAGE => {
                let purposes = parse_purposes(value).within("extKeyUsage")?;
                known.extended_key_usage = Some(ExtendedKeyUsage {
                    purposes,
                    critical: extension.critical,
                });
            }
            oid::BASIC_CONSTRAINTS => {
                known.basic_constraints =
                    Some(parse_basic_constraints(value).within("basicConstraints")?);
            }
            oid::SUBJECT_KEY_IDENTIFIER => {
                let identifier =
                    asn1::only(value, tag::OCTET_STRING).within("subjectKeyIdentifier")?;
                known.subject_key_identifier = Some(measure.span(identifier.value));
            }
            oid::AUTHORITY_KEY_IDENTIFIER => {
                let identifier =
                    parse_authority_key_identifier(value).within("authorityKeyIdentifier")?;
                known.authority_key_identifier = identifier.map(|bytes| measure.span(bytes));
            }
            _ => {}
        }
    }
    Ok(known)
}

/// Parses GeneralNames: the value of subjectAltName.
pub fn parse_general_names(value: &[u8]) -> Result<Vec<GeneralName>, Error> {
    const WHAT: &str = "subjectAltName";
    let mut reader = asn1::only(value, tag::SEQUENCE).within(WHAT)?.reader();
    let mut names = Vec::new();
    while !reader.is_empty() {
        if names.len() == MAX_GENERAL_NAMES {
            return Err(Error::TooLarge {
                what: "list of names",
                size: MAX_GENERAL_NAMES + 1,
                limit: MAX_GENERAL_NAMES,
            });
        }
        let element = reader.element().within(WHAT)?;
        names.push(parse_general_name(element).within(WHAT)?);
    }
    if names.is_empty() {
        Err(Error::Malformed {
            what: WHAT,
            fault: DerFault::Length,
        })
    } else {
        Ok(names)
    }
}

const OTHER_NAME: u8 = tag::context_constructed(0);
const RFC822_NAME: u8 = tag::context(1);
const DNS_NAME: u8 = tag::context(2);
const DIRECTORY_NAME: u8 = tag::context_constructed(4);
const URI: u8 = tag::context(6);
const IP_ADDRESS: u8 = tag::context(7);

/// Reads one GeneralName.
pub(crate) fn parse_general_name(element: Element<'_>) -> Result<GeneralName, DerFault> {
    Ok(match element.tag {
        RFC822_NAME => GeneralName::Email(ia5_text(element.value)?),
        DNS_NAME => GeneralName::Dns(ia5_text(element.value)?),
        URI => GeneralName::Uri(ia5_text(element.value)?),
        OTHER_NAME => parse_other_name(element)?,
        DIRECTORY_NAME => {
            let inner = asn1::only(element.value, tag::SEQUENCE)?;
            name::check(inner.value)?;
            GeneralName::Directory(inner.whole.to_vec())
        }
        IP_ADDRESS => GeneralName::Ip(element.value.to_vec()),
        // The other forms are x400Address [3], ediPartyName [5] and registeredID [8].
        other if other & 0xc0 == 0x80 && matches!(other & 0x1f, 3 | 5 | 8) => GeneralName::Raw {
            tag: other,
            value: element.value.to_vec(),
        },
        other => {
            return Err(DerFault::UnexpectedTag {
                expected: RFC822_NAME,
                found: Some(other),
            });
        }
    })
}

fn parse_other_name(element: Element<'_>) -> Result<GeneralName, DerFault> {
    let mut reader = element.reader();
    let type_id = reader.oid()?;
    let explicit = reader.expect(tag::context_constructed(0))?;
    reader.finish()?;
    let mut inner = explicit.reader();
    let value = inner.element()?;
    inner.finish()?;
    if type_id != oid::FULCIO_USERNAME {
        return Ok(GeneralName::Other {
            type_id,
            value: value.whole.to_vec(),
        });
    }
    if value.tag != tag::UTF8_STRING {
        return Err(DerFault::UnexpectedTag {
            expected: tag::UTF8_STRING,
            found: Some(value.tag),
        });
    }
    let text = std::str::from_utf8(value.value).map_err(|_| DerFault::Text)?;
    printable(text).map(GeneralName::Username)
}

/// IA5String without control characters: a NUL inside a name has fooled too many programs.
fn ia5_text(value: &[u8]) -> Result<String, DerFault> {
    let text = std::str::from_utf8(value).map_err(|_| DerFault::Text)?;
    if text.is_ascii() {
        printable(text)
    } else {
        Err(DerFault::Text)
    }
}

fn printable(text: &str) -> Result<String, DerFault> {
    if text.chars().any(char::is_control) {
        Err(DerFault::Text)
    } else {
        Ok(text.to_owned())
    }
}

fn parse_key_usage(value: &[u8]) -> Result<KeyUsage, DerFault> {
    let bits = asn1::only(value, tag::BIT_STRING)?;
    let (octets, unused) = asn1::parse_bit_string(bits.value)?;
    // Named bits are trimmed (X.690 section 11.2.2), and at least one must be set (RFC 5280).
    let trimmed = octets.last().is_some_and(|last| last & (1 << unused) != 0);
    match octets {
        [first] if trimmed => Ok(KeyUsage(u16::from(*first) << 8)),
        [first, second] if trimmed => Ok(KeyUsage(u16::from_be_bytes([*first, *second]))),
        _ => Err(DerFault::BitString),
    }
}

fn parse_purposes(value: &[u8]) -> Result<Vec<ObjectIdentifier>, DerFault> {
    let mut reader = asn1::only(value, tag::SEQUENCE)?.reader();
    let mut purposes = vec![reader.oid()?];
    while !reader.is_empty() {
        purposes.push(reader.oid()?);
    }
    Ok(purposes)
}

fn parse_basic_constraints(value: &[u8]) -> Result<BasicConstraints, DerFault> {
    let mut reader = asn1::only(value, tag::SEQUENCE)?.reader();
    let ca = reader.boolean_default_false()?;
    let path_len = if reader.is_empty() {
        None
    } else {
        Some(u32::try_from(reader.small_integer()?).map_err(|_| DerFault::Integer)?)
    };
    reader.finish()?;
    // RFC 5280: pathLenConstraint has a meaning only for authorities and must not be there otherwise.
    if path_len.is_some() && !ca {
        Err(DerFault::Value)
    } else {
        Ok(BasicConstraints { ca, path_len })
    }
}

pub(crate) fn parse_authority_key_identifier(value: &[u8]) -> Result<Option<&[u8]>, DerFault> {
    let mut reader = asn1::only(value, tag::SEQUENCE)?.reader();
    let identifier = reader
        .optional(tag::context(0))?
        .map(|element| element.value);
    reader.optional(tag::context_constructed(1))?;
    reader.optional(tag::context(2))?;
    reader.finish()?;
    Ok(identifier)
}
