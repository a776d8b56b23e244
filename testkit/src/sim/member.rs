//! One member: the core as it is, and around it the stages that a server has, each a few variables.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use zk_core::conn::handshake::ServingMode;
use zk_core::ensemble::{Configs, EnsembleConfig};
use zk_core::peer::{Actions, ApplyAction, LinkId, LogAction, Peer, SnapshotId};
use zk_core::tree::{Capture, Tree, TreeOptions};
use zk_core::watch::WatchTable;
use zk_proto::{Bytes, Epoch, ServerId, Zxid};

use super::clock::Clock;
use super::disk::Disk;
use super::event::Happening;
use super::plan::{DurableStep, Side};
use super::schedule::Micros;
use crate::check::recency::Summary;
use crate::check::{Past, epochs};

/// A member.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts that have nothing to do with each other"
)]
pub struct Member {
    pub(crate) id: ServerId,
    /// Counts up with each start, so that what belongs to a former life is known.
    pub(crate) life: u32,
    /// The core; none while the member is down.
    pub(crate) peer: Option<Peer>,
    pub(crate) clock: Clock,
    pub(crate) disk: Disk,

    /// Whether it stands still, and what happened to it meanwhile.
    pub(crate) is_paused: bool,
    pub(crate) held: Vec<Happening>,
    /// The next time it is woken for its deadline.
    pub(crate) wake_at: Micros,
    /// Whether it takes learners.
    pub(crate) listens: bool,
    /// What it lets clients do.
    pub(crate) mode: ServingMode,
    /// Who the members are, as it knew when it started, and was told last.
    pub(crate) configs: Option<Configs>,

    pub(crate) tree: Tree,
    pub(crate) tree_past: Past,
    /// Stands for the sessions of the tree.
    pub(crate) sessions: u64,
    pub(crate) watches: WatchTable,

    pub(crate) log_lane: VecDeque<LogJob>,
    pub(crate) log_batch: Option<LogBatch>,
    /// The history with everything that was handed to the log.
    pub(crate) handed: Past,
    pub(crate) apply_lane: VecDeque<ApplyAction>,
    pub(crate) is_applying: bool,
    /// A snapshot of a leader's tree on its way to the disk.
    pub(crate) saving: Option<super::disk::Snapshot>,
    pub(crate) own_snapshot: Option<OwnSnapshot>,
    pub(crate) applied_since_snapshot: u64,
    pub(crate) captures: BTreeMap<LinkId, Captured>,
    pub(crate) received: BTreeMap<SnapshotId, Received>,

    pub(crate) slow_disk: (Micros, Micros),
    pub(crate) slow_apply: (Micros, Micros),
    /// The step at which it is to die, and for how long.
    pub(crate) dies_at: Option<(DurableStep, Side, Micros)>,

    /// Whether it is dead for good.
    pub(crate) is_buried: bool,

    /// The epoch that it leads as established leader.
    pub(crate) leads: Option<Epoch>,
    /// Whether it has proposed anything as such.
    pub(crate) has_proposed: bool,
    /// What it knew when it looked for a leader last.
    pub(crate) summary: Summary,
    /// The history that it had then.
    pub(crate) looked_with: Past,
    /// All that it ever acknowledged, and was not told to drop.
    pub(crate) acked: Past,
    /// Actions that pile up; kept for their memory.
    pub(crate) out: Actions,
}

/// Work for the log stage.
#[derive(Debug)]
pub struct LogJob {
    pub(crate) work: LogWork,
    /// The history with it, if it is a transaction.
    pub(crate) past: Past,
}

/// What the log stage is told to do.
#[derive(Debug)]
pub enum LogWork {
    /// What the core wants.
    Core(LogAction),
    /// To keep the members that are in force.
    Members(Arc<EnsembleConfig>),
}

/// What the log stage is at.
#[derive(Debug)]
pub enum LogBatch {
    /// Transactions are written, and being made durable.
    Sync(Zxid),
    /// Something else is being done.
    Other(LogAction),
    /// The file about the members is being written.
    Members(Arc<EnsembleConfig>),
}

/// A capture for a learner.
#[derive(Debug)]
pub struct Captured {
    pub(crate) capture: Capture,
    pub(crate) past: Past,
    pub(crate) bytes: BytesMut,
}

/// A snapshot of its own in the making.
#[derive(Debug)]
pub struct OwnSnapshot {
    pub(crate) capture: Capture,
    pub(crate) past: Past,
    pub(crate) bytes: BytesMut,
}

/// A tree that a leader sent.
#[derive(Debug)]
pub struct Received {
    pub(crate) tree: Tree,
    pub(crate) past: Past,
    pub(crate) zxid: Zxid,
}

/// The stream of a snapshot on its way to a learner.
#[derive(Debug)]
pub struct Stream {
    pub(crate) zxid: Zxid,
    pub(crate) past: Past,
    pub(crate) bytes: Bytes,
}

/// How trees are in simulations.
pub(crate) fn tree_options(seed: u64) -> TreeOptions {
    TreeOptions {
        hash_seed: seed,
        ..TreeOptions::default()
    }
}

impl Member {
    /// A member that has never run.
    pub(crate) fn new(id: ServerId, clock: Clock, options: TreeOptions) -> Self {
        Self {
            id,
            life: 0,
            peer: None,
            clock,
            disk: Disk::default(),
            is_paused: false,
            held: Vec::new(),
            wake_at: Micros::MAX,
            listens: false,
            mode: ServingMode::NotServing,
            configs: None,
            tree: Tree::new(options),
            tree_past: Past::EMPTY,
            sessions: 0,
            watches: WatchTable::new(options.hash_seed),
            log_lane: VecDeque::new(),
            log_batch: None,
            handed: Past::EMPTY,
            apply_lane: VecDeque::new(),
            is_applying: false,
            saving: None,
            own_snapshot: None,
            applied_since_snapshot: 0,
            captures: BTreeMap::new(),
            received: BTreeMap::new(),
            slow_disk: (0, 0),
            slow_apply: (0, 0),
            dies_at: None,
            is_buried: false,
            leads: None,
            has_proposed: false,
            summary: Summary::default(),
            looked_with: Past::EMPTY,
            acked: Past::EMPTY,
            out: Actions::default(),
        }
    }

    /// Loses everything that is not on disk.
    pub(crate) fn lose_memory(&mut self) {
        self.peer = None;
        self.life += 1;
        self.is_paused = false;
        self.held.clear();
        self.wake_at = Micros::MAX;
        self.listens = false;
        self.mode = ServingMode::NotServing;
        self.configs = None;
        self.log_lane.clear();
        self.log_batch = None;
        self.apply_lane.clear();
        self.is_applying = false;
        self.saving = None;
        self.own_snapshot = None;
        self.applied_since_snapshot = 0;
        self.captures.clear();
        self.received.clear();
        self.leads = None;
        self.has_proposed = false;
        self.out = Actions::default();
    }

    /// The epochs on its disk.
    pub(crate) fn stored(&self) -> epochs::Stored {
        epochs::Stored {
            accepted: self.disk.accepted,
            current: self.disk.current,
        }
    }

    /// Whether it runs.
    pub(crate) fn is_up(&self) -> bool {
        self.peer.is_some()
    }
}
