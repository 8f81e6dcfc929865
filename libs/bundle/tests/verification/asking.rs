//! How a case is put to the verifier.

use std::sync::OnceLock;

use sealwright_bundle::trusted_root::Validity;
use sealwright_bundle::verify::digest_algorithms;
use sealwright_bundle::{
    Artifact, Bundle, IdentityRule, Matcher, Policy, PredicateTypes, TrustedKey, TrustedRoot,
    Verified, VerifyError, verify,
};
use sealwright_crypto::{HashAlgorithm, PublicKey};
use sealwright_testkit::bundle_factory::{DAY, NOW};
use sealwright_testkit::vectors::{self, Asked, Case};

/// What the verifier is given of the artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// All of it.
    Bytes,
    /// The digests that it asks for, as somebody who streams the file has them.
    Digests,
    /// SHA-256 and nothing else.
    Sha256,
}

pub(crate) fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(vectors::cases)
}

#[track_caller]
pub(crate) fn case(name: &str) -> &'static Case {
    cases()
        .iter()
        .find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no case is called {name}"))
}

/// The verifier's answer to a case, a day after the last moment that any of them speaks of.
pub(crate) fn ask(case: &Case, given: Given) -> Result<Verified, VerifyError> {
    ask_with(case, &policy(case)?, given)
}

/// The same under another policy than the case's.
pub(crate) fn ask_with(
    case: &Case,
    policy: &Policy,
    given: Given,
) -> Result<Verified, VerifyError> {
    let root = TrustedRoot::parse(case.trusted_root.as_bytes())?;
    let bundle = Bundle::parse(case.bundle.as_bytes())?;
    let artifact = match given {
        Given::Bytes => Artifact::from_bytes(&case.artifact),
        Given::Digests => {
            let wanted = digest_algorithms(&bundle, policy);
            Artifact::from_reader(&mut case.artifact.as_slice(), &wanted).expect("a slice reads")
        }
        Given::Sha256 => Artifact::from_digest(HashAlgorithm::Sha256.digest(&case.artifact)),
    };
    verify(&bundle, &artifact, &root, policy, NOW + DAY)
}

pub(crate) fn policy(case: &Case) -> Result<Policy, VerifyError> {
    let demands = &case.demands;
    let signer = match &case.asked {
        Asked::Identity { subject, issuer } => {
            Policy::signed_by_identity(IdentityRule::exact(subject, issuer)?)
        }
        Asked::Pattern { subject, issuer } => Policy::signed_by_identity(IdentityRule::new(
            Matcher::pattern(subject)?,
            Matcher::pattern(issuer)?,
        )),
        Asked::Key(pem) => Policy::signed_by_key(key(pem, demands.key_valid_until)),
    };
    let types = match &demands.predicate_type {
        Some(accepted) => PredicateTypes::OneOf(vec![accepted.clone()]),
        None => PredicateTypes::Any,
    };
    let mut policy = signer.blob_or_attestation(types);
    if let Some(logs) = demands.logs {
        policy = policy.log_threshold(logs);
    }
    if let Some(authorities) = demands.timestamp_authorities {
        policy = policy.timestamp_authority_threshold(authorities);
    }
    if let Some(times) = demands.times {
        policy = policy.time_threshold(times);
    }
    if let Some(logs) = demands.certificate_logs {
        policy = policy.certificate_log_threshold(logs);
    }
    if demands.chain_allowed {
        policy = policy.allow_certificate_chain();
    }
    Ok(policy)
}

fn key(pem: &str, until: Option<i64>) -> TrustedKey {
    let key = TrustedKey::new(PublicKey::from_pem(pem).expect("a key"));
    match until {
        Some(until) => key.valid_for(Validity::new(None, Some(until))),
        None => key,
    }
}
