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
