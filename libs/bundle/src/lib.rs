//! Bundle + trusted root + policy -> verdict.
//!
//! This crate answers one question: does this bundle prove that somebody whom the policy accepts
//! signed this artifact, at a time when that counted? It is the smallest room that an auditor has
//! to read, next to the mathematics of `sealwright-crypto`, `sealwright-pki` and `sealwright-tlog`.
//! The whole sequence of checks is one function, [`verify::verify`].
//!
//! ```
//! use sealwright_bundle::{Artifact, Bundle, IdentityRule, Policy, TrustedRoot, Verified, VerifyError};
//!
//! fn signed_by_jane(bundle: &[u8], root: &[u8], file: &[u8], now: i64) -> Result<Verified, VerifyError> {
//!     let jane = IdentityRule::exact("jane@example.com", "https://accounts.example.com")?;
//!     let policy = Policy::signed_by_identity(jane).blob();
//!     let bundle = Bundle::parse(bundle)?;
//!     let root = TrustedRoot::parse(root)?;
//!     sealwright_bundle::verify(&bundle, &Artifact::from_bytes(file), &root, &policy, now)
//! }
//! ```
//!
//! It reads no file, opens no connection and asks no clock. Fetching trust material is
//! `sealwright-tuf`'s, signing and the services are `sealwright-sdk`'s.
//!
//! | module | what it holds |
//! |---|---|
//! | [`bundle`] | the bundle format, read strictly and written |
//! | [`trusted_root`] | authorities, logs and their windows of trust |
//! | [`policy`] | whom and what a verifier accepts |
//! | [`own_pki`] | certificates of an organisation's own PKI |
//! | [`artifact`] | the digests of what was signed |
//! | [`statement`] | in-toto statements |
//! | [`mod@verify`] | the checks V1 to V12 in their order |
//! | [`verdict`] | what a successful verification has shown |
//! | [`error`] | why a verification failed |
//! | [`signing_config`] | which services to sign with |

pub mod artifact;
pub mod bundle;
pub mod error;
mod json;
mod keyless;
mod log;
pub mod own_pki;
mod parties;
pub mod policy;
mod rekor_v1;
mod revocation;
pub mod signing_config;
pub mod statement;
mod times;
pub mod trusted_root;
pub mod verdict;
pub mod verify;

pub use artifact::{Artifact, ArtifactHasher};
pub use bundle::Bundle;
pub use error::VerifyError;
pub use own_pki::CertificateRule;
pub use policy::{IdentityRule, Matcher, Policy, PredicateTypes, SubjectType, TrustedKey};
pub use sealwright_tlog::WitnessPolicy;
pub use signing_config::SigningConfig;
pub use trusted_root::TrustedRoot;
pub use verdict::Verified;
pub use verify::{verify, verify_all};
