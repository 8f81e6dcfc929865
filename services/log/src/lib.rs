//! Transparency logs: a signature log (Rekor v2) and a certificate log (RFC 6962, static-ct-api) on one engine.
//!
//! [`Log`] is the engine: it takes admitted entries, makes them durable under a signed checkpoint and proves them. What
//! is admitted is decided in [`entry`]; [`LogService`] opens every log of a process and serves them, over HTTP and gRPC, on
//! one listener. The mathematics and formats of logs are `sealwright-tlog`'s; nothing here verifies a bundle.

mod api;
mod attachments;
mod backup;
mod bench;
mod check;
mod config;
mod cosign;
mod cpu;
mod ct_api;
mod dedup;
pub mod disk;
mod encoding;
pub mod entry;
mod error;
mod frozen;
mod fsck;
mod guard;
mod head;
mod identity;
mod imported;
mod intake;
mod kind;
mod listing;
mod log;
mod log_api;
mod lookup;
mod material;
mod metrics;
mod mirror;
mod notes;
mod open;
mod options;
mod place;
mod publication;
mod publisher;
mod read;
mod reader;
mod recover;
mod restore;
mod scrub;
mod sequencer;
mod service;
mod settle;
mod shards;
mod sign;
#[cfg(test)]
mod simulation;
mod tree;
mod wal;

pub use api::{DuplicateMode, parse_submission};
pub use backup::{Copied, copy_log};
pub use bench::{BenchPlan, BenchReport, Percentiles, Row as BenchRow, bench};
pub use check::Fault;
pub use config::{Config, LogConfig};
pub use cosign::{Alarm, CosignHead, Cosigner, Proofs, Round, WitnessMode, Witnesses};
pub use ct_api::parse_chain;
pub use error::Error;
pub use fsck::{FsckOptions, Report, fsck, fsck_with};
pub use guard::{GuardMode, Memory};
pub use identity::LogIdentity;
pub use imported::{ImportPlan, Imported, import, imported_log};
pub use kind::{BodyLeaf, CertificateLeaf, FinishedLeaf, Kind, Leaf, LeafFacts};
pub use log::{Log, Receipt, TreeHead};
pub use metrics::Metrics;
pub use mirror::{LogKeys, Mirror, Signed};
pub use options::{EngineOptions, EngineParts};
pub use place::is_in_place;
pub use restore::{
    Inspection, Own, RESTORE_FILE, Remembered, Restore, Statement, freeze_at_rest, root_at_rest,
};
pub use service::{Deps, LogService, ShardStatus};
pub use shards::ShardState;
pub use tree::TileBytes;
