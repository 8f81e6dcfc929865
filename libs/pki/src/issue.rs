//! Issuance: prepare, lint, permit, sign, compare.
//!
//! The life of a certificate here:
//!
//! 1. [`prepare`] checks identity and key, renders the to-be-signed bytes of a precertificate with `rcgen`, and gives a
//!    [`Prepared`];
//! 2. [`Prepared::lint`] reads those bytes back with a parser that shares nothing with the encoder (`x509-cert`) and
//!    holds them against what was ordered. Only when every rule holds there is a [`PrecertificatePermit`];
//! 3. the permit is spent by [`PrecertificatePermit::sign`]: the very bytes that were linted are signed;
//! 4. a log gives timestamps for the [`Precertificate`]; [`Precertificate::with_timestamps`] puts them in the place of the
//!    poison, compares both byte for byte ([`correspond`]) and gives a [`CertificatePermit`];
//! 5. [`CertificatePermit::sign`] signs, checks its own signature, and the certificate may be handed out.
//!
//! Permits cannot be cloned or made elsewhere, belong to one issuer, and show the bytes they are for, so that a journal
//! can record them before a signature exists. A crash between 3 and 5 leaves a precertificate that
//! [`Precertificate::recover`] takes up again.

use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, DistinguishedName};
use sealwright_crypto::{Algorithm, PublicKey, Signer};
use x509_cert::TbsCertificate;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use crate::algorithm::SignatureScheme;
use crate::asn1::{self, tag};
use crate::certificate::Certificate;
use crate::chain::{Purpose, check_issuing_certificate};
use crate::error::{DerFault, Error, IdentityFault, IssuerFault, LintFault, SignFault};
use crate::key_policy::KeyPolicy;
use crate::oid;
use crate::profile::{Identity, RenderedExtension, SubjectAlternativeName};
use crate::render::{self, Issuance};
use crate::sct::{self, SignedCertificateTimestamp};
use crate::serial::SerialNumber;
use crate::tbs;

pub use crate::render::key_identifier;

/// Longest validity that a profile may give: a day. Keys of keyless signing live for one signature.
pub const MAX_VALIDITY_S: u32 = 24 * 60 * 60;
/// Longest time that notBefore may lie before the moment of issuance.
pub const MAX_BACKDATE_S: u32 = 300;
/// Largest certificate that is issued: 16 KiB.
pub const MAX_ISSUED_BYTES: usize = 16 * 1024;
/// What a certificate has beyond its to-be-signed bytes and its timestamps, at most: an RSA 8192 signature and headers.
const SIGNATURE_ALLOWANCE_BYTES: usize = 1024 + 64;

/// KeyUsage with digitalSignature alone.
const DIGITAL_SIGNATURE: [u8; 4] = [tag::BIT_STRING, 2, 7, 0x80];
/// Value of the poison: NULL.
const NULL: [u8; 2] = [tag::NULL, 0];

/// What all certificates of an authority have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuanceProfile {
    validity_s: u32,
    backdate_s: u32,
    key_policy: KeyPolicy,
}

impl Default for IssuanceProfile {
    /// Ten minutes, not backdated, the default key policy.
    fn default() -> Self {
        Self {
            validity_s: 600,
            backdate_s: 0,
            key_policy: KeyPolicy::default(),
        }
    }
}

impl IssuanceProfile {
    /// `validity_s` counts from the moment of issuance, `backdate_s` before it. `None` when either exceeds its limit
    /// ([`MAX_VALIDITY_S`], [`MAX_BACKDATE_S`]) or the validity is zero.
    pub fn new(validity_s: u32, backdate_s: u32, key_policy: KeyPolicy) -> Option<Self> {
        let in_range = (1..=MAX_VALIDITY_S).contains(&validity_s) && backdate_s <= MAX_BACKDATE_S;
        in_range.then_some(Self {
            validity_s,
            backdate_s,
            key_policy,
        })
    }

    /// The key policy.
    pub fn key_policy(&self) -> &KeyPolicy {
        &self.key_policy
    }
}

/// An issuing certificate that was found fit to issue, with the algorithm of its signer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Issuer(Arc<IssuerParts>);

#[derive(Debug)]
struct IssuerParts {
    certificate: Certificate,
    public_key: PublicKey,
    algorithm: Algorithm,
    scheme: SignatureScheme,
    key_identifier: Vec<u8>,
}

impl Issuer {
    /// Checks that `certificate` may issue for code signing, and that `signer` holds its key.
    pub fn new(certificate: Certificate, signer: &dyn Signer) -> Result<Self, Error> {
        let public_key = certificate.public_key()?.clone();
        let algorithm = signer.algorithm();
        check_issuing_certificate(&certificate, Purpose::CodeSigning).map_err(Error::Issuer)?;
        if public_key != *signer.public_key() {
            return Err(Error::Issuer(IssuerFault::KeyMismatch));
        }
        let scheme = SignatureScheme::of(algorithm)
            .filter(|_| {
                algorithm.fits(public_key.key_type())
                    && render::rcgen_algorithm(algorithm).is_some()
            })
            .ok_or(Error::Issuer(IssuerFault::Algorithm { algorithm }))?;
        let key_identifier = certificate
            .subject_key_identifier()
            .unwrap_or_default()
            .to_vec();
        Ok(Self(Arc::new(IssuerParts {
            certificate,
            public_key,
            algorithm,
            scheme,
            key_identifier,
        })))
    }

    /// The issuing certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// Hash of the issuing key, as timestamps refer to it.
    pub fn issuer_key_hash(&self) -> [u8; 32] {
        self.0.certificate.spki_sha256()
    }

    /// Signs bytes that a permit vouches for and puts the certificate together.
    async fn sign(&self, tbs: &[u8], signer: &dyn Signer) -> Result<Certificate, Error> {
        if *signer.public_key() != self.0.public_key || signer.algorithm() != self.0.algorithm {
            return Err(Error::Issuer(IssuerFault::KeyMismatch));
        }
        let signed = match signer.sign_now(tbs) {
            Some(signed) => signed,
            None => signer.sign(tbs).await,
        };
        let signature = signed.map_err(|error| Error::Sign(SignFault(error)))?;
        let certificate = render::assemble(tbs, self.0.scheme, &signature)?;
        rule(
            certificate.tbs_der() == tbs,
            "what was signed is what was linted",
        )?;
        rule(certificate.der().len() <= MAX_ISSUED_BYTES, SIZE_RULE)?;
        Ok(certificate)
    }
}

/// What is to be certified.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// Their key, whose possession was proven.
    pub public_key: &'a PublicKey,
    /// Random, made for this certificate alone.
    pub serial: SerialNumber,
    /// The moment of issuance, Unix seconds.
    pub now: i64,
}

/// The to-be-signed bytes of a precertificate, and what they must say.
#[derive(Debug)]
pub struct Prepared<'a> {
    issuer: Issuer,
    order: Order<'a>,
    validity: (i64, i64),
    tbs: Vec<u8>,
}

/// Checks an order and renders its precertificate. Nothing is signed.
///
/// The certificate is valid from `now` less the backdate to `now` plus the validity, but never outside the issuer's
/// own validity. Fails with [`Error::Identity`] or [`Error::WeakKey`] when the order cannot be certified, with
/// [`Error::Issuer`] when the issuing certificate is not valid at `now`.
pub fn prepare<'a>(
    issuer: &Issuer,
    profile: &IssuanceProfile,
    order: Order<'a>,
) -> Result<Prepared<'a>, Error> {
    order.identity.check()?;
    if matches!(
        order.identity.subject_alternative_name,
        SubjectAlternativeName::Dns(_)
    ) {
        return Err(Error::Identity(IdentityFault::SubjectAlternativeName));
    }
    profile.key_policy.check(order.public_key)?;
    let validity = validity(issuer.certificate(), profile, order.now)?;
    let issuance = Issuance {
        issuer_name: issuer.certificate().subject_der(),
        key_identifier: &issuer.0.key_identifier,
        algorithm: issuer.0.algorithm,
    };
    let params = leaf_params(&order, &issuance);
    let tbs = render::to_be_signed(params, order.public_key, validity, &issuance)?;
    Ok(Prepared {
        issuer: issuer.clone(),
        order,
        validity,
        tbs,
    })
}

fn validity(
    issuer: &Certificate,
    profile: &IssuanceProfile,
    now: i64,
) -> Result<(i64, i64), Error> {
    let (not_before, not_after) = (issuer.not_before(), issuer.not_after());
    if !issuer.is_valid_at(now) {
        return Err(Error::Issuer(IssuerFault::NotValid {
            not_before,
            not_after,
            at: now,
        }));
    }
    let start = now
        .saturating_sub(i64::from(profile.backdate_s))
        .max(not_before);
    let end = now
        .saturating_add(i64::from(profile.validity_s))
        .min(not_after);
    Ok((start, end))
}

/// All extensions are given to `rcgen` as they are, since it would write its own in another order.
fn leaf_params(order: &Order<'_>, issuance: &Issuance<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(order.serial.as_bytes().to_vec().into());
    let own = |oid, critical, value: Vec<u8>| RenderedExtension {
        oid,
        critical,
        value,
    };
    let key_identifier = asn1::encode(tag::OCTET_STRING, &key_identifier(order.public_key));
    let authority =
        asn1::encode_sequence(&[&asn1::encode(tag::context(0), issuance.key_identifier)]);
    let code_signing = asn1::encode_sequence(&[&asn1::encode(
        tag::OBJECT_IDENTIFIER,
        oid::CODE_SIGNING.as_bytes(),
    )]);
    let head = [
        own(oid::KEY_USAGE, true, DIGITAL_SIGNATURE.to_vec()),
        own(oid::EXTENDED_KEY_USAGE, false, code_signing),
        own(oid::SUBJECT_KEY_IDENTIFIER, false, key_identifier),
        own(oid::AUTHORITY_KEY_IDENTIFIER, false, authority),
    ];
    let poison = own(oid::PRECERTIFICATE_POISON, true, NULL.to_vec());
    let all = head
        .into_iter()
        .chain(order.identity.to_extensions())
        .chain([poison]);
    params.custom_extensions = all.map(custom_extension).collect();
    params
}

fn custom_extension(rendered: RenderedExtension) -> CustomExtension {
    let arcs: Vec<u64> = rendered.oid.arcs().map(u64::from).collect();
    let mut extension = CustomExtension::from_oid_content(&arcs, rendered.value);
    extension.set_criticality(rendered.critical);
    extension
}

impl<'a> Prepared<'a> {
    /// The bytes to be signed, if they pass.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs
    }

    /// Holds the bytes against the order, with a parser of its own, and gives the permit to sign them. Any deviation is
    /// [`Error::Lint`].
    pub fn lint(self) -> Result<PrecertificatePermit, Error> {
        lint(&self)?;
        Ok(PrecertificatePermit {
            issuer: self.issuer,
            tbs: self.tbs,
            serial: self.order.serial,
        })
    }
}

const SIZE_RULE: &str = "the certificate is not larger than 16 KiB";

fn rule(holds: bool, rule: &'static str) -> Result<(), Error> {
    if holds {
        Ok(())
    } else {
        Err(Error::Lint(LintFault { rule }))
    }
}

/// Turns what the independent parser answers into a broken rule.
fn readable<T>(parsed: Result<T, x509_cert::der::Error>, broken: &'static str) -> Result<T, Error> {
    parsed.map_err(|_| Error::Lint(LintFault { rule: broken }))
}

type ParsedExtension = x509_cert::ext::Extension;

fn lint(prepared: &Prepared<'_>) -> Result<(), Error> {
    let Prepared {
        issuer,
        order,
        validity,
        tbs,
    } = prepared;
    rule(
        tbs.len() + SIGNATURE_ALLOWANCE_BYTES <= MAX_ISSUED_BYTES,
        SIZE_RULE,
    )?;
    let parsed = parse_canonical(tbs)?;
    lint_fields(&parsed, issuer, order)?;
    lint_validity(&parsed, issuer, *validity)?;
    lint_extensions(&parsed, issuer, order)
}

/// Parses, and demands that writing it again gives the same bytes, so that equal values are equal bytes.
fn parse_canonical(tbs: &[u8]) -> Result<TbsCertificate, Error> {
    const DER_RULE: &str = "the to-be-signed certificate is DER";
    let parsed = readable(TbsCertificate::from_der(tbs), DER_RULE)?;
    rule(readable(parsed.to_der(), DER_RULE)? == tbs, DER_RULE)?;
    Ok(parsed)
}

fn lint_fields(parsed: &TbsCertificate, issuer: &Issuer, order: &Order<'_>) -> Result<(), Error> {
    rule(
        parsed.version() == x509_cert::Version::V3,
        "the version is 3",
    )?;
    let serial = parsed.serial_number().as_bytes();
    rule(
        serial == order.serial.as_bytes(),
        "the serial number is the one that was drawn",
    )?;
    rule(
        serial.len() <= 20
            && serial
                .first()
                .is_some_and(|octet| (1..0x80).contains(octet)),
        SERIAL_RULE,
    )?;
    let identifier = readable(
        parsed.signature().to_der(),
        "the signature algorithm is readable",
    )?;
    rule(
        identifier == issuer.0.scheme.identifier_der(),
        "the signature algorithm is the issuer's",
    )?;
    let name = readable(parsed.issuer().to_der(), "the issuer is readable")?;
    rule(
        name == issuer.certificate().subject_der(),
        "the issuer is the issuing certificate's subject",
    )?;
    rule(parsed.subject().is_empty(), "the subject is empty")?;
    let key = readable(
        parsed.subject_public_key_info().to_der(),
        "the public key is readable",
    )?;
    rule(
        key == order.public_key.spki_der(),
        "the public key is the one whose possession was proven",
    )?;
    rule(
        parsed.issuer_unique_id().is_none() && parsed.subject_unique_id().is_none(),
        "there are no unique identifiers",
    )
}

const SERIAL_RULE: &str = "the serial number is positive and has at most 20 octets";

fn lint_validity(
    parsed: &TbsCertificate,
    issuer: &Issuer,
    (start, end): (i64, i64),
) -> Result<(), Error> {
    let (not_before, not_after) = (&parsed.validity().not_before, &parsed.validity().not_after);
    let unix = |time: &Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    rule(
        unix(not_before) == start && unix(not_after) == end,
        "the validity is the one that was computed",
    )?;
    rule(start <= end, "the validity does not end before it begins")?;
    let authority = issuer.certificate();
    rule(
        authority.not_before() <= start && end <= authority.not_after(),
        "the validity lies within the issuer's",
    )?;
    let longest = i64::from(MAX_VALIDITY_S) + i64::from(MAX_BACKDATE_S);
    rule(
        end - start <= longest,
        "the validity is at most a day and the backdate",
    )
}

fn lint_extensions(
    parsed: &TbsCertificate,
    issuer: &Issuer,
    order: &Order<'_>,
) -> Result<(), Error> {
    const HEAD: [x509_cert::der::asn1::ObjectIdentifier; 5] = [
        oid::KEY_USAGE,
        oid::EXTENDED_KEY_USAGE,
        oid::SUBJECT_KEY_IDENTIFIER,
        oid::AUTHORITY_KEY_IDENTIFIER,
        oid::SUBJECT_ALT_NAME,
    ];
    const ORDER_RULE: &str = "the extensions are those of the profile, in its order";
    let extensions = parsed.extensions().map_or(&[][..], Vec::as_slice);
    let Some((head, tail)) = extensions.split_first_chunk::<5>() else {
        return rule(false, ORDER_RULE);
    };
    let Some((poison, rows)) = tail.split_last() else {
        return rule(false, ORDER_RULE);
    };
    rule(
        head.iter().map(|extension| extension.extn_id).eq(HEAD),
        ORDER_RULE,
    )?;
    let [usage, purposes, subject_key, authority_key, name] = head;
    let is = |extension: &ParsedExtension, critical: bool, value: &[u8]| {
        extension.critical == critical && extension.extn_value.as_bytes() == value
    };
    // BIT STRING of one bit; SEQUENCE of one OBJECT IDENTIFIER; OCTET STRING; SEQUENCE of [0].
    rule(
        is(usage, true, &[0x03, 0x02, 0x07, 0x80]),
        "keyUsage is critical and digitalSignature alone",
    )?;
    let code_signing = [
        0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03,
    ];
    rule(
        is(purposes, false, &code_signing),
        "extKeyUsage is codeSigning alone",
    )?;
    let identifier = [&[0x04, 0x14], key_identifier(order.public_key).as_slice()].concat();
    rule(
        is(subject_key, false, &identifier),
        "subjectKeyIdentifier is that of RFC 7093",
    )?;
    rule(
        !authority_key.critical
            && authority_key_identifier(authority_key) == Some(&issuer.0.key_identifier),
        "authorityKeyIdentifier is the issuer's subjectKeyIdentifier",
    )?;
    lint_name(name, &order.identity.subject_alternative_name)?;
    lint_rows(rows, order.identity)?;
    let poisoned = poison.extn_id == oid::PRECERTIFICATE_POISON && is(poison, true, &[0x05, 0x00]);
    rule(poisoned, "a precertificate ends with the critical poison")
}

/// Reads `SEQUENCE { [0] keyIdentifier }` and nothing else.
fn authority_key_identifier(extension: &ParsedExtension) -> Option<&[u8]> {
    match extension.extn_value.as_bytes() {
        [0x30, outer, 0x80, inner, identifier @ ..]
            if usize::from(*inner) == identifier.len()
                && usize::from(*outer) == identifier.len() + 2 =>
        {
            Some(identifier)
        }
        _ => None,
    }
}

fn lint_name(extension: &ParsedExtension, ordered: &SubjectAlternativeName) -> Result<(), Error> {
    const NAME_RULE: &str = "subjectAltName is critical and the ordered name alone";
    let names = readable(
        SubjectAltName::from_der(extension.extn_value.as_bytes()),
        NAME_RULE,
    )?;
    let same = match (names.0.as_slice(), ordered) {
        ([GeneralName::Rfc822Name(found)], SubjectAlternativeName::Email(wanted)) => {
            found.as_str() == wanted
        }
        ([GeneralName::UniformResourceIdentifier(found)], SubjectAlternativeName::Uri(wanted)) => {
            found.as_str() == wanted
        }
        ([GeneralName::OtherName(found)], SubjectAlternativeName::Username(wanted)) => {
            let text = found.value.decode_as::<Utf8StringRef<'_>>();
            found.type_id == oid::FULCIO_USERNAME && text.is_ok_and(|text| text.as_str() == wanted)
        }
        _ => false,
    };
    rule(extension.critical && same, NAME_RULE)
}

/// The rows of the identity: exactly those ordered, each once, ascending, none critical.
fn lint_rows(rows: &[ParsedExtension], identity: &Identity) -> Result<(), Error> {
    const ROWS_RULE: &str =
        "the identity's extensions are those ordered, ascending and not critical";
    const RAW_ROWS: std::ops::RangeInclusive<u32> = 1..=6;
    rule(
        rows.len() == identity.extensions.iter().count() + 2,
        ROWS_RULE,
    )?;
    let mut previous = 0;
    for row in rows {
        let number = row.extn_id.arcs().last().unwrap_or_default();
        let in_arc = row.extn_id.parent() == Some(oid::FULCIO_ARC);
        rule(in_arc && number > previous && !row.critical, ROWS_RULE)?;
        let value = row.extn_value.as_bytes();
        let text = if RAW_ROWS.contains(&number) {
            std::str::from_utf8(value).ok()
        } else {
            Utf8StringRef::from_der(value)
                .ok()
                .map(|text| text.as_str())
        };
        rule(
            text.is_some_and(|text| !text.is_empty()) && text == identity.extension(&row.extn_id),
            ROWS_RULE,
        )?;
        previous = number;
    }
    Ok(())
}

/// Permission to sign one linted precertificate. Spent by signing.
#[derive(Debug)]
#[must_use = "a permit that is dropped leaves an order without its certificate"]
pub struct PrecertificatePermit {
    issuer: Issuer,
    tbs: Vec<u8>,
    serial: SerialNumber,
}

impl PrecertificatePermit {
    /// The bytes to be signed, for the journal.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs
    }

    /// The serial number, for the journal.
    pub fn serial(&self) -> SerialNumber {
        self.serial
    }

    /// Signs. The signature is not checked here: the log checks it before it gives a timestamp, and without a timestamp
    /// there is no certificate.
    pub async fn sign(self, signer: &dyn Signer) -> Result<Precertificate, Error> {
        let certificate = self.issuer.sign(&self.tbs, signer).await?;
        Ok(Precertificate {
            issuer: self.issuer,
            certificate,
        })
    }
}

/// A precertificate of ours, to be shown to logs.
#[derive(Debug, Clone)]
pub struct Precertificate {
    issuer: Issuer,
    certificate: Certificate,
}

impl Precertificate {
    /// Takes up a precertificate that a journal kept: it must be poisoned and carry the issuer's signature.
    pub fn recover(issuer: &Issuer, certificate: Certificate) -> Result<Self, Error> {
        certificate.verify_signature(&issuer.0.public_key)?;
        let poisoned = certificate.extension(&oid::PRECERTIFICATE_POISON).is_some();
        rule(poisoned, "a precertificate ends with the critical poison")?;
        Ok(Self {
            issuer: issuer.clone(),
            certificate,
        })
    }

    /// The poisoned certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Checks a log's timestamp for this precertificate.
    pub fn verify_timestamp(
        &self,
        timestamp: &SignedCertificateTimestamp,
        log_key: &PublicKey,
    ) -> Result<(), Error> {
        timestamp.verify_embedded(&self.certificate, self.issuer.issuer_key_hash(), log_key)
    }

    /// Replaces the poison by the timestamps and gives the permit to sign the result. The caller has verified them with
    /// [`Self::verify_timestamp`].
    pub fn with_timestamps(
        &self,
        timestamps: &[SignedCertificateTimestamp],
    ) -> Result<CertificatePermit, Error> {
        let list = tbs::extension(
            &oid::SCT_LIST,
            false,
            &sct::encode_list_extension(timestamps)?,
        );
        let precertificate = self.certificate.tbs_der();
        let parts = tbs::split(precertificate)?;
        let kept = parts
            .extensions
            .iter()
            .filter(|(oid, _)| *oid != oid::PRECERTIFICATE_POISON);
        let extensions = kept.map(|(_, whole)| *whole).chain([list.as_slice()]);
        let capacity = precertificate.len() + list.len();
        let tbs = tbs::join(
            parts.fields.iter().map(|field| field.whole),
            extensions,
            capacity,
        );
        rule(
            tbs.len() + SIGNATURE_ALLOWANCE_BYTES <= MAX_ISSUED_BYTES,
            SIZE_RULE,
        )?;
        rule(
            correspond(precertificate, &tbs)? == timestamps,
            "the timestamps are those of the logs",
        )?;
        Ok(CertificatePermit {
            issuer: self.issuer.clone(),
            tbs,
        })
    }
}

/// Compares the to-be-signed bytes of a precertificate and of its certificate: every field and every extension must be
/// the same bytes in the same order, except that the one ends with the poison and the other with the timestamps, which
/// are the answer.
///
/// Nothing is parsed that is to be equal: what stands before the extensions is compared as one run of bytes, and so are
/// the extensions before the last. The lint has read them once, with another parser, before the first signature.
pub fn correspond(
    precertificate: &[u8],
    certificate: &[u8],
) -> Result<Vec<SignedCertificateTimestamp>, Error> {
    let before = halves(precertificate)?;
    let after = halves(certificate)?;
    let same_fields = "precertificate and certificate have the same fields";
    rule(before.fields == after.fields, same_fields)?;
    let kept = before.extensions.strip_suffix(&POISON_EXTENSION[..]);
    let kept = kept.ok_or(Error::Lint(LintFault {
        rule: REPLACED_RULE,
    }))?;
    let same_extensions = "precertificate and certificate have the same extensions but the last";
    let last = after.extensions.strip_prefix(kept);
    let last = last.ok_or(Error::Lint(LintFault {
        rule: same_extensions,
    }))?;
    let value = timestamps_value(last).map_err(|_| {
        Error::Lint(LintFault {
            rule: REPLACED_RULE,
        })
    })?;
    sct::parse_list_extension(value)
}

const REPLACED_RULE: &str = "the critical poison is replaced by the timestamps, which come last";

/// The whole poison: SEQUENCE { OBJECT IDENTIFIER 1.3.6.1.4.1.11129.2.4.3, BOOLEAN TRUE, OCTET STRING { NULL } }.
const POISON_EXTENSION: [u8; 21] = [
    0x30, 0x13, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03, 0x01, 0x01,
    0xff, 0x04, 0x02, 0x05, 0x00,
];

/// A TBSCertificate cut in two: what stands before the extensions, and the extensions without their headers.
struct Halves<'a> {
    fields: &'a [u8],
    extensions: &'a [u8],
}

fn halves(tbs: &[u8]) -> Result<Halves<'_>, Error> {
    let cut = || {
        let content = asn1::only(tbs, tag::SEQUENCE)?.value;
        let mut reader = asn1::Reader::new(content);
        while reader.peek_tag() != Some(tag::context_constructed(3)) {
            reader.element()?;
        }
        let (fields, rest) = content
            .split_at_checked(content.len() - reader.rest().len())
            .ok_or(DerFault::Truncated)?;
        let explicit = asn1::only(rest, tag::context_constructed(3))?;
        let extensions = asn1::only(explicit.value, tag::SEQUENCE)?.value;
        Ok(Halves { fields, extensions })
    };
    cut().map_err(|_: DerFault| {
        Error::Lint(LintFault {
            rule: "the to-be-signed certificate is DER",
        })
    })
}

/// Reads the one extension of timestamps, not critical, and answers its value.
fn timestamps_value(extension: &[u8]) -> Result<&[u8], DerFault> {
    let mut fields = asn1::only(extension, tag::SEQUENCE)?.reader();
    if fields.oid()? != oid::SCT_LIST {
        return Err(DerFault::Value);
    }
    let value = fields.octet_string()?;
    fields.finish()?;
    Ok(value)
}

/// Permission to sign one certificate with its timestamps. Spent by signing.
#[derive(Debug)]
#[must_use = "a permit that is dropped leaves a logged precertificate without its certificate"]
pub struct CertificatePermit {
    issuer: Issuer,
    tbs: Vec<u8>,
}

impl CertificatePermit {
    /// The bytes to be signed, for the journal.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs
    }

    /// Signs, and checks the signature before anybody sees it: a signer that errs, in hardware or on the way to it,
    /// would otherwise hand out certificates that nobody accepts.
    pub async fn sign(self, signer: &dyn Signer) -> Result<Certificate, Error> {
        let certificate = self.issuer.sign(&self.tbs, signer).await?;
        certificate.verify_signature(&self.issuer.0.public_key)?;
        Ok(certificate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{self, AuthorityName, Envelope};
    use crate::profile::FulcioExtensions;
    use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};

    const NOW: i64 = 1_795_478_400;

    fn serial(octet: u8) -> SerialNumber {
        SerialNumber::from_random([octet; 20])
    }

    fn issuer() -> Issuer {
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let name = AuthorityName {
            common_name: "root".to_owned(),
            organization: "Example".to_owned(),
            development: true,
        };
        let envelope = Envelope {
            serial: serial(1),
            not_before: NOW - 1000,
            not_after: NOW + 100_000,
        };
        let certificate = authority::root(&key, &name, 0, &envelope).unwrap();
        Issuer::new(certificate, &MemorySigner::new(key)).unwrap()
    }

    fn identity() -> Identity {
        Identity {
            subject_alternative_name: SubjectAlternativeName::Uri("https://a.example".to_owned()),
            issuer: "https://issuer.example".to_owned(),
            extensions: FulcioExtensions {
                github_workflow_sha: Some("abc".to_owned()),
                build_trigger: Some("push".to_owned()),
                ..FulcioExtensions::default()
            },
        }
    }

    /// The parts of a to-be-signed certificate, to be damaged.
    struct Damage {
        fields: Vec<Vec<u8>>,
        extensions: Vec<Vec<u8>>,
    }

    impl Damage {
        fn swap(&mut self, a: usize, b: usize) {
            self.extensions.swap(a, b);
        }

        fn replace(
            &mut self,
            position: usize,
            oid: &const_oid::ObjectIdentifier,
            critical: bool,
            value: &[u8],
        ) {
            self.extensions[position] = tbs::extension(oid, critical, value);
        }
    }

    /// Prepares, lets `damage` do its work on the rendered bytes, and answers the rule that the lint finds broken.
    fn broken_rule(damage: impl FnOnce(&mut Damage)) -> Option<&'static str> {
        let issuer = issuer();
        let identity = identity();
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let order = Order {
            identity: &identity,
            public_key: key.public_key(),
            serial: serial(2),
            now: NOW,
        };
        let mut prepared = prepare(&issuer, &IssuanceProfile::default(), order).unwrap();
        let parts = tbs::split(&prepared.tbs).unwrap();
        let mut damaged = Damage {
            fields: parts
                .fields
                .iter()
                .map(|field| field.whole.to_vec())
                .collect(),
            extensions: parts
                .extensions
                .iter()
                .map(|(_, whole)| whole.to_vec())
                .collect(),
        };
        damage(&mut damaged);
        let fields = damaged.fields.iter().map(Vec::as_slice);
        let extensions = damaged.extensions.iter().map(Vec::as_slice);
        prepared.tbs = tbs::join(fields, extensions, 0);
        match prepared.lint() {
            Ok(_) => None,
            Err(Error::Lint(LintFault { rule })) => Some(rule),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_rendered_passes() {
        assert_eq!(broken_rule(|_| {}), None);
    }

    #[test]
    fn a_changed_field_is_found() {
        let field =
            |position: usize, der: Vec<u8>| broken_rule(|damage| damage.fields[position] = der);
        let drawn = Some("the serial number is the one that was drawn");
        assert_eq!(field(1, asn1::encode(tag::INTEGER, &[7; 20])), drawn);
        let sha384 =
            SignatureScheme::Ecdsa(sealwright_crypto::HashAlgorithm::Sha384).identifier_der();
        assert_eq!(
            field(2, sha384),
            Some("the signature algorithm is the issuer's")
        );
        let nobody = vec![0x30, 0];
        let issuer_rule = Some("the issuer is the issuing certificate's subject");
        assert_eq!(field(3, nobody), issuer_rule);
        let other = PrivateKey::generate(KeyType::EcP256).unwrap();
        let key_rule = Some("the public key is the one whose possession was proven");
        assert_eq!(field(6, other.public_key().spki_der().to_vec()), key_rule);
        let somebody = broken_rule(|damage| damage.fields[5] = damage.fields[3].clone());
        assert_eq!(somebody, Some("the subject is empty"));
    }

    #[test]
    fn a_changed_validity_is_found() {
        let validity = |from: i64, to: i64| {
            let time = |unix| {
                let (tag, text) = asn1::certificate_time(unix).unwrap();
                asn1::encode(tag, text.as_bytes())
            };
            broken_rule(|damage| {
                damage.fields[4] = asn1::encode_sequence(&[&time(from), &time(to)])
            })
        };
        assert_eq!(validity(NOW, NOW + 600), None);
        let computed = Some("the validity is the one that was computed");
        assert_eq!(validity(NOW, NOW + 601), computed);
        assert_eq!(validity(NOW - 1, NOW + 600), computed);
    }

    const ORDER: Option<&str> = Some("the extensions are those of the profile, in its order");
    const ROWS: Option<&str> =
        Some("the identity's extensions are those ordered, ascending and not critical");

    #[test]
    fn extensions_out_of_order_missing_or_added_are_found() {
        assert_eq!(broken_rule(|damage| damage.swap(0, 1)), ORDER);
        assert_eq!(broken_rule(|damage| damage.swap(6, 7)), ROWS);
        assert_eq!(
            broken_rule(|damage| drop(damage.extensions.remove(2))),
            ORDER
        );
        assert_eq!(
            broken_rule(|damage| drop(damage.extensions.remove(6))),
            ROWS
        );
        let twice = broken_rule(|damage| damage.extensions.insert(6, damage.extensions[6].clone()));
        assert_eq!(twice, ROWS);
        let added = tbs::extension(
            &oid::FULCIO_ARC.push_arc(23).unwrap(),
            false,
            &[0x0c, 1, b'x'],
        );
        assert_eq!(
            broken_rule(|damage| damage.extensions.insert(9, added)),
            ROWS
        );
        assert_eq!(broken_rule(|damage| damage.extensions.clear()), ORDER);
    }

    #[test]
    fn every_changed_extension_is_found() {
        let change = |position, oid, critical, value: &[u8]| {
            broken_rule(|damage| damage.replace(position, &oid, critical, value))
        };
        let usage = Some("keyUsage is critical and digitalSignature alone");
        assert_eq!(change(0, oid::KEY_USAGE, false, &DIGITAL_SIGNATURE), usage);
        assert_eq!(change(0, oid::KEY_USAGE, true, &[3, 2, 2, 0x84]), usage);
        let purpose = Some("extKeyUsage is codeSigning alone");
        let time_stamping = asn1::encode(tag::OBJECT_IDENTIFIER, oid::TIME_STAMPING.as_bytes());
        let value = asn1::encode_sequence(&[&time_stamping]);
        assert_eq!(change(1, oid::EXTENDED_KEY_USAGE, false, &value), purpose);
        let subject_key = Some("subjectKeyIdentifier is that of RFC 7093");
        let zeros = asn1::encode(tag::OCTET_STRING, &[0; 20]);
        assert_eq!(
            change(2, oid::SUBJECT_KEY_IDENTIFIER, false, &zeros),
            subject_key
        );
        let authority_key = Some("authorityKeyIdentifier is the issuer's subjectKeyIdentifier");
        let value = asn1::encode_sequence(&[&asn1::encode(tag::context(0), &[0; 20])]);
        assert_eq!(
            change(3, oid::AUTHORITY_KEY_IDENTIFIER, false, &value),
            authority_key
        );
        let name = Some("subjectAltName is critical and the ordered name alone");
        let ordered = identity().subject_alternative_name.to_extension_value();
        assert_eq!(change(4, oid::SUBJECT_ALT_NAME, true, &ordered), None);
        assert_eq!(change(4, oid::SUBJECT_ALT_NAME, false, &ordered), name);
        let email =
            SubjectAlternativeName::Email("https://a.example".to_owned()).to_extension_value();
        assert_eq!(change(4, oid::SUBJECT_ALT_NAME, true, &email), name);
        assert_eq!(
            change(5, oid::FULCIO_ISSUER_V1, false, b"https://other.example"),
            ROWS
        );
        assert_eq!(
            change(7, oid::FULCIO_ISSUER_V2, true, &[0x0c, 1, b'a']),
            ROWS
        );
        let poison = Some("a precertificate ends with the critical poison");
        assert_eq!(change(9, oid::PRECERTIFICATE_POISON, false, &NULL), poison);
        assert_eq!(change(9, oid::PRECERTIFICATE_POISON, true, &[4, 0]), poison);
        assert_eq!(change(9, oid::SCT_LIST, true, &NULL), poison);
    }

    #[test]
    fn bytes_that_are_not_der_are_found() {
        // A boolean TRUE that is not FF, inside an extension: values are the same, bytes are not.
        let not_canonical = broken_rule(|damage| {
            let position = damage.extensions[0]
                .windows(3)
                .position(|w| w == [1, 1, 0xff])
                .unwrap();
            damage.extensions[0][position + 2] = 0x01;
        });
        assert_eq!(not_canonical, Some("the to-be-signed certificate is DER"));
        assert_eq!(
            broken_rule(|damage| drop(damage.fields.pop())),
            Some("the to-be-signed certificate is DER")
        );
    }
}
