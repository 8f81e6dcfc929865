//! Transparency-log mathematics and formats: RFC 6962 hashing, inclusion and consistency proofs, tiles, signed
//! notes, checkpoints, cosignatures and the bytes of a leaf.
//!
//! Everything here is a function from bytes to bytes. There is no I/O, no clock and no ASN.1: certificates are opaque
//! byte strings (`sealwright-pki` reads them), storage and HTTP live in `sealwright-log`, and the verdict over a whole
//! bundle is `sealwright-bundle`'s. Server, client, fsck and monitor all use this one copy.
//!
//! | module | question it answers |
//! |---|---|
//! | [`hash`] | what is the hash of a leaf, a node, a list of leaves? |
//! | [`proof`] | is this leaf in that tree; does that tree extend this one? |
//! | [`batch`] | how are many new leaves proved at once? |
//! | [`tile`] | which file holds which hashes, and how is an entry bundle cut? |
//! | [`edge`] | what is the tree after these leaves, without reading the old ones? |
//! | [`note`] | who signed this text? |
//! | [`checkpoint`] | which tree does a log vouch for? |
//! | [`cosignature`] | which witnesses saw it, and when? |
//! | [`witness`] | may a witness cosign this checkpoint, and what do they say to each other? |
//! | [`witness_policy`] | are those witnesses enough? |
//! | [`tlog_proof`] | how is all of that put in one file? |
//! | [`entry`] | what are the bytes of a signature log's leaf? |
//! | [`ct`] | what are the bytes of a certificate log's leaf and signatures? |
//! | [`dsse`] | what does a DSSE signature sign? |

pub mod batch;
pub mod checkpoint;
pub mod cosignature;
pub mod ct;
pub mod dsse;
pub mod edge;
pub mod entry;
mod error;
pub mod hash;
pub mod note;
pub mod proof;
pub mod tile;
pub mod tlog_proof;
mod wire;
pub mod witness;
pub mod witness_policy;

pub use checkpoint::{Checkpoint, OpenedCheckpoint};
pub use edge::RightEdge;
pub use error::Error;
pub use hash::Hash;
pub use note::{Note, NoteKey, NoteSignature, SignatureKind};
pub use proof::{HashReader, Node, verify_consistency, verify_inclusion};
pub use tlog_proof::TlogProof;
pub use witness_policy::WitnessPolicy;
