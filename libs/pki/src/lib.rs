//! All ASN.1 of the stack: certificates and their profile, paths, requests, signed certificate timestamps, RFC 3161.
//!
//! Pure: bytes, time and randomness come in as arguments, and nothing here opens a file or a socket. Which algorithms
//! exist is `sealwright-crypto`'s answer; Merkle trees and log entries are `sealwright-tlog`'s; what a bundle proves is
//! `sealwright-bundle`'s verdict, to which [`chain`], [`profile`] and [`sct`] contribute.
//!
//! Rendering of certificates is behind the feature `issue`: a verifier does without it, and without `rcgen`.

pub mod algorithm;
pub mod asn1;
#[cfg(feature = "issue")]
pub mod authority;
pub mod certificate;
pub mod chain;
pub mod crl;
pub mod error;
#[cfg(feature = "issue")]
pub mod issue;
pub mod key_policy;
mod name;
mod name_constraints;
pub mod oid;
pub mod pem;
pub mod profile;
#[cfg(feature = "issue")]
mod render;
pub mod request;
pub mod sct;
pub mod serial;
mod tbs;
pub mod timestamp;

pub use algorithm::SignatureScheme;
pub use certificate::{Certificate, Extension, GeneralName, parse_pem_chain, pem_chain};
pub use chain::{
    Purpose, VerifiedChain, check_issuing_certificate, check_leaf_certificate, verify_chain,
    verify_precertificate_chain,
};
pub use const_oid::ObjectIdentifier;
pub use crl::{CertificateRevocationList, Revocation, RevocationReason};
pub use error::{ChainFault, CrlFault, DerFault, Error};
pub use key_policy::KeyPolicy;
pub use profile::{FulcioExtensions, Identity, SubjectAlternativeName};
pub use request::CertificateRequest;
pub use sct::{SctEntry, SignedCertificateTimestamp};
pub use serial::SerialNumber;
