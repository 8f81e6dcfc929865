//! Who is asking? OpenID Connect issuers, and the way from a token to the identity a certificate may carry.
//!
//! [`Issuers`] is the set of configured issuers: it finds the issuer of a token, obtains that issuer's keys ([`jwks`],
//! [`discovery`]), decides on the token ([`token`]) and turns its claims into a [`Principal`] ([`issuer`], [`template`]).
//! [`login`] is the other side of the same protocol: how a person obtains a token from an issuer. The bearer's view of a
//! token, parsed and not verified, is the SDK's.
//!
//! It is not an X.509 crate: a [`Principal`] names the subject alternative name and the extensions, and the
//! certificate authority encodes them. It is the only crate that links `openidconnect`, which gives the types of
//! discovery and of key sets; the decision on a token and the check of its signature are ours, made with
//! `sealwright-crypto`.
//!
//! Time is an argument everywhere (`now`, Unix seconds). The only ambient clock is the timeout of a request to a
//! provider, which bounds waiting and decides nothing.

#[cfg(test)]
mod comparison;
pub mod discovery;
pub mod error;
pub mod issuer;
mod json;
pub mod jwks;
pub mod login;
pub mod template;
#[cfg(test)]
mod testing;
pub mod token;

pub use error::{ConfigError, FetchError, TokenError};
pub use issuer::{
    CiProviderConfig, ClaimsPrecedence, Extension, Issuer, IssuerConfig, IssuerHealth, IssuerType,
    Issuers, IssuersConfig, Principal, San, VerifiedToken,
};
pub use json::Json;
pub use token::{Claims, JwsAlgorithm, MAX_TOKEN_BYTES};
