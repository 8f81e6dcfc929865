//! Signed certificate timestamps: bytes worked out by hand from RFC 6962, and everything that must break them.

use std::borrow::Cow;

use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_pki::error::SctFault;
use sealwright_pki::sct::{self, SignedCertificateTimestamp};
use sealwright_pki::{Certificate, Error, SctEntry, oid};

use crate::forge::{NOW, code_signing_authority, key};
use crate::issuance::{email_identity, issue, precertificate, timestamp};

fn golden() -> SignedCertificateTimestamp {
    SignedCertificateTimestamp {
        log_id: [0x11; 32],
        timestamp_ms: 0x0102_0304_0506_0708,
        extensions: sct::leaf_index_extensions(0x1234).unwrap().to_vec(),
        signature_algorithm: [4, 3],
        signature: vec![0xaa, 0xbb, 0xcc],
    }
}

const GOLDEN: &str = concat!(
    "00",                                                               // version v1
    "1111111111111111111111111111111111111111111111111111111111111111", // log id
    "0102030405060708",                                                 // timestamp
    "0008",                                                             // length of extensions
    "0000050000001234",                                                 // leaf_index, 5 octets
    "0403",                                                             // SHA-256, ECDSA
    "0003",                                                             // length of signature
    "aabbcc",
);

#[test]
fn a_timestamp_is_the_bytes_of_the_rfc() {
    assert_eq!(hex::encode(golden().encode().unwrap()), GOLDEN);
    assert_eq!(
        SignedCertificateTimestamp::parse(&hex::decode(GOLDEN).unwrap()).unwrap(),
        golden()
    );
    assert_eq!(golden().leaf_index(), Some(0x1234));
    let one = GOLDEN.len() / 2;
    let list = format!("{:04x}{one:04x}{GOLDEN}{one:04x}{GOLDEN}", 2 * (one + 2));
    let two = [golden(), golden()];
    assert_eq!(hex::encode(sct::encode_list(&two).unwrap()), list);
    assert_eq!(sct::parse_list(&hex::decode(&list).unwrap()).unwrap(), two);
    let value = sct::encode_list_extension(&two).unwrap();
    assert_eq!(
        hex::encode(&value),
        format!("04{:02x}{list}", list.len() / 2)
    );
    assert_eq!(sct::parse_list_extension(&value).unwrap(), two);
}

#[test]
fn what_a_log_signs_is_the_bytes_of_the_rfc() {
    let precertificate = SctEntry::Precertificate {
        issuer_key_hash: [0x22; 32],
        tbs: Cow::Borrowed(&[0x30, 0x00]),
    };
    let input = sct::signing_input(1, &precertificate, &[]).unwrap();
    let hash = "22".repeat(32);
    assert_eq!(
        hex::encode(input),
        format!("0000{:016x}0001{hash}00000230000000", 1)
    );
    let certificate = SctEntry::Certificate(Cow::Borrowed(&[0x30, 0x00]));
    let input = sct::signing_input(1, &certificate, &[9]).unwrap();
    assert_eq!(
        hex::encode(input),
        format!("0000{:016x}00000000023000000109", 1)
    );
}

#[test]
fn malformed_lists_are_refused() {
    let good = sct::encode_list(&[golden()]).unwrap();
    for length in 0..good.len() {
        assert!(sct::parse_list(&good[..length]).is_err(), "cut to {length}");
    }
    assert!(sct::parse_list(&[good.as_slice(), &[0]].concat()).is_err());
    assert_eq!(sct::parse_list(&[0, 0]), Err(Error::Sct(SctFault::Missing)));
    assert!(matches!(
        sct::encode_list(&[]),
        Err(Error::Sct(SctFault::Missing))
    ));
    let mut version_2 = golden().encode().unwrap();
    version_2[0] = 1;
    assert_eq!(
        SignedCertificateTimestamp::parse(&version_2),
        Err(Error::Sct(SctFault::Version(1)))
    );
    let many = vec![golden(); sct::MAX_SCTS + 1];
    assert!(matches!(
        sct::parse_list(&sct::encode_list(&many).unwrap()),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn leaf_indexes_have_forty_bits() {
    assert_eq!(
        sct::leaf_index_extensions(sct::MAX_LEAF_INDEX),
        Some([0, 0, 5, 255, 255, 255, 255, 255])
    );
    assert_eq!(sct::leaf_index_extensions(sct::MAX_LEAF_INDEX + 1), None);
    let with = |extensions: &[u8]| SignedCertificateTimestamp {
        extensions: extensions.to_vec(),
        ..golden()
    };
    assert_eq!(with(&[]).leaf_index(), None);
    assert_eq!(
        with(&[0, 0, 5, 0, 0, 0, 0, 3, 0, 0, 5, 0, 0, 0, 0, 4]).leaf_index(),
        None,
        "two indexes are none"
    );
    assert_eq!(
        with(&[1, 0, 1, 9, 0, 0, 5, 0, 0, 0, 0, 3]).leaf_index(),
        Some(3),
        "after an unknown extension"
    );
    assert_eq!(
        with(&[0, 0, 4, 0, 0, 0, 3]).leaf_index(),
        None,
        "four octets"
    );
    assert_eq!(with(&[0, 0, 5, 0]).leaf_index(), None, "truncated");
}

#[test]
fn the_entry_of_a_certificate_is_the_entry_of_its_precertificate() {
    let authority = code_signing_authority(KeyType::EcP256);
    let subject = key();
    let before = precertificate(&authority, &email_identity(), &subject);
    let timestamp = timestamp(&before, &authority.issuer, &key());
    let permit = before.with_timestamps(&[timestamp]).unwrap();
    let stripped = sct::precertificate_tbs(before.certificate().tbs_der()).unwrap();
    assert_eq!(sct::precertificate_tbs(permit.tbs_der()).unwrap(), stripped);
    let poison = [
        0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03,
    ];
    assert!(
        !stripped
            .windows(poison.len())
            .any(|window| window == poison)
    );
}

#[test]
fn a_timestamp_holds_for_one_certificate_one_issuer_and_one_log() {
    let authority = code_signing_authority(KeyType::EcP256);
    let (subject, log_key) = (key(), key());
    let certificate = issue(&authority, &email_identity(), &subject, &log_key);
    let issuer_key_hash = authority.issuer.issuer_key_hash();
    let good = sct::embedded_scts(&certificate).unwrap().remove(0);
    let log_id = good.log_id;
    let check = |sct: &SignedCertificateTimestamp| {
        sct.verify_embedded(&certificate, issuer_key_hash, log_key.public_key())
    };
    check(&good).unwrap();
    let broken = Err(Error::Sct(SctFault::Signature { log_id }));
    assert_eq!(
        check(&SignedCertificateTimestamp {
            timestamp_ms: good.timestamp_ms + 1,
            ..good.clone()
        }),
        broken
    );
    assert_eq!(
        check(&SignedCertificateTimestamp {
            extensions: vec![],
            ..good.clone()
        }),
        broken
    );
    let mut signature = good.signature.clone();
    *signature.last_mut().unwrap() ^= 1;
    assert_eq!(
        check(&SignedCertificateTimestamp {
            signature,
            ..good.clone()
        }),
        broken
    );
    let other_algorithm = SignedCertificateTimestamp {
        signature_algorithm: [5, 3],
        ..good.clone()
    };
    assert_eq!(
        check(&other_algorithm),
        Err(Error::Sct(SctFault::Algorithm))
    );
    let wrong_issuer = good.verify_embedded(
        &certificate,
        authority.root.spki_sha256(),
        log_key.public_key(),
    );
    assert_eq!(wrong_issuer, broken);
    let wrong_log = good.verify_embedded(&certificate, issuer_key_hash, key().public_key());
    assert_eq!(wrong_log, Err(Error::Sct(SctFault::UnknownLog { log_id })));
    let another = issue(&authority, &email_identity(), &subject, &log_key);
    assert_eq!(
        good.verify_embedded(&another, issuer_key_hash, log_key.public_key()),
        broken
    );
    assert_eq!(
        sct::embedded_scts(&authority.root),
        Err(Error::Sct(SctFault::Missing))
    );
}

#[test]
fn logs_with_keys_of_every_type_are_understood() {
    let authority = code_signing_authority(KeyType::EcP256);
    for key_type in [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 2048 },
    ] {
        let log_key = PrivateKey::generate(key_type).unwrap();
        let before = precertificate(&authority, &email_identity(), &key());
        let timestamp = timestamp(&before, &authority.issuer, &log_key);
        before
            .verify_timestamp(&timestamp, log_key.public_key())
            .unwrap();
    }
}

#[test]
fn a_final_certificate_can_be_timestamped_as_it_is() {
    let log_key = key();
    let authority = code_signing_authority(KeyType::EcP256);
    let certificate: &Certificate = &authority.intermediate;
    let entry = SctEntry::Certificate(Cow::Borrowed(certificate.der()));
    let timestamp_ms = NOW as u64 * 1000;
    let algorithm = log_key.key_type().default_algorithm();
    let input = sct::signing_input(timestamp_ms, &entry, &[]).unwrap();
    let sct = SignedCertificateTimestamp {
        log_id: sct::log_id(log_key.public_key()),
        timestamp_ms,
        extensions: vec![],
        signature_algorithm: sct::signature_algorithm_octets(algorithm).unwrap(),
        signature: log_key.sign(algorithm, &input).unwrap(),
    };
    sct.verify(&entry, log_key.public_key()).unwrap();
    assert!(certificate.extension(&oid::SCT_LIST).is_none());
}
