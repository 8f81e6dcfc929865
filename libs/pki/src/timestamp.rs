//! RFC 3161 timestamps: the request, the token an authority makes, and what a verifier believes of it.
//!
//! Three users: a client builds a [`TimeStampReq`] and verifies the answer ([`verify()`]); the authority parses the request
//! and makes the answer from a [`TokenTemplate`] (or a [`rejection`]); a bundle verifier verifies stored answers years
//! later. Nothing here asks the time: `genTime` comes in as an argument and goes out as a result.
//!
//! Tokens are made with ECDSA P-256, P-384 or RSA, and believed with any algorithm that certificates may have; digests
//! are SHA-256, SHA-384 and SHA-512. Other embedded choices of RFC 5652 (several signers, key identifiers in place of
//! issuer and serial, constructed octet strings) are refused, because published verifiers disagree about them.

mod ber;
mod error;
mod names;
mod request;
mod response;
#[cfg(all(test, feature = "issue"))]
mod tests;
mod token;
mod verify;

pub use error::{PkiFailureInfo, RequestError, TemplateError, TimeOutOfRange, TimestampError};
pub use request::{
    MAX_NONCE_OCTETS, MessageImprint, RequestExtension, RequestExtensions, TimeStampReq,
    check_nonce, nonce_content,
};
pub use response::MAX_RESPONSE_BYTES;
pub use token::{Accuracy, PreparedToken, Stamp, TokenTemplate, rejection};
pub use verify::{Authority, Expectation, Timestamp, VerifiedTimestamp, inspect, verify};
