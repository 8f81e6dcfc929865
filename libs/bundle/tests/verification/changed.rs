//! Nothing that is changed verifies as something else.

use std::sync::OnceLock;

use proptest::prelude::*;
use sealwright_bundle::verdict::{Signer, UnixTime};
use sealwright_bundle::{Artifact, Bundle, TrustedRoot, Verified, verify};
use sealwright_testkit::bundle_factory::{DAY, NOW};
use sealwright_testkit::vectors::Case;

use sealwright_testkit::properties;

use crate::asking::{Given, ask, case, policy};

/// What a verdict means, without the words of the trusted root.
#[derive(Debug, PartialEq)]
struct Meaning {
    signer: String,
    digests: Vec<String>,
    times: Vec<UnixTime>,
    entries: Vec<(u64, u64)>,
    statement: Option<String>,
}

fn meaning(verified: &Verified) -> Meaning {
    let signer = match verified.signer() {
        Signer::Identity {
            subject,
            issuer,
            serial,
            ..
        } => format!("{subject} {issuer} {serial}"),
        other => format!("{other:?}"),
    };
    Meaning {
        signer,
        digests: verified.artifact_digests().to_vec(),
        times: verified.times().iter().map(|time| time.time).collect(),
        entries: verified
            .logs()
            .iter()
            .map(|entry| (entry.log_index, entry.tree_size))
            .collect(),
        statement: verified.statement_json().map(str::to_owned),
    }
}

impl Meaning {
    /// The same, or less: what no longer counts may be missing where the policy does not need it.
    fn is_within(&self, whole: &Self) -> bool {
        (&self.signer, &self.digests, &self.statement)
            == (&whole.signer, &whole.digests, &whole.statement)
            && self.times.iter().all(|time| whole.times.contains(time))
            && self
                .entries
                .iter()
                .all(|entry| whole.entries.contains(entry))
    }
}

/// One case of each form, with what it means.
fn forms() -> &'static [(&'static Case, Meaning)] {
    static FORMS: OnceLock<Vec<(&'static Case, Meaning)>> = OnceLock::new();
    FORMS.get_or_init(|| {
        [
            "v03-blob",
            "v03-statement",
            "old-log-v01-blob",
            "old-log-v03-blob",
            "old-log-dsse",
            "old-log-intoto",
            "statement-logged-as-envelope",
            "key-p256",
        ]
        .map(|name| {
            let verified = ask(case(name), Given::Bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            (case(name), meaning(&verified))
        })
        .into()
    })
}

fn verdict(case: &Case, bundle: &[u8], root: &[u8]) -> Option<Meaning> {
    let bundle = Bundle::parse(bundle).ok()?;
    let root = TrustedRoot::parse(root).ok()?;
    let artifact = Artifact::from_bytes(&case.artifact);
    let policy = policy(case).expect("a policy");
    verify(&bundle, &artifact, &root, &policy, NOW + DAY)
        .ok()
        .map(|verified| meaning(&verified))
}

/// A change of some bytes of a document: overwritten, inserted, removed, or a piece moved.
fn changed(document: &str, at: usize, kind: u8, byte: u8) -> Vec<u8> {
    let mut bytes = document.as_bytes().to_vec();
    let at = at % bytes.len();
    match kind % 4 {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        _ => {
            let end = (at + usize::from(byte)).min(bytes.len());
            let piece: Vec<u8> = bytes.drain(at..end).collect();
            let to = at / 2;
            bytes.splice(to..to, piece);
        }
    }
    bytes
}

fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        any::<u8>(),
        proptest::sample::select(&b"\"{}[],:A0/+=n"[..])
    ]
}

properties! {
    1000,

    #[test]
    fn a_changed_bundle_means_no_more_than_before_or_nothing(which in 0..forms().len(), at in any::<usize>(), kind: u8, byte in any_byte()) {
        let (case, meant) = &forms()[which];
        let bundle = changed(&case.bundle, at, kind, byte);
        if let Some(found) = verdict(case, &bundle, case.trusted_root.as_bytes()) {
            prop_assert!(found.is_within(meant), "{:?} instead of {:?}", found, meant);
        }
    }

    #[test]
    fn a_changed_trusted_root_means_no_more_than_before_or_nothing(which in 0..forms().len(), at in any::<usize>(), kind: u8, byte in any_byte()) {
        let (case, meant) = &forms()[which];
        let root = changed(&case.trusted_root, at, kind, byte);
        if let Some(found) = verdict(case, case.bundle.as_bytes(), &root) {
            prop_assert!(found.is_within(meant), "{:?} instead of {:?}", found, meant);
        }
    }

    #[test]
    fn rubbish_is_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Bundle::parse(&bytes).is_err());
        prop_assert!(TrustedRoot::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_bit_in_a_certificate_or_token_is_refused(which in 0_usize..2, at in any::<usize>(), bit in 0_u8..8) {
        let (case, meant) = &forms()[0];
        let member = ["rawBytes", "signedTimestamp"][which];
        let bundle = with_bit_flipped(&case.bundle, member, at, bit);
        if let Some(found) = verdict(case, bundle.as_bytes(), case.trusted_root.as_bytes()) {
            // Only parts of a token that nothing signs may change: helper certificates, repeated algorithm names.
            prop_assert!(which == 1, "a changed certificate verified");
            prop_assert!(found.is_within(meant), "{:?} instead of {:?}", found, meant);
        }
    }
}

/// Flips a bit in the base64 of a member.
fn with_bit_flipped(document: &str, member: &str, at: usize, bit: u8) -> String {
    use sealwright_crypto::base64;
    let start = document.find(&format!("\"{member}\":\"")).expect(member) + member.len() + 4;
    let length = document[start..].find('"').expect("the end of a string");
    let encoded = &document[start..start + length];
    let mut bytes = base64::decode(encoded).expect("base64");
    let at = at % bytes.len();
    bytes[at] ^= 1 << bit;
    document.replacen(encoded, &base64::encode(&bytes), 1)
}
