//! Revocation lists: made by OpenSSL and read, forged one flaw at a time and refused for that flaw.

use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_pki::asn1::{self, Writer, tag};
use sealwright_pki::crl::{MAX_CRL_BYTES, MAX_LISTS};
use sealwright_pki::error::{CrlFault, DerFault, PemFault};
use sealwright_pki::{
    Certificate, CertificateRevocationList, Error, ObjectIdentifier, Revocation, RevocationReason,
    SignatureScheme, oid,
};

use crate::forge::{Forge, NOW, basic_constraints, ca_usage, extension, key, key_usage, name_der};
use crate::openssl::Bench;

const HOUR: i64 = 3600;
const UNKNOWN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.3.4");

/// A revocation list of any kind, right or wrong.
struct List {
    version: Option<u64>,
    issuer: Vec<u8>,
    this_update: i64,
    next_update: Option<i64>,
    /// `None` leaves revokedCertificates out.
    entries: Option<Vec<Vec<u8>>>,
    extensions: Option<Vec<Vec<u8>>>,
    /// The unsigned copy of the algorithm, when it is to differ.
    outer_algorithm: Option<Vec<u8>>,
}

impl List {
    fn by(issuer: &str) -> Self {
        Self {
            version: Some(1),
            issuer: name_der(issuer),
            this_update: NOW - HOUR,
            next_update: Some(NOW + HOUR),
            entries: None,
            extensions: Some(vec![number(&[7])]),
            outer_algorithm: None,
        }
    }

    fn listing(mut self, entries: Vec<Vec<u8>>) -> Self {
        self.entries = Some(entries);
        self
    }

    fn plus(mut self, extension: Vec<u8>) -> Self {
        self.extensions.get_or_insert_default().push(extension);
        self
    }

    fn tbs(&self, identifier: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.sequence(|w| {
            if let Some(version) = self.version {
                w.integer(version);
            }
            w.raw(identifier);
            w.raw(&self.issuer);
            w.raw(&time(self.this_update));
            if let Some(next_update) = self.next_update {
                w.raw(&time(next_update));
            }
            if let Some(entries) = &self.entries {
                w.sequence(|w| entries.iter().for_each(|entry| w.raw(entry)));
            }
            if let Some(extensions) = &self.extensions {
                w.nested(tag::context_constructed(0), |w| {
                    w.sequence(|w| extensions.iter().for_each(|extension| w.raw(extension)));
                });
            }
        });
        writer.finish()
    }

    fn sign_der(&self, key: &PrivateKey) -> Vec<u8> {
        let algorithm = key.key_type().default_algorithm();
        let own = SignatureScheme::of(algorithm).unwrap().identifier_der();
        let tbs = self.tbs(&own);
        let signature = key.sign(algorithm, &tbs).unwrap();
        let mut writer = Writer::new();
        writer.sequence(|w| {
            w.raw(&tbs);
            w.raw(self.outer_algorithm.as_ref().unwrap_or(&own));
            w.bit_string(&signature);
        });
        writer.finish()
    }

    fn sign(&self, key: &PrivateKey) -> CertificateRevocationList {
        CertificateRevocationList::from_der(self.sign_der(key)).unwrap()
    }

    fn fault(&self) -> Error {
        CertificateRevocationList::from_der(self.sign_der(&key())).expect_err("it has a flaw")
    }
}

fn time(unix: i64) -> Vec<u8> {
    let (tag, text) = asn1::certificate_time(unix).unwrap();
    asn1::encode(tag, text.as_bytes())
}

fn number(magnitude: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.unsigned_integer(magnitude);
    extension(&oid::CRL_NUMBER, false, &writer.finish())
}

fn entry(serial: &[u8], date: i64, extensions: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.tlv(tag::INTEGER, serial);
        w.raw(&time(date));
        if !extensions.is_empty() {
            w.sequence(|w| extensions.iter().for_each(|extension| w.raw(extension)));
        }
    });
    writer.finish()
}

fn reason(code: u8) -> Vec<u8> {
    extension(&oid::CRL_REASON, false, &[tag::ENUMERATED, 1, code])
}

fn invalidity_date(unix: i64) -> Vec<u8> {
    let text = asn1::generalized_time(unix).unwrap();
    let value = asn1::encode(tag::GENERALIZED_TIME, text.as_bytes());
    extension(&oid::INVALIDITY_DATE, false, &value)
}

/// issuingDistributionPoint with these fields.
fn scope(fields: &[&[u8]]) -> Vec<u8> {
    let value = asn1::encode_sequence(fields);
    extension(&oid::ISSUING_DISTRIBUTION_POINT, true, &value)
}

fn uri_name(uri: &str) -> Vec<u8> {
    asn1::encode(tag::context(6), uri.as_bytes())
}

/// `distributionPoint [0] { fullName [0] { URI } }`
fn point(uri: &str) -> Vec<u8> {
    let names = asn1::encode(tag::context_constructed(0), &uri_name(uri));
    asn1::encode(tag::context_constructed(0), &names)
}

fn leaf_below(issuer: &str, serial: &[u8], key: &PrivateKey) -> Certificate {
    let mut leaf = Forge::leaf(issuer, key.public_key());
    leaf.serial = serial.to_vec();
    leaf.sign(key)
}

#[test]
fn a_list_says_who_made_it_when_and_what_it_takes_back() {
    let signer = key();
    let list = List::by("authority").listing(vec![
        entry(&[1], NOW - 50, &[]),
        entry(&[0, 0x80], NOW - 40, &[reason(4)]),
        entry(&[3], NOW - 30, &[reason(1), invalidity_date(NOW - 300)]),
        entry(&[4], NOW - 30, &[invalidity_date(NOW + 300), reason(6)]),
        entry(
            &[5],
            NOW - 20,
            &[extension(&UNKNOWN, false, b"whatever"), reason(5)],
        ),
    ]);
    let list = list.sign(&signer);
    assert_eq!(list.issuer(), "CN=authority");
    assert_eq!(list.this_update(), NOW - HOUR);
    assert_eq!(list.next_update(), Some(NOW + HOUR));
    assert_eq!(list.number_hex().as_deref(), Some("07"));
    assert_eq!(list.entry_count(), 5);
    let revocation = |serial: &[u8]| list.revocation(serial);
    let expect = |date, invalidity_date, reason| {
        Some(Revocation {
            date,
            invalidity_date,
            reason,
        })
    };
    assert_eq!(
        revocation(&[1]),
        expect(NOW - 50, None, RevocationReason::Unspecified)
    );
    assert_eq!(
        revocation(&[0, 0x80]),
        expect(NOW - 40, None, RevocationReason::Superseded)
    );
    let stolen = revocation(&[3]).expect("listed");
    assert_eq!(stolen.reason, RevocationReason::KeyCompromise);
    assert_eq!(stolen.since(), NOW - 300, "the key was stolen before");
    let held = revocation(&[4]).expect("listed");
    assert_eq!(held.reason, RevocationReason::CertificateHold);
    assert_eq!(held.since(), NOW - 30, "a later date excuses nothing");
    assert_eq!(
        revocation(&[5]).map(|revocation| revocation.reason),
        Some(RevocationReason::CessationOfOperation)
    );
    for absent in [&[2][..], &[0x80], &[0, 1], &[]] {
        assert_eq!(revocation(absent), None, "{absent:?}");
    }
}

#[test]
fn both_ends_of_a_list_are_current_and_nothing_beyond() {
    let list = List::by("authority").sign(&key());
    assert!(list.is_current_at(NOW - HOUR) && list.is_current_at(NOW + HOUR));
    assert!(!list.is_current_at(NOW - HOUR - 1) && !list.is_current_at(NOW + HOUR + 1));
    let mut endless = List::by("authority");
    endless.next_update = None;
    let endless = endless.sign(&key());
    assert_eq!(endless.next_update(), None);
    assert!(!endless.is_current_at(NOW), "it does not say until when");
}

#[test]
fn of_several_entries_the_gravest_counts() {
    let orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2]];
    for order in orders {
        let entries = [
            entry(&[9], NOW - 500, &[reason(4)]),
            entry(&[9], NOW - 100, &[reason(1)]),
            entry(&[9], NOW - 200, &[reason(1)]),
        ];
        let entries = order.iter().filter_map(|at| entries.get(*at).cloned());
        let list = List::by("authority")
            .listing(entries.collect())
            .sign(&key());
        let found = list.revocation(&[9]).expect("listed");
        assert_eq!(found.reason, RevocationReason::KeyCompromise, "{order:?}");
        assert_eq!(found.date, NOW - 200, "{order:?}");
    }
}

#[test]
fn every_reason_is_read_and_three_are_orderly() {
    let mut orderly = Vec::new();
    for code in 0..=255 {
        let list = List::by("authority").listing(vec![entry(&[1], NOW, &[reason(code)])]);
        if matches!(code, 7 | 8 | 11..) {
            // Negative numbers are no reason codes at all; 8, removeFromCRL, belongs into delta lists.
            let fault = list.fault();
            let expected = match code {
                0x80.. => matches!(
                    fault,
                    Error::Malformed {
                        what: "reasonCode",
                        fault: DerFault::Integer
                    }
                ),
                _ => {
                    fault
                        == Error::RevocationList(CrlFault::Reason {
                            code: u64::from(code),
                        })
                }
            };
            assert!(expected, "{code}: {fault}");
            continue;
        }
        let found = list.sign(&key()).revocation(&[1]).expect("listed");
        if found.reason.is_orderly() {
            orderly.push(found.reason.name());
        }
    }
    assert_eq!(
        orderly,
        ["affiliationChanged", "superseded", "cessationOfOperation"]
    );
}

#[test]
fn version_1_has_no_extensions() {
    let mut list = List::by("authority");
    list.version = None;
    list.extensions = None;
    let plain = list.listing(vec![entry(&[1], NOW, &[])]);
    assert_eq!(plain.sign(&key()).entry_count(), 1);
    let mut with_extensions = List::by("authority");
    with_extensions.version = None;
    let with_entry_extensions = plain.listing(vec![entry(&[1], NOW, &[reason(1)])]);
    for list in [with_extensions, with_entry_extensions] {
        let fault = list.fault();
        assert!(
            matches!(
                fault,
                Error::Malformed {
                    fault: DerFault::Value,
                    ..
                }
            ),
            "{fault}"
        );
    }
    for version in [0, 2, 3] {
        let mut list = List::by("authority");
        list.version = Some(version);
        assert!(
            matches!(
                list.fault(),
                Error::Malformed {
                    what: "version",
                    ..
                }
            ),
            "{version}"
        );
    }
}

#[test]
fn lists_that_do_not_speak_for_all_are_refused() {
    let flag = |number| asn1::encode(tag::context(number), &[0xff]);
    let some_reasons = asn1::encode(tag::context(3), &[6, 0x40]);
    let relative = asn1::encode(
        tag::context_constructed(0),
        &asn1::encode(tag::context_constructed(1), &[]),
    );
    let base = extension(&oid::DELTA_CRL_INDICATOR, true, &[tag::INTEGER, 1, 1]);
    for (extension, fault) in [
        (base, CrlFault::Delta),
        (scope(&[&flag(4)]), CrlFault::Indirect),
        (scope(&[&some_reasons]), CrlFault::Partial("some reasons")),
        (
            scope(&[&flag(5)]),
            CrlFault::Partial("attribute certificates"),
        ),
        (scope(&[&relative]), CrlFault::RelativeDistributionPoint),
        (
            extension(&UNKNOWN, true, b"x"),
            CrlFault::UnknownCriticalExtension { oid: UNKNOWN },
        ),
    ] {
        let list = List::by("authority").plus(extension);
        assert_eq!(list.fault(), Error::RevocationList(fault));
    }
    let harmless = List::by("authority").plus(extension(&UNKNOWN, false, b"x"));
    assert_eq!(harmless.sign(&key()).entry_count(), 0);
}

#[test]
fn entries_that_mean_something_else_refuse_the_list() {
    let other_issuer = extension(&oid::CERTIFICATE_ISSUER, true, &asn1::encode_sequence(&[]));
    let unknown = CrlFault::UnknownCriticalExtension { oid: UNKNOWN };
    for (extension, fault) in [
        (other_issuer, CrlFault::Indirect),
        (extension(&UNKNOWN, true, b"x"), unknown),
    ] {
        let entries = vec![entry(&[1], NOW, &[]), entry(&[2], NOW, &[extension])];
        let list = List::by("authority").listing(entries);
        assert_eq!(list.fault(), Error::RevocationList(fault));
    }
}

#[test]
fn malformed_lists_are_refused_for_what_is_wrong() {
    let entries = |entry: Vec<u8>| List::by("authority").listing(vec![entry]);
    let plus = |extension: Vec<u8>| List::by("authority").plus(extension);
    let no_time = asn1::encode_sequence(&[&[tag::INTEGER, 1, 1]]);
    let empty_extensions =
        asn1::encode_sequence(&[&[tag::INTEGER, 1, 1], &time(NOW), &[tag::SEQUENCE, 0]]);
    let trailing = asn1::encode_sequence(&[&[tag::INTEGER, 1, 1], &time(NOW), &[tag::NULL, 0]]);
    let utc_invalidity = extension(&oid::INVALIDITY_DATE, false, &time(NOW));
    let reason_integer = extension(&oid::CRL_REASON, false, &[tag::INTEGER, 1, 1]);
    let false_flag = asn1::encode(tag::context(1), &[0]);
    let (only_users, only_authorities) = (
        asn1::encode(tag::context(1), &[0xff]),
        asn1::encode(tag::context(2), &[0xff]),
    );
    let no_names = asn1::encode(
        tag::context_constructed(0),
        &asn1::encode(tag::context_constructed(0), &[]),
    );
    let mut no_extensions = List::by("authority");
    no_extensions.extensions = Some(Vec::new());
    let mut other_algorithm = List::by("authority");
    other_algorithm.outer_algorithm = Some(SignatureScheme::Ed25519.identifier_der());
    let mut no_issuer = List::by("authority");
    no_issuer.issuer = vec![tag::SEQUENCE, 2, tag::SET, 0];
    for (name, list, expected) in [
        (
            "an entry without a date",
            entries(no_time),
            "revocationDate",
        ),
        (
            "an empty list of entry extensions",
            entries(empty_extensions),
            "crlEntryExtensions",
        ),
        (
            "something after an entry",
            entries(trailing),
            "revoked certificate",
        ),
        (
            "a padded serial number",
            entries(entry(&[0, 1], NOW, &[])),
            "userCertificate",
        ),
        (
            "an entry that is none",
            entries(vec![tag::NULL, 0]),
            "revoked certificate",
        ),
        (
            "a reason twice",
            entries(entry(&[1], NOW, &[reason(1), reason(1)])),
            "crlEntryExtensions",
        ),
        (
            "a reason of another type",
            entries(entry(&[1], NOW, &[reason_integer])),
            "reasonCode",
        ),
        (
            "an invalidity date in UTCTime",
            entries(entry(&[1], NOW, &[utc_invalidity])),
            "invalidityDate",
        ),
        ("a number twice", plus(number(&[8])), "crlExtensions"),
        (
            "no extension in the list of them",
            no_extensions,
            "crlExtensions",
        ),
        (
            "a negative number",
            {
                let mut list = List::by("authority");
                list.extensions = Some(vec![extension(
                    &oid::CRL_NUMBER,
                    false,
                    &[tag::INTEGER, 1, 0x80],
                )]);
                list
            },
            "cRLNumber",
        ),
        (
            "an encoded default",
            plus(scope(&[&false_flag])),
            "issuingDistributionPoint",
        ),
        (
            "a list for nobody",
            plus(scope(&[&only_users, &only_authorities])),
            "issuingDistributionPoint",
        ),
        (
            "a distribution point without a name",
            plus(scope(&[&no_names])),
            "distributionPoint",
        ),
        (
            "an authority key identifier that is none",
            plus(extension(
                &oid::AUTHORITY_KEY_IDENTIFIER,
                false,
                &[tag::NULL, 0],
            )),
            "authorityKeyIdentifier",
        ),
        (
            "an expiry rule in UTCTime",
            plus(extension(&oid::EXPIRED_CERTS_ON_CRL, false, &time(NOW))),
            "expiredCertsOnCRL",
        ),
        ("two algorithms", other_algorithm, "signatureAlgorithm"),
        ("an issuer that is no name", no_issuer, "issuer"),
    ] {
        match list.fault() {
            Error::Malformed { what, .. } => assert_eq!(what, expected, "{name}"),
            other => panic!("{name}: {other}"),
        }
    }
    let whole = List::by("authority").sign_der(&key());
    let longer = [&whole[..], &[0]].concat();
    assert!(CertificateRevocationList::from_der(longer).is_err());
    for end in 0..whole.len() {
        let cut = whole[..end].to_vec();
        assert!(CertificateRevocationList::from_der(cut).is_err(), "{end}");
    }
}

#[test]
fn only_the_issuers_key_makes_a_list_and_only_if_it_may() {
    let signer = key();
    let authority =
        |extensions| Forge::new("root", "authority", signer.public_key()).with(extensions);
    let ca = || basic_constraints(true, None);
    let may = authority(vec![ca_usage(), ca()]).sign(&key());
    let silent = authority(vec![ca()]).sign(&key());
    // keyCertSign without cRLSign.
    let may_not = authority(vec![key_usage(0x04, 2), ca()]).sign(&key());
    let list = List::by("authority").sign(&signer);
    assert_eq!(list.verify_issuer(&may), Ok(()));
    assert_eq!(list.clone().verify_issuer(&may), Ok(()), "remembered");
    assert_eq!(list.verify_issuer(&silent), Ok(()));
    let fault = list
        .verify_issuer(&may_not)
        .expect_err("it may not, though its key did");
    assert!(
        matches!(fault, Error::RevocationList(CrlFault::MayNotSign { .. })),
        "{fault}"
    );
    let stranger = Forge::authority("root", "authority", key().public_key()).sign(&key());
    let fault = list.verify_issuer(&stranger).expect_err("another key");
    assert!(matches!(fault, Error::Signature { .. }), "{fault}");

    let mut forged = List::by("authority").sign_der(&signer);
    let at = forged.len() - 1;
    forged[at] ^= 1;
    let forged = CertificateRevocationList::from_der(forged).expect("well formed");
    assert!(forged.verify_issuer(&may).is_err());
    assert_eq!(
        list.verify_issuer(&may),
        Ok(()),
        "the forgery has a memory of its own"
    );
}

#[test]
fn a_list_speaks_for_its_issuers_certificates_and_no_others() {
    let signer = key();
    let flag = |number| asn1::encode(tag::context(number), &[0xff]);
    let leaf = leaf_below("authority", &[1], &signer);
    let authority = Forge::authority("authority", "sub", signer.public_key()).sign(&signer);
    let elsewhere = leaf_below("another", &[1], &signer);
    let list = |extension| List::by("authority").plus(extension).sign(&signer);
    let all = List::by("authority").sign(&signer);
    assert!(all.covers(&leaf) && all.covers(&authority) && !all.covers(&elsewhere));
    let users = list(scope(&[&flag(1)]));
    assert!(users.covers(&leaf) && !users.covers(&authority));
    let authorities = list(scope(&[&flag(2)]));
    assert!(!authorities.covers(&leaf) && authorities.covers(&authority));
}

#[test]
fn a_list_of_one_distribution_point_speaks_for_those_who_name_it() {
    let signer = key();
    let (here, there) = (point("http://crl.example/1"), point("http://crl.example/2"));
    let reasons = asn1::encode(tag::context(1), &[6, 0x40]);
    let other_issuer = asn1::encode(
        tag::context_constructed(2),
        &uri_name("http://other.example"),
    );
    let list = List::by("authority").plus(scope(&[&here])).sign(&signer);
    let leaf = |points: &[Vec<u8>]| {
        let value = asn1::encode_sequence(&points.iter().map(Vec::as_slice).collect::<Vec<_>>());
        Forge::leaf("authority", signer.public_key())
            .plus(extension(&oid::CRL_DISTRIBUTION_POINTS, false, &value))
            .sign(&signer)
    };
    let one = |parts: &[&[u8]]| asn1::encode_sequence(parts);
    assert!(list.covers(&leaf(&[one(&[&here])])));
    assert!(list.covers(&leaf(&[one(&[&there]), one(&[&here])])));
    assert!(!list.covers(&leaf(&[one(&[&there])])), "another part");
    assert!(
        !list.covers(&leaf(&[one(&[&here, &reasons])])),
        "for some reasons"
    );
    assert!(
        !list.covers(&leaf(&[one(&[&here, &other_issuer])])),
        "of another issuer"
    );
    assert!(
        !list.covers(&leaf(&[vec![tag::NULL, 0]])),
        "it cannot be read"
    );
    assert!(
        !list.covers(&leaf_below("authority", &[1], &signer)),
        "it names none"
    );
    let undivided = List::by("authority").sign(&signer);
    assert!(
        undivided.covers(&leaf(&[one(&[&there])])),
        "one list for all"
    );
}

#[test]
fn lists_come_in_der_and_in_pem() {
    let signer = key();
    let list = List::by("authority").sign(&signer);
    let block = |der: &[u8]| sealwright_pki::pem::encode("X509 CRL", der);
    let pem = block(list.der());
    assert_eq!(
        CertificateRevocationList::from_pem(&pem).as_ref(),
        Ok(&list)
    );
    let other = List::by("other").sign(&signer);
    let both = format!("issued today\n{pem}{}", block(other.der()));
    let read = CertificateRevocationList::parse_file(both.as_bytes());
    assert_eq!(read, Ok(vec![list.clone(), other]));
    let read = CertificateRevocationList::parse_file(list.der());
    assert_eq!(read, Ok(vec![list.clone()]));
    assert!(
        CertificateRevocationList::from_pem(&both).is_err(),
        "exactly one"
    );
    for (text, fault) in [
        (String::new(), PemFault::NoBlock),
        (
            pem.replace("X509 CRL", "CERTIFICATE"),
            PemFault::Label {
                found: "CERTIFICATE".into(),
                accepted: "X509 CRL",
            },
        ),
        (
            pem.repeat(MAX_LISTS + 1),
            PemFault::TooMany { limit: MAX_LISTS },
        ),
        (pem.replace("-----END", "-----ENDE"), PemFault::Unterminated),
    ] {
        let found = CertificateRevocationList::parse_file(text.as_bytes());
        assert_eq!(found, Err(Error::Pem(fault)));
    }
}

#[test]
fn a_list_may_be_long_but_not_endless() {
    let signer = key();
    let entry = |number: u32| {
        let serial = [&[1][..], &number.to_be_bytes()].concat();
        entry(&serial, NOW - 1, &[reason(4)])
    };
    let entries: Vec<_> = (0..60_000).map(entry).collect();
    let long = List::by("authority").listing(entries).sign(&signer);
    assert!(long.der().len() > 2_000_000 && long.der().len() < MAX_CRL_BYTES);
    assert_eq!(long.entry_count(), 60_000);
    let last = [&[1][..], &59_999_u32.to_be_bytes()].concat();
    assert!(long.revocation(&last).is_some());
    let next = [&[1][..], &60_000_u32.to_be_bytes()].concat();
    assert!(long.revocation(&next).is_none());
    let over = CertificateRevocationList::from_der(vec![0; MAX_CRL_BYTES + 1]);
    assert!(matches!(over, Err(Error::TooLarge { .. })));
    let over = CertificateRevocationList::parse_file(&vec![b'0'; MAX_CRL_BYTES * 2]);
    assert!(matches!(over, Err(Error::TooLarge { .. })));
}

/// Files of an authority that OpenSSL runs.
fn openssl_authority(bench: &Bench) {
    bench.write(
        "ca.cnf",
        "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\n\
         crlnumber = crlnumber\ndefault_md = sha256\ndefault_days = 30\ndefault_crl_days = 7\npolicy = any\n\
         crl_extensions = list\nunique_subject = no\n\
         [any]\ncommonName = supplied\n\
         [list]\nauthorityKeyIdentifier = keyid:always\n\
         [point]\nauthorityKeyIdentifier = keyid:always\nissuingDistributionPoint = critical, @where\n\
         [where]\nfullname = URI:http://crl.example/1\nonlyuser = TRUE\n\
         [indirect]\nissuingDistributionPoint = critical, @stranger\n\
         [stranger]\nindirectCRL = TRUE\n\
         [delta]\n2.5.29.27 = critical, ASN1:INTEGER:1\n\
         [req]\ndistinguished_name = dn\nprompt = no\nx509_extensions = root\n[dn]\nCN = own root\n\
         [root]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
         subjectKeyIdentifier = hash\n\
         [leaf]\nkeyUsage = critical, digitalSignature\nextendedKeyUsage = codeSigning\n\
         crlDistributionPoints = URI:http://crl.example/1\n",
    );
    bench.write("index.txt", "");
    bench.write("serial", "8001\n");
    bench.write("crlnumber", "ff\n");
}

#[test]
fn lists_that_openssl_makes_are_read() {
    for (kind, digest) in [
        ("rsa:2048", "-sha256"),
        ("ec:prime256v1", "-sha256"),
        ("ec:secp384r1", "-sha384"),
    ] {
        let bench = Bench::new();
        openssl_authority(&bench);
        let run = |line: &str| bench.openssl(&line.split_whitespace().collect::<Vec<_>>());
        let generate = |out: &str| match kind.split_once(':') {
            Some(("ec", curve)) => run(&format!(
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:{curve} -out {out}"
            )),
            _ => run(&format!(
                "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {out}"
            )),
        };
        generate("root.key");
        generate("leaf.key");
        run(&format!(
            "req -x509 -new -config ca.cnf -key root.key {digest} -days 100 -out root.pem"
        ));
        let ca = "ca -config ca.cnf -cert root.pem -keyfile root.key -batch -notext";
        for number in 1..=4 {
            run(&format!(
                "req -new -key leaf.key -subj /CN=leaf{number} -out leaf.csr"
            ));
            run(&format!(
                "{ca} -extfile ca.cnf -extensions leaf -in leaf.csr -out leaf{number}.pem"
            ));
        }
        run(&format!("{ca} -revoke leaf1.pem"));
        run(&format!("{ca} -revoke leaf2.pem -crl_reason superseded"));
        run(&format!(
            "{ca} -revoke leaf3.pem -crl_compromise 20250102030405Z"
        ));
        run(&format!("{ca} -gencrl -out list.pem"));
        run("crl -in list.pem -outform DER -out list.der");

        let certificate =
            |name: &str| Certificate::from_pem(&bench.read(&bench.path(name))).unwrap();
        let root = certificate("root.pem");
        let list =
            CertificateRevocationList::from_pem(&bench.read(&bench.path("list.pem"))).unwrap();
        let der = std::fs::read(bench.path("list.der")).unwrap();
        assert_eq!(
            CertificateRevocationList::parse_file(&der),
            Ok(vec![list.clone()])
        );
        assert_eq!(list.verify_issuer(&root), Ok(()), "{kind}");
        assert_eq!(list.issuer(), root.subject());
        assert_eq!(list.number_hex().as_deref(), Some("ff"));
        assert_eq!(list.next_update(), Some(list.this_update() + 7 * 24 * HOUR));
        assert_eq!(list.entry_count(), 3);
        let reasons: Vec<_> = (1..=4)
            .map(|number| {
                let leaf = certificate(&format!("leaf{number}.pem"));
                assert!(list.covers(&leaf));
                list.revocation(leaf.serial())
                    .map(|found| found.reason.name())
            })
            .collect();
        assert_eq!(
            reasons,
            [
                Some("unspecified"),
                Some("superseded"),
                Some("keyCompromise"),
                None
            ]
        );
        let stolen = list
            .revocation(certificate("leaf3.pem").serial())
            .expect("listed");
        assert_eq!(stolen.since(), 1_735_787_045, "2025-01-02T03:04:05Z");

        run(&format!("{ca} -gencrl -crlexts point -out part.pem"));
        let part =
            CertificateRevocationList::from_pem(&bench.read(&bench.path("part.pem"))).unwrap();
        assert!(part.covers(&certificate("leaf1.pem")) && !part.covers(&root));
        assert_eq!(part.number_hex().as_deref(), Some("0100"));
        for (section, fault) in [("indirect", CrlFault::Indirect), ("delta", CrlFault::Delta)] {
            run(&format!("{ca} -gencrl -crlexts {section} -out odd.pem"));
            let odd = CertificateRevocationList::from_pem(&bench.read(&bench.path("odd.pem")));
            assert_eq!(odd, Err(Error::RevocationList(fault)));
        }
    }
}

#[test]
fn openssl_reads_what_the_forge_makes() {
    let signer = PrivateKey::generate(KeyType::EcP384).unwrap();
    let bench = Bench::new();
    let list = List::by("authority").listing(vec![
        entry(&[1], NOW, &[reason(1), invalidity_date(NOW - 5)]),
        entry(&[2], NOW, &[]),
    ]);
    let list = list.sign(&signer);
    bench.write(
        "list.pem",
        &sealwright_pki::pem::encode("X509 CRL", list.der()),
    );
    let shown = bench.openssl(&["crl", "-in", "list.pem", "-noout", "-text"]);
    for expected in [
        "Version 2",
        "CN = authority",
        "Key Compromise",
        "Serial Number: 02",
        "CRL Number",
    ] {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}
