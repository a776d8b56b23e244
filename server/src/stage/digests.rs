//! Whether the tree is what was computed beforehand.

use std::sync::Arc;

use zk_core::peer::Mismatch;
use zk_core::tree::DigestCheck;
use zk_proto::Zxid;

use super::fail_stop::StopCause;
use crate::metrics::{Counter, Metrics};

/// What digests tell of the tree.
pub(crate) struct Digests {
    metrics: Arc<Metrics>,
    /// Transactions whose digest the tree did not have.
    mismatches: u64,
}

impl Digests {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            mismatches: 0,
        }
    }

    /// Takes what the digest of a transaction says of the tree behind it.
    ///
    /// # Errors
    ///
    /// If it says that this server is broken.
    pub(crate) fn judge(
        &mut self,
        zxid: Zxid,
        check: DigestCheck,
        mismatch: Mismatch,
    ) -> Result<(), StopCause> {
        let DigestCheck::Different(told, computed) = check else {
            return Ok(());
        };
        match mismatch {
            Mismatch::OwnFault => return Err(StopCause::Digest { zxid }),
            Mismatch::Expected => return Ok(()),
            Mismatch::Divergence => {}
        }
        self.metrics.count(Counter::DigestMismatchesCount, 1);
        self.mismatches += 1;
        // Trees that differ once do so ever after: told ever more rarely.
        if self.mismatches.is_power_of_two() {
            let count = self.mismatches;
            tracing::error!(%zxid, told, computed, count, "the tree is not what the leader has");
        }
        Ok(())
    }
}
