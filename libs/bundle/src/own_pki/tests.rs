//! Claims about certificates of an own PKI, told in the fake world.

use sealwright_pki::{ObjectIdentifier, asn1, oid};
use sealwright_testkit::bundle_factory::{DAY, EMAIL, Enrolled, NOW, Signing, World};
use sealwright_testkit::own_pki::{
    DNS_NAME, EMAIL_NAME, IP_NAME, Leaf, Listed, Listing, OwnAuthority, URI_NAME,
};

use super::*;
use crate::policy::Policy;
use crate::trusted_root::TrustedRoot;
use crate::verdict::Verified;
use crate::{Artifact, verify};

const FILE: &[u8] = b"release";

/// An own PKI beside the logs and timestamp authorities of an instance.
struct Office {
    world: World,
    root: OwnAuthority,
    issuing: OwnAuthority,
}

impl Office {
    fn new() -> Self {
        let root = OwnAuthority::root("own root");
        Self {
            world: World::new(),
            issuing: root.below("own issuing"),
            root,
        }
    }

    /// A bundle with timestamps of these times.
    fn sign(&mut self, signer: &Enrolled, stamped_at: &[i64]) -> Bundle {
        let signing = Signing {
            key_type: signer.key.key_type(),
            stamped_at: stamped_at.to_vec(),
            ..Signing::default()
        };
        let bundle = self.world.sign_blob_as(signer, FILE, &signing);
        Bundle::parse(&serde_json::to_vec(&bundle).expect("JSON")).expect("a bundle")
    }

    fn sign_with_key_alone(&mut self, signer: &Enrolled) -> Bundle {
        let bundle = self
            .world
            .sign_blob_with_key(FILE, &signer.key, &Signing::default());
        Bundle::parse(&serde_json::to_vec(&bundle).expect("JSON")).expect("a bundle")
    }

    fn roots(&self) -> Vec<Certificate> {
        vec![self.root.certificate.clone()]
    }

    fn rule(&self) -> CertificateRule {
        let email = Matcher::exact(EMAIL).expect("a text");
        CertificateRule::issued_to(email, self.roots())
            .expect("a root")
            .intermediates(vec![self.issuing.certificate.clone()])
    }

    fn judge(&self, bundle: &Bundle, rule: CertificateRule) -> Result<Verified, VerifyError> {
        self.judge_at(bundle, rule, NOW)
    }

    fn judge_at(
        &self,
        bundle: &Bundle,
        rule: CertificateRule,
        now: i64,
    ) -> Result<Verified, VerifyError> {
        let root = TrustedRoot::parse(self.world.trusted_root_json().as_bytes());
        let policy = Policy::signed_by_certificate(rule).blob();
        let file = Artifact::from_bytes(FILE);
        verify(bundle, &file, &root.expect("a root"), &policy, now)
    }

    fn lists(&self, below_issuing: Vec<Listed>) -> Vec<CertificateRevocationList> {
        let listing = Listing {
            entries: below_issuing,
            ..Listing::default()
        };
        vec![
            self.issuing.revocation_list(&listing),
            self.root.revocation_list(&Listing::default()),
        ]
    }
}

fn code<T>(outcome: Result<T, VerifyError>) -> &'static str {
    outcome.map_or_else(|error| error.code(), |_| "verified")
}

fn warnings(verified: &Verified) -> Vec<&'static str> {
    let warnings = verified.warnings().iter();
    warnings.map(|warning| warning.code).collect()
}

fn named(names: &[(u8, &[u8])]) -> Leaf {
    Leaf {
        names: names
            .iter()
            .map(|(tag, name)| (*tag, name.to_vec()))
            .collect(),
        ..Leaf::default()
    }
}

#[test]
fn a_signature_with_a_certificate_and_a_timestamp_verifies() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let verified = office.judge(&bundle, office.rule()).expect("it verifies");
    let Signer::Certificate {
        name,
        subject,
        anchor,
        certificate_issuer,
        fingerprint,
        judged_at,
        revocation_lists,
        ..
    } = verified.signer()
    else {
        panic!("{:?}", verified.signer());
    };
    let name = name.as_ref().expect("it was asked for");
    assert_eq!((name.kind, name.value.as_str()), ("email", EMAIL));
    assert_eq!(subject, "CN=leaf");
    assert_eq!(
        (anchor.as_str(), certificate_issuer.as_str()),
        ("CN=own root", "CN=own issuing")
    );
    assert_eq!(*fingerprint, hex::encode(leaf.certificate.fingerprint()));
    assert_eq!((judged_at, revocation_lists.len()), (&None, 0));
    assert_eq!(verified.times().len(), 1);
    assert!(warnings(&verified).is_empty(), "{:?}", verified.warnings());
}

#[test]
fn the_path_leads_to_a_root_of_the_policy() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let email = || Matcher::exact(EMAIL).expect("a text");
    let stranger = OwnAuthority::root("own root");
    let below = |roots: Vec<Certificate>| {
        CertificateRule::issued_to(email(), roots)
            .expect("a root")
            .intermediates(vec![office.issuing.certificate.clone()])
    };
    let of_stranger = below(vec![stranger.certificate.clone()]);
    assert_eq!(
        code(office.judge(&bundle, of_stranger)),
        "CERTIFICATE_UNTRUSTED"
    );
    let no_way = CertificateRule::issued_to(email(), office.roots()).expect("a root");
    assert_eq!(code(office.judge(&bundle, no_way)), "CERTIFICATE_UNTRUSTED");
    let both = below(vec![stranger.certificate, office.root.certificate.clone()]);
    assert_eq!(code(office.judge(&bundle, both)), "verified");
    let anchored_midway =
        CertificateRule::issued_to(email(), vec![office.issuing.certificate.clone()]);
    assert_eq!(
        code(office.judge(&bundle, anchored_midway.expect("a root"))),
        "verified"
    );
    assert_eq!(
        code(CertificateRule::issued_to(email(), Vec::new())),
        "POLICY_INVALID"
    );
    assert_eq!(
        code(CertificateRule::pinned(leaf.certificate, Vec::new())),
        "POLICY_INVALID"
    );
}

#[test]
fn name_constraints_of_an_own_authority_bind() {
    let mut office = Office::new();
    // NameConstraints { permittedSubtrees [0] { { rfc822Name example.org } } }
    let subtree = asn1::encode_sequence(&[&asn1::encode(EMAIL_NAME, b"example.org")]);
    let permitted = asn1::encode(asn1::tag::context_constructed(0), &subtree);
    let permitted = asn1::encode_sequence(&[&permitted]);
    office.issuing = office
        .root
        .below_with("constrained", &[(oid::NAME_CONSTRAINTS, true, permitted)]);
    let outside = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&outside, &[NOW]);
    let refused = office
        .judge(&bundle, office.rule())
        .expect_err("example.com is outside");
    assert_eq!(refused.code(), "CERTIFICATE_UNTRUSTED");
    assert!(
        refused.to_string().contains("name constraints"),
        "{refused}"
    );
    let inside = named(&[(EMAIL_NAME, b"jane@example.org")]);
    let bundle = {
        let inside = office.issuing.issue(&inside);
        office.sign(&inside, &[NOW])
    };
    let rule = office
        .rule()
        .or_subject(Matcher::exact("jane@example.org").expect("a text"));
    assert_eq!(code(office.judge(&bundle, rule)), "verified");
}

#[test]
fn every_verified_time_lies_inside_the_certificates_life() {
    let mut office = Office::new();
    let (start, end) = (NOW - 10 * DAY, NOW - DAY);
    let leaf = office.issuing.issue(&Leaf {
        validity: (start, end),
        ..Leaf::default()
    });
    for (times, expected) in [
        (&[start][..], "verified"),
        (&[end], "verified"),
        (&[start - 1], "CERTIFICATE_NOT_VALID_AT_TIME"),
        (&[end + 1], "CERTIFICATE_NOT_VALID_AT_TIME"),
        (&[start, end + 1], "CERTIFICATE_NOT_VALID_AT_TIME"),
    ] {
        let bundle = office.sign(&leaf, times);
        // Expired today, and that does not matter: a timestamp saw the signature before.
        assert_eq!(
            code(office.judge(&bundle, office.rule())),
            expected,
            "{times:?}"
        );
        let lenient = office.rule().allow_current_time();
        assert_eq!(code(office.judge(&bundle, lenient)), expected, "{times:?}");
    }
}

#[test]
fn the_present_stands_in_only_where_the_policy_lets_it_and_nothing_is_better() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[]);
    assert_eq!(code(office.judge(&bundle, office.rule())), "NO_TIME_SOURCE");
    let verified = office
        .judge(&bundle, office.rule().allow_current_time())
        .expect("it is valid now");
    assert!(warnings(&verified).contains(&"CURRENT_TIME"));
    assert!(verified.times().is_empty(), "nobody vouches for a time");
    let Signer::Certificate { judged_at, .. } = verified.signer() else {
        panic!("{:?}", verified.signer());
    };
    assert_eq!(*judged_at, Some(UnixTime(NOW)));
}

#[test]
fn without_a_timestamp_a_certificate_is_long_lived_and_unexpired() {
    let mut office = Office::new();
    for (validity, now, expected) in [
        ((NOW, NOW + DAY), NOW, "SHORT_LIVED_WITHOUT_TIME"),
        ((NOW, NOW + DAY + 1), NOW, "verified"),
        ((NOW - 9 * DAY, NOW), NOW, "verified"),
        ((NOW - 9 * DAY, NOW - 1), NOW, "EXPIRED_WITHOUT_TIME"),
        (
            (NOW + 1, NOW + 9 * DAY),
            NOW,
            "CERTIFICATE_NOT_VALID_AT_TIME",
        ),
        (
            (NOW, NOW + 9 * DAY),
            NOW + 9 * DAY + 1,
            "EXPIRED_WITHOUT_TIME",
        ),
    ] {
        let leaf = office.issuing.issue(&Leaf {
            validity,
            ..Leaf::default()
        });
        let bundle = office.sign(&leaf, &[]);
        let rule = office.rule().allow_current_time();
        assert_eq!(
            code(office.judge_at(&bundle, rule, now)),
            expected,
            "{validity:?}"
        );
    }
}

#[test]
fn a_pinned_certificate_is_the_one_or_signs_for_a_key_hint() {
    let mut office = Office::new();
    let (leaf, other) = (
        office.issuing.issue(&Leaf::default()),
        office.issuing.issue(&Leaf::default()),
    );
    let pinned = |certificate: &Certificate| {
        CertificateRule::pinned(certificate.clone(), office.roots())
            .expect("a root")
            .intermediates(vec![office.issuing.certificate.clone()])
    };
    let (mine, others) = (pinned(&leaf.certificate), pinned(&other.certificate));
    let bundle = office.sign(&leaf, &[NOW]);
    assert_eq!(code(office.judge(&bundle, mine.clone())), "verified");
    assert_eq!(
        code(office.judge(&bundle, others.clone())),
        "CERTIFICATE_MISMATCH"
    );
    let named_otherwise = mine
        .clone()
        .or_subject(Matcher::exact("x").expect("a text"));
    assert_eq!(
        code(office.judge(&bundle, named_otherwise)),
        "IDENTITY_MISMATCH"
    );

    let hinted = office.sign_with_key_alone(&leaf);
    assert_eq!(code(office.judge(&hinted, mine)), "verified");
    assert_ne!(code(office.judge(&hinted, others)), "verified");
    assert_eq!(
        code(office.judge(&hinted, office.rule())),
        "SIGNER_KIND_MISMATCH"
    );
}

#[test]
fn a_certificate_may_be_trusted_by_itself_while_it_is_valid() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let trusting = CertificateRule::trusting(leaf.certificate.clone());
    let bundle = office.sign(&leaf, &[NOW]);
    assert_eq!(code(office.judge(&bundle, trusting.clone())), "verified");
    let with_lists = trusting.clone().revocation_lists(office.lists(Vec::new()));
    assert_eq!(code(office.judge(&bundle, with_lists)), "CRL_MISSING");
    let late = office.sign(&leaf, &[leaf.certificate.not_after() + 1]);
    assert_eq!(
        code(office.judge(&late, trusting)),
        "CERTIFICATE_NOT_VALID_AT_TIME"
    );
    let for_tls = office.issuing.issue(&Leaf {
        purposes: vec![oid::SERVER_AUTH],
        ..Leaf::default()
    });
    let bundle = office.sign(&for_tls, &[NOW]);
    let trusting = CertificateRule::trusting(for_tls.certificate);
    assert_eq!(
        code(office.judge(&bundle, trusting)),
        "CERTIFICATE_UNTRUSTED"
    );
}

#[test]
fn the_certificate_is_for_what_the_policy_says() {
    const OWN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.55555.7");
    let mut office = Office::new();
    let bundle_for = |office: &mut Office, purposes: &[ObjectIdentifier]| {
        let leaf = office.issuing.issue(&Leaf {
            purposes: purposes.to_vec(),
            ..Leaf::default()
        });
        office.sign(&leaf, &[NOW])
    };
    let signing = bundle_for(&mut office, &[oid::CODE_SIGNING, oid::SERVER_AUTH]);
    let tls = bundle_for(&mut office, &[oid::SERVER_AUTH]);
    let own = bundle_for(&mut office, &[OWN]);
    let silent = bundle_for(&mut office, &[]);
    for (purpose, accepted) in [
        (Purpose::CodeSigning, [true, false, false, false]),
        (Purpose::ServerAuth, [true, true, false, false]),
        (Purpose::Other(OWN), [false, false, true, false]),
        (Purpose::Any, [true; 4]),
    ] {
        for (bundle, accepted) in [&signing, &tls, &own, &silent].into_iter().zip(accepted) {
            let expected = if accepted {
                "verified"
            } else {
                "CERTIFICATE_UNTRUSTED"
            };
            let rule = office.rule().purpose(purpose);
            assert_eq!(code(office.judge(bundle, rule)), expected, "{purpose:?}");
        }
    }
}

#[test]
fn one_of_several_names_is_enough_and_its_type_counts() {
    let mut office = Office::new();
    let names: [(u8, &[u8]); 4] = [
        (URI_NAME, b"https://build.example/release"),
        (DNS_NAME, b"build.example"),
        (IP_NAME, &[192, 0, 2, 7]),
        (
            IP_NAME,
            &[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ),
    ];
    let leaf = office.issuing.issue(&named(&names));
    let bundle = office.sign(&leaf, &[NOW]);
    let rule = |name: &str| {
        CertificateRule::issued_to(Matcher::exact(name).expect("a text"), office.roots())
            .expect("a root")
            .intermediates(vec![office.issuing.certificate.clone()])
    };
    for (name, kind) in [
        ("https://build.example/release", "uri"),
        ("build.example", "dns"),
        ("192.0.2.7", "ip"),
        ("2001:db8::1", "ip"),
    ] {
        let verified = office.judge(&bundle, rule(name)).expect(name);
        let Signer::Certificate { name: found, .. } = verified.signer() else {
            panic!("{:?}", verified.signer());
        };
        let found = found.as_ref().map(|name| (name.kind, name.value.as_str()));
        assert_eq!(found, Some((kind, name)));
    }
    let refused = office
        .judge(&bundle, rule(EMAIL))
        .expect_err("nobody of that name");
    assert_eq!(refused.code(), "IDENTITY_MISMATCH");
    assert!(
        refused.explain().found.contains("dns build.example"),
        "{refused}"
    );
    let of_type = rule("build.example").of_type(SubjectType::Dns);
    assert_eq!(code(office.judge(&bundle, of_type)), "verified");
    let of_type = rule("build.example").of_type(SubjectType::Uri);
    assert_eq!(code(office.judge(&bundle, of_type)), "IDENTITY_MISMATCH");
    let either = rule(EMAIL).or_subject(Matcher::glob("build.*").expect("a glob"));
    assert_eq!(code(office.judge(&bundle, either)), "verified");

    let nameless = office.issuing.issue(&named(&[]));
    let bundle = office.sign(&nameless, &[NOW]);
    assert_eq!(
        code(office.judge(&bundle, office.rule())),
        "IDENTITY_MISSING"
    );
}

#[test]
fn an_identity_provider_and_extensions_are_asked_for_only_by_name() {
    let mut office = Office::new();
    let utf8 = |text: &str| asn1::encode(asn1::tag::UTF8_STRING, text.as_bytes());
    let runner: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.11");
    let vouched = office.issuing.issue(&Leaf {
        extensions: vec![
            (oid::FULCIO_ISSUER_V2, false, utf8("https://idp.example")),
            (runner, false, utf8("self-hosted")),
        ],
        ..Leaf::default()
    });
    let plain = office.issuing.issue(&Leaf::default());
    let (vouched, plain) = (office.sign(&vouched, &[NOW]), office.sign(&plain, &[NOW]));
    let issuer = |issuer: &str| {
        office
            .rule()
            .with_issuer(Matcher::exact(issuer).expect("a text"))
    };
    assert_eq!(
        code(office.judge(&vouched, issuer("https://idp.example"))),
        "verified"
    );
    assert_eq!(
        code(office.judge(&vouched, issuer("https://other.example"))),
        "ISSUER_MISMATCH"
    );
    assert_eq!(
        code(office.judge(&plain, issuer("https://idp.example"))),
        "IDENTITY_MISSING"
    );
    let hosted = |value: &str| {
        let value = Matcher::exact(value).expect("a text");
        let rule = office.rule().with_extension("runnerEnvironment", value);
        rule.expect("a row of the profile")
    };
    assert_eq!(
        code(office.judge(&vouched, hosted("self-hosted"))),
        "verified"
    );
    assert_eq!(
        code(office.judge(&vouched, hosted("github-hosted"))),
        "EXTENSION_MISMATCH"
    );
    assert_eq!(
        code(office.judge(&plain, hosted("self-hosted"))),
        "EXTENSION_MISMATCH"
    );
}

#[test]
fn certificate_logs_count_only_when_asked_for() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let root = TrustedRoot::parse(office.world.trusted_root_json().as_bytes()).expect("a root");
    let policy = Policy::signed_by_certificate(office.rule())
        .blob()
        .certificate_log_threshold(1);
    let verdict = verify(&bundle, &Artifact::from_bytes(FILE), &root, &policy, NOW);
    assert_eq!(code(verdict), "SCT_MISSING");
}

#[test]
fn with_lists_every_certificate_below_the_anchor_needs_a_current_one() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let [of_issuing, of_root] = &office.lists(Vec::new())[..] else {
        panic!("two lists");
    };
    let judge = |lists: &[&CertificateRevocationList]| {
        let lists = lists.iter().map(|list| (*list).clone()).collect();
        office.judge(&bundle, office.rule().revocation_lists(lists))
    };
    let verified = judge(&[of_issuing, of_root]).expect("nothing is revoked");
    let Signer::Certificate {
        revocation_lists, ..
    } = verified.signer()
    else {
        panic!("{:?}", verified.signer());
    };
    let issuers: Vec<_> = revocation_lists
        .iter()
        .map(|list| list.issuer.as_str())
        .collect();
    assert_eq!(issuers, ["CN=own issuing", "CN=own root"]);
    assert_eq!(revocation_lists[0].number.as_deref(), Some("07"));
    assert_eq!(code(judge(&[of_issuing])), "CRL_MISSING");
    assert_eq!(code(judge(&[of_root])), "CRL_MISSING");
    let refused = judge(&[of_issuing]).expect_err("one is missing");
    assert!(refused.to_string().contains("own issuing"), "{refused}");

    let stale = |this_update, next_update| {
        office.issuing.revocation_list(&Listing {
            this_update,
            next_update,
            ..Listing::default()
        })
    };
    for list in [
        stale(NOW - DAY, Some(NOW - 1)),
        stale(NOW + 1, Some(NOW + DAY)),
        stale(NOW - DAY, None),
    ] {
        assert_eq!(code(judge(&[&list, of_root])), "CRL_STALE");
        assert_eq!(
            code(judge(&[&list, of_issuing, of_root])),
            "verified",
            "another is current"
        );
    }
    let just = stale(NOW, Some(NOW));
    assert_eq!(code(judge(&[&just, of_root])), "verified");

    // Another key under the same name makes no list for anybody.
    let stranger = office
        .root
        .below("own issuing")
        .revocation_list(&Listing::default());
    assert_eq!(code(judge(&[&stranger, of_root])), "CRL_INVALID");
    assert_eq!(code(judge(&[&stranger, of_issuing, of_root])), "verified");
}

#[test]
fn an_authority_that_may_not_make_lists_makes_none() {
    let mut office = Office::new();
    office.root = OwnAuthority::root_without_lists("own root");
    let leaf = office.root.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let list = office.root.revocation_list(&Listing::default());
    let refused = office.judge(&bundle, office.rule().revocation_lists(vec![list]));
    let refused = refused.expect_err("its key usage says so");
    assert_eq!(refused.code(), "CRL_INVALID");
    assert!(
        refused.to_string().contains("may not sign CRLs"),
        "{refused}"
    );
}

#[test]
fn a_revocation_refuses_unless_it_was_orderly_and_later() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let signed_at = NOW - 5 * DAY;
    let bundle = office.sign(&leaf, &[signed_at]);
    let twice = office.sign(&leaf, &[signed_at, NOW - DAY]);
    let untimed = office.sign(&leaf, &[]);
    let with = |date, reason| {
        let entries = vec![Listed::new(&leaf.certificate, date, reason)];
        let rule = office.rule().revocation_lists(office.lists(entries));
        rule.allow_current_time()
    };
    for reason in [
        None,
        Some(0),
        Some(1),
        Some(2),
        Some(3),
        Some(4),
        Some(5),
        Some(6),
        Some(9),
        Some(10),
    ] {
        let orderly = matches!(reason, Some(3..=5));
        for date in [signed_at - DAY, signed_at] {
            let verdict = office.judge(&bundle, with(date, reason));
            assert_eq!(code(verdict), "CERTIFICATE_REVOKED", "{reason:?}");
        }
        let later = office.judge(&bundle, with(signed_at + 1, reason));
        if orderly {
            let verified = later.expect("it was revoked later, in good order");
            assert!(warnings(&verified).contains(&"CERTIFICATE_REVOKED_LATER"));
        } else {
            assert_eq!(code(later), "CERTIFICATE_REVOKED", "{reason:?}");
        }
        // One of two times lies after the revocation.
        let between = office.judge(&twice, with(NOW - 2 * DAY, reason));
        assert_eq!(code(between), "CERTIFICATE_REVOKED", "{reason:?}");
        // Nothing to compare with.
        let untimed = office.judge(&untimed, with(NOW - 2 * DAY, reason));
        assert_eq!(code(untimed), "CERTIFICATE_REVOKED", "{reason:?}");
    }
}

#[test]
fn an_invalidity_date_moves_the_revocation_back() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW - 5 * DAY]);
    for (invalidity_date, expected) in [
        (None, "verified"),
        (Some(NOW - 4 * DAY), "verified"),
        (Some(NOW - 5 * DAY), "CERTIFICATE_REVOKED"),
        (Some(NOW + DAY), "verified"),
    ] {
        let mut listed = Listed::new(&leaf.certificate, NOW - 2 * DAY, Some(4));
        listed.invalidity_date = invalidity_date;
        let rule = office.rule().revocation_lists(office.lists(vec![listed]));
        assert_eq!(
            code(office.judge(&bundle, rule)),
            expected,
            "{invalidity_date:?}"
        );
    }
}

#[test]
fn a_revoked_authority_takes_its_leaves_along() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let revoked = Listed::new(&office.issuing.certificate, NOW - DAY, Some(2));
    let lists = vec![
        office.issuing.revocation_list(&Listing::default()),
        office.root.revocation_list(&Listing {
            entries: vec![revoked],
            ..Listing::default()
        }),
    ];
    let refused = office.judge(&bundle, office.rule().revocation_lists(lists));
    let refused = refused.expect_err("its issuer is revoked");
    assert_eq!(refused.code(), "CERTIFICATE_REVOKED");
    assert!(refused.to_string().contains("cACompromise"), "{refused}");
}

#[test]
fn a_list_that_may_have_dropped_an_expired_certificate_says_so() {
    let mut office = Office::new();
    let expiry = NOW - 2 * DAY;
    let leaf = office.issuing.issue(&Leaf {
        validity: (NOW - 30 * DAY, expiry),
        ..Leaf::default()
    });
    let bundle = office.sign(&leaf, &[NOW - 10 * DAY]);
    // A list that was made at the last moment of the certificate's life still speaks of it.
    for (this_update, keeps_expired_since, warned) in [
        (expiry, None, false),
        (expiry + 1, None, true),
        (expiry + 1, Some(expiry + 1), true),
        (expiry + 1, Some(expiry), false),
    ] {
        let listing = Listing {
            this_update,
            keeps_expired_since,
            ..Listing::default()
        };
        let lists = vec![
            office.issuing.revocation_list(&listing),
            office.root.revocation_list(&Listing::default()),
        ];
        let verified = office
            .judge(&bundle, office.rule().revocation_lists(lists))
            .expect("it verifies");
        let found = warnings(&verified).contains(&"REVOCATION_OF_EXPIRED_UNKNOWN");
        assert_eq!(found, warned, "{keeps_expired_since:?}");
    }
}

#[test]
fn of_lists_made_in_one_second_the_one_with_the_higher_number_counts() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let revoked = vec![Listed::new(&leaf.certificate, NOW - DAY, Some(1))];
    let list = |number: u8, entries: &[Listed]| {
        office.issuing.revocation_list(&Listing {
            number,
            entries: entries.to_vec(),
            ..Listing::default()
        })
    };
    let of_root = office.root.revocation_list(&Listing::default());
    for (clean, listing, expected) in [(7, 8, "CERTIFICATE_REVOKED"), (17, 16, "verified")] {
        let lists = [list(clean, &[]), list(listing, &revoked), of_root.clone()];
        for turn in 0..lists.len() {
            let mut lists = lists.to_vec();
            lists.rotate_left(turn);
            let verdict = office.judge(&bundle, office.rule().revocation_lists(lists));
            assert_eq!(code(verdict), expected, "{clean} and {listing}, {turn}");
        }
    }
}

#[test]
fn a_refused_name_is_told_with_all_that_would_have_done() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let text = |text: &str| Matcher::exact(text).expect("a text");
    let rule = CertificateRule::issued_to(text("a.example"), office.roots())
        .expect("a root")
        .intermediates(vec![office.issuing.certificate.clone()])
        .or_subject(text("b.example"));
    let expected = |rule: CertificateRule| {
        let refused = office.judge(&bundle, rule).expect_err("another name");
        assert_eq!(refused.code(), "IDENTITY_MISMATCH");
        refused.explain().expected
    };
    let told = expected(rule.clone());
    assert!(told.contains("a.example or b.example"), "{told}");
    let told = expected(rule.of_type(SubjectType::Dns));
    assert!(told.contains("dns a.example or b.example"), "{told}");
}

#[test]
fn a_user_name_is_a_name() {
    const USER: &str = "jane!example.com";
    let mut office = Office::new();
    let mut other_name = asn1::Writer::new();
    other_name.oid(&oid::FULCIO_USERNAME);
    other_name.nested(asn1::tag::context_constructed(0), |w| w.utf8_string(USER));
    let name = (asn1::tag::context_constructed(0), other_name.finish());
    let leaf = office.issuing.issue(&Leaf {
        names: vec![name],
        ..Leaf::default()
    });
    let bundle = office.sign(&leaf, &[NOW]);
    let rule = |kind| {
        let user = Matcher::exact(USER).expect("a text");
        let rule = CertificateRule::issued_to(user, office.roots()).expect("a root");
        let intermediates = vec![office.issuing.certificate.clone()];
        rule.intermediates(intermediates).of_type(kind)
    };
    let judge = |kind| code(office.judge(&bundle, rule(kind)));
    assert_eq!(judge(SubjectType::Username), "verified");
    assert_eq!(judge(SubjectType::Email), "IDENTITY_MISMATCH");
}

/// The policy need not know every authority in between: one that the signer sends along helps, and is trusted for nothing.
#[test]
fn what_the_signer_sends_along_helps_on_the_way() {
    use sealwright_proto::bundle::v1::verification_material::Content as Material;
    use sealwright_proto::common::v1::{X509Certificate, X509CertificateChain};
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let signed = office.world.sign_blob_as(&leaf, FILE, &Signing::default());
    let with = |certificates: &[&Certificate]| {
        let mut message = signed.clone();
        message.media_type = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
        let certificates = certificates.iter().map(|certificate| X509Certificate {
            raw_bytes: certificate.der().to_vec(),
        });
        let material = message.verification_material.as_mut().expect("material");
        material.content = Some(Material::X509CertificateChain(X509CertificateChain {
            certificates: certificates.collect(),
        }));
        Bundle::from_proto(message).expect("a bundle")
    };
    let email = || Matcher::exact(EMAIL).expect("a text");
    let roots_alone = || CertificateRule::issued_to(email(), office.roots()).expect("a root");
    let sent = with(&[&leaf.certificate, &office.issuing.certificate]);
    assert_eq!(code(office.judge(&sent, roots_alone())), "verified");
    let alone = with(&[&leaf.certificate]);
    let refused = office.judge(&alone, roots_alone());
    assert_eq!(code(refused), "CERTIFICATE_UNTRUSTED");
    let elsewhere = CertificateRule::issued_to(email(), vec![OwnAuthority::root("x").certificate]);
    let refused = office.judge(&sent, elsewhere.expect("a root"));
    assert_eq!(code(refused), "CERTIFICATE_UNTRUSTED");
}

/// A policy that asks for no times still needs one for a certificate, and then says why those that are there do not count.
#[test]
fn a_rejected_timestamp_is_told_where_no_time_is_asked_for_by_number() {
    let mut office = Office::new();
    let leaf = office.issuing.issue(&Leaf::default());
    let bundle = office.sign(&leaf, &[NOW]);
    let strangers = TrustedRoot::parse(World::new().trusted_root_json().as_bytes());
    let policy = Policy::signed_by_certificate(office.rule());
    let policy = policy.blob().time_threshold(0).log_threshold(0);
    let root = strangers.expect("a root");
    let verdict = verify(&bundle, &Artifact::from_bytes(FILE), &root, &policy, NOW);
    let refused = verdict.expect_err("nobody known saw it");
    assert!(
        matches!(refused, VerifyError::TimestampsRejected { .. }),
        "{refused}"
    );
}
