//! Bytes that nobody honest sends.

use std::sync::OnceLock;

use proptest::prelude::*;
use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_pki::asn1::{self, tag};
use sealwright_pki::certificate::{self, MAX_CERTIFICATE_BYTES};
use sealwright_pki::{
    Certificate, CertificateRequest, ChainFault, DerFault, Error, Identity, Purpose,
    SignedCertificateTimestamp, parse_pem_chain, pem_chain, request, sct, verify_chain,
};
use x509_cert::der::{Decode as _, Encode as _};

use crate::forge::{
    Authority, Forge, NOW, code_signing_authority, extension, key, leaf_usage, name_der,
};
use crate::issuance::{issue, workflow_identity};

/// One certificate with every row of the profile and a timestamp, and who issued it.
fn sample() -> &'static (Authority, Certificate) {
    static SAMPLE: OnceLock<(Authority, Certificate)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let authority = code_signing_authority(KeyType::EcP256);
        let certificate = issue(&authority, &workflow_identity(), &key(), &key());
        (authority, certificate)
    })
}

/// Permitted are a host, a mailbox, a network and a directory name; excluded is a domain.
fn name_constraints() -> Vec<u8> {
    let directory = asn1::encode(tag::context_constructed(4), &name_der("x"));
    let permitted = [
        asn1::encode(tag::context(6), b"example.com"),
        asn1::encode(tag::context(1), b"a@b.c"),
        asn1::encode(tag::context(7), &[10, 0, 0, 0, 255, 0, 0, 0]),
        directory,
    ];
    let excluded = [asn1::encode(tag::context(2), b"example.org")];
    let subtrees = |number, bases: &[Vec<u8>]| {
        let subtrees: Vec<_> = bases
            .iter()
            .map(|base| asn1::encode_sequence(&[base]))
            .collect();
        asn1::encode(tag::context_constructed(number), &subtrees.concat())
    };
    asn1::encode_sequence(&[&subtrees(0, &permitted), &subtrees(1, &excluded)])
}

/// Two keys for forgeries, made once.
fn forgers() -> &'static (PrivateKey, PrivateKey) {
    static KEYS: OnceLock<(PrivateKey, PrivateKey)> = OnceLock::new();
    KEYS.get_or_init(|| (key(), key()))
}

/// Calls everything that reads; answers whether the bytes parsed.
fn read_all(der: &[u8]) -> bool {
    let (authority, _) = sample();
    let _ = sct::parse_list_extension(der);
    let _ = sct::parse_list(der);
    let _ = sct::precertificate_tbs(der);
    let _ = SignedCertificateTimestamp::parse(der).map(|timestamp| timestamp.leaf_index());
    let _ = CertificateRequest::from_der(der)
        .map(|request| request.verify(&request::DEFAULT_PERMITTED_ALGORITHMS));
    let Ok(certificate) = Certificate::from_der(der) else {
        return false;
    };
    assert_eq!(certificate.der(), der);
    let _ = (
        certificate.subject(),
        certificate.issuer(),
        certificate.serial_hex(),
        format!("{certificate:?}"),
    );
    let _ = certificate.public_key();
    let _ = Identity::from_certificate(&certificate);
    let _ = sct::embedded_scts(&certificate).map(|timestamps| {
        timestamps
            .iter()
            .map(SignedCertificateTimestamp::leaf_index)
            .count()
    });
    let (intermediates, anchors) = ([authority.intermediate.clone()], [authority.root.clone()]);
    let verdict = verify_chain(
        &certificate,
        &intermediates,
        &anchors,
        NOW,
        Purpose::CodeSigning,
    );
    // Whatever was changed was signed, or was the signature, or was its unsigned identifier, which must agree.
    assert_eq!(verdict.is_ok(), certificate == sample().1);
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_octets_never_panic_and_never_verify(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut der = sample().1.der().to_vec();
        for (position, octet) in changes {
            let position = position.index(der.len());
            der[position] = octet;
        }
        read_all(&der);
    }

    #[test]
    fn cut_and_pasted_certificates_never_panic(from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), length in 0_usize..64) {
        let mut der = sample().1.der().to_vec();
        let piece: Vec<u8> = der.iter().copied().skip(from.index(der.len())).take(length).collect();
        let to = to.index(der.len());
        der.splice(to..to, piece);
        read_all(&der);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn what_we_parse_the_other_parser_parses_alike(position in any::<prop::sample::Index>(), octet in any::<u8>()) {
        let mut der = sample().1.der().to_vec();
        let position = position.index(der.len());
        der[position] = octet;
        if let (Ok(ours), Ok(theirs)) = (Certificate::from_der(der.as_slice()), x509_cert::Certificate::from_der(&der)) {
            let tbs = theirs.tbs_certificate();
            prop_assert_eq!(ours.serial(), tbs.serial_number().as_bytes());
            prop_assert_eq!(ours.issuer_der(), tbs.issuer().to_der().unwrap());
            prop_assert_eq!(ours.extensions().count(), tbs.extensions().map_or(0, Vec::len));
            let seconds = tbs.validity().not_after.to_unix_duration().as_secs();
            prop_assert_eq!(ours.not_after(), i64::try_from(seconds).unwrap());
        }
    }

    #[test]
    fn changed_name_constraints_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3)) {
        let mut value = name_constraints();
        for (position, octet) in changes {
            let position = position.index(value.len());
            value[position] = octet;
        }
        let (signer, subject) = forgers();
        let root = Forge::authority("a", "a", signer.public_key())
            .plus(extension(&sealwright_pki::oid::NAME_CONSTRAINTS, true, &value))
            .sign(signer);
        let leaf = Forge::leaf("a", subject.public_key()).sign(signer);
        let verdict = verify_chain(&leaf, &[], &[root], NOW, Purpose::CodeSigning);
        let constrained = match verdict {
            Ok(_) => true,
            Err(Error::Chain(fault)) => matches!(
                fault,
                ChainFault::NameConstraints { .. } | ChainFault::UnknownNameConstraints { .. }
            ),
            Err(_) => false,
        };
        prop_assert!(constrained);
    }

    #[test]
    fn text_never_panics(text in "(-----(BEGIN|END) [A-Z ]{0,12}-----|[A-Za-z0-9+/=]{0,70}|\n|\r\n| |\u{e4}){0,12}") {
        let _ = parse_pem_chain(&text);
        let _ = Certificate::from_pem(&text);
        let _ = CertificateRequest::from_pem(&text);
    }
}

#[test]
fn every_truncation_is_refused() {
    let der = sample().1.der();
    for length in 0..der.len() {
        assert!(
            Certificate::from_der(&der[..length]).is_err(),
            "cut to {length}"
        );
    }
    let trailing = [der, &[0]].concat();
    let expected = Error::Malformed {
        what: "certificate",
        fault: DerFault::TrailingBytes,
    };
    assert_eq!(Certificate::from_der(trailing), Err(expected));
}

#[test]
fn sizes_are_bounded() {
    let oversized = vec![0x30; MAX_CERTIFICATE_BYTES + 1];
    assert!(matches!(
        Certificate::from_der(oversized),
        Err(Error::TooLarge { .. })
    ));
    let signer = key();
    let many: Vec<_> = (0..=certificate::MAX_EXTENSIONS as u32)
        .map(|number| {
            extension(
                &sealwright_pki::oid::FULCIO_ARC
                    .push_arc(number + 100)
                    .unwrap(),
                false,
                &[5, 0],
            )
        })
        .collect();
    let der = Forge::new("a", "b", signer.public_key())
        .with(many)
        .sign_der(&signer);
    assert!(matches!(
        Certificate::from_der(der),
        Err(Error::TooLarge { .. })
    ));
    let bundle = sample()
        .1
        .to_pem()
        .repeat(certificate::MAX_BUNDLE_CERTIFICATES + 1);
    assert!(matches!(parse_pem_chain(&bundle), Err(Error::Pem(_))));
}

fn fault(forge: &Forge) -> (&'static str, DerFault) {
    match Certificate::from_der(forge.sign_der(&key())) {
        Err(Error::Malformed { what, fault }) => (what, fault),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_issuer_with_control_characters_names_nobody() {
    let signer = key();
    let row = sealwright_pki::oid::FULCIO_ARC.push_arc(8).unwrap();
    let issued_by = |issuer: &[u8]| {
        let value = asn1::encode(tag::UTF8_STRING, issuer);
        let forge = Forge::leaf("a", signer.public_key()).plus(extension(&row, false, &value));
        Identity::from_certificate(&Certificate::from_der(forge.sign_der(&signer)).unwrap())
    };
    assert!(issued_by(b"https://accounts.example.com").is_ok());
    for issuer in [
        b"h\x01tps://accounts.example.com".as_slice(),
        b"https://a\nb",
        b"\x00",
    ] {
        let refused = issued_by(issuer);
        assert!(matches!(refused, Err(Error::Identity(_))), "{refused:?}");
    }
}

#[test]
fn forms_that_der_or_the_rfc_forbid_are_refused() {
    use sealwright_pki::oid;
    let signer = key();
    let good = || Forge::new("a", "b", signer.public_key());
    let with = |oid, value: &[u8]| good().plus(extension(&oid, false, value));
    assert!(Certificate::from_der(good().plus(leaf_usage()).sign_der(&signer)).is_ok());
    assert_eq!(
        fault(&good().plus(leaf_usage()).plus(leaf_usage())),
        ("extensions", DerFault::Duplicate)
    );
    assert_eq!(
        fault(&Forge {
            serial: vec![0, 1],
            ..good()
        }),
        ("serialNumber", DerFault::Integer)
    );
    assert_eq!(
        fault(&Forge {
            serial: vec![],
            ..good()
        }),
        ("serialNumber", DerFault::Integer)
    );
    assert_eq!(
        fault(&Forge {
            version: Some(0),
            ..good()
        }),
        ("version", DerFault::Value)
    );
    assert_eq!(
        fault(&Forge {
            version: Some(3),
            ..good()
        }),
        ("version", DerFault::Value)
    );
    // critical FALSE written out
    let explicit_default = [
        &[0x30, 12, 6, 3, 0x55, 0x1d, 0x0f, 1, 1, 0][..],
        &[4, 2, 3, 0],
    ]
    .concat();
    assert_eq!(
        fault(&good().with(vec![explicit_default])),
        ("extensions", DerFault::Boolean)
    );
    assert_eq!(
        fault(&with(oid::KEY_USAGE, &[3, 2, 0, 0x80])),
        ("keyUsage", DerFault::BitString)
    );
    assert_eq!(
        fault(&with(oid::KEY_USAGE, &[3, 2, 6, 0x81])),
        ("keyUsage", DerFault::BitString)
    );
    assert_eq!(
        fault(&with(oid::KEY_USAGE, &[3, 1, 0])),
        ("keyUsage", DerFault::BitString)
    );
    assert_eq!(
        fault(&with(oid::BASIC_CONSTRAINTS, &[0x30, 3, 2, 1, 0])),
        ("basicConstraints", DerFault::Value)
    );
    assert_eq!(
        fault(&with(oid::BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 1])),
        ("basicConstraints", DerFault::Boolean)
    );
    assert_eq!(
        fault(&with(oid::SUBJECT_ALT_NAME, &[0x30, 0])),
        ("subjectAltName", DerFault::Length)
    );
    let nul = [0x30, 5, 0x82, 3, b'a', 0, b'b'];
    assert_eq!(
        fault(&with(oid::SUBJECT_ALT_NAME, &nul)),
        ("subjectAltName", DerFault::Text)
    );
    let not_ascii = [0x30, 4, 0x81, 2, 0xc3, 0xa4];
    assert_eq!(
        fault(&with(oid::SUBJECT_ALT_NAME, &not_ascii)),
        ("subjectAltName", DerFault::Text)
    );
    let empty_part = Forge {
        subject: vec![0x30, 2, 0x31, 0],
        ..good()
    };
    assert_eq!(fault(&empty_part), ("subject", DerFault::Length));
}

#[test]
fn the_unsigned_algorithm_must_be_the_signed_one() {
    let (_, certificate) = sample();
    let mut der = certificate.der().to_vec();
    let inner = certificate.signature_algorithm_der();
    let outer = der.len() - certificate.signature().len() - 3 - inner.len();
    let position = (outer - 2..=outer + 2)
        .find(|at| &der[*at..*at + inner.len()] == inner)
        .unwrap();
    // ecdsa-with-SHA256 becomes ecdsa-with-SHA384
    der[position + inner.len() - 1] += 1;
    let expected = Error::Malformed {
        what: "signatureAlgorithm",
        fault: DerFault::Value,
    };
    assert_eq!(Certificate::from_der(der), Err(expected));
}

#[test]
fn bundles_are_read_in_order_and_written_alike() {
    let (authority, certificate) = sample();
    let text = pem_chain([certificate, &authority.intermediate, &authority.root]);
    let read = parse_pem_chain(&text).unwrap();
    assert_eq!(
        read,
        [
            certificate.clone(),
            authority.intermediate.clone(),
            authority.root.clone()
        ]
    );
    let decorated = format!("subject=leaf\r\n{}\r\n", text.replace('\n', "\r\n"));
    assert_eq!(parse_pem_chain(&decorated).unwrap(), read);
    assert!(
        Certificate::from_pem(&text).is_err(),
        "one certificate was asked for"
    );
    let key_in_between =
        format!("{text}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert!(matches!(
        parse_pem_chain(&key_in_between),
        Err(Error::Pem(_))
    ));
}

#[test]
fn names_are_shown_without_tricks() {
    let signer = key();
    let shown = |text: &str| {
        Forge {
            subject: name_der(text),
            ..Forge::new("a", "b", signer.public_key())
        }
        .sign(&signer)
        .subject()
    };
    assert_eq!(shown("a, O=Trusted"), "CN=a\\, O\\=Trusted");
    assert_eq!(shown("a\nb"), "CN=a\\u{a}b");
    assert_eq!(shown("a\u{202e}b"), "CN=a\\u{202e}b");
}
