//! The Update Framework, version 1 of its specification: metadata, signatures and the client workflow.
//!
//! A *repository* is a set of signed JSON files that names target files; a *client* that holds one root file can
//! follow it, and cannot be fed old, mixed, endless or foreign data. This crate has both sides:
//!
//! - [`canonical`] the exact bytes a signature covers (OLPC canonical JSON),
//! - [`Key`], [`KeyId`] and [`Envelope`]: keys, signatures and thresholds,
//! - [`Root`], [`Timestamp`], [`Snapshot`], [`Targets`]: the four metadata types, and how to write and sign them,
//! - [`Client`]: the client workflow of specification section 5, over two small traits, [`Fetch`] and [`Store`],
//!   which the caller implements with HTTP, files or memory.
//!
//! What it is not: it opens no socket and no file, and it knows no clock. The current time comes in as Unix
//! seconds; bytes come in through [`Fetch`] and go out through [`Store`]. The repository's life (staging, publishing
//! order, re-signing) is in `services/trust`, the HTTP and file side of the client in `libs/sdk`.

pub mod canonical;
mod client;
mod delegation;
mod envelope;
mod error;
mod key;
mod memory;
mod metadata;
mod name;
mod trusted;

pub use client::{Client, Limits, Target, bootstrap};
pub use client::{Fetch, FetchError, Place, Store, whole_file};
pub use delegation::{DelegatedRole, Delegations, SuccinctRoles};
pub use envelope::{Envelope, Signature, key_of};
pub use error::{Error, Problem, Subject};
pub use key::{Key, KeyId, KeyValue};
pub use memory::{MemoryRepository, MemoryStore};
pub use metadata::{
    Expiry, MetaFile, Metadata, Role, RoleKeys, Root, Snapshot, TargetFile, Targets, Timestamp,
};
pub use name::{file_name, percent_encode, target_file_name, versioned_file_name};

/// The specification version this crate writes. Readers check the major number only.
pub const SPEC_VERSION: &str = "1.0.31";
