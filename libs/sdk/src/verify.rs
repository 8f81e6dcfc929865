//! Verifying: a bundle, an artifact, trust material and a policy to a verdict.
//!
//! The decision is `sealwright-bundle`'s alone; here the artifact is read, once, for the digests that decision needs.

use std::path::Path;
use std::sync::Arc;

use sealwright_bundle::verify::digest_algorithms;
use sealwright_bundle::{Bundle, Policy, TrustedRoot, Verified, VerifyError};
use sealwright_crypto::HashAlgorithm;

use crate::artifact::{Artifact, Reading, on_a_thread};
use crate::error::Error;
use crate::file::read_capped;

/// Reads a bundle file.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Refused`] when it is no bundle.
pub fn read_bundle(path: &Path) -> Result<Bundle, Error> {
    let json = read_capped("bundle", path, sealwright_bundle::bundle::MAX_BUNDLE_BYTES)?;
    Ok(Bundle::parse(&json)?)
}

/// Verifies a bundle against an artifact. `now` is Unix seconds.
///
/// What was refused says which check it was:
///
/// ```
/// use sealwright_sdk::bundle::{Bundle, IdentityRule, Policy, TrustedRoot, VerifyError};
/// use sealwright_sdk::{Artifact, Error, verify};
/// # use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, NOW, Signing, World};
/// # let mut world = World::new();
/// # let trusted_root_json = world.trusted_root_json();
/// # let bundle = world.sign_blob(b"release", &Signing::default());
/// # let bundle_json = serde_json::to_string(&bundle).expect("JSON");
/// # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
///
/// let root = TrustedRoot::parse(trusted_root_json.as_bytes())?;
/// let bundle = Bundle::parse(bundle_json.as_bytes())?;
/// let release = Artifact::Bytes(b"release".to_vec());
///
/// let jane = Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER)?).blob();
/// let verified = verify(&bundle, &release, &root, &jane, NOW).await?;
/// assert_eq!(verified.certificate_logs().len(), 1);
///
/// let joe = Policy::signed_by_identity(IdentityRule::exact("joe@example.com", ISSUER)?).blob();
/// match verify(&bundle, &release, &root, &joe, NOW).await {
///     Err(Error::Refused(VerifyError::IdentityMismatch { .. })) => {} // signed, by somebody else
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Error>(())
/// # }).expect("it verifies");
/// ```
///
/// # Errors
/// [`Error::File`] when the artifact cannot be read, [`Error::Refused`] with the first check that failed.
pub async fn verify(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verified, Error> {
    if artifact.is_quick() {
        return judge(bundle, artifact, root, policy, now, &Reading::AHEAD);
    }
    // When this call is dropped, nobody waits any more, and a large file is not read to its end.
    let waiting = Arc::new(());
    let somebody_waits = Arc::downgrade(&waiting);
    let (bundle, artifact) = (bundle.clone(), artifact.clone());
    let (root, policy) = (root.clone(), policy.clone());
    let verdict = on_a_thread(move || {
        let reading = Reading {
            ahead: true,
            still_wanted: &|| somebody_waits.strong_count() > 0,
        };
        judge(&bundle, &artifact, &root, &policy, now, &reading)
    });
    let verdict = verdict.await;
    drop(waiting);
    verdict
}

/// Reads the artifact and verifies, on this thread.
pub(crate) fn judge(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
    reading: &Reading<'_>,
) -> Result<Verified, Error> {
    let mut wanted = digest_algorithms(bundle, policy);
    loop {
        let digests = artifact.digests_now(&wanted, reading)?;
        let digests = sealwright_bundle::Artifact::from_digests(digests);
        let refusal = match sealwright_bundle::verify(bundle, &digests, root, policy, now) {
            Ok(verified) => return Ok(verified),
            Err(refusal) => refusal,
        };
        let VerifyError::DigestUnavailable { needed } = &refusal else {
            return Err(refusal.into());
        };
        match HashAlgorithm::from_short_name(needed) {
            // A signature of an old client, whose digest nothing in the bundle announced.
            Some(another) if !wanted.contains(&another) => wanted.push(another),
            Some(_) => return Err(refusal.into()),
            None => return judge_message(bundle, artifact, root, policy, now, refusal),
        }
    }
}

/// Pure Ed25519 signs the message, not a digest of it; then the artifact has to be in memory after all.
fn judge_message(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
    refusal: VerifyError,
) -> Result<Verified, Error> {
    let Some(bytes) = artifact.message()? else {
        return Err(refusal.into());
    };
    let whole = sealwright_bundle::Artifact::from_bytes(&bytes);
    Ok(sealwright_bundle::verify(
        bundle, &whole, root, policy, now,
    )?)
}
