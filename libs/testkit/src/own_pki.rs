//! An organisation's own PKI: authorities, certificates that live for years, and revocation lists.
//!
//! ```
//! use sealwright_testkit::bundle_factory::{DAY, NOW};
//! use sealwright_testkit::own_pki::{Leaf, Listed, Listing, OwnAuthority};
//!
//! let root = OwnAuthority::root("own root");
//! let issuing = root.below("own issuing");
//! let leaf = issuing.issue(&Leaf::default());
//! let list = issuing.revocation_list(&Listing {
//!     entries: vec![Listed::new(&leaf.certificate, NOW - DAY, Some(4))],
//!     ..Listing::default()
//! });
//! assert!(list.covers(&leaf.certificate) && list.revocation(leaf.certificate.serial()).is_some());
//! ```

use std::sync::Arc;

use sealwright_crypto::{KeyType, PrivateKey, PublicKey, random_bytes};
use sealwright_pki::asn1::{self, Writer, tag};
use sealwright_pki::crl::CertificateRevocationList;
use sealwright_pki::{Certificate, ObjectIdentifier, SignatureScheme, oid};

use crate::bundle_factory::{DAY, EMAIL, Enrolled, NOW};

/// Days in a year, the leap day left out.
const YEAR: i64 = 365 * DAY;

/// An authority and its key.
#[derive(Debug, Clone)]
pub struct OwnAuthority {
    /// Its certificate, self-signed for a root.
    pub certificate: Certificate,
    key: Arc<PrivateKey>,
}

/// A certificate to be issued.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// The kind of its key.
    pub key_type: KeyType,
    /// First and last moment of validity, Unix seconds.
    pub validity: (i64, i64),
    /// Its alternative names: the tag of the form, and the content.
    pub names: Vec<(u8, Vec<u8>)>,
    /// Its purposes; none leaves the extension out.
    pub purposes: Vec<ObjectIdentifier>,
    /// Further extensions: identifier, critical, value.
    pub extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
}

impl Default for Leaf {
    /// For [`EMAIL`], code signing, from a month before [`NOW`] for a year.
    fn default() -> Self {
        Self {
            key_type: KeyType::EcP256,
            validity: (NOW - 30 * DAY, NOW + 335 * DAY),
            names: vec![(EMAIL_NAME, EMAIL.into())],
            purposes: vec![oid::CODE_SIGNING],
            extensions: Vec::new(),
        }
    }
}

/// rfc822Name
pub const EMAIL_NAME: u8 = tag::context(1);
/// dNSName
pub const DNS_NAME: u8 = tag::context(2);
/// uniformResourceIdentifier
pub const URI_NAME: u8 = tag::context(6);
/// iPAddress
pub const IP_NAME: u8 = tag::context(7);

/// An entry of a revocation list.
#[derive(Debug, Clone)]
pub struct Listed {
    serial: Vec<u8>,
    date: i64,
    reason: Option<u8>,
    /// invalidityDate, Unix seconds.
    pub invalidity_date: Option<i64>,
}

impl Listed {
    /// This certificate was revoked at `date` (Unix seconds), with this CRLReason.
    #[must_use]
    pub fn new(certificate: &Certificate, date: i64, reason: Option<u8>) -> Self {
        Self {
            serial: certificate.serial().to_vec(),
            date,
            reason,
            invalidity_date: None,
        }
    }
}

/// A revocation list to be made.
#[derive(Debug, Clone)]
pub struct Listing {
    /// thisUpdate, Unix seconds.
    pub this_update: i64,
    /// nextUpdate, Unix seconds.
    pub next_update: Option<i64>,
    /// cRLNumber: one octet and positive, so below 128.
    pub number: u8,
    /// What is revoked.
    pub entries: Vec<Listed>,
    /// expiredCertsOnCRL, Unix seconds.
    pub keeps_expired_since: Option<i64>,
    /// Value of issuingDistributionPoint, critical.
    pub scope: Option<Vec<u8>>,
}

impl Default for Listing {
    /// Made an hour before [`NOW`], for a week, with nothing in it.
    fn default() -> Self {
        Self {
            this_update: NOW - 3600,
            next_update: Some(NOW + 7 * DAY),
            number: 7,
            entries: Vec::new(),
            keeps_expired_since: None,
            scope: None,
        }
    }
}

impl OwnAuthority {
    /// A root of this name, from five years before [`NOW`] to ten years after, which may sign certificates and lists.
    #[must_use]
    pub fn root(name: &str) -> Self {
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        Self::root_with(name, key, authority_extensions(true))
    }

    /// A root that may sign certificates and no lists.
    #[must_use]
    pub fn root_without_lists(name: &str) -> Self {
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        Self::root_with(name, key, authority_extensions(false))
    }

    fn root_with(name: &str, key: PrivateKey, extensions: Vec<Vec<u8>>) -> Self {
        let tbs = Tbs {
            issuer: common_name(name),
            subject: common_name(name),
            validity: (NOW - 5 * YEAR, NOW + 10 * YEAR),
            key: key.public_key(),
            extensions,
        };
        Self {
            certificate: tbs.sign(&key),
            key: Arc::new(key),
        }
    }

    /// An authority below this one.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        self.below_with(name, &[])
    }

    /// An authority below this one with further extensions: identifier, critical, value.
    #[must_use]
    pub fn below_with(&self, name: &str, more: &[(ObjectIdentifier, bool, Vec<u8>)]) -> Self {
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let mut extensions = authority_extensions(true);
        extensions.extend(
            more.iter()
                .map(|(oid, critical, value)| extension(oid, *critical, value)),
        );
        let tbs = Tbs {
            issuer: self.certificate.subject_der().to_vec(),
            subject: common_name(name),
            validity: (NOW - 2 * YEAR, NOW + 3 * YEAR),
            key: key.public_key(),
            extensions,
        };
        Self {
            certificate: tbs.sign(&self.key),
            key: Arc::new(key),
        }
    }

    /// A new key and its certificate.
    #[must_use]
    pub fn issue(&self, leaf: &Leaf) -> Enrolled {
        let key = PrivateKey::generate(leaf.key_type).expect("a key");
        let mut extensions = vec![key_usage(0x80, 7)];
        if !leaf.purposes.is_empty() {
            let mut writer = Writer::new();
            writer.sequence(|w| leaf.purposes.iter().for_each(|purpose| w.oid(purpose)));
            extensions.push(extension(&oid::EXTENDED_KEY_USAGE, false, &writer.finish()));
        }
        if !leaf.names.is_empty() {
            let mut writer = Writer::new();
            writer.sequence(|w| leaf.names.iter().for_each(|(tag, name)| w.tlv(*tag, name)));
            extensions.push(extension(&oid::SUBJECT_ALT_NAME, false, &writer.finish()));
        }
        let more = leaf.extensions.iter();
        extensions.extend(more.map(|(oid, critical, value)| extension(oid, *critical, value)));
        let tbs = Tbs {
            issuer: self.certificate.subject_der().to_vec(),
            subject: common_name("leaf"),
            validity: leaf.validity,
            key: key.public_key(),
            extensions,
        };
        Enrolled {
            certificate: tbs.sign(&self.key),
            key: Arc::new(key),
        }
    }

    /// A revocation list.
    #[must_use]
    pub fn revocation_list(&self, listing: &Listing) -> CertificateRevocationList {
        let der = signed(&self.key, |w, algorithm| {
            w.integer(1);
            w.raw(algorithm);
            w.raw(self.certificate.subject_der());
            w.raw(&time(listing.this_update));
            if let Some(next_update) = listing.next_update {
                w.raw(&time(next_update));
            }
            if !listing.entries.is_empty() {
                w.sequence(|w| listing.entries.iter().for_each(|listed| entry(w, listed)));
            }
            w.nested(tag::context_constructed(0), |w| {
                w.sequence(|w| {
                    let number = [tag::INTEGER, 1, listing.number];
                    w.raw(&extension(&oid::CRL_NUMBER, false, &number));
                    if let Some(since) = listing.keeps_expired_since {
                        let value = generalized(since);
                        w.raw(&extension(&oid::EXPIRED_CERTS_ON_CRL, false, &value));
                    }
                    if let Some(scope) = &listing.scope {
                        w.raw(&extension(&oid::ISSUING_DISTRIBUTION_POINT, true, scope));
                    }
                });
            });
        });
        CertificateRevocationList::from_der(der).expect("a list")
    }
}

fn entry(w: &mut Writer, listed: &Listed) {
    w.sequence(|w| {
        w.tlv(tag::INTEGER, &listed.serial);
        w.raw(&time(listed.date));
        let mut extensions = Vec::new();
        if let Some(reason) = listed.reason {
            let value = [tag::ENUMERATED, 1, reason];
            extensions.push(extension(&oid::CRL_REASON, false, &value));
        }
        if let Some(date) = listed.invalidity_date {
            extensions.push(extension(&oid::INVALIDITY_DATE, false, &generalized(date)));
        }
        if !extensions.is_empty() {
            w.sequence(|w| extensions.iter().for_each(|extension| w.raw(extension)));
        }
    });
}

struct Tbs<'a> {
    issuer: Vec<u8>,
    subject: Vec<u8>,
    validity: (i64, i64),
    key: &'a PublicKey,
    extensions: Vec<Vec<u8>>,
}

impl Tbs<'_> {
    fn sign(&self, key: &PrivateKey) -> Certificate {
        let mut serial = random_bytes::<16>();
        // Positive, and of full length.
        serial[0] = 0x40 | (serial[0] & 0x3f);
        let der = signed(key, |w, algorithm| {
            w.nested(tag::context_constructed(0), |w| w.integer(2));
            w.tlv(tag::INTEGER, &serial);
            w.raw(algorithm);
            w.raw(&self.issuer);
            w.sequence(|w| {
                w.raw(&time(self.validity.0));
                w.raw(&time(self.validity.1));
            });
            w.raw(&self.subject);
            w.raw(self.key.spki_der());
            w.nested(tag::context_constructed(3), |w| {
                w.sequence(|w| {
                    self.extensions
                        .iter()
                        .for_each(|extension| w.raw(extension))
                });
            });
        });
        Certificate::from_der(der).expect("a certificate")
    }
}

/// `SEQUENCE { to-be-signed, algorithm, signature }`
fn signed(key: &PrivateKey, content: impl FnOnce(&mut Writer, &[u8])) -> Vec<u8> {
    let algorithm = key.key_type().default_algorithm();
    let scheme = SignatureScheme::of(algorithm).expect("it signs certificates");
    let identifier = scheme.identifier_der();
    let mut tbs = Writer::new();
    tbs.sequence(|w| content(w, &identifier));
    let tbs = tbs.finish();
    let signature = key.sign(algorithm, &tbs).expect("a signature");
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.raw(&tbs);
        w.raw(&identifier);
        w.bit_string(&signature);
    });
    writer.finish()
}

fn authority_extensions(may_list: bool) -> Vec<Vec<u8>> {
    let constraints = asn1::encode_sequence(&[&[tag::BOOLEAN, 1, 0xff]]);
    // keyCertSign alone, or with cRLSign.
    let usage = if may_list {
        key_usage(0x06, 1)
    } else {
        key_usage(0x04, 2)
    };
    vec![
        usage,
        extension(&oid::BASIC_CONSTRAINTS, true, &constraints),
    ]
}

fn key_usage(bits: u8, unused: u8) -> Vec<u8> {
    let value = [tag::BIT_STRING, 2, unused, bits];
    extension(&oid::KEY_USAGE, true, &value)
}

fn extension(oid: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.oid(oid);
        if critical {
            w.boolean(true);
        }
        w.octet_string(value);
    });
    writer.finish()
}

fn common_name(text: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.nested(tag::SET, |w| {
            w.sequence(|w| {
                w.oid(&oid::COMMON_NAME);
                w.utf8_string(text);
            });
        });
    });
    writer.finish()
}

fn time(unix: i64) -> Vec<u8> {
    let (tag, text) = asn1::certificate_time(unix).expect("a year of four digits");
    asn1::encode(tag, text.as_bytes())
}

fn generalized(unix: i64) -> Vec<u8> {
    let text = asn1::generalized_time(unix).expect("a year of four digits");
    asn1::encode(tag::GENERALIZED_TIME, text.as_bytes())
}
