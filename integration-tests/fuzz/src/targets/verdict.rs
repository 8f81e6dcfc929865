//! The verdict over a bundle: a changed bundle either means the same or is refused.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use sealwright_bundle::bundle::Content;
use sealwright_bundle::{
    Artifact, Bundle, IdentityRule, Policy, PredicateTypes, TrustedKey, TrustedRoot, Verified,
    verify,
};
use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, NOW};
use serde_json::Value;

use super::{Target, outcome};
use crate::mutate::Format;
use crate::seeds::ARTIFACT;
use crate::{corpus, seeds};

pub(super) const BUNDLE: Target = Target {
    name: "bundle",
    format: Format::Json,
    dictionary: &[
        "mediaType",
        "verificationMaterial",
        "certificate",
        "x509CertificateChain",
        "publicKey",
        "tlogEntries",
        "inclusionProof",
        "inclusionPromise",
        "timestampVerificationData",
        "rfc3161Timestamps",
        "messageSignature",
        "dsseEnvelope",
        "messageDigest",
        "canonicalizedBody",
        "checkpoint",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "\u{2014} ",
        "intoto",
    ],
    cases: 4000,
    peak_factor: 256,
    check: bundle,
};

static ROOT: LazyLock<TrustedRoot> = LazyLock::new(|| {
    TrustedRoot::parse(&corpus::seed("trusted_root", "world.json")).expect("the corpus is coherent")
});

fn jane() -> IdentityRule {
    IdentityRule::exact(EMAIL, ISSUER).expect("an identity")
}

/// The signer of the corpus's blobs.
pub(super) fn blob_by_jane() -> &'static Policy {
    static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::signed_by_identity(jane()).blob());
    &POLICY
}

/// What signers of the corpus may be asked for.
static POLICIES: LazyLock<[Policy; 3]> = LazyLock::new(|| {
    let key = TrustedKey::new(seeds::key("p256").public_key().clone());
    [
        blob_by_jane().clone(),
        Policy::signed_by_identity(jane()).attestation(PredicateTypes::Any),
        Policy::signed_by_key(key).blob(),
    ]
});

/// What was proven by a bundle of the corpus.
static PROVEN: LazyLock<Vec<Proof>> = LazyLock::new(|| {
    let seeds = corpus::read(&corpus::seeds_of("bundle")).expect("the corpus is readable");
    let bundles = seeds
        .iter()
        .map(|seed| Bundle::parse(&seed.bytes).expect("the corpus is coherent"));
    let proven =
        bundles.flat_map(|bundle| verdicts(&bundle).map(|verdict| (bundle.clone(), verdict)));
    proven
        .filter_map(|(bundle, verdict)| Some(Proof::of(&bundle, &verdict.ok()?)))
        .collect()
});

/// One log and one authority must never count as two, however often a bundle repeats what they said.
static TWO_OF_ONE: LazyLock<[Policy; 2]> = LazyLock::new(|| {
    let blob = blob_by_jane();
    [
        blob.clone().log_threshold(2),
        blob.clone().timestamp_authority_threshold(2),
    ]
});

fn verdicts(bundle: &Bundle) -> [Result<Verified, sealwright_bundle::VerifyError>; 3] {
    let artifact = Artifact::from_bytes(ARTIFACT);
    POLICIES
        .each_ref()
        .map(|policy| verify(bundle, &artifact, &ROOT, policy, NOW + 60))
}

/// What a verdict rests on. Two bundles with equal proofs mean the same; what is left out is not signed by anybody:
/// hints, warnings, white space, certificates that no path needs.
#[derive(Debug, PartialEq)]
struct Proof {
    signature: Vec<u8>,
    certificate: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    signer: Value,
    digests: Value,
    /// Each witness's word; a bundle may lose some as long as the policy is met.
    witnesses: BTreeSet<String>,
}

impl Proof {
    fn of(bundle: &Bundle, verdict: &Verified) -> Self {
        let json: Value = serde_json::from_str(&verdict.to_json()).expect("a verdict is JSON");
        let mut signer = json["signer"].clone();
        if let Value::Object(members) = &mut signer {
            members.remove("hint");
        }
        let lists = ["times", "logs", "certificateLogs"];
        let witnesses = lists
            .iter()
            .filter_map(|list| json[list].as_array())
            .flatten();
        Self {
            signature: bundle.signature().to_vec(),
            certificate: bundle
                .certificate()
                .map(|certificate| certificate.der().to_vec()),
            payload: match bundle.content() {
                Content::Dsse(envelope) => Some(envelope.payload.clone()),
                _ => None,
            },
            signer,
            digests: json["artifactDigests"].clone(),
            witnesses: witnesses.map(Value::to_string).collect(),
        }
    }

    /// Whether this says nothing that `proven` does not say.
    fn within(&self, proven: &Self) -> bool {
        let same = |proof: &Self| {
            (
                proof.signature.clone(),
                proof.certificate.clone(),
                proof.payload.clone(),
                proof.signer.clone(),
                proof.digests.clone(),
            )
        };
        same(self) == same(proven) && self.witnesses.is_subset(&proven.witnesses)
    }
}

fn bundle(input: &[u8]) -> String {
    outcome(Bundle::parse(input), |bundle| {
        let written = bundle.to_json();
        let again = Bundle::parse(written.as_bytes()).expect("what was written is read");
        assert_eq!(again.to_json(), written, "one bundle, one text");
        // What is shown of an unverified bundle goes through a JSON writer, which escapes; it must only not fall over.
        let _ = sealwright_sdk::inspect(&bundle);
        for policy in &*TWO_OF_ONE {
            let counted = verify(
                &bundle,
                &Artifact::from_bytes(ARTIFACT),
                &ROOT,
                policy,
                NOW + 60,
            );
            assert!(counted.is_err(), "one witness counts as two");
        }
        let verdicts = verdicts(&bundle);
        let rewritten = self::verdicts(&again);
        let mut said = String::new();
        for (verdict, rewritten) in verdicts.into_iter().zip(rewritten) {
            assert_eq!(
                verdict.is_ok(),
                rewritten.is_ok(),
                "writing a bundle changes its verdict"
            );
            if let Ok(verified) = &verdict {
                let proof = Proof::of(&bundle, verified);
                assert!(
                    PROVEN.iter().any(|proven| proof.within(proven)),
                    "a verdict that no signer gave: {proof:?}"
                );
            }
            said += &outcome(verdict, |verified| verified.warnings().len().to_string());
        }
        said
    })
}
