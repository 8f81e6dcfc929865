//! to be replaced
mod dedup;
pub mod disk;
mod error;
mod head;
mod intake;
mod kind;
mod log;
mod metrics;
mod publisher;
mod recover;
mod sequencer;
mod sign;
mod tree;
mod wal;

pub use error::Error;
pub use kind::{BodyLeaf, CertificateLeaf, FinishedLeaf, Kind, Leaf, LeafFacts};
pub use log::{EngineOptions, EngineParts, Log, LogIdentity, Receipt, TreeHead};
pub use metrics::Metrics;
pub use tree::TileBytes;
