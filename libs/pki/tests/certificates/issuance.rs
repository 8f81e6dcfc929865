//! From an order to a certificate, and back to the identity.

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, Signer as _};
use sealwright_pki::error::{IdentityFault, IssuerFault, LintFault, SctFault};
use sealwright_pki::issue::{
    self, IssuanceProfile, Issuer, Order, Precertificate, correspond, prepare,
};
use sealwright_pki::{
    Certificate, Error, FulcioExtensions, Identity, Purpose, SignedCertificateTimestamp,
    SubjectAlternativeName, oid, sct, verify_chain,
};

use crate::forge::{
    Authority, Forge, NOW, YEAR, ca_usage, code_signing_authority, key, name_der, purposes, ready,
    serial,
};

pub(crate) fn email_identity() -> Identity {
    Identity {
        subject_alternative_name: SubjectAlternativeName::Email("ada@example.com".to_owned()),
        issuer: "https://accounts.example.com".to_owned(),
        extensions: FulcioExtensions {
            token_subject: Some("ada@example.com".to_owned()),
            ..FulcioExtensions::default()
        },
    }
}

/// Every row of the profile has a value.
pub(crate) fn workflow_identity() -> Identity {
    let mut extensions = FulcioExtensions::default();
    for row in sealwright_pki::profile::EXTENSION_ROWS {
        assert!(extensions.set(row.kebab_name, format!("value of {} \u{e4}", row.name)));
    }
    Identity {
        subject_alternative_name: SubjectAlternativeName::Uri(
            "https://git.example.com/o/r/.ci/release.yml@refs/tags/v1".to_owned(),
        ),
        issuer: "https://token.ci.example.com".to_owned(),
        extensions,
    }
}

pub(crate) fn username_identity() -> Identity {
    Identity {
        subject_alternative_name: SubjectAlternativeName::Username("ada!example.com".to_owned()),
        issuer: "https://ldap.example.com".to_owned(),
        extensions: FulcioExtensions::default(),
    }
}

pub(crate) fn order<'a>(identity: &'a Identity, key: &'a PrivateKey) -> Order<'a> {
    Order {
        identity,
        public_key: key.public_key(),
        serial: serial(),
        now: NOW,
    }
}

pub(crate) fn precertificate(
    authority: &Authority,
    identity: &Identity,
    key: &PrivateKey,
) -> Precertificate {
    let prepared = prepare(
        &authority.issuer,
        &IssuanceProfile::default(),
        order(identity, key),
    )
    .unwrap();
    ready(prepared.lint().unwrap().sign(&authority.signer)).unwrap()
}

/// A log's timestamp for a precertificate.
pub(crate) fn timestamp(
    precertificate: &Precertificate,
    issuer: &Issuer,
    log_key: &PrivateKey,
) -> SignedCertificateTimestamp {
    let entry = sealwright_pki::SctEntry::precertificate_of(
        precertificate.certificate(),
        issuer.issuer_key_hash(),
    );
    let extensions = sct::leaf_index_extensions(7).unwrap().to_vec();
    let timestamp_ms = NOW as u64 * 1000;
    let input = sct::signing_input(timestamp_ms, &entry.unwrap(), &extensions).unwrap();
    let algorithm = log_key.key_type().default_algorithm();
    SignedCertificateTimestamp {
        log_id: sct::log_id(log_key.public_key()),
        timestamp_ms,
        extensions,
        signature_algorithm: sct::signature_algorithm_octets(algorithm).unwrap(),
        signature: log_key.sign(algorithm, &input).unwrap(),
    }
}

/// The whole life of a certificate.
pub(crate) fn issue(
    authority: &Authority,
    identity: &Identity,
    key: &PrivateKey,
    log_key: &PrivateKey,
) -> Certificate {
    let precertificate = precertificate(authority, identity, key);
    let timestamp = timestamp(&precertificate, &authority.issuer, log_key);
    precertificate
        .verify_timestamp(&timestamp, log_key.public_key())
        .unwrap();
    let permit = precertificate.with_timestamps(&[timestamp]).unwrap();
    ready(permit.sign(&authority.signer)).unwrap()
}

#[test]
fn a_certificate_gives_back_the_identity_that_was_ordered() {
    let authority = code_signing_authority(KeyType::EcP256);
    let log_key = key();
    for identity in [email_identity(), workflow_identity(), username_identity()] {
        let subject = key();
        let certificate = issue(&authority, &identity, &subject, &log_key);
        assert_eq!(Identity::from_certificate(&certificate).unwrap(), identity);
        assert_eq!(certificate.public_key().unwrap(), subject.public_key());
        let chain = verify_chain(
            &certificate,
            std::slice::from_ref(&authority.intermediate),
            std::slice::from_ref(&authority.root),
            NOW,
            Purpose::CodeSigning,
        )
        .unwrap();
        let scts = sct::embedded_scts(&certificate).unwrap();
        assert_eq!(scts.len(), 1);
        assert_eq!(scts[0].leaf_index(), Some(7));
        scts[0]
            .verify_embedded(&certificate, chain.issuer_key_hash(), log_key.public_key())
            .unwrap();
    }
}

#[test]
fn the_profile_is_kept_to_the_letter() {
    let authority = code_signing_authority(KeyType::EcP256);
    let subject = key();
    let certificate = issue(&authority, &workflow_identity(), &subject, &key());
    assert_eq!(certificate.version(), 3);
    assert_eq!(certificate.serial().len(), 20);
    assert_eq!(certificate.subject_der(), [0x30, 0x00]);
    assert_eq!(
        certificate.issuer_der(),
        authority.intermediate.subject_der()
    );
    assert_eq!(
        (certificate.not_before(), certificate.not_after()),
        (NOW, NOW + 600)
    );
    assert_eq!(certificate.key_usage().unwrap().bits(), 0x8000);
    assert_eq!(
        certificate.extended_key_usage().unwrap().purposes,
        [oid::CODE_SIGNING]
    );
    assert_eq!(certificate.basic_constraints(), None);
    assert_eq!(
        certificate.authority_key_identifier(),
        authority.intermediate.subject_key_identifier()
    );
    let point = subject.public_key().ec_point().unwrap();
    assert_eq!(
        certificate.subject_key_identifier().unwrap(),
        &sealwright_crypto::sha256(point)[..20]
    );
    let shown: Vec<String> = certificate
        .extensions()
        .map(|extension| {
            format!(
                "{}{}",
                extension.oid,
                if extension.critical { " critical" } else { "" }
            )
        })
        .collect();
    let rows = [1, 2, 3, 4, 5, 6]
        .into_iter()
        .chain(8..=24)
        .map(|row| format!("1.3.6.1.4.1.57264.1.{row}"));
    let head = [
        "2.5.29.15 critical",
        "2.5.29.37",
        "2.5.29.14",
        "2.5.29.35",
        "2.5.29.17 critical",
    ];
    let expected: Vec<String> = head
        .into_iter()
        .map(str::to_owned)
        .chain(rows)
        .chain(["1.3.6.1.4.1.11129.2.4.2".to_owned()])
        .collect();
    assert_eq!(shown, expected);
}

#[test]
fn a_username_is_the_other_name_of_the_profile_byte_for_byte() {
    let authority = code_signing_authority(KeyType::EcP256);
    let certificate = issue(&authority, &username_identity(), &key(), &key());
    let value = certificate.extension(&oid::SUBJECT_ALT_NAME).unwrap().value;
    let text = hex::encode(b"ada!example.com");
    assert_eq!(
        hex::encode(value),
        format!("3021a01f060a2b0601040183bf300107a0110c0f{text}")
    );
    let raw_issuer = certificate.extension(&oid::FULCIO_ISSUER_V1).unwrap().value;
    assert_eq!(raw_issuer, b"https://ldap.example.com");
    let issuer = certificate.extension(&oid::FULCIO_ISSUER_V2).unwrap().value;
    assert_eq!(issuer, [&[0x0c, 24], raw_issuer].concat());
}

#[test]
fn authorities_and_subjects_of_every_key_type_work_together() {
    let types = [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ];
    let log_key = key();
    let subjects: Vec<_> = types
        .iter()
        .map(|key_type| PrivateKey::generate(*key_type).unwrap())
        .collect();
    for key_type in types {
        let authority = code_signing_authority(key_type);
        for subject in &subjects {
            let certificate = issue(&authority, &email_identity(), subject, &log_key);
            certificate
                .verify_signature(authority.signer.public_key())
                .unwrap();
            assert_eq!(certificate.spki_der(), subject.public_key().spki_der());
        }
    }
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let authority = code_signing_authority(KeyType::EcP256);
    let identity = email_identity();
    let subject = key();
    let end = authority.intermediate.not_after();
    let late = Order {
        now: end - 110,
        ..order(&identity, &subject)
    };
    let prepared = prepare(&authority.issuer, &IssuanceProfile::default(), late).unwrap();
    let certificate = ready(prepared.lint().unwrap().sign(&authority.signer)).unwrap();
    assert_eq!(certificate.certificate().not_after(), end);
    let after = Order {
        now: end + 1,
        ..order(&identity, &subject)
    };
    let result = prepare(&authority.issuer, &IssuanceProfile::default(), after);
    assert!(
        matches!(result, Err(Error::Issuer(IssuerFault::NotValid { at, .. })) if at == end + 1)
    );
}

#[test]
fn backdating_and_validity_are_the_profiles() {
    let authority = code_signing_authority(KeyType::EcP256);
    let identity = email_identity();
    let subject = key();
    let profile = IssuanceProfile::new(3600, 300, Default::default()).unwrap();
    let prepared = prepare(&authority.issuer, &profile, order(&identity, &subject)).unwrap();
    let certificate = ready(prepared.lint().unwrap().sign(&authority.signer)).unwrap();
    let certificate = certificate.certificate();
    assert_eq!(
        (certificate.not_before(), certificate.not_after()),
        (NOW - 300, NOW + 3600)
    );
    assert_eq!(IssuanceProfile::new(0, 0, Default::default()), None);
    assert_eq!(
        IssuanceProfile::new(issue::MAX_VALIDITY_S + 1, 0, Default::default()),
        None
    );
    assert_eq!(
        IssuanceProfile::new(600, issue::MAX_BACKDATE_S + 1, Default::default()),
        None
    );
}

#[test]
fn orders_that_cannot_be_certified_are_refused_before_anything_is_rendered() {
    let authority = code_signing_authority(KeyType::EcP256);
    let subject = key();
    let refused = |change: &dyn Fn(&mut Identity)| {
        let mut identity = email_identity();
        change(&mut identity);
        let result = prepare(
            &authority.issuer,
            &IssuanceProfile::default(),
            order(&identity, &subject),
        );
        assert!(matches!(result, Err(Error::Identity(_))), "{identity:?}");
    };
    let name = |name: SubjectAlternativeName| {
        move |identity: &mut Identity| identity.subject_alternative_name = name.clone()
    };
    refused(&name(SubjectAlternativeName::Email(String::new())));
    refused(&name(SubjectAlternativeName::Email(
        "\u{e9}@example.com".to_owned(),
    )));
    refused(&name(SubjectAlternativeName::Email("ada".to_owned())));
    refused(&name(SubjectAlternativeName::Email(
        "ada@b\0@example.com".to_owned(),
    )));
    refused(&name(SubjectAlternativeName::Uri("/relative".to_owned())));
    refused(&name(SubjectAlternativeName::Uri(
        "https://example.com/a b".to_owned(),
    )));
    refused(&name(SubjectAlternativeName::Username(
        "!example.com".to_owned(),
    )));
    refused(&name(SubjectAlternativeName::Username("a!b!c".to_owned())));
    refused(&name(SubjectAlternativeName::Uri(format!(
        "https://example.com/{}",
        "a".repeat(2048)
    ))));
    refused(&name(SubjectAlternativeName::Dns("example.com".to_owned())));
    refused(&|identity| identity.issuer = String::new());
    refused(&|identity| identity.extensions.build_trigger = Some("a\nb".to_owned()));
    let weak = PrivateKey::generate(KeyType::Rsa { bits: 2048 }).unwrap();
    let result = prepare(
        &authority.issuer,
        &IssuanceProfile::default(),
        order(&email_identity(), &weak),
    )
    .map(|_| ());
    assert!(matches!(result, Err(Error::WeakKey(_))));
}

#[test]
fn empty_values_are_no_extensions() {
    let authority = code_signing_authority(KeyType::EcP256);
    let mut identity = email_identity();
    identity.extensions.build_trigger = Some(String::new());
    let certificate = issue(&authority, &identity, &key(), &key());
    let read = Identity::from_certificate(&certificate).unwrap();
    assert_eq!(read.extensions.build_trigger, None);
}

#[test]
fn an_oversized_certificate_is_refused() {
    let authority = code_signing_authority(KeyType::EcP256);
    let mut identity = workflow_identity();
    for row in sealwright_pki::profile::EXTENSION_ROWS {
        identity.extensions.set(row.name, "a".repeat(1000));
    }
    let subject = key();
    let prepared = prepare(
        &authority.issuer,
        &IssuanceProfile::default(),
        order(&identity, &subject),
    )
    .unwrap();
    let result = prepared.lint().map(|_| ());
    assert_eq!(
        result,
        Err(Error::Lint(LintFault {
            rule: "the certificate is not larger than 16 KiB"
        }))
    );
}

#[test]
fn only_the_issuers_own_signer_can_spend_a_permit() {
    let authority = code_signing_authority(KeyType::EcP256);
    let identity = email_identity();
    let subject = key();
    let prepared = prepare(
        &authority.issuer,
        &IssuanceProfile::default(),
        order(&identity, &subject),
    )
    .unwrap();
    let stranger = MemorySigner::new(key());
    let result = ready(prepared.lint().unwrap().sign(&stranger));
    assert_eq!(
        result.map(|_| ()),
        Err(Error::Issuer(IssuerFault::KeyMismatch))
    );
}

#[test]
fn certificates_that_may_not_issue_are_no_issuers() {
    let own = key();
    let signer = MemorySigner::new(own);
    let fault = |forge: &Forge| {
        let certificate = forge.sign(signer.private_key());
        match Issuer::new(certificate, &signer) {
            Err(Error::Issuer(fault)) => fault,
            other => panic!("{other:?}"),
        }
    };
    let identifier = crate::forge::extension(&oid::SUBJECT_KEY_IDENTIFIER, false, &[4, 2, 1, 2]);
    let good = Forge::authority("ca", "ca", signer.public_key()).plus(identifier.clone());
    assert!(Issuer::new(good.sign(signer.private_key()), &signer).is_ok());
    let stranger = MemorySigner::new(key());
    let result = Issuer::new(good.sign(signer.private_key()), &stranger);
    assert_eq!(
        result.map(|_| ()),
        Err(Error::Issuer(IssuerFault::KeyMismatch))
    );
    assert_eq!(
        fault(&good.clone().with(vec![ca_usage(), identifier.clone()])),
        IssuerFault::NotAnAuthority
    );
    let ca = crate::forge::basic_constraints(true, None);
    assert_eq!(
        fault(&good.clone().with(vec![ca, identifier])),
        IssuerFault::MayNotSignCertificates
    );
    let other_purpose = good.clone().plus(purposes(false, &[oid::TIME_STAMPING]));
    assert_eq!(
        fault(&other_purpose),
        IssuerFault::Purpose {
            purpose: "code signing"
        }
    );
    let no_identifier = Forge::authority("ca", "ca", signer.public_key());
    assert_eq!(fault(&no_identifier), IssuerFault::NoKeyIdentifier);
    let mut no_subject = good;
    no_subject.subject = name_der("");
    assert_eq!(fault(&no_subject), IssuerFault::EmptySubject);
}

#[test]
fn an_issuer_name_that_the_renderer_cannot_write_is_kept_byte_for_byte() {
    // Two organizational units, a T61String and two values in one part: a name as old directories have it.
    let signer = MemorySigner::new(key());
    let mut writer = sealwright_pki::asn1::Writer::new();
    let attribute = |w: &mut sealwright_pki::asn1::Writer, oid, tag, text: &str| {
        w.sequence(|w| {
            w.oid(&oid);
            w.tlv(tag, text.as_bytes());
        });
    };
    writer.sequence(|w| {
        w.nested(0x31, |w| {
            attribute(w, oid::ORGANIZATIONAL_UNIT_NAME, 0x14, "one")
        });
        w.nested(0x31, |w| {
            attribute(w, oid::ORGANIZATIONAL_UNIT_NAME, 0x13, "two")
        });
        w.nested(0x31, |w| {
            attribute(w, oid::COMMON_NAME, 0x0c, "ca");
            attribute(w, oid::ORGANIZATION_NAME, 0x0c, "org");
        });
    });
    let name = writer.finish();
    let mut forge = Forge::authority("", "", signer.public_key());
    forge = forge.plus(crate::forge::extension(
        &oid::SUBJECT_KEY_IDENTIFIER,
        false,
        &[4, 2, 1, 2],
    ));
    (forge.issuer, forge.subject) = (name.clone(), name.clone());
    let issuing = forge.sign(signer.private_key());
    assert_eq!(issuing.subject(), "CN=ca+O=org,OU=two,OU=one");
    let issuer = Issuer::new(issuing.clone(), &signer).unwrap();
    let identity = email_identity();
    let subject = key();
    let prepared = prepare(
        &issuer,
        &IssuanceProfile::default(),
        order(&identity, &subject),
    )
    .unwrap();
    let certificate = ready(prepared.lint().unwrap().sign(&signer)).unwrap();
    assert_eq!(certificate.certificate().issuer_der(), name);
}

#[test]
fn a_recovered_precertificate_must_be_ours() {
    let authority = code_signing_authority(KeyType::EcP256);
    let before_the_crash = precertificate(&authority, &email_identity(), &key());
    let recovered =
        Precertificate::recover(&authority.issuer, before_the_crash.certificate().clone()).unwrap();
    let log_key = key();
    let timestamp = timestamp(&recovered, &authority.issuer, &log_key);
    let permit = recovered.with_timestamps(&[timestamp]).unwrap();
    let certificate = ready(permit.sign(&authority.signer)).unwrap();
    assert_eq!(
        certificate.serial(),
        before_the_crash.certificate().serial()
    );
    // A certificate without poison, and a precertificate of somebody else, are not taken up.
    let result = Precertificate::recover(&authority.issuer, certificate).map(|_| ());
    assert!(matches!(result, Err(Error::Lint(_))));
    let stranger = code_signing_authority(KeyType::EcP256);
    let foreign = precertificate(&stranger, &email_identity(), &key());
    let result =
        Precertificate::recover(&authority.issuer, foreign.certificate().clone()).map(|_| ());
    assert!(matches!(result, Err(Error::Signature { .. })));
}

#[test]
fn no_certificate_without_a_timestamp() {
    let authority = code_signing_authority(KeyType::EcP256);
    let precertificate = precertificate(&authority, &email_identity(), &key());
    let result = precertificate.with_timestamps(&[]).map(|_| ());
    assert_eq!(result, Err(Error::Sct(SctFault::Missing)));
}

#[test]
fn precertificate_and_certificate_correspond_or_are_refused() {
    let authority = code_signing_authority(KeyType::EcP256);
    let (subject, log_key) = (key(), key());
    let first = precertificate(&authority, &email_identity(), &subject);
    let other = precertificate(&authority, &email_identity(), &subject);
    let list = [timestamp(&first, &authority.issuer, &log_key)];
    let tbs = first.with_timestamps(&list).unwrap().tbs_der().to_vec();
    assert_eq!(
        correspond(first.certificate().tbs_der(), &tbs).unwrap(),
        list
    );
    let rule = |before: &[u8], after: &[u8]| match correspond(before, after) {
        Err(Error::Lint(LintFault { rule })) => rule,
        other => panic!("{other:?}"),
    };
    let same_fields = "precertificate and certificate have the same fields";
    assert_eq!(
        rule(other.certificate().tbs_der(), &tbs),
        same_fields,
        "another serial number"
    );
    let replaced = "the critical poison is replaced by the timestamps, which come last";
    assert_eq!(
        rule(first.certificate().tbs_der(), first.certificate().tbs_der()),
        replaced
    );
    assert_eq!(rule(&tbs, &tbs), replaced);
    // One octet of the identity changed.
    let mut changed = tbs.clone();
    let position = changed
        .windows(3)
        .position(|window| window == b"ada")
        .unwrap();
    changed[position] = b'e';
    let same_extensions = "precertificate and certificate have the same extensions but the last";
    assert_eq!(
        rule(first.certificate().tbs_der(), &changed),
        same_extensions
    );
}

#[test]
fn identities_of_foreign_certificates_are_read_with_care() {
    let signer = key();
    let read = |extensions: Vec<Vec<u8>>| {
        let certificate = Forge::new("ca", "", key().public_key())
            .with(extensions)
            .sign(&signer);
        Identity::from_certificate(&certificate)
    };
    let extension = |oid, value: &[u8]| crate::forge::extension(&oid, false, value);
    let name = crate::forge::uri("https://example.com/a");
    let old = extension(oid::FULCIO_ISSUER_V1, b"https://a");
    let new = |text: &str| {
        extension(
            oid::FULCIO_ISSUER_V2,
            &sealwright_pki::asn1::encode(0x0c, text.as_bytes()),
        )
    };
    assert_eq!(
        read(vec![name.clone(), old.clone()]).unwrap().issuer,
        "https://a"
    );
    assert_eq!(
        read(vec![name.clone(), new("https://b")]).unwrap().issuer,
        "https://b"
    );
    assert_eq!(
        read(vec![name.clone(), old.clone(), new("https://a")])
            .unwrap()
            .issuer,
        "https://a"
    );
    let differ = read(vec![name.clone(), old, new("https://b")]);
    assert_eq!(differ, Err(Error::Identity(IdentityFault::Issuer)));
    assert_eq!(
        read(vec![name.clone()]),
        Err(Error::Identity(IdentityFault::Issuer))
    );
    let trailing = extension(oid::FULCIO_ISSUER_V2, &[0x0c, 1, b'a', 0]);
    let fault = IdentityFault::Extension {
        oid: oid::FULCIO_ISSUER_V2,
    };
    assert_eq!(read(vec![name, trailing]), Err(Error::Identity(fault)));
    let nobody = Err(Error::Identity(IdentityFault::SubjectAlternativeName));
    assert_eq!(read(vec![new("https://a")]), nobody);
    let two = sealwright_pki::asn1::encode_sequence(&[
        &[0x86, 3, b'a', b':', b'b'],
        &[0x86, 3, b'a', b':', b'c'],
    ]);
    assert_eq!(
        read(vec![
            extension(oid::SUBJECT_ALT_NAME, &two),
            new("https://a")
        ]),
        nobody
    );
}

#[test]
fn authorities_of_development_say_so() {
    let own = key();
    let mut name = crate::forge::name("root");
    name.development = true;
    let envelope = crate::forge::envelope(NOW, NOW + YEAR);
    let root = sealwright_pki::authority::root(&own, &name, 0, &envelope).unwrap();
    assert_eq!(root.subject(), "CN=root,OU=development,O=Example");
    assert_eq!(root.subject_der(), root.issuer_der());
    assert_eq!(root.basic_constraints().unwrap().path_len, Some(0));
    assert_eq!(root.extended_key_usage(), None);
    assert!(root.key_usage().unwrap().key_cert_sign() && root.key_usage().unwrap().crl_sign());
}

/// Not a test of right or wrong: prints what a certificate costs. `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "prints figures; run it in a release build"]
fn cost_of_a_certificate() {
    let authority = code_signing_authority(KeyType::EcP256);
    let identity = workflow_identity();
    let (subject, log_key) = (key(), key());
    let rounds = 2000_u32;
    let profile = IssuanceProfile::default();
    let measure = |what: &str, step: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        (0..rounds).for_each(|_| step());
        println!(
            "{what}: {:.1} us",
            started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
        );
    };
    let prepared = || prepare(&authority.issuer, &profile, order(&identity, &subject)).unwrap();
    measure("prepare", &mut || drop(prepared()));
    measure("prepare and lint", &mut || drop(prepared().lint().unwrap()));
    let signed = precertificate(&authority, &identity, &subject);
    let timestamp = timestamp(&signed, &authority.issuer, &log_key);
    let list = [timestamp.clone()];
    measure(
        "timestamps in place of the poison, and compare",
        &mut || drop(signed.with_timestamps(&list).unwrap()),
    );
    measure("verify a timestamp", &mut || {
        signed
            .verify_timestamp(&timestamp, log_key.public_key())
            .unwrap()
    });
    let der = signed.certificate().der().to_vec();
    measure("parse", &mut || {
        drop(Certificate::from_der(der.clone()).unwrap())
    });
    measure("sign", &mut || {
        drop(authority.signer.sign_now(signed.certificate().tbs_der()))
    });
    measure("whole certificate", &mut || {
        drop(issue(&authority, &identity, &subject, &log_key))
    });
    let certificate = issue(&authority, &identity, &subject, &log_key);
    let (intermediates, anchors) = ([authority.intermediate.clone()], [authority.root.clone()]);
    measure("verify a chain of three", &mut || {
        drop(
            verify_chain(
                &certificate,
                &intermediates,
                &anchors,
                NOW,
                Purpose::CodeSigning,
            )
            .unwrap(),
        );
    });
    let rsa = PrivateKey::generate(KeyType::Rsa { bits: 4096 }).unwrap();
    measure("key policy, RSA 4096", &mut || {
        profile.key_policy().check(rsa.public_key()).unwrap()
    });
}
