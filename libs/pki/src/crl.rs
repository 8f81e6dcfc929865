//! Certificate revocation lists (RFC 5280 section 5): which certificates an authority has taken back.
//!
//! A [`CertificateRevocationList`] is well-formed, complete and direct: delta CRLs, indirect CRLs, lists of some reasons
//! only and lists with critical extensions that are not understood are refused when they are read, because the absence of
//! a certificate from them says nothing. Who signed a list, for whom it speaks and whether it is current are asked one by
//! one ([`CertificateRevocationList::verify_issuer`], [`covers`](CertificateRevocationList::covers),
//! [`is_current_at`](CertificateRevocationList::is_current_at)); what a revocation means for a signature is the policy of
//! whoever verifies it.
//!
//! Lists can be long. They are checked once, from end to end, when they are read; looking a certificate up walks the bytes
//! again and builds nothing.

use std::fmt;
use std::sync::{Arc, OnceLock};

use sealwright_crypto::PublicKey;

use crate::algorithm::{self, SignatureScheme};
use crate::asn1::{self, Element, Reader, tag};
use crate::certificate::{
    Certificate, Extension, MAX_EXTENSIONS, MAX_GENERAL_NAMES, Measure, Span,
    parse_authority_key_identifier, parse_general_name, read_extension,
};
use crate::error::{CrlFault, DerFault, Error, Within as _};
use crate::name;
use crate::oid;
use crate::pem;

/// Largest list that is read, in DER: 16 MiB, about 450,000 revoked certificates.
pub const MAX_CRL_BYTES: usize = 16 * 1024 * 1024;
/// Largest text with lists in PEM: base64 takes four bytes for three, and line ends come on top.
pub const MAX_CRL_TEXT_BYTES: usize = MAX_CRL_BYTES / 2 * 3;
/// Most lists in one PEM text.
pub const MAX_LISTS: usize = 64;
/// PEM label of revocation lists.
pub const PEM_LABEL: &str = "X509 CRL";

const WHAT: &str = "certificate revocation list";

/// A well-formed revocation list. Cloning is cheap; equality is equality of the bytes.
#[derive(Clone)]
pub struct CertificateRevocationList(Arc<Parsed>);

struct Parsed {
    der: Vec<u8>,
    tbs: Span,
    issuer: Span,
    this_update: i64,
    next_update: Option<i64>,
    /// Content of revokedCertificates; every entry was checked.
    entries: Span,
    scheme: SignatureScheme,
    signature: Span,
    number: Option<Span>,
    expired_since: Option<i64>,
    scope: Scope,
    /// The key that made the signature, once one was found to have made it.
    signed_by: OnceLock<PublicKey>,
}

/// What issuingDistributionPoint says about whom a list speaks for.
#[derive(Default)]
struct Scope {
    only_user_certificates: bool,
    only_authority_certificates: bool,
    /// Each a GeneralName; none when the list is not divided by distribution points.
    distribution_points: Vec<Span>,
}

/// CRLReason (RFC 5280 section 5.3.1). removeFromCRL is missing: complete lists cannot have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RevocationReason {
    /// unspecified, also when there is no reason code
    Unspecified,
    /// keyCompromise
    KeyCompromise,
    /// cACompromise
    CaCompromise,
    /// affiliationChanged
    AffiliationChanged,
    /// superseded
    Superseded,
    /// cessationOfOperation
    CessationOfOperation,
    /// certificateHold
    CertificateHold,
    /// privilegeWithdrawn
    PrivilegeWithdrawn,
    /// aACompromise
    AaCompromise,
}

impl RevocationReason {
    /// The name in the RFC.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }

    /// Whether the certificate was given up in good order: its key was nobody else's, and what it signed before stands.
    /// Everything else, no reason at all included, leaves open since when others may have had the key.
    pub fn is_orderly(self) -> bool {
        matches!(
            self,
            Self::AffiliationChanged | Self::Superseded | Self::CessationOfOperation
        )
    }

    fn from_code(code: u64) -> Result<Self, CrlFault> {
        Ok(match code {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            2 => Self::CaCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            6 => Self::CertificateHold,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            _ => return Err(CrlFault::Reason { code }),
        })
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a list says about one certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// revocationDate: when the authority took the certificate back, Unix seconds.
    pub date: i64,
    /// invalidityDate: since when the key is known or suspected not to have been the holder's alone, Unix seconds.
    pub invalidity_date: Option<i64>,
    /// Why.
    pub reason: RevocationReason,
}

impl Revocation {
    /// The moment from which nothing that the certificate signed counts: the earlier of both dates, Unix seconds.
    pub fn since(&self) -> i64 {
        self.invalidity_date
            .map_or(self.date, |invalidity| invalidity.min(self.date))
    }
}

impl CertificateRevocationList {
    /// Parses exactly one list; nothing may follow it.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let der = der.into();
        check_size(der.len(), MAX_CRL_BYTES)?;
        let parsed = parse(&der)?;
        Ok(Self(Arc::new(Parsed { der, ..parsed })))
    }

    /// Parses text with exactly one `X509 CRL` block.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        check_size(text.len(), MAX_CRL_TEXT_BYTES)?;
        Self::from_der(pem::parse_one(text, &[PEM_LABEL], PEM_LABEL)?)
    }

    /// Reads a file's bytes: one list in DER, or one or more in PEM.
    pub fn parse_file(bytes: &[u8]) -> Result<Vec<Self>, Error> {
        check_size(bytes.len(), MAX_CRL_TEXT_BYTES)?;
        // A list in DER begins with the identifier octet of a SEQUENCE, which as text is the digit zero.
        if bytes.first() == Some(&tag::SEQUENCE) {
            return Ok(vec![Self::from_der(bytes)?]);
        }
        let text = String::from_utf8_lossy(bytes);
        pem::parse(&text, MAX_LISTS)?
            .into_iter()
            .map(|block| {
                if block.label == PEM_LABEL {
                    Self::from_der(block.contents)
                } else {
                    Err(pem::label_fault(&block.label, PEM_LABEL))
                }
            })
            .collect()
    }

    /// The whole list.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// DER of the issuer's Name.
    pub fn issuer_der(&self) -> &[u8] {
        self.slice(&self.0.issuer)
    }

    /// The issuer's name as text, most specific part first (RFC 4514).
    pub fn issuer(&self) -> String {
        name::display(self.issuer_der())
    }

    /// When the list was made, Unix seconds.
    pub fn this_update(&self) -> i64 {
        self.0.this_update
    }

    /// Until when the next list will be there, Unix seconds. RFC 5280 wants it; a list without is never current.
    pub fn next_update(&self) -> Option<i64> {
        self.0.next_update
    }

    /// Magnitude of cRLNumber, big endian, in lower-case hexadecimal.
    pub fn number_hex(&self) -> Option<String> {
        let number = self.0.number.as_ref();
        number.map(|span| hex::encode(self.slice(span)))
    }

    /// Since when expired certificates stay in the list (expiredCertsOnCRL), Unix seconds. Without it an authority may drop
    /// a revoked certificate from the lists it makes after the certificate's expiry (RFC 5280 section 3.3).
    pub fn keeps_expired_since(&self) -> Option<i64> {
        self.0.expired_since
    }

    /// Whether `at` (Unix seconds) lies between thisUpdate and nextUpdate, both included.
    pub fn is_current_at(&self, at: i64) -> bool {
        self.this_update() <= at && self.next_update().is_some_and(|next| at <= next)
    }

    /// Whether the list speaks for this certificate: it has the certificate's issuer, and its issuingDistributionPoint, if
    /// there is one, does not leave the certificate to another list.
    pub fn covers(&self, certificate: &Certificate) -> bool {
        let scope = &self.0.scope;
        let authority = certificate.is_ca();
        self.issuer_der() == certificate.issuer_der()
            && (authority || !scope.only_authority_certificates)
            && (!authority || !scope.only_user_certificates)
            && self.is_at_a_distribution_point_of(certificate)
    }

    /// RFC 5280 section 6.3.3 (b)(2)(i): a list of one distribution point speaks for the certificates that name it.
    fn is_at_a_distribution_point_of(&self, certificate: &Certificate) -> bool {
        let points = &self.0.scope.distribution_points;
        if points.is_empty() {
            return true;
        }
        let Some(named) = certificate.extension(&oid::CRL_DISTRIBUTION_POINTS) else {
            return false;
        };
        // Where the certificate's own extension cannot be read, no list speaks for it.
        distribution_point_names(named.value).is_ok_and(|names| {
            names
                .iter()
                .any(|name| points.iter().any(|point| self.slice(point) == *name))
        })
    }

    /// Checks that the holder of `issuer` made the list and may make lists. Says nothing about the issuer's own standing.
    ///
    /// A success is remembered with this list and its clones: neither the bytes nor the answer can change.
    ///
    /// # Errors
    /// [`Error::Signature`], [`Error::SignatureAlgorithm`], [`Error::Key`], or [`CrlFault::MayNotSign`].
    pub fn verify_issuer(&self, issuer: &Certificate) -> Result<(), Error> {
        if issuer.key_usage().is_some_and(|usage| !usage.crl_sign()) {
            return Err(Error::RevocationList(CrlFault::MayNotSign {
                issuer: issuer.subject(),
            }));
        }
        let key = issuer.public_key()?;
        if self.0.signed_by.get() == Some(key) {
            return Ok(());
        }
        let algorithm = self.0.scheme.algorithm(key.key_type())?;
        key.verify(
            algorithm,
            self.slice(&self.0.tbs),
            self.slice(&self.0.signature),
        )
        .map_err(|_| Error::Signature { what: WHAT })?;
        self.0.signed_by.get_or_init(|| key.clone());
        Ok(())
    }

    /// What the list says about the certificate with this serial number ([`Certificate::serial`]); `None` when it is not
    /// listed. Of several entries for one certificate the gravest counts.
    pub fn revocation(&self, serial: &[u8]) -> Option<Revocation> {
        let listed = self.entries().filter(|entry| entry.serial == serial);
        // A doubtful reason is graver than an orderly one, and among equals the earlier date.
        listed
            .map(|entry| entry.revocation)
            .max_by_key(|revocation| {
                (
                    !revocation.reason.is_orderly(),
                    std::cmp::Reverse(revocation.since()),
                )
            })
    }

    /// How many entries the list has. Walks through all of it.
    pub fn entry_count(&self) -> usize {
        self.entries().count()
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = Reader::new(self.slice(&self.0.entries));
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            Some(parse_entry(&mut rest).expect("every entry was read when the list was parsed"))
        })
    }

    fn slice(&self, span: &Span) -> &[u8] {
        self.0
            .der
            .get(span.clone())
            .expect("spans were measured on this very buffer")
    }
}

impl PartialEq for CertificateRevocationList {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for CertificateRevocationList {}

impl fmt::Debug for CertificateRevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateRevocationList")
            .field("issuer", &self.issuer())
            .field("this_update", &self.this_update())
            .field("next_update", &self.next_update())
            .finish_non_exhaustive()
    }
}

fn check_size(size: usize, limit: usize) -> Result<(), Error> {
    if size > limit {
        return Err(Error::TooLarge {
            what: WHAT,
            size,
            limit,
        });
    }
    Ok(())
}

fn parse(der: &[u8]) -> Result<Parsed, Error> {
    let measure = Measure::of(der);
    let mut list = asn1::only(der, tag::SEQUENCE).within(WHAT)?.reader();
    let tbs = list.expect(tag::SEQUENCE).within("TBSCertList")?;
    let outer_algorithm = list.expect(tag::SEQUENCE).within("signatureAlgorithm")?;
    let signature = list.bit_string_octets().within("signatureValue")?;
    list.finish().within(WHAT)?;
    let fields = parse_tbs(tbs)?;
    // RFC 5280 section 5.1.1.2: the unsigned copy must say what the signed one says.
    if outer_algorithm.whole != fields.algorithm.whole {
        return Err(Error::Malformed {
            what: "signatureAlgorithm",
            fault: DerFault::Value,
        });
    }
    let mut entries = Reader::new(fields.entries.unwrap_or_default());
    while !entries.is_empty() {
        let entry = parse_entry(&mut entries)?;
        if fields.version == VERSION_1 && entry.has_extensions {
            return Err(unexpected_extensions("crlEntryExtensions"));
        }
    }
    let known = parse_known(fields.extensions, &measure)?;
    Ok(Parsed {
        der: Vec::new(),
        tbs: measure.span(tbs.whole),
        issuer: measure.span(fields.issuer.whole),
        this_update: fields.this_update,
        next_update: fields.next_update,
        entries: fields.entries.map_or(0..0, |entries| measure.span(entries)),
        scheme: algorithm::parse_signature_algorithm(fields.algorithm.whole)?,
        signature: measure.span(signature),
        number: known.number,
        expired_since: known.expired_since,
        scope: known.scope,
        signed_by: OnceLock::new(),
    })
}

const VERSION_1: u8 = 0;
const VERSION_2: u8 = 1;

struct TbsFields<'a> {
    version: u8,
    algorithm: Element<'a>,
    issuer: Element<'a>,
    this_update: i64,
    next_update: Option<i64>,
    entries: Option<&'a [u8]>,
    extensions: Option<Element<'a>>,
}

fn parse_tbs(tbs: Element<'_>) -> Result<TbsFields<'_>, Error> {
    let mut reader = tbs.reader();
    let version = parse_version(&mut reader).within("version")?;
    let algorithm = reader.expect(tag::SEQUENCE).within("signature")?;
    let issuer = reader.expect(tag::SEQUENCE).within("issuer")?;
    name::check(issuer.value).within("issuer")?;
    let this_update = reader.time().within("thisUpdate")?;
    let next_update = match reader.peek_tag() {
        Some(tag::UTC_TIME | tag::GENERALIZED_TIME) => Some(reader.time().within("nextUpdate")?),
        _ => None,
    };
    // The RFC wants an empty list of entries left out; authorities write it, and it says the same.
    let entries = reader
        .optional(tag::SEQUENCE)
        .within("revokedCertificates")?;
    let extensions = reader
        .optional(tag::context_constructed(0))
        .within("crlExtensions")?;
    reader.finish().within("TBSCertList")?;
    if version == VERSION_1 && extensions.is_some() {
        return Err(unexpected_extensions("crlExtensions"));
    }
    Ok(TbsFields {
        version,
        algorithm,
        issuer,
        this_update,
        next_update,
        entries: entries.map(|element| element.value),
        extensions,
    })
}

/// Version 1 has no version field. It has no extensions either, so it is always complete and direct.
fn parse_version(reader: &mut Reader<'_>) -> Result<u8, DerFault> {
    if reader.peek_tag() != Some(tag::INTEGER) {
        return Ok(VERSION_1);
    }
    match reader.small_integer()? {
        1 => Ok(VERSION_2),
        _ => Err(DerFault::Value),
    }
}

fn unexpected_extensions(what: &'static str) -> Error {
    let fault = DerFault::Value;
    Error::Malformed { what, fault }
}

struct Entry<'a> {
    serial: &'a [u8],
    revocation: Revocation,
    has_extensions: bool,
}

fn parse_entry<'a>(list: &mut Reader<'a>) -> Result<Entry<'a>, Error> {
    const ENTRY: &str = "revoked certificate";
    let mut reader = list.sequence().within(ENTRY)?;
    let serial = reader.integer().within("userCertificate")?;
    let date = reader.time().within("revocationDate")?;
    let mut revocation = Revocation {
        date,
        invalidity_date: None,
        reason: RevocationReason::Unspecified,
    };
    let extensions = reader.optional(tag::SEQUENCE).within(ENTRY)?;
    reader.finish().within(ENTRY)?;
    if let Some(extensions) = extensions {
        parse_entry_extensions(extensions, &mut revocation)?;
    }
    Ok(Entry {
        serial,
        revocation,
        has_extensions: extensions.is_some(),
    })
}

fn parse_entry_extensions(list: Element<'_>, revocation: &mut Revocation) -> Result<(), Error> {
    const WHAT: &str = "crlEntryExtensions";
    let mut reason = None;
    for extension in extensions_of(list, WHAT)? {
        match extension.oid {
            oid::CRL_REASON => {
                let code = asn1::only(extension.value, tag::ENUMERATED).within("reasonCode")?;
                let code = asn1::parse_small_integer(code.value).within("reasonCode")?;
                reason = Some(RevocationReason::from_code(code).map_err(Error::RevocationList)?);
            }
            oid::INVALIDITY_DATE => {
                let date = generalized_time(extension.value).within("invalidityDate")?;
                revocation.invalidity_date = Some(date);
            }
            // Whoever its entry is about, it is not the issuer's own certificate.
            oid::CERTIFICATE_ISSUER => return Err(Error::RevocationList(CrlFault::Indirect)),
            unknown => refuse_critical(&extension, unknown)?,
        }
    }
    revocation.reason = reason.unwrap_or(RevocationReason::Unspecified);
    Ok(())
}

/// Extensions ::= SEQUENCE SIZE (1..MAX), each at most once.
fn extensions_of<'a>(list: Element<'a>, what: &'static str) -> Result<Vec<Extension<'a>>, Error> {
    let mut reader = list.reader();
    let mut extensions: Vec<Extension<'a>> = Vec::new();
    while !reader.is_empty() {
        let extension = read_extension(&mut reader).within(what)?;
        if extensions.len() == MAX_EXTENSIONS {
            return Err(Error::TooLarge {
                what: "list of extensions",
                size: MAX_EXTENSIONS + 1,
                limit: MAX_EXTENSIONS,
            });
        }
        if extensions.iter().any(|known| known.oid == extension.oid) {
            return Err(DerFault::Duplicate).within(what);
        }
        extensions.push(extension);
    }
    if extensions.is_empty() {
        return Err(DerFault::Length).within(what);
    }
    Ok(extensions)
}

/// RFC 5280 section 5.2: a list with a critical extension that is not understood must not be used at all.
fn refuse_critical(
    extension: &Extension<'_>,
    oid: const_oid::ObjectIdentifier,
) -> Result<(), Error> {
    if extension.critical {
        let fault = CrlFault::UnknownCriticalExtension { oid };
        return Err(Error::RevocationList(fault));
    }
    Ok(())
}

fn generalized_time(value: &[u8]) -> Result<i64, DerFault> {
    asn1::only(value, tag::GENERALIZED_TIME)?;
    Reader::new(value).time()
}

#[derive(Default)]
struct KnownExtensions {
    number: Option<Span>,
    expired_since: Option<i64>,
    scope: Scope,
}

fn parse_known(explicit: Option<Element<'_>>, measure: &Measure) -> Result<KnownExtensions, Error> {
    const WHAT: &str = "crlExtensions";
    let mut known = KnownExtensions::default();
    let Some(explicit) = explicit else {
        return Ok(known);
    };
    let list = asn1::only(explicit.value, tag::SEQUENCE).within(WHAT)?;
    for extension in extensions_of(list, WHAT)? {
        let value = extension.value;
        match extension.oid {
            oid::CRL_NUMBER => {
                let number =
                    Reader::new(asn1::only(value, tag::INTEGER).within("cRLNumber")?.whole)
                        .unsigned_integer()
                        .within("cRLNumber")?;
                known.number = Some(measure.span(number));
            }
            oid::AUTHORITY_KEY_IDENTIFIER => {
                parse_authority_key_identifier(value).within("authorityKeyIdentifier")?;
            }
            oid::EXPIRED_CERTS_ON_CRL => {
                known.expired_since = Some(generalized_time(value).within("expiredCertsOnCRL")?);
            }
            oid::ISSUING_DISTRIBUTION_POINT => known.scope = parse_scope(value, measure)?,
            oid::DELTA_CRL_INDICATOR => return Err(Error::RevocationList(CrlFault::Delta)),
            unknown => refuse_critical(&extension, unknown)?,
        }
    }
    Ok(known)
}

/// IssuingDistributionPoint (RFC 5280 section 5.2.5), whether or not it is critical, as it should be.
fn parse_scope(value: &[u8], measure: &Measure) -> Result<Scope, Error> {
    const WHAT: &str = "issuingDistributionPoint";
    let partial = |what| Err(Error::RevocationList(CrlFault::Partial(what)));
    let mut reader = asn1::only(value, tag::SEQUENCE).within(WHAT)?.reader();
    let point = reader.optional(tag::context_constructed(0)).within(WHAT)?;
    let only_user_certificates = flag(&mut reader, 1).within(WHAT)?;
    let only_authority_certificates = flag(&mut reader, 2).within(WHAT)?;
    let some_reasons = reader.optional(tag::context(3)).within(WHAT)?;
    let indirect = flag(&mut reader, 4).within(WHAT)?;
    let only_attribute_certificates = flag(&mut reader, 5).within(WHAT)?;
    reader.finish().within(WHAT)?;
    if indirect {
        return Err(Error::RevocationList(CrlFault::Indirect));
    }
    if some_reasons.is_some() {
        return partial("some reasons");
    }
    if only_attribute_certificates {
        return partial("attribute certificates");
    }
    // Both at once would cover nothing.
    if only_user_certificates && only_authority_certificates {
        return Err(DerFault::Value).within(WHAT);
    }
    let distribution_points = match point {
        Some(point) => full_names(point)?
            .into_iter()
            .map(|name| measure.span(name))
            .collect(),
        None => Vec::new(),
    };
    Ok(Scope {
        only_user_certificates,
        only_authority_certificates,
        distribution_points,
    })
}

/// `[number] IMPLICIT BOOLEAN DEFAULT FALSE`
fn flag(reader: &mut Reader<'_>, number: u8) -> Result<bool, DerFault> {
    match reader
        .optional(tag::context(number))?
        .map(|element| element.value)
    {
        None => Ok(false),
        Some([0xff]) => Ok(true),
        Some(_) => Err(DerFault::Boolean),
    }
}

/// The names in a `distributionPoint [0]`, each whole, as DER.
fn full_names(point: Element<'_>) -> Result<Vec<&[u8]>, Error> {
    const WHAT: &str = "distributionPoint";
    const FULL_NAME: u8 = tag::context_constructed(0);
    const RELATIVE_NAME: u8 = tag::context_constructed(1);
    let mut choice = point.reader();
    if choice.peek_tag() == Some(RELATIVE_NAME) {
        return Err(Error::RevocationList(CrlFault::RelativeDistributionPoint));
    }
    let mut list = choice.expect(FULL_NAME).within(WHAT)?.reader();
    choice.finish().within(WHAT)?;
    let mut names = Vec::new();
    while !list.is_empty() {
        if names.len() == MAX_GENERAL_NAMES {
            return Err(DerFault::Length).within(WHAT);
        }
        let name = list.element().within(WHAT)?;
        parse_general_name(name).within(WHAT)?;
        names.push(name.whole);
    }
    if names.is_empty() {
        return Err(DerFault::Length).within(WHAT);
    }
    Ok(names)
}

/// The names of those distribution points of a certificate (RFC 5280 section 4.2.1.13) whose list speaks for every reason
/// and is the issuer's own.
fn distribution_point_names(value: &[u8]) -> Result<Vec<&[u8]>, Error> {
    const WHAT: &str = "cRLDistributionPoints";
    let mut points = asn1::only(value, tag::SEQUENCE).within(WHAT)?.reader();
    let mut names = Vec::new();
    while !points.is_empty() {
        let mut point = points.sequence().within(WHAT)?;
        let name = point.optional(tag::context_constructed(0)).within(WHAT)?;
        let reasons = point.optional(tag::context(1)).within(WHAT)?;
        let other_issuer = point.optional(tag::context_constructed(2)).within(WHAT)?;
        point.finish().within(WHAT)?;
        if let (Some(name), None, None) = (name, reasons, other_issuer) {
            names.extend(full_names(name)?);
        }
        if names.len() > MAX_GENERAL_NAMES {
            return Err(DerFault::Length).within(WHAT);
        }
    }
    Ok(names)
}
