//! The client of a keyless-signing stack: obtain a certificate for an identity, sign, log, timestamp, verify.
//!
//! One call to sign, one to verify:
//!
//! ```no_run
//! # async fn example(trust: sealwright_sdk::TrustConfig, token: sealwright_sdk::IdentityToken, now: i64) -> Result<(), sealwright_sdk::Error> {
//! use std::sync::Arc;
//! use sealwright_sdk::{Artifact, Http, HttpOptions, SigningContext};
//!
//! let http = Arc::new(Http::new(HttpOptions::default()));
//! let context = SigningContext::new(Arc::new(trust), http, Arc::new(move || now))?;
//! let session = context.keyless(token).await?;
//! let signed = session.sign(&Artifact::Path("release.tar".into())).await?;
//! println!("{}", signed.to_json());
//! # Ok(())
//! # }
//! ```
//!
//! It decides nothing about trust: what holds is `sealwright-bundle`'s and `sealwright-tuf`'s to say. It reads no clock and
//! no environment: both are the caller's. Every request carries a W3C `traceparent` of one trace.

pub mod ambient;
mod artifact;
pub mod blocking;
mod ca;
mod error;
mod file;
mod http;
mod identity;
mod inspect;
mod log;
mod mint;
mod sign;
mod trace;
mod trust;
mod tsa;
mod verify;

pub use sealwright_bundle as bundle;
pub use sealwright_crypto as crypto;

pub use ambient::ProfileSettings;
pub use artifact::Artifact;
pub use ca::CertificationRequest;
pub use error::{AmbientProblem, Error, Failure, Refusal, ServiceName, TokenProblem, Verdict};
pub use file::{open_input, read_capped, write_atomically, write_secret};
pub use http::{Http, HttpOptions};
pub use identity::{
    DEFAULT_AUDIENCE, IdentityToken, TOKEN_VARIABLE, TokenOrder, TokenRequest, TokenSource,
};
pub use inspect::{inspect, rfc3339};
pub use mint::{MintRequest, mint};
pub use sign::{
    Clock, IssuedCertificate, Signed, SigningContext, SigningSession, signing_algorithm,
};
pub use trace::TraceContext;
pub use trust::{CLIENT_TRUST_CONFIG_MEDIA_TYPE, Freshness, Profile, TrustConfig};
pub use verify::{read_bundle, verify};
