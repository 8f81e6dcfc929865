//! Paths that hold, and paths that fail for exactly one reason.

use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_pki::asn1::{self, Writer, tag};
use sealwright_pki::{
    Certificate, ChainFault, Error, Purpose, oid, verify_chain, verify_precertificate_chain,
};

use crate::forge::{
    Forge, NOW, basic_constraints, ca_usage, extension, key, key_usage, leaf_usage, purposes, uri,
};

/// A root, an intermediate and a leaf, each to be changed before it is signed.
struct Path {
    root: Forge,
    intermediate: Forge,
    leaf: Forge,
    root_key: PrivateKey,
    intermediate_key: PrivateKey,
    leaf_key: PrivateKey,
}

impl Path {
    fn new() -> Self {
        let (root_key, intermediate_key, leaf_key) = (key(), key(), key());
        Self {
            root: Forge::authority("root", "root", root_key.public_key()),
            intermediate: Forge::authority("root", "issuing", intermediate_key.public_key()),
            leaf: Forge::leaf("issuing", leaf_key.public_key()),
            root_key,
            intermediate_key,
            leaf_key,
        }
    }

    fn verify_for(&self, purpose: Purpose) -> Result<Vec<Certificate>, Error> {
        let leaf = self.leaf.sign(&self.intermediate_key);
        let intermediate = self.intermediate.sign(&self.root_key);
        let root = self.root.sign(&self.root_key);
        verify_chain(&leaf, &[intermediate], &[root], NOW, purpose)
            .map(|chain| chain.certificates().to_vec())
    }

    fn fault(&self) -> ChainFault {
        fault(self.verify_for(Purpose::CodeSigning))
    }
}

fn fault<T: std::fmt::Debug>(result: Result<T, Error>) -> ChainFault {
    match result {
        Err(Error::Chain(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_path_is_answered_leaf_first() {
    let path = Path::new();
    let found = path.verify_for(Purpose::CodeSigning).unwrap();
    let subjects: Vec<_> = found.iter().map(Certificate::subject).collect();
    assert_eq!(subjects, ["", "CN=issuing", "CN=root"]);
    let leaf = path.leaf.sign(&path.intermediate_key);
    let intermediate = path.intermediate.sign(&path.root_key);
    let root = path.root.sign(&path.root_key);
    let chain = verify_chain(
        &leaf,
        std::slice::from_ref(&intermediate),
        std::slice::from_ref(&root),
        NOW,
        Purpose::CodeSigning,
    )
    .unwrap();
    assert_eq!(chain.issuer(), &intermediate);
    assert_eq!(chain.anchor(), &root);
    assert_eq!(
        chain.issuer_key_hash(),
        path.intermediate_key.public_key().fingerprint()
    );
}

#[test]
fn an_anchor_need_not_be_self_signed() {
    let path = Path::new();
    let leaf = path.leaf.sign(&path.intermediate_key);
    let anchor = path.intermediate.sign(&path.root_key);
    let chain = verify_chain(&leaf, &[], &[anchor], NOW, Purpose::CodeSigning).unwrap();
    assert_eq!(chain.certificates().len(), 2);
}

#[test]
fn the_leaf_itself_is_no_anchor() {
    let path = Path::new();
    let leaf = path.leaf.sign(&path.intermediate_key);
    let result = verify_chain(
        &leaf,
        &[],
        std::slice::from_ref(&leaf),
        NOW,
        Purpose::CodeSigning,
    );
    assert!(matches!(fault(result), ChainFault::UnknownIssuer { .. }));
}

#[test]
fn the_issuer_is_who_signed_and_not_who_has_the_name() {
    let path = Path::new();
    let leaf = path.leaf.sign(&path.intermediate_key);
    let intermediate = path.intermediate.sign(&path.root_key);
    let root = path.root.sign(&path.root_key);
    let namesake_key = key();
    let namesake =
        Forge::authority("root", "issuing", namesake_key.public_key()).sign(&path.root_key);
    let both = [namesake.clone(), intermediate.clone()];
    let chain = verify_chain(
        &leaf,
        &both,
        std::slice::from_ref(&root),
        NOW,
        Purpose::CodeSigning,
    )
    .unwrap();
    assert_eq!(chain.issuer(), &intermediate);
    let only_namesake = verify_chain(&leaf, &[namesake], &[root], NOW, Purpose::CodeSigning);
    assert!(matches!(
        fault(only_namesake),
        ChainFault::BadSignature { depth: 0, .. }
    ));
}

#[test]
fn a_root_of_the_same_name_is_not_the_root() {
    let path = Path::new();
    let other_key = key();
    let other_root = Forge::authority("root", "root", other_key.public_key()).sign(&other_key);
    let leaf = path.leaf.sign(&path.intermediate_key);
    let intermediate = path.intermediate.sign(&path.root_key);
    // The true root may well be sent along: it is not an anchor.
    let sent = [intermediate, path.root.sign(&path.root_key)];
    let result = verify_chain(&leaf, &sent, &[other_root], NOW, Purpose::CodeSigning);
    let issuer = "CN=root".to_owned();
    assert_eq!(fault(result), ChainFault::BadSignature { depth: 2, issuer });
}

#[test]
fn every_certificate_must_be_valid_at_the_moment() {
    let mut path = Path::new();
    path.leaf.not_after = NOW;
    assert!(
        path.verify_for(Purpose::CodeSigning).is_ok(),
        "both ends are included"
    );
    path.leaf.not_after = NOW - 1;
    assert_eq!(
        path.fault(),
        ChainFault::Expired {
            depth: 0,
            not_after: NOW - 1,
            at: NOW
        }
    );
    let mut path = Path::new();
    path.leaf.not_before = NOW + 1;
    assert_eq!(
        path.fault(),
        ChainFault::NotYetValid {
            depth: 0,
            not_before: NOW + 1,
            at: NOW
        }
    );
    let mut path = Path::new();
    path.intermediate.not_after = NOW - 1;
    assert_eq!(
        path.fault(),
        ChainFault::Expired {
            depth: 1,
            not_after: NOW - 1,
            at: NOW
        }
    );
    let mut path = Path::new();
    path.root.not_before = NOW + 1;
    assert_eq!(
        path.fault(),
        ChainFault::NotYetValid {
            depth: 2,
            not_before: NOW + 1,
            at: NOW
        }
    );
}

#[test]
fn an_issuer_must_be_an_authority() {
    let mut path = Path::new();
    path.intermediate.extensions = vec![ca_usage()];
    assert_eq!(path.fault(), ChainFault::NotAnAuthority { depth: 1 });
    path.intermediate.extensions = vec![ca_usage(), basic_constraints(false, None)];
    assert_eq!(path.fault(), ChainFault::NotAnAuthority { depth: 1 });
    path.intermediate.extensions = vec![leaf_usage(), basic_constraints(true, None)];
    assert_eq!(
        path.fault(),
        ChainFault::MayNotSignCertificates { depth: 1 }
    );
    path.intermediate.extensions = vec![basic_constraints(true, None)];
    assert_eq!(
        path.fault(),
        ChainFault::MayNotSignCertificates { depth: 1 }
    );
}

#[test]
fn a_leaf_must_not_issue() {
    let path = Path::new();
    let leaf = path.leaf.sign(&path.intermediate_key);
    let sub_leaf = Forge::leaf("", key().public_key()).sign(&path.leaf_key);
    let sent = [leaf, path.intermediate.sign(&path.root_key)];
    let root = path.root.sign(&path.root_key);
    let result = verify_chain(&sub_leaf, &sent, &[root], NOW, Purpose::CodeSigning);
    assert_eq!(fault(result), ChainFault::NotAnAuthority { depth: 1 });
}

#[test]
fn path_lengths_count_authorities_below() {
    let mut path = Path::new();
    path.root.extensions = vec![ca_usage(), basic_constraints(true, Some(1))];
    path.intermediate.extensions = vec![ca_usage(), basic_constraints(true, Some(0))];
    assert!(path.verify_for(Purpose::CodeSigning).is_ok());
    path.root.extensions = vec![ca_usage(), basic_constraints(true, Some(0))];
    assert_eq!(
        path.fault(),
        ChainFault::PathLength {
            depth: 2,
            limit: 0,
            found: 1
        }
    );
}

#[test]
fn an_authority_is_no_leaf() {
    let mut path = Path::new();
    path.leaf = path.leaf.plus(basic_constraints(true, None));
    assert_eq!(path.fault(), ChainFault::LeafIsAuthority);
    let mut path = Path::new();
    // digitalSignature and keyCertSign
    path.leaf.extensions[0] = key_usage(0x84, 2);
    assert_eq!(path.fault(), ChainFault::LeafIsAuthority);
}

#[test]
fn a_leaf_must_be_allowed_to_sign() {
    let mut path = Path::new();
    path.leaf.extensions.remove(0);
    assert_eq!(path.fault(), ChainFault::LeafMayNotSign);
    let mut path = Path::new();
    // keyEncipherment
    path.leaf.extensions[0] = key_usage(0x20, 5);
    assert_eq!(path.fault(), ChainFault::LeafMayNotSign);
}

#[test]
fn the_purpose_must_be_named_by_the_leaf_and_permitted_by_its_issuers() {
    let wrong = |depth| ChainFault::Purpose {
        depth,
        purpose: "code signing",
    };
    let mut path = Path::new();
    path.leaf.extensions[1] = purposes(false, &[oid::SERVER_AUTH]);
    assert_eq!(path.fault(), wrong(0));
    path.leaf.extensions[1] = purposes(false, &[oid::ANY_EXTENDED_KEY_USAGE]);
    assert_eq!(path.fault(), wrong(0));
    path.leaf.extensions.remove(1);
    assert_eq!(path.fault(), wrong(0));
    let mut path = Path::new();
    path.intermediate = path
        .intermediate
        .plus(purposes(false, &[oid::TIME_STAMPING]));
    assert_eq!(path.fault(), wrong(1));
    let mut path = Path::new();
    path.intermediate = path
        .intermediate
        .plus(purposes(false, &[oid::ANY_EXTENDED_KEY_USAGE]));
    assert!(path.verify_for(Purpose::CodeSigning).is_ok());
}

#[test]
fn time_stamping_must_be_critical_and_alone() {
    let mut path = Path::new();
    path.leaf.extensions[1] = purposes(true, &[oid::TIME_STAMPING]);
    assert!(path.verify_for(Purpose::TimeStamping).is_ok());
    let wrong = ChainFault::Purpose {
        depth: 0,
        purpose: "time stamping",
    };
    path.leaf.extensions[1] = purposes(false, &[oid::TIME_STAMPING]);
    assert_eq!(fault(path.verify_for(Purpose::TimeStamping)), wrong);
    path.leaf.extensions[1] = purposes(true, &[oid::TIME_STAMPING, oid::CODE_SIGNING]);
    assert_eq!(fault(path.verify_for(Purpose::TimeStamping)), wrong);
    path.leaf.extensions[1] = purposes(true, &[oid::CODE_SIGNING]);
    assert_eq!(fault(path.verify_for(Purpose::TimeStamping)), wrong);
}

#[test]
fn unknown_critical_extensions_are_refused_anywhere() {
    let unknown = oid::EMAIL_ADDRESS;
    let null = [tag::NULL, 0];
    for depth in 0..3 {
        let mut path = Path::new();
        let forge = [&mut path.leaf, &mut path.intermediate, &mut path.root]
            .into_iter()
            .nth(depth)
            .unwrap();
        forge.extensions.push(extension(&unknown, false, &null));
        assert!(
            path.verify_for(Purpose::CodeSigning).is_ok(),
            "not critical at {depth}"
        );
        let forge = [&mut path.leaf, &mut path.intermediate, &mut path.root]
            .into_iter()
            .nth(depth)
            .unwrap();
        forge.extensions.pop();
        forge.extensions.push(extension(&unknown, true, &null));
        assert_eq!(
            path.fault(),
            ChainFault::UnknownCriticalExtension {
                depth,
                oid: unknown
            }
        );
    }
}

#[test]
fn a_precertificate_is_for_logs_only() {
    let path = Path::new();
    let poisoned = path.leaf.clone().plus(extension(
        &oid::PRECERTIFICATE_POISON,
        true,
        &[tag::NULL, 0],
    ));
    let intermediate = [path.intermediate.sign(&path.root_key)];
    let root = [path.root.sign(&path.root_key)];
    let leaf = poisoned.sign(&path.intermediate_key);
    let as_final = verify_chain(&leaf, &intermediate, &root, NOW, Purpose::CodeSigning);
    assert_eq!(fault(as_final), ChainFault::Poison { present: true });
    assert!(
        verify_precertificate_chain(&leaf, &intermediate, &root, NOW, Purpose::CodeSigning).is_ok()
    );
    let unpoisoned = path.leaf.sign(&path.intermediate_key);
    let result =
        verify_precertificate_chain(&unpoisoned, &intermediate, &root, NOW, Purpose::CodeSigning);
    assert_eq!(fault(result), ChainFault::Poison { present: false });
}

#[test]
fn a_remembered_signature_vouches_for_no_other_key() {
    let path = Path::new();
    let intermediate = path.intermediate.sign(&path.root_key);
    let clone = intermediate.clone();
    let other = key();
    for certificate in [&intermediate, &clone, &intermediate] {
        certificate
            .verify_signature(path.root_key.public_key())
            .unwrap();
        let refused = certificate.verify_signature(other.public_key());
        assert_eq!(
            refused,
            Err(Error::Signature {
                what: "certificate"
            })
        );
    }
}

#[test]
fn weak_algorithms_are_refused() {
    let mut path = Path::new();
    let sha1 = asn1::encode_sequence(&[&asn1::encode(
        tag::OBJECT_IDENTIFIER,
        oid::ECDSA_WITH_SHA1.as_bytes(),
    )]);
    path.leaf.algorithm = Some(sha1);
    assert_eq!(path.fault(), ChainFault::WeakAlgorithm { depth: 0 });
    // An algorithm of another kind of key.
    let mut path = Path::new();
    let ed25519 = asn1::encode_sequence(&[&asn1::encode(
        tag::OBJECT_IDENTIFIER,
        oid::ED25519.as_bytes(),
    )]);
    path.intermediate.algorithm = Some(ed25519);
    assert_eq!(path.fault(), ChainFault::WeakAlgorithm { depth: 1 });
}

#[test]
fn chains_of_every_key_type_verify() {
    for key_type in [
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 2048 },
    ] {
        let mut path = Path::new();
        path.root_key = PrivateKey::generate(key_type).unwrap();
        path.intermediate_key = PrivateKey::generate(key_type).unwrap();
        path.root.public_key = path.root_key.public_key().clone();
        path.intermediate.public_key = path.intermediate_key.public_key().clone();
        assert!(path.verify_for(Purpose::CodeSigning).is_ok(), "{key_type}");
    }
}

/// nameConstraints with one permitted or excluded subtree.
fn constraints(excluded: bool, base: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.nested(tag::context_constructed(u8::from(excluded)), |w| {
            w.sequence(|w| w.raw(base))
        });
    });
    extension(&oid::NAME_CONSTRAINTS, true, &writer.finish())
}

#[test]
fn name_constraints_of_any_issuer_bind_the_leaf() {
    let host = |text: &str| asn1::encode(tag::context(6), text.as_bytes());
    for depth in [1, 2] {
        let constrained = |value: Vec<u8>| {
            let mut path = Path::new();
            match depth {
                1 => path.intermediate.extensions.push(value),
                _ => path.root.extensions.push(value),
            }
            path
        };
        assert!(
            constrained(constraints(false, &host("example.com")))
                .verify_for(Purpose::CodeSigning)
                .is_ok()
        );
        let outside = constrained(constraints(false, &host("example.org")));
        assert_eq!(outside.fault(), ChainFault::NameConstraints { depth: 0 });
        let excluded = constrained(constraints(true, &host("example.com")));
        assert_eq!(excluded.fault(), ChainFault::NameConstraints { depth: 0 });
    }
}

#[test]
fn name_constraints_that_are_not_understood_refuse() {
    let mut path = Path::new();
    // minimum 1, which this profile does not have
    let mut writer = Writer::new();
    writer.sequence(|w| {
        w.nested(tag::context_constructed(0), |w| {
            w.sequence(|w| {
                w.tlv(tag::context(6), b"example.com");
                w.tlv(tag::context(0), &[1]);
            });
        });
    });
    path.root
        .extensions
        .push(extension(&oid::NAME_CONSTRAINTS, true, &writer.finish()));
    assert_eq!(
        path.fault(),
        ChainFault::UnknownNameConstraints { depth: 2 }
    );
}

#[test]
fn name_constraints_bind_directory_names_of_authorities_too() {
    let mut path = Path::new();
    let base = asn1::encode(
        tag::context_constructed(4),
        &crate::forge::name_der("somebody else"),
    );
    path.root.extensions.push(constraints(false, &base));
    assert_eq!(path.fault(), ChainFault::NameConstraints { depth: 1 });
}

/// `count` authorities between root and leaf, each signed by the one before.
fn long_path(count: usize) -> Result<usize, Error> {
    let root_key = key();
    let root = Forge::authority("0", "0", root_key.public_key()).sign(&root_key);
    let mut previous = root_key;
    let mut intermediates = Vec::new();
    for number in 0..count {
        let own = key();
        let forge = Forge::authority(
            &number.to_string(),
            &(number + 1).to_string(),
            own.public_key(),
        );
        intermediates.push(forge.sign(&previous));
        previous = own;
    }
    let leaf = Forge::leaf(&count.to_string(), key().public_key()).sign(&previous);
    intermediates.reverse();
    verify_chain(&leaf, &intermediates, &[root], NOW, Purpose::CodeSigning)
        .map(|chain| chain.certificates().len())
}

#[test]
fn paths_have_at_most_eight_certificates() {
    assert_eq!(long_path(6).unwrap(), 8);
    assert_eq!(fault(long_path(7)), ChainFault::TooComplex);
}

#[test]
fn a_thicket_of_namesakes_costs_a_bounded_number_of_signatures() {
    // Every certificate of the thicket is signed by the same key under the same name, so that each could be the issuer
    // of each; a naive search tries all orders.
    let thicket_key = key();
    let thicket: Vec<_> = (0..60)
        .map(|number| {
            let mut forge = Forge::authority("thicket", "thicket", thicket_key.public_key());
            forge.serial = vec![1, number];
            forge.sign(&thicket_key)
        })
        .collect();
    let leaf = Forge::leaf("thicket", key().public_key()).sign(&thicket_key);
    let result = verify_chain(&leaf, &thicket, &[], NOW, Purpose::CodeSigning);
    assert_eq!(fault(result), ChainFault::TooComplex);
    let many = vec![thicket[0].clone(); 65];
    assert_eq!(
        fault(verify_chain(&leaf, &many, &[], NOW, Purpose::CodeSigning)),
        ChainFault::TooComplex
    );
}

#[test]
fn a_leaf_of_version_1_is_refused_and_still_parses() {
    let mut path = Path::new();
    path.leaf.version = None;
    path.leaf.extensions.clear();
    let leaf = path.leaf.sign(&path.intermediate_key);
    assert_eq!(leaf.version(), 1);
    assert_eq!(path.fault(), ChainFault::LeafMayNotSign);
}

#[test]
fn an_unsupported_leaf_key_is_refused_and_still_parses() {
    let path = Path::new();
    // The identifier of the curve is changed to one that nobody uses; lengths stay the same.
    let der = path.leaf.sign_der(&path.intermediate_key);
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let position = der
        .windows(curve.len())
        .position(|window| window == curve)
        .unwrap();
    let mut other = der.clone();
    other[position + curve.len() - 1] = 0x05;
    let leaf = Certificate::from_der(other).unwrap();
    assert!(matches!(leaf.public_key(), Err(Error::Key(_))));
    let intermediate = path.intermediate.sign(&path.root_key);
    let root = path.root.sign(&path.root_key);
    let result = verify_chain(&leaf, &[intermediate], &[root], NOW, Purpose::CodeSigning);
    assert_eq!(fault(result), ChainFault::WeakAlgorithm { depth: 0 });
}

#[test]
fn names_without_hosts_fail_under_host_constraints() {
    let mut path = Path::new();
    path.leaf.extensions[2] = uri("urn:example:1");
    path.root.extensions.push(constraints(
        false,
        &asn1::encode(tag::context(6), b"example.com"),
    ));
    assert_eq!(
        path.fault(),
        ChainFault::UnknownNameConstraints { depth: 2 }
    );
}
