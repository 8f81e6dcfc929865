//! Asking witnesses: what the engine expects of them, and the client of C2SP tlog-witness that the service gives it.

mod client;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sealwright_crypto::BoxFuture;
use sealwright_tlog::{Hash, NoteSignature};

use crate::error::Error;

pub use client::Witnesses;

/// A checkpoint to be cosigned. It is durable, and so is every one of its entries (R2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignHead {
    /// The log's origin.
    pub origin: String,
    /// Tree size.
    pub size: u64,
    /// Root hash.
    pub root: Hash,
    /// The checkpoint with the log's signature alone.
    pub note: Bytes,
}

/// What a witness may need beside the checkpoint.
pub trait Proofs: Debug + Send + Sync {
    /// Size of the newest durable tree: no witness can honestly have seen a larger one.
    fn durable_size(&self) -> u64;

    /// The proof that the tree of `to` entries extends the one of `from`; both are at most [`Proofs::durable_size`].
    fn consistency(&self, from: u64, to: u64) -> BoxFuture<'_, Result<Vec<Hash>, Error>>;
}

/// Whether a checkpoint without its quorum may be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WitnessMode {
    /// Nothing is shown before the quorum has cosigned it: no receipt, no SCT, no checkpoint.
    #[default]
    Required,
    /// The quorum is waited for, but not for long.
    BestEffort,
}

/// How a round went.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// The cosignatures that came in time, each verified against its witness's key.
    pub cosignatures: Vec<NoteSignature>,
    /// Whether they are enough.
    pub quorum_met: bool,
    /// Witnesses that were waited for in vain, and why, in the words for an operator.
    pub missing: Vec<(String, String)>,
    /// Somebody proved that another tree than ours exists under our key, or that ours has lost entries. The log must
    /// never write again.
    pub alarm: Option<Alarm>,
}

/// What a witness knows that this log cannot explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// It has cosigned a larger tree than the log has.
    Larger {
        /// The witness's name in the policy.
        witness: String,
        /// The size it knows.
        seen: u64,
        /// The log's size.
        have: u64,
    },
    /// It has cosigned a tree that ours does not extend.
    Forked {
        /// The witness's name in the policy.
        witness: String,
        /// The size it knows.
        size: u64,
    },
}

impl Alarm {
    /// The same as an error of the engine.
    pub fn to_error(&self) -> Error {
        match self.clone() {
            Self::Larger {
                witness,
                seen,
                have,
            } => Error::WitnessAhead {
                witness,
                seen,
                have,
            },
            Self::Forked { witness, size } => Error::WitnessForked { witness, size },
        }
    }
}

/// Asks a set of witnesses.
///
/// The engine runs one round at a time. A round ends when the quorum is met, when every witness has answered, or after
/// [`Cosigner::patience`]; dropping the future ends it too. An implementation may let requests that were not waited for
/// run on: what they bring is lost, but the witness then knows the newer tree. It never fails as a whole: a witness that
/// cannot be asked is one that is missing.
pub trait Cosigner: Debug + Send + Sync {
    /// Asks for cosignatures of `head`.
    fn round<'a>(
        &'a self,
        head: &'a CosignHead,
        proofs: &'a Arc<dyn Proofs>,
    ) -> BoxFuture<'a, Round>;

    /// Whether a checkpoint may be shown without its quorum.
    fn mode(&self) -> WitnessMode;

    /// The longest a round takes.
    fn patience(&self) -> Duration;
}
