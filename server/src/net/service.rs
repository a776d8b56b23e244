//! What all connections of a server have in common.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use zk_core::conn::auth::Access;
use zk_core::ensemble::EnsembleConfig;
use zk_core::peer::{Peer, PeerStatus};
use zk_core::session::TimeoutBounds;

use super::admission::Admission;
use super::connections::Connections;
use super::members::Members;
use super::sasl::Sasl;
use super::tally::Tally;
use super::throttle::Throttle;
use super::tls::Tls;
use crate::audit::Audit;
use crate::config::Config;
use crate::four_letter::{Latency, TRACE_MASK_DEFAULT};
use crate::metrics::Metrics;
use crate::shared_tree::SharedTree;
use crate::stage::apply::ApplyItem;
use crate::stage::clock::Clock;
use crate::stage::core::CoreItem;
use crate::stage::fail_stop::FailStop;
use crate::stage::heard::Heard;
use crate::stage::mailbox::{Mailbox, Refused};
use crate::stage::owner::Owners;

/// Shared by all connections.
pub(crate) struct Service {
    pub(crate) config: Config,
    /// The members of the ensemble, if it is one.
    pub(crate) members: Option<Members>,
    /// Port that plaintext clients connect to.
    pub(crate) port: Option<u16>,
    /// Port that speaks TLS only.
    pub(crate) secure_port: Option<u16>,
    /// TLS of client ports, if there is any.
    pub(crate) tls: Option<Tls>,
    /// TLS handshakes in progress.
    pub(crate) handshaking: AtomicUsize,
    pub(crate) throttle: Throttle,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bounds: TimeoutBounds,
    pub(crate) access: Access,
    pub(crate) sasl: Option<Sasl>,
    /// Schemes of which every client must have an identity.
    pub(crate) wanted_schemes: Vec<ByteString>,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) core: Arc<Mailbox<CoreItem>>,
    /// For operators who want a snapshot.
    pub(crate) apply: Arc<Mailbox<ApplyItem>>,
    pub(crate) owners: Arc<Owners>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) status: Arc<Mutex<PeerStatus>>,
    pub(crate) fail_stop: Arc<FailStop>,
    pub(crate) clock: Clock,
    pub(crate) tally: Tally,
    /// Who tells of changes, if that is wanted.
    pub(crate) audit: Option<Arc<Audit>>,
}

impl Service {
    /// The ensemble as it is now, if this server is a member of one.
    pub(crate) fn ensemble(&self) -> Option<Arc<EnsembleConfig>> {
        self.members.as_ref().map(Members::current)
    }

    /// Longest frame that a client may send.
    pub(crate) fn frame_max(&self) -> usize {
        usize::try_from(self.config.limits.jute_max_buffer).unwrap_or(usize::MAX)
    }

    /// Connections that one address may have.
    pub(crate) fn per_address_max(&self) -> Option<usize> {
        as_count(self.config.limits.max_client_cnxns)
    }

    /// Connections in all.
    pub(crate) fn connections_max(&self) -> Option<usize> {
        as_count(self.config.limits.max_cnxns)
    }

    /// TLS handshakes in progress.
    pub(crate) fn tls_handshakes(&self) -> usize {
        self.handshaking.load(Ordering::Relaxed)
    }

    /// Asks the core for something, and does it in its place if nobody else is at it.
    pub(crate) fn ask(&self, items: &mut Vec<CoreItem>) -> Result<(), Refused> {
        self.core.offer(items)?;
        self.owners.help();
        Ok(())
    }

    /// Asks the core to have a look at itself; `None` if it stops.
    pub(crate) async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Peer) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let look = move |peer: &Peer| {
            sender.send(look(peer)).ok();
        };
        let item = CoreItem::Inspect(Box::new(look));
        self.ask(&mut vec![item]).ok()?;
        receiver.await.ok()
    }
}

fn as_count(limit: Option<NonZeroU32>) -> Option<usize> {
    limit.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX))
}

/// Counters since the start, or since `srst`.
#[derive(Debug)]
pub(crate) struct Stats {
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Kept for those who set it; nothing is traced by it.
    pub(crate) trace_mask: AtomicI64,
    latency: Mutex<LatencySum>,
}

#[derive(Clone, Copy, Debug, Default)]
struct LatencySum {
    count: u64,
    sum_ms: u64,
    min_ms: Option<u64>,
    max_ms: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            trace_mask: AtomicI64::new(TRACE_MASK_DEFAULT),
            latency: Mutex::default(),
        }
    }
}

impl Stats {
    /// Counts requests that took this long to answer.
    pub(crate) fn took(&self, durations: impl IntoIterator<Item = Duration>) {
        let mut durations = durations.into_iter().peekable();
        if durations.peek().is_none() {
            return;
        }
        let mut latency = self.latency.lock();
        for took in durations {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            latency.count += 1;
            latency.sum_ms = latency.sum_ms.saturating_add(ms);
            latency.min_ms = Some(latency.min_ms.map_or(ms, |min| min.min(ms)));
            latency.max_ms = latency.max_ms.max(ms);
        }
    }

    pub(crate) fn latency(&self) -> Latency {
        let latency = *self.latency.lock();
        #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
        let avg = latency.sum_ms as f64 / latency.count.max(1) as f64;
        Latency {
            min: latency.min_ms.unwrap_or(0),
            avg,
            max: latency.max_ms,
        }
    }

    pub(crate) fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        *self.latency.lock() = LatencySum::default();
    }
}
