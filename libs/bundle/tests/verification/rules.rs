//! Times and thresholds against oracles that know no order of checks: they count everything.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use proptest::prelude::*;
use sealwright_bundle::{Artifact, Bundle, IdentityRule, Policy, TrustedRoot, VerifyError, verify};
use sealwright_proto::bundle::v1 as proto;
use sealwright_proto::common::v1 as common;
use sealwright_proto::trustroot::v1 as trust;
use sealwright_testkit::bundle_factory::{
    DAY, EMAIL, ISSUER, NOW, SignatureLog, Signing, TimestampAuthority, World, window,
};

use sealwright_testkit::properties;

const ARTIFACT: &[u8] = b"an artifact";

/// One signature without any token, and authorities that can add them.
struct Scene {
    world: World,
    bundle: proto::Bundle,
    /// Of operators `one`, `two`, and one that is not said.
    authorities: Vec<TimestampAuthority>,
}

/// Half of the certificate's life, seconds: it lives from [`NOW`] to twice that.
const HALF: i64 = 10;
const OPERATORS: [&str; 3] = ["one", "two", ""];

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let mut world = World::new();
        let signing = Signing {
            validity_s: u32::try_from(2 * HALF).expect("a short life"),
            stamped_at: Vec::new(),
            ..Signing::default()
        };
        let bundle = world.sign_blob(ARTIFACT, &signing);
        let authorities = (0..OPERATORS.len())
            .map(|n| TimestampAuthority::new(&format!("https://tsa{n}.example.com")))
            .collect();
        Scene {
            world,
            bundle,
            authorities,
        }
    })
}

impl Scene {
    fn root(&self) -> trust::TrustedRoot {
        let mut root = self.world.trusted_root();
        root.timestamp_authorities = self
            .authorities
            .iter()
            .zip(OPERATORS)
            .map(|(authority, operator)| {
                let mut trusted = authority.trusted();
                trusted.operator = operator.into();
                trusted
            })
            .collect();
        root
    }

    fn signature(&self) -> Vec<u8> {
        match &self.bundle.content {
            Some(proto::bundle::Content::MessageSignature(message)) => message.signature.clone(),
            other => panic!("no message signature: {other:?}"),
        }
    }

    /// The bundle with these tokens: authority and time of each.
    fn stamped(&self, tokens: &[(usize, i64)]) -> proto::Bundle {
        let signature = self.signature();
        let mut bundle = self.bundle.clone();
        let data = &mut material(&mut bundle).timestamp_verification_data;
        data.get_or_insert_default().rfc3161_timestamps = tokens
            .iter()
            .map(|(authority, at)| common::Rfc3161SignedTimestamp {
                signed_timestamp: self.authorities[*authority].stamp(&signature, *at, true),
            })
            .collect();
        bundle
    }
}

fn material(bundle: &mut proto::Bundle) -> &mut proto::VerificationMaterial {
    bundle.verification_material.as_mut().expect("material")
}

fn judge(
    bundle: proto::Bundle,
    root: trust::TrustedRoot,
    policy: &Policy,
) -> Result<(), VerifyError> {
    let bundle = Bundle::from_proto(bundle)?;
    let root = TrustedRoot::from_proto(root)?;
    let artifact = Artifact::from_bytes(ARTIFACT);
    verify(&bundle, &artifact, &root, policy, NOW + DAY).map(|_| ())
}

fn jane() -> Policy {
    Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER).expect("a rule")).blob()
}

/// A window around the certificate's life, whose ends fall on, before and after the times that tokens have.
fn any_window() -> impl Strategy<Value = (i64, Option<i64>)> {
    (
        -3..HALF,
        proptest::option::weighted(0.8, HALF..2 * HALF + 4),
    )
        .prop_map(|(start, end)| (NOW + start, end.map(|end| NOW + end)))
}

/// Now and then one second of each end, and mostly the middle, so that both answers are frequent.
fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => HALF - 3..HALF + 4,
        1 => -2..4_i64,
        1 => 2 * HALF - 3..2 * HALF + 3,
    ]
    .prop_map(|offset| NOW + offset)
}

fn covers((start, end): (i64, Option<i64>), at: i64) -> bool {
    start <= at && end.is_none_or(|end| at <= end)
}

#[derive(Debug, Clone)]
struct Windows {
    tokens: Vec<(usize, i64)>,
    timestamp_authorities: [(i64, Option<i64>); 3],
    certificate_authority: (i64, Option<i64>),
    issuing_certificate: (i64, i64),
    log: (i64, Option<i64>),
    certificate_log: (i64, Option<i64>),
}

fn any_windows() -> impl Strategy<Value = Windows> {
    (
        proptest::collection::vec((0..OPERATORS.len(), any_time()), 0..4),
        [any_window(), any_window(), any_window()],
        any_window(),
        any_window(),
        any_window(),
        prop_oneof![4 => Just((NOW - 1, None)), 1 => any_window()],
    )
        .prop_map(
            |(mut tokens, timestamp_authorities, certificate_authority, issuing, log, ct)| {
                tokens.sort_unstable();
                tokens.dedup();
                Windows {
                    tokens,
                    timestamp_authorities,
                    certificate_authority,
                    issuing_certificate: (issuing.0, issuing.1.unwrap_or(NOW + DAY)),
                    log,
                    certificate_log: ct,
                }
            },
        )
}

impl Windows {
    fn root(&self) -> trust::TrustedRoot {
        let as_range = |(start, end)| Some(window(start, end));
        let mut root = scene().root();
        for (trusted, own) in root
            .timestamp_authorities
            .iter_mut()
            .zip(self.timestamp_authorities)
        {
            trusted.valid_for = as_range(own);
        }
        let authority = &mut root.certificate_authorities[0];
        authority.valid_for = as_range(self.certificate_authority);
        let chain = scene()
            .world
            .certificate_authority
            .reissued(self.issuing_certificate);
        authority.cert_chain.get_or_insert_default().certificates = chain
            .iter()
            .map(|certificate| common::X509Certificate {
                raw_bytes: certificate.der().to_vec(),
            })
            .collect();
        for (log, own) in [
            (&mut root.tlogs[0], self.log),
            (&mut root.ctlogs[0], self.certificate_log),
        ] {
            log.public_key.as_mut().expect("a key").valid_for = as_range(own);
        }
        root
    }

    /// All that must be so, in no order: some trusted observer saw the signature, and at each time that one of them vouches
    /// for, the certificate, its issuer, the authority and the log's key were good; and the certificate log was when it
    /// took the certificate.
    fn hold(&self) -> bool {
        let verified: Vec<i64> = self
            .tokens
            .iter()
            .filter(|(authority, at)| covers(self.timestamp_authorities[*authority], *at))
            .map(|(_, at)| *at)
            .collect();
        let (from, to) = self.issuing_certificate;
        !verified.is_empty()
            && covers(self.certificate_log, NOW)
            && verified.iter().all(|at| {
                covers((NOW, Some(NOW + 2 * HALF)), *at)
                    && covers((from, Some(to)), *at)
                    && covers(self.certificate_authority, *at)
                    && covers(self.log, *at)
            })
    }
}

/// Both answers must be frequent, or the property above says little.
#[test]
fn the_random_windows_hold_often_and_fail_often() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let holding = (0..1000)
        .filter(|_| {
            let windows = any_windows().new_tree(&mut runner).expect("a value");
            windows.current().hold()
        })
        .count();
    assert!((100..900).contains(&holding), "{holding} of 1000 hold");
}

/// How many of each the bundle has, and how many are asked for.
#[derive(Debug, Clone)]
struct Counts {
    /// Operators of the logs that hold the entry, the first log's included.
    logs: Vec<usize>,
    tokens: Vec<(usize, i64)>,
    log_threshold: usize,
    authority_threshold: usize,
    time_threshold: usize,
}

fn any_counts() -> impl Strategy<Value = Counts> {
    (
        proptest::collection::vec(0..OPERATORS.len(), 0..5),
        proptest::collection::btree_set((0..OPERATORS.len(), NOW..NOW + HALF), 0..5),
        0..4_usize,
        0..4_usize,
        0..4_usize,
    )
        .prop_map(
            |(logs, tokens, log_threshold, authority_threshold, time_threshold)| Counts {
                logs,
                tokens: tokens.into_iter().collect(),
                log_threshold,
                authority_threshold,
                time_threshold,
            },
        )
}

impl Counts {
    /// Logs with an operator count once an operator; those without, each by itself. All tokens without an operator are of
    /// one authority here.
    fn reach(&self) -> bool {
        let named: BTreeSet<usize> = self
            .logs
            .iter()
            .copied()
            .filter(|operator| !OPERATORS[*operator].is_empty())
            .collect();
        let nameless = self
            .logs
            .iter()
            .filter(|operator| OPERATORS[**operator].is_empty())
            .count();
        let authorities: BTreeSet<usize> = self.tokens.iter().map(|token| token.0).collect();
        named.len() + nameless >= self.log_threshold
            && authorities.len() >= self.authority_threshold
            && authorities.len() >= self.time_threshold.max(1)
    }

    fn judge(&self) -> Result<(), VerifyError> {
        let scene = scene();
        let mut root = scene.root();
        root.tlogs.clear();
        let mut bundle = scene.stamped(&self.tokens);
        let body = material(&mut bundle).tlog_entries[0]
            .canonicalized_body
            .clone();
        material(&mut bundle).tlog_entries.clear();
        for (n, operator) in self.logs.iter().enumerate() {
            let mut log = SignatureLog::new(&format!("https://log{n}.example.com"));
            let entry = log.add_body_among_others(body.clone(), (n, 1));
            let mut trusted = log.trusted();
            trusted.operator = OPERATORS[*operator].into();
            root.tlogs.push(trusted);
            material(&mut bundle).tlog_entries.push(entry);
        }
        let policy = jane()
            .log_threshold(self.log_threshold)
            .timestamp_authority_threshold(self.authority_threshold)
            .time_threshold(self.time_threshold);
        judge(bundle, root, &policy)
    }
}

properties! {
    200,

    #[test]
    fn a_signature_counts_when_every_verified_time_is_inside_everything(windows in any_windows()) {
        let verdict = judge(scene().stamped(&windows.tokens), windows.root(), &jane());
        prop_assert_eq!(verdict.is_ok(), windows.hold(), "{:?}", verdict);
    }

    #[test]
    fn thresholds_count_operators(counts in any_counts()) {
        let verdict = counts.judge();
        prop_assert_eq!(verdict.is_ok(), counts.reach(), "{:?}", verdict);
    }
}

#[test]
fn the_scene_is_right_to_begin_with() {
    let scene = scene();
    let bundle = scene.stamped(&[(0, NOW + HALF)]);
    judge(bundle, scene.root(), &jane()).expect("a signature with one token");
}
