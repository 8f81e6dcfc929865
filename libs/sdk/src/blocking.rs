//! The same client for programs without an asynchronous runtime.
//!
//! Calls wait until there is an answer. The runtime that carries the connections is this module's own, has one thread, and
//! starts at the first call. Inside another runtime a call would stop that runtime's other work, so it is refused with
//! [`Error::InsideRuntime`]; there the asynchronous API is at hand, and so is a thread of one's own (`std::thread`).
//!
//! ```no_run
//! use std::sync::Arc;
//! use sealwright_sdk::{Artifact, Error, Http, HttpOptions, TokenSource, TrustConfig, blocking};
//!
//! fn sign(now: i64) -> Result<(), Error> {
//!     let trust = TrustConfig::from_file("trust_config.json".as_ref())?;
//!     let http = Arc::new(Http::new(HttpOptions::default()));
//!     let context = sealwright_sdk::SigningContext::new(Arc::new(trust), http, Arc::new(move || now))?;
//!     let context = blocking::SigningContext::new(context);
//!     let token = context.identity(&TokenSource::File("token.jwt".into()))?;
//!     let signed = context.keyless(token)?.sign(&Artifact::Path("release.tar".into()))?;
//!     println!("{}", signed.to_json());
//!     Ok(())
//! }
//! ```

use std::sync::{Arc, OnceLock};

use sealwright_bundle::{Bundle, Policy, TrustedRoot, Verified};
use sealwright_crypto::Signer;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::artifact::Artifact;
use crate::batch::BundleSource;
use crate::ca::CertificationRequest;
use crate::error::Error;
use crate::http::Http;
use crate::identity::{IdentityToken, TokenSource};
use crate::mint::MintRequest;
use crate::own_pki::OwnCertificate;
use crate::sign::{self, IssuedCertificate, Signed};
use crate::subjects::Subject;
use crate::trust::{Freshness, Profile, TrustConfig};

/// Runs one call to its end.
fn wait<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    if Handle::try_current().is_ok() {
        return Err(Error::InsideRuntime);
    }
    let start = || {
        Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("sealwright-sdk")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    };
    match RUNTIME.get_or_init(start) {
        Ok(runtime) => runtime.block_on(call),
        Err(problem) => Err(Error::Internal(format!(
            "the operating system refuses what a network client needs: {problem}"
        ))),
    }
}

/// [`crate::SigningContext`], whose calls wait.
#[derive(Clone, Debug)]
pub struct SigningContext {
    context: sign::SigningContext,
}

impl SigningContext {
    /// The same context. Its [`Http`] must not be shared with one that is used from another runtime, which carries the
    /// connections of that.
    #[must_use]
    pub fn new(context: sign::SigningContext) -> Self {
        Self { context }
    }

    /// [`crate::SigningContext::identity`].
    ///
    /// # Errors
    /// Its, and [`Error::InsideRuntime`].
    pub fn identity(&self, source: &TokenSource) -> Result<IdentityToken, Error> {
        wait(self.context.identity(source))
    }

    /// [`crate::SigningContext::certificate`].
    ///
    /// # Errors
    /// Its, and [`Error::InsideRuntime`].
    pub fn certificate(
        &self,
        token: &IdentityToken,
        request: &CertificationRequest,
    ) -> Result<IssuedCertificate, Error> {
        wait(self.context.certificate(token, request))
    }

    /// [`crate::SigningContext::keyless`].
    ///
    /// # Errors
    /// Its, and [`Error::InsideRuntime`].
    pub fn keyless(&self, token: IdentityToken) -> Result<SigningSession, Error> {
        let session = wait(self.context.keyless(token))?;
        Ok(SigningSession { session })
    }

    /// [`crate::SigningContext::with_key`].
    ///
    /// # Errors
    /// Its.
    pub fn with_key(&self, signer: Arc<dyn Signer>) -> Result<SigningSession, Error> {
        let session = self.context.with_key(signer)?;
        Ok(SigningSession { session })
    }

    /// [`crate::SigningContext::with_certificate`].
    ///
    /// # Errors
    /// Its.
    pub fn with_certificate(
        &self,
        signer: Arc<dyn Signer>,
        certificate: OwnCertificate,
    ) -> Result<SigningSession, Error> {
        let session = self.context.with_certificate(signer, certificate)?;
        Ok(SigningSession { session })
    }
}

/// [`crate::SigningSession`], whose calls wait.
#[derive(Debug)]
pub struct SigningSession {
    session: sign::SigningSession,
}

impl SigningSession {
    /// [`crate::SigningSession::sign`].
    ///
    /// # Errors
    /// Its, and [`Error::InsideRuntime`].
    pub fn sign(&self, artifact: &Artifact) -> Result<Signed, Error> {
        wait(self.session.sign(artifact))
    }

    /// [`crate::SigningSession::sign_all`]: one answer for each artifact, in their order.
    ///
    /// # Errors
    /// [`Error::InsideRuntime`], and nothing was signed then.
    pub fn sign_all(
        &self,
        artifacts: Vec<Artifact>,
        parallel: usize,
    ) -> Result<Vec<Result<Signed, Error>>, Error> {
        wait(async { Ok(self.session.sign_all(artifacts, parallel).await) })
    }

    /// [`crate::SigningSession::attest`].
    ///
    /// # Errors
    /// Its, and [`Error::InsideRuntime`].
    pub fn attest(&self, statement: Vec<u8>) -> Result<Signed, Error> {
        wait(self.session.attest(statement))
    }
}

/// [`crate::verify()`], waiting for the artifact to be read.
///
/// ```
/// use sealwright_sdk::bundle::{Bundle, IdentityRule, Policy, TrustedRoot};
/// use sealwright_sdk::{Artifact, Verdict, blocking};
/// # use sealwright_testkit::bundle_factory::{EMAIL, ISSUER, NOW, Signing, World};
/// # let mut world = World::new();
/// # let trusted_root_json = world.trusted_root_json();
/// # let bundle = world.sign_blob(b"release", &Signing::default());
/// # let bundle_json = serde_json::to_string(&bundle).expect("JSON");
///
/// let root = TrustedRoot::parse(trusted_root_json.as_bytes())?;
/// let bundle = Bundle::parse(bundle_json.as_bytes())?;
/// let policy = Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER)?).blob();
///
/// let release = Artifact::Bytes(b"release".to_vec());
/// let verified = blocking::verify(&bundle, &release, &root, &policy, NOW)?;
/// assert_eq!(verified.logs().len(), 1);
///
/// let changed = Artifact::Bytes(b"releasE".to_vec());
/// let error = blocking::verify(&bundle, &changed, &root, &policy, NOW).expect_err("it was changed");
/// assert_eq!((error.verdict(), error.code()), (Verdict::Refused, "SIGNATURE_INVALID"));
/// # Ok::<(), sealwright_sdk::Error>(())
/// ```
///
/// # Errors
/// Its, and [`Error::InsideRuntime`].
pub fn verify(
    bundle: &Bundle,
    artifact: &Artifact,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verified, Error> {
    wait(crate::verify(bundle, artifact, root, policy, now))
}

/// [`crate::verify_subjects`].
///
/// # Errors
/// Its, and [`Error::InsideRuntime`].
pub fn verify_subjects(
    bundle: &Bundle,
    subjects: &[Subject],
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verified, Error> {
    wait(crate::verify_subjects(bundle, subjects, root, policy, now))
}

/// [`crate::verify_many`], whose verdicts are waited for.
///
/// ```no_run
/// use std::path::PathBuf;
/// use sealwright_sdk::bundle::{Policy, TrustedRoot};
/// use sealwright_sdk::{Artifact, Error, blocking};
///
/// fn all_hold(files: Vec<PathBuf>, root: &TrustedRoot, policy: &Policy, now: i64) -> Result<(), Error> {
///     let items = files.into_iter().map(|file| {
///         let bundle = file.with_added_extension("sigstore.json");
///         (bundle, Artifact::Path(file))
///     });
///     for verdict in blocking::verify_many(items, root, policy, now)? {
///         verdict?;
///     }
///     Ok(())
/// }
/// ```
///
/// # Errors
/// Its, and [`Error::InsideRuntime`].
pub fn verify_many<B, I>(
    items: I,
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> Result<Verdicts, Error>
where
    B: Into<BundleSource> + 'static,
    I: IntoIterator<Item = (B, Artifact)>,
    I::IntoIter: Send + 'static,
{
    if Handle::try_current().is_ok() {
        return Err(Error::InsideRuntime);
    }
    let verdicts = crate::verify_many(items, root, policy, now)?;
    Ok(Verdicts {
        verdicts: Some(verdicts),
    })
}

/// [`crate::Verdicts`], one after the other. Taken into an asynchronous runtime it ends there, with
/// [`Error::InsideRuntime`].
#[derive(Debug)]
pub struct Verdicts {
    verdicts: Option<crate::Verdicts>,
}

impl Iterator for Verdicts {
    type Item = Result<Verified, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let verdicts = self.verdicts.as_mut()?;
        wait(async { Ok(verdicts.next().await) }).unwrap_or_else(|error| {
            self.verdicts = None;
            Some(Err(error))
        })
    }
}

/// [`Profile::load`].
///
/// # Errors
/// Its, and [`Error::InsideRuntime`].
pub fn load_profile(
    profile: &Profile,
    http: &Http,
    freshness: Freshness,
    now: i64,
) -> Result<TrustConfig, Error> {
    wait(profile.load(http, freshness, now))
}

/// [`Profile::init`].
///
/// # Errors
/// Its, and [`Error::InsideRuntime`].
pub fn init_profile(
    profile: &Profile,
    http: &Http,
    url: &str,
    root: &[u8],
    now: i64,
) -> Result<TrustConfig, Error> {
    wait(profile.init(http, url, root, now))
}

/// [`crate::mint()`].
///
/// # Errors
/// Its, and [`Error::InsideRuntime`].
pub fn mint(http: &Http, issuer: &str, request: &MintRequest) -> Result<String, Error> {
    wait(crate::mint(http, issuer, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_may_wait_at_the_same_time() {
        let threads: Vec<_> = (0..4)
            .map(|number| std::thread::spawn(move || wait(async move { Ok(number) })))
            .collect();
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        let answers: Vec<i32> = answers.map(|answer| answer.expect("an answer")).collect();
        assert_eq!(answers, [0, 1, 2, 3]);
    }

    #[tokio::test]
    async fn inside_a_runtime_the_call_is_refused_and_nothing_panics() {
        let refused = wait(async { Ok(()) }).expect_err("it would block");
        assert!(matches!(refused, Error::InsideRuntime));
        let allowed =
            tokio::task::spawn_blocking(|| std::thread::spawn(|| wait(async { Ok(1) })).join());
        let allowed = allowed.await.expect("no panic").expect("no panic");
        assert_eq!(allowed.expect("outside"), 1);
    }

    #[test]
    fn a_batch_is_an_iterator_that_ends_inside_a_runtime() {
        use sealwright_bundle::IdentityRule;
        let root = TrustedRoot::empty();
        let rule = IdentityRule::exact("jane@example.com", "https://issuer").expect("a rule");
        let policy = Policy::signed_by_identity(rule).blob();
        let batch = || {
            let nothing = || (b"{}".to_vec(), Artifact::Bytes(Vec::new()));
            verify_many(std::iter::repeat_with(nothing).take(3), &root, &policy, 0)
        };
        let codes: Vec<_> = batch()
            .expect("threads")
            .map(|verdict| verdict.expect_err("no bundle").code())
            .collect();
        assert_eq!(codes, ["BUNDLE_VERSION_UNSUPPORTED"; 3]);

        let mut taken_inside = batch().expect("threads");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            assert!(matches!(batch(), Err(Error::InsideRuntime)));
            let refused = taken_inside.next().expect("it is said");
            assert!(matches!(refused, Err(Error::InsideRuntime)));
            assert!(taken_inside.next().is_none(), "and said once");
        });
    }
}
