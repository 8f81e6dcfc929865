//! Paths of random length, with random validity and at most one flaw, against an oracle that looks at each certificate by
//! itself.

use proptest::prelude::*;
use sealwright_crypto::PrivateKey;
use sealwright_pki::chain::verify_chain;
use sealwright_pki::{Certificate, ObjectIdentifier, Purpose, oid};
use sealwright_testkit::properties;

use crate::forge::{
    Forge, NOW, basic_constraints, ca_usage, extension, key, key_usage, leaf_usage, name_der,
    purposes, uri,
};

/// What is wrong with one certificate of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Signed by a key that is not its issuer's.
    Signature,
    /// Names an issuer that is not there.
    Issuer,
    /// An extension that nobody understands, and must.
    CriticalExtension,
    /// An authority that says it is none, or a leaf that says it is one.
    Authority,
    /// Without the key usage for what it does.
    KeyUsage,
    /// For another purpose.
    Purpose,
}

const FLAWS: [Flaw; 7] = [
    Flaw::None,
    Flaw::Signature,
    Flaw::Issuer,
    Flaw::CriticalExtension,
    Flaw::Authority,
    Flaw::KeyUsage,
    Flaw::Purpose,
];

/// A certificate of the path: validity relative to the moment of judgement, and how many authorities may be below.
#[derive(Debug, Clone)]
struct Link {
    not_before: i64,
    not_after: i64,
    path_len: Option<u64>,
}

#[derive(Debug, Clone)]
struct Path {
    /// Leaf first, anchor last.
    links: Vec<Link>,
    flaw: Flaw,
    flawed: usize,
    reversed: bool,
}

fn any_link() -> impl Strategy<Value = Link> {
    // The ends fall on the moment, a second before and a second after it now and then, and are mostly far.
    let end = || prop_oneof![8 => Just(1000_i64), 2 => Just(0_i64), 1 => Just(-1_i64)];
    let path_len = proptest::option::weighted(0.3, 0..8_u64);
    (end(), end(), path_len).prop_map(|(before, after, path_len)| Link {
        not_before: -before,
        not_after: after,
        path_len,
    })
}

fn any_path() -> impl Strategy<Value = Path> {
    (
        proptest::collection::vec(any_link(), 2..9),
        prop_oneof![2 => Just(Flaw::None), 1 => proptest::sample::select(&FLAWS[..])],
        any::<prop::sample::Index>(),
        any::<bool>(),
    )
        .prop_map(|(links, flaw, at, reversed)| {
            let flawed = at.index(links.len());
            Path {
                links,
                flaw,
                flawed,
                reversed,
            }
        })
}

impl Path {
    fn flaw_of(&self, position: usize) -> Flaw {
        if position == self.flawed {
            self.flaw
        } else {
            Flaw::None
        }
    }

    /// What must be so, certificate by certificate.
    fn is_good(&self) -> bool {
        let anchor = self.links.len() - 1;
        let each = self.links.iter().enumerate().all(|(position, link)| {
            // Authorities below this one, which for the leaf's issuer are none.
            let below = u64::try_from(position.saturating_sub(1)).expect("a short path");
            let room = position == 0 || link.path_len.is_none_or(|limit| below <= limit);
            link.not_before <= 0 && 0 <= link.not_after && room
        });
        let harmless = match self.flaw {
            Flaw::None => true,
            // Who signed an anchor, and whom it names, is not looked at: it is trusted by being given.
            Flaw::Signature | Flaw::Issuer => self.flawed == anchor,
            _ => false,
        };
        each && harmless
    }

    fn certificates(&self) -> Vec<Certificate> {
        let count = self.links.len();
        let keys: Vec<PrivateKey> = (0..count).map(|_| key()).collect();
        (0..count)
            .map(|position| {
                let issuer = (position + 1).min(count - 1);
                self.certificate(position, &keys[position], &keys[issuer])
            })
            .collect()
    }

    fn certificate(&self, position: usize, own: &PrivateKey, issuer: &PrivateKey) -> Certificate {
        let link = &self.links[position];
        let flaw = self.flaw_of(position);
        let issuer_name = (position + 1).min(self.links.len() - 1).to_string();
        let mut forge = Forge::new(&issuer_name, &position.to_string(), own.public_key());
        forge.not_before = NOW + link.not_before;
        forge.not_after = NOW + link.not_after;
        forge.extensions = if position == 0 {
            leaf_extensions(flaw)
        } else {
            authority_extensions(flaw, link.path_len)
        };
        match flaw {
            Flaw::Issuer => forge.issuer = name_der("somebody else"),
            Flaw::CriticalExtension => {
                let unknown = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1");
                forge = forge.plus(extension(&unknown, true, &[5, 0]));
            }
            _ => {}
        }
        if flaw == Flaw::Signature {
            forge.sign(&key())
        } else {
            forge.sign(issuer)
        }
    }
}

fn leaf_extensions(flaw: Flaw) -> Vec<Vec<u8>> {
    let purpose = match flaw {
        Flaw::Purpose => oid::SERVER_AUTH,
        _ => oid::CODE_SIGNING,
    };
    let usage = match flaw {
        // keyEncipherment
        Flaw::KeyUsage => key_usage(0x20, 5),
        _ => leaf_usage(),
    };
    let mut extensions = vec![
        usage,
        purposes(false, &[purpose]),
        uri("https://example.com/workflow"),
    ];
    if flaw == Flaw::Authority {
        extensions.push(basic_constraints(true, None));
    }
    extensions
}

fn authority_extensions(flaw: Flaw, path_len: Option<u64>) -> Vec<Vec<u8>> {
    let usage = match flaw {
        // digitalSignature
        Flaw::KeyUsage => leaf_usage(),
        _ => ca_usage(),
    };
    let constraints = match flaw {
        Flaw::Authority => basic_constraints(false, None),
        _ => basic_constraints(true, path_len),
    };
    let mut extensions = vec![usage, constraints];
    if flaw == Flaw::Purpose {
        extensions.push(purposes(false, &[oid::TIME_STAMPING]));
    }
    extensions
}

properties! {
    300,

    #[test]
    fn a_path_is_good_when_each_of_its_certificates_is(path in any_path()) {
        let certificates = path.certificates();
        let (leaf, above) = certificates.split_first().expect("a leaf");
        let (anchor, between) = above.split_last().expect("an anchor");
        let mut between = between.to_vec();
        if path.reversed {
            between.reverse();
        }
        let verdict = verify_chain(leaf, &between, std::slice::from_ref(anchor), NOW, Purpose::CodeSigning);
        match &verdict {
            Ok(chain) => prop_assert_eq!(chain.certificates(), &certificates[..]),
            Err(error) => prop_assert!(!path.is_good(), "{}", error),
        }
        prop_assert_eq!(verdict.is_ok(), path.is_good());
    }
}

/// Both answers must be frequent, and every flaw must decide now and then, or the property above says little.
#[test]
fn the_random_paths_are_often_good_and_often_bad() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let paths: Vec<Path> = (0..4000)
        .map(|_| any_path().new_tree(&mut runner).expect("a value").current())
        .collect();
    let good = paths.iter().filter(|path| path.is_good()).count();
    assert!((400..3600).contains(&good), "{good} of 4000 are good");
    for flaw in FLAWS {
        let decided_by_it = paths.iter().any(|path| {
            let mut without = path.clone();
            without.flaw = Flaw::None;
            path.flaw == flaw && (flaw == Flaw::None || (without.is_good() && !path.is_good()))
        });
        assert!(decided_by_it, "{flaw:?} never decides");
    }
}
