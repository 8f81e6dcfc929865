//! Verifying a statement about several things at once.

use sealwright_bundle::verify::digest_algorithms;
use sealwright_bundle::{Bundle, Policy, TrustedRoot, Verified};

use crate::artifact::Artifact;
use crate::error::Error;

/// Something that a statement has to name.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Subject {
    /// An artifact, by any digest of it that the statement has.
    Artifact(Artifact),
    /// What has another digest than a hash of its bytes: in-toto's name for it, such as `gitCommit`, and the digest in
    /// hexadecimal. The caller vouches for the value.
    Named {
        /// The name.
        name: String,
        /// The digest.
        digest: String,
    },
}

/// Verifies an attestation whose statement must name every one of `subjects`. `now` is Unix seconds.
///
/// ```
/// use sealwright_sdk::bundle::policy::PredicateTypes;
/// use sealwright_sdk::bundle::{Bundle, IdentityRule, Policy, TrustedRoot};
/// use sealwright_sdk::{Artifact, Subject, verify_subjects};
/// # use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, NOW, Signing, World, statement};
/// # let mut world = World::new();
/// # let root = TrustedRoot::parse(world.trusted_root_json().as_bytes())?;
/// # let bundle = world.sign_statement(&statement(b"release", "https://example.com/p"), &Signing::default());
/// # let bundle = Bundle::from_proto(bundle)?;
/// # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
///
/// let policy = Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER)?).attestation(PredicateTypes::Any);
/// let release = Subject::Artifact(Artifact::Bytes(b"release".to_vec()));
/// assert!(verify_subjects(&bundle, &[release.clone()], &root, &policy, NOW).await.is_ok());
///
/// let commit = Subject::Named { name: "gitCommit".into(), digest: "1f7a7a472abf3dd9643fd615f6da379c4acb3e3a".into() };
/// let refused = verify_subjects(&bundle, &[release, commit], &root, &policy, NOW).await;
/// assert_eq!(refused.expect_err("the statement names no commit").code(), "SUBJECT_MISSING");
/// # Ok::<(), sealwright_sdk::Error>(())
/// # }).expect("it verifies");
/// # Ok::<(), sealwright_sdk::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`] when an artifact cannot be read, [`Error::Refused`] with the first check that failed.
pub async fn verify_subjects(
    bundle: &Bundle,
    subjects: &[Subject],
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verified, Error> {
    let wanted = digest_algorithms(bundle, policy);
    let mut artifacts = Vec::with_capacity(subjects.len());
    for subject in subjects {
        artifacts.push(match subject {
            Subject::Artifact(artifact) => artifact.digests(&wanted).await?,
            Subject::Named { name, digest } => {
                sealwright_bundle::Artifact::from_named_digest(name, digest)
            }
        });
    }
    Ok(sealwright_bundle::verify_all(
        bundle, &artifacts, root, policy, now,
    )?)
}
