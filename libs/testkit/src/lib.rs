//! Fakes that several test suites share. Never a normal dependency.
//!
//! | module | what it makes |
//! |---|---|
//! | [`bundle_factory`] | a whole world of authorities and logs in memory, and bundles signed in it |
//! | [`mutate`] | changes to inputs: bytes, DER, JSON, text and tokens |
//! | [`own_pki`] | an organisation's own PKI, with revocation lists |
//! | [`mod@properties`] | properties tried on the same inputs and on new ones |
//! | [`rekor_v1`] | entries of the first generation of signature logs |
//! | [`tuf_factory`] | TUF repositories with delegations, bins and rotated keys |
//! | [`vectors`] | cases for a verifier, right and wrong, and the answers |
//!
//! Everything here panics when it cannot do its work: a fake that fails is a failed test.

pub mod bundle_factory;
pub mod mutate;
pub mod own_pki;
pub mod properties;
pub mod rekor_v1;
pub mod tuf_factory;
pub mod vectors;
