//! The client of a keyless-signing stack: obtain a certificate for an identity, sign, log, timestamp, verify.
//!
//! | to | begin with |
//! |---|---|
//! | say whom to believe | [`TrustConfig`], or a [`Profile`] that follows a TUF repository |
//! | say who one is | [`TokenSource`], or [`TokenOrder`] where several could be; [`ambient`] for machines |
//! | sign | [`SigningContext`]: one session, one key and certificate, many artifacts |
//! | get a certificate alone | [`SigningContext::certificate`] |
//! | verify | [`verify()`] with a [`bundle::Policy`] |
//! | verify a statement about several things | [`verify_subjects`] |
//! | verify many | [`verify_many`], on every processor |
//! | follow any other TUF repository | [`tuf`]: mirrors, a store on disk, kept targets |
//! | do all that without a runtime | [`blocking`] |
//! | decide what to do about a failure | [`Error`]: one variant a decision, [`Error::code`] for scripts, [`Error::verdict`] for exit codes |
//!
//! One call to sign, one to verify:
//!
//! ```no_run
//! use std::sync::Arc;
//! use sealwright_sdk::bundle::{IdentityRule, Policy};
//! use sealwright_sdk::{Artifact, Error, Http, HttpOptions, SigningContext, TokenSource, TrustConfig, verify};
//!
//! # async fn example(now: i64) -> Result<(), Error> {
//! let trust = Arc::new(TrustConfig::from_file("trust_config.json".as_ref())?);
//! let http = Arc::new(Http::new(HttpOptions::default()));
//! let context = SigningContext::new(Arc::clone(&trust), http, Arc::new(move || now))?;
//!
//! let token = context.identity(&TokenSource::File("token.jwt".into())).await?;
//! let session = context.keyless(token).await?;
//! let release = Artifact::Path("release.tar".into());
//! let signed = session.sign(&release).await?;
//!
//! let jane = IdentityRule::exact("jane@example.com", "https://accounts.example.com")?;
//! let policy = Policy::signed_by_identity(jane).blob();
//! verify(signed.bundle(), &release, trust.trusted_root(), &policy, now).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It decides nothing about trust: what holds is `sealwright-bundle`'s and `sealwright-tuf`'s to say. It reads no clock and
//! no environment: both are the caller's. Every request carries a W3C `traceparent` of one trace.

pub mod ambient;
mod artifact;
mod batch;
pub mod blocking;
mod ca;
mod error;
mod file;
mod http;
mod identity;
mod inspect;
mod log;
pub mod login;
mod mint;
mod own_pki;
mod sign;
mod subjects;
mod trace;
mod trust;
mod tsa;
pub mod tuf;
mod verify;

pub use sealwright_bundle as bundle;
pub use sealwright_crypto as crypto;
pub use sealwright_pki as pki;

pub use ambient::ProfileSettings;
pub use artifact::{Artifact, ReadArtifact};
pub use batch::{BundleSource, Verdicts, verify_many};
pub use ca::CertificationRequest;
pub use error::{AmbientProblem, Error, Failure, Refusal, ServiceName, TokenProblem, Verdict};
pub use file::{open_input, read_capped, write_atomically, write_secret};
pub use http::{Http, HttpOptions};
pub use identity::{
    DEFAULT_AUDIENCE, IdentityToken, TOKEN_VARIABLE, TokenOrder, TokenRequest, TokenSource,
};
pub use inspect::{inspect, rfc3339};
pub use mint::{MintRequest, mint};
pub use own_pki::{OwnCertificate, read_certificate, read_certificates, read_revocation_lists};
pub use sign::{
    Clock, IssuedCertificate, Signed, SigningContext, SigningSession, signing_algorithm,
};
pub use subjects::{Subject, verify_subjects};
pub use trace::TraceContext;
pub use trust::{CLIENT_TRUST_CONFIG_MEDIA_TYPE, Freshness, Profile, TrustConfig};
pub use verify::{read_bundle, read_bundle_with_limit, verify};
