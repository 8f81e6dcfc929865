//! How an engine works, what it is given, and which settings cannot work.

use std::sync::Arc;
use std::time::Duration;

use sealwright_crypto::Signer;
use sealwright_host::SharedClock;

use crate::cosign::Cosigner;
use crate::error::Error;
use crate::identity::LogIdentity;
use crate::metrics::Metrics;
use crate::wal;

/// The longest origin. It stands twice in every checkpoint.
const MAX_ORIGIN_BYTES: usize = 1024;
/// A checkpoint with one signature is below this: 2 * 1,024 for the origin, 1,024 for an RSA signature of 4,096 bits in
/// base64, and the rest.
const NOTE_BYTES: usize = 4096;
/// A stored leaf is at most this much longer than [`Leaf::weight`](crate::Leaf::weight) says: the fixed fields of a
/// `TileLeaf` have 60 bytes.
const STORED_OVERHEAD: usize = 64;

/// How the engine works; none of it is visible in the log.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Make the log if the folder holds none.
    pub create: bool,
    /// Bytes of a write-ahead segment; a multiple of 4 KiB, at least 64 KiB.
    pub segment_bytes: u64,
    /// Segments kept ready.
    pub spare_segments: usize,
    /// Most entries in the queue.
    pub queue_entries: usize,
    /// Most bytes of entries in the queue.
    pub queue_bytes: usize,
    /// Most entries in a batch.
    pub batch_entries: usize,
    /// Most bytes of entries in a batch, unless one entry alone is larger.
    pub batch_bytes: usize,
    /// Files are brought up to date this long after a change, at the latest.
    pub publish_interval: Duration,
    /// Also write partial tiles to files, for static hosting of `public/`.
    pub static_partials: bool,
    /// A receipt waits for tile and checkpoint files too.
    pub strict_files: bool,
    /// Most bytes of entries that wait for their file.
    pub backlog_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            create: false,
            segment_bytes: 64 << 20,
            spare_segments: 2,
            queue_entries: 32_768,
            queue_bytes: 64 << 20,
            batch_entries: 4096,
            batch_bytes: 4 << 20,
            publish_interval: Duration::from_secs(1),
            static_partials: true,
            strict_files: false,
            backlog_bytes: 64 << 20,
        }
    }
}

/// What the engine needs from outside.
#[derive(Debug, Clone)]
pub struct EngineParts {
    /// Key that signs checkpoints: Ed25519 for a signature log (P-256 where a KMS holds it), P-256 for a certificate log.
    pub signer: Arc<dyn Signer>,
    /// Wall clock.
    pub clock: SharedClock,
    /// Where the log counts.
    pub metrics: Metrics,
    /// Whom checkpoints are shown to before anybody else; `None` shows them at once.
    pub cosigner: Option<Arc<dyn Cosigner>>,
}

/// Refuses an origin or sizes with which no frame could be written.
pub(crate) fn require_usable(identity: &LogIdentity, options: &EngineOptions) -> Result<(), Error> {
    let problem = |problem: String| {
        Err(Error::Config {
            log: identity.name.clone(),
            problem,
        })
    };
    let largest = identity.kind.max_stored_bytes() as u64;
    let attachment = match identity.kind.max_attachment_bytes() {
        0 => 0,
        bytes => wal::ATTACHMENT_PREFIX_BYTES + bytes,
    };
    let overhead = (wal::LEAF_PREFIX_BYTES + STORED_OVERHEAD + attachment) * options.batch_entries;
    let frame = wal::frame_bytes(NOTE_BYTES, options.batch_bytes + overhead);
    if identity.origin.len() > MAX_ORIGIN_BYTES {
        return problem(format!(
            "an origin of {} bytes is too long; at most {MAX_ORIGIN_BYTES} are allowed",
            identity.origin.len()
        ));
    }
    if !options
        .segment_bytes
        .is_multiple_of(wal::FRAME_ALIGNMENT as u64)
    {
        return problem(format!(
            "a segment of {} bytes is no multiple of 4 KiB",
            options.segment_bytes
        ));
    }
    if options.segment_bytes < (frame as u64).max(2 * largest) {
        let least = (frame as u64).max(2 * largest);
        return problem(format!(
            "a segment of {} bytes does not hold a batch; at least {least} are needed",
            options.segment_bytes
        ));
    }
    if options.batch_entries == 0 || options.queue_entries == 0 || options.queue_bytes == 0 {
        return problem("queue and batch sizes must not be 0".into());
    }
    Ok(())
}
