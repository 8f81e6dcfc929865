//! Verifying: a bundle, an artifact, trust material and a policy to a verdict.
//!
//! The decision is `sealwright-bundle`'s alone; here the artifact is read, once, for the digests that decision needs.

use std::path::Path;

use sealwright_bundle::verify::digest_algorithms;
use sealwright_bundle::{Bundle, Policy, TrustedRoot, Verified, VerifyError};

use crate::artifact::Artifact;
use crate::error::Error;
use crate::file::read_capped;

/// Artifacts up to this length can be held in memory for the one algorithm that needs the bytes themselves.
const MAX_MESSAGE_BYTES: usize = 512 * 1024 * 1024;

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
    let digests = artifact.digests(&digest_algorithms(bundle, policy)).await?;
    match (
        sealwright_bundle::verify(bundle, &digests, root, policy, now),
        artifact,
    ) {
        // Pure Ed25519 signs the message, not a digest of it; then a file has to be read whole after all.
        (Err(VerifyError::DigestUnavailable { .. }), Artifact::Path(path)) => {
            let bytes = read_capped("artifact", path, MAX_MESSAGE_BYTES)?;
            let whole = sealwright_bundle::Artifact::from_bytes(&bytes);
            Ok(sealwright_bundle::verify(
                bundle, &whole, root, policy, now,
            )?)
        }
        (Err(VerifyError::DigestUnavailable { .. }), Artifact::Bytes(bytes)) => {
            let whole = sealwright_bundle::Artifact::from_bytes(bytes);
            Ok(sealwright_bundle::verify(
                bundle, &whole, root, policy, now,
            )?)
        }
        (verdict, _) => Ok(verdict?),
    }
}
