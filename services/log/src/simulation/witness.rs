//! A witness outside: it remembers what it was shown, whatever happens to the log, and answers when the driver lets it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealwright_crypto::BoxFuture;
use sealwright_tlog::verify_consistency;
use tokio::sync::Semaphore;

use crate::cosign::{Alarm, CosignHead, Cosigner, Proofs, Round, WitnessMode};

const NAME: &str = "outside";

/// Clones are the same witness.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    /// One permit lets one round end.
    gate: Arc<Semaphore>,
    seen: Arc<Mutex<Option<CosignHead>>>,
}

impl Witness {
    pub(super) fn new() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            seen: Arc::default(),
        }
    }

    /// The largest checkpoint that it has cosigned.
    pub(super) fn seen(&self) -> Option<CosignHead> {
        self.memory().clone()
    }

    fn memory(&self) -> MutexGuard<'_, Option<CosignHead>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    pub(super) fn close_gate(&self) {
        while let Ok(permit) = self.gate.try_acquire() {
            permit.forget();
        }
    }

    async fn judge(&self, head: &CosignHead, proofs: &dyn Proofs) -> Option<Alarm> {
        let seen = self.seen()?;
        let forked = Alarm::Forked {
            witness: NAME.into(),
            size: seen.size,
        };
        if seen.size > head.size {
            return Some(Alarm::Larger {
                witness: NAME.into(),
                seen: seen.size,
                have: proofs.durable_size(),
            });
        }
        let proof = match proofs.consistency(seen.size, head.size).await {
            Ok(proof) => proof,
            Err(_) => return Some(forked),
        };
        let verified = verify_consistency(seen.size, &seen.root, head.size, &head.root, &proof);
        verified.err().map(|_| forked)
    }
}

impl Cosigner for Witness {
    fn round<'a>(
        &'a self,
        head: &'a CosignHead,
        proofs: &'a Arc<dyn Proofs>,
    ) -> BoxFuture<'a, Round> {
        Box::pin(async move {
            if let Ok(permit) = self.gate.acquire().await {
                permit.forget();
            }
            let alarm = self.judge(head, proofs.as_ref()).await;
            if alarm.is_none() {
                *self.memory() = Some(head.clone());
            }
            Round {
                quorum_met: alarm.is_none(),
                alarm,
                ..Round::default()
            }
        })
    }

    fn mode(&self) -> WitnessMode {
        WitnessMode::Required
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }
}
