//! Verifying: a bundle, an artifact, trust material and a policy to a verdict.
//!
//! The decision is `sealwright-bundle`'s alone; here the artifact is read, once, for the digests that decision needs.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use sealwright_bundle::bundle::MAX_BUNDLE_BYTES;
use sealwright_bundle::verify::digest_algorithms;
use sealwright_bundle::{Bundle, Policy, TrustedRoot, Verified, VerifyError};
use sealwright_crypto::HashAlgorithm;

use crate::artifact::{Artifact, Reading, on_a_thread};
use crate::error::Error;
use crate::file::open_input;

/// Reads a bundle file of at most [`MAX_BUNDLE_BYTES`].
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Refused`] when it is no bundle.
pub fn read_bundle(path: &Path) -> Result<Bundle, Error> {
    read_bundle_with_limit(path, MAX_BUNDLE_BYTES)
}

/// [`read_bundle`] for whoever expects larger or only smaller ones: at most `max_bytes` of JSON.
///
/// # Errors
/// As [`read_bundle`].
pub fn read_bundle_with_limit(path: &Path, max_bytes: usize) -> Result<Bundle, Error> {
    // One byte above the limit is enough for the parser to refuse the document by its size, however long the file is: a bundle
    // that is too long is refused as every other bad one, and is no mistake of whoever calls.
    let most = (max_bytes as u64).saturating_add(1);
    let mut json = Vec::new();
    open_input("bundle", path)?
        .take(most)
        .read_to_end(&mut json)
        .map_err(|source| Error::File {
            what: "bundle",
            path: path.to_owned(),
            source,
        })?;
    Ok(Bundle::parse_with_limit(&json, max_bytes)?)
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    use sealwright_bundle::TrustedKey;
    use sealwright_crypto::{Algorithm, KeyType, PrivateKey};
    use sealwright_testkit::bundle_factory::{NOW, Signing, World};

    use super::*;

    /// Longer than what is read on the spot.
    fn artifact() -> Vec<u8> {
        (0..3_000_000_u32)
            .map(|index| u8::try_from(index % 251).expect("below 251"))
            .collect()
    }

    /// A key's signature with nothing beside it, not even the digest that tells how it was made.
    fn signed(key: &PrivateKey, algorithm: Algorithm) -> Bundle {
        use sealwright_proto::bundle::v1::bundle::Content;
        let signing = Signing {
            algorithm: Some(algorithm),
            ..Signing::default()
        };
        let mut world = World::new();
        let mut bundle = if algorithm == Algorithm::EcdsaP384Sha256 {
            let digest = HashAlgorithm::Sha256.digest(&artifact());
            let signature = signed_by_openssl(key);
            world.bundle_of(digest, signature, key.public_key(), algorithm, &signing)
        } else {
            world.sign_blob_with_key(&artifact(), key, &signing)
        };
        let material = bundle.verification_material.as_mut().expect("material");
        material.tlog_entries.clear();
        material.timestamp_verification_data = None;
        if let Some(Content::MessageSignature(message)) = &mut bundle.content {
            message.message_digest = None;
        }
        Bundle::from_proto(bundle).expect("a bundle")
    }

    /// SHA-256 whatever the curve, as old clients sign; nothing of ours does.
    fn signed_by_openssl(key: &PrivateKey) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("a directory");
        let place = |name: &str| dir.path().join(name);
        std::fs::write(place("key"), key.to_pkcs8_pem().as_bytes()).expect("it is written");
        std::fs::write(place("artifact"), artifact()).expect("it is written");
        let status = std::process::Command::new("openssl")
            .args([
                "dgst",
                "-sha256",
                "-sign",
                "key",
                "-out",
                "signature",
                "artifact",
            ])
            .current_dir(dir.path())
            .status();
        assert!(status.expect("openssl runs").success());
        std::fs::read(place("signature")).expect("a signature")
    }

    async fn verdict(
        bundle: &Bundle,
        artifact: Artifact,
        policy: &Policy,
    ) -> Result<Verified, Error> {
        // Twice, as whoever refreshes the trusted root after a refusal does.
        let artifact = artifact.read_once(bundle, policy).await?;
        let root = TrustedRoot::empty();
        let first = verify(bundle, &artifact, &root, policy, NOW).await;
        let again = verify(bundle, &artifact, &root, policy, NOW).await;
        assert_eq!(first.is_ok(), again.is_ok());
        again
    }

    #[tokio::test]
    async fn what_only_old_or_rare_keys_sign_is_found_in_files_memory_and_pipes() {
        for (key_type, algorithm) in [
            (KeyType::EcP384, Algorithm::EcdsaP384Sha384),
            (KeyType::EcP384, Algorithm::EcdsaP384Sha256),
            (KeyType::Ed25519, Algorithm::Ed25519Ph),
            (KeyType::Ed25519, Algorithm::Ed25519),
        ] {
            let key = PrivateKey::generate(key_type).expect("a key");
            let bundle = signed(&key, algorithm);
            let trusted = TrustedKey::new(key.public_key().clone());
            let policy = Policy::signed_by_key(trusted).blob().log_threshold(0);
            let mut changed = artifact();
            changed[2_999_999] ^= 1;
            for (bytes, good) in [(artifact(), true), (changed, false)] {
                let file = tempfile::NamedTempFile::new().expect("a file");
                std::fs::write(file.path(), &bytes).expect("it is written");
                let (reader, mut writer) = std::io::pipe().expect("a pipe");
                let pipe = format!("/dev/fd/{}", reader.as_raw_fd());
                let sent = bytes.clone();
                let feeder = std::thread::spawn(move || writer.write_all(&sent));
                for artifact in [
                    Artifact::Path(file.path().into()),
                    Artifact::Path(pipe.into()),
                    Artifact::Bytes(bytes),
                ] {
                    let outcome = verdict(&bundle, artifact, &policy).await;
                    let code = outcome.as_ref().map_err(Error::code).err();
                    let expected = (!good).then_some("SIGNATURE_INVALID");
                    assert_eq!(code, expected, "{algorithm}");
                }
                feeder.join().expect("no panic").expect("it was read");
            }
        }
    }

    #[tokio::test]
    async fn a_digest_is_not_enough_for_a_key_that_signs_bytes() {
        let key = PrivateKey::generate(KeyType::Ed25519).expect("a key");
        let bundle = signed(&key, Algorithm::Ed25519);
        let policy = Policy::signed_by_key(TrustedKey::new(key.public_key().clone()));
        let policy = policy.blob().log_threshold(0);
        let digest = Artifact::Digest(HashAlgorithm::Sha512.digest(&artifact()));
        let refused = verdict(&bundle, digest, &policy).await;
        let refused = refused.expect_err("there are no bytes");
        assert_eq!(refused.code(), "DIGEST_UNAVAILABLE", "{refused}");
    }
}
