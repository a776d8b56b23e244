//! A member: its peer and tree, and its disk, which does at once what it is told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use zk_proto::{Bytes, SessionId, Zxid};

use crate::conn::handshake::ServingMode;
use crate::ensemble::{Configs, EnsembleConfig};
use crate::peer::*;
use crate::time::WallTime;
use crate::tree::{CONFIG_PATH, DigestCheck, Tree, TreeLoader, TreeOptions, TxnResult};
use crate::wire::snapshot::{SnapshotDecoder, Trailer};
use crate::wire::txn::{Txn, TxnEntry};

/// A member, with what a crash leaves of it.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing of its own")]
pub(crate) struct Member {
    pub(crate) peer: Option<Peer>,
    pub(crate) tree: Tree,
    /// The log on disk: from `base` on.
    pub(crate) log: Vec<LogEntry>,
    /// The snapshot on disk, and its zxid.
    pub(super) snapshot: Option<(Zxid, Bytes)>,
    pub(crate) epochs: RecoveredEpochs,
    pub(crate) mode: ServingMode,
    pub(crate) is_listening: bool,
    pub(crate) answers: Vec<(Asker, TxnResult)>,
    /// The last transaction that somebody here asked for.
    pub(crate) asked: Option<Txn>,
    pub(crate) synced: Vec<Barrier>,
    pub(crate) claims: Vec<(SessionId, bool)>,
    /// Local sessions that began, and that ended.
    pub(crate) opened: Vec<SessionId>,
    pub(crate) ended: Vec<SessionId>,
    pub(crate) transitions: Vec<Transition>,
    pub(crate) is_stopped: bool,
    /// Trees captured for links, and received for attempts.
    pub(super) captured: BTreeMap<LinkId, (Zxid, Bytes)>,
    pub(crate) received: BTreeMap<SnapshotId, (Zxid, Bytes)>,
    /// As leader: who is at the other end.
    pub(super) learners: BTreeMap<LinkId, (i64, Attempt)>,
    /// As learner: the leader, and the link there.
    pub(super) leader: Option<(i64, Attempt, LinkId)>,
    /// Whether the log holds its reports back.
    pub(crate) is_disk_slow: bool,
    pub(super) held: VecDeque<Event>,
    /// What the log was told and has not reported.
    pub(super) pending: VecDeque<LogAction>,
    /// Whether transactions are those of a history that the tree has.
    pub(crate) checks_digests: bool,
    /// What it would have meant if the digest of a transaction had been another.
    pub(crate) mismatches: Vec<(Zxid, Mismatch)>,
    /// The configuration on disk, if not that of the world.
    pub(crate) config: Option<Arc<EnsembleConfig>>,
    /// What was there before, if that was anything else.
    pub(super) config_before: Vec<Option<Arc<EnsembleConfig>>>,
    /// What it was told last of the members.
    pub(crate) configs: Option<Configs>,
}

impl Member {
    pub(crate) fn new() -> Self {
        Self {
            peer: None,
            tree: Tree::new(TreeOptions::default()),
            log: Vec::new(),
            snapshot: None,
            epochs: RecoveredEpochs::default(),
            mode: ServingMode::NotServing,
            is_listening: false,
            answers: Vec::new(),
            asked: None,
            synced: Vec::new(),
            claims: Vec::new(),
            opened: Vec::new(),
            ended: Vec::new(),
            transitions: Vec::new(),
            is_stopped: false,
            captured: BTreeMap::new(),
            received: BTreeMap::new(),
            learners: BTreeMap::new(),
            leader: None,
            is_disk_slow: false,
            held: VecDeque::new(),
            pending: VecDeque::new(),
            checks_digests: true,
            mismatches: Vec::new(),
            config: None,
            config_before: Vec::new(),
            configs: None,
        }
    }

    /// The tree as the disk has it.
    pub(crate) fn reload(&self) -> Tree {
        let mut tree = match &self.snapshot {
            Some((zxid, stream)) => load(*zxid, stream),
            None => Tree::new(TreeOptions::default()),
        };
        for entry in &self.log {
            if entry.zxid > tree.applied() {
                let entry = TxnEntry::decode(&entry.bytes).unwrap();
                tree.apply(&entry.header, &entry.txn);
            }
        }
        tree
    }

    /// Takes what the log is told; it is done when its report is heard.
    pub(crate) fn write(&mut self, action: LogAction) -> Event {
        let report = match &action {
            LogAction::Append { zxid, .. } => Event::LogDurable(*zxid),
            LogAction::SaveAcceptedEpoch(epoch) => Event::EpochSaved {
                kind: EpochKind::Accepted,
                epoch: *epoch,
            },
            LogAction::SaveCurrentEpoch(epoch) => Event::EpochSaved {
                kind: EpochKind::Current,
                epoch: *epoch,
            },
            LogAction::Truncate(target) => Event::Truncated { applied: *target },
        };
        self.pending.push_back(action);
        report
    }

    /// Does what the log was told first, before its report is heard.
    pub(crate) fn complete(&mut self, report: Event) -> Event {
        let is_of_log = matches!(
            report,
            Event::LogDurable(_) | Event::EpochSaved { .. } | Event::Truncated { .. }
        );
        if !is_of_log {
            return report;
        }
        let Some(action) = self.pending.pop_front() else {
            return report;
        };
        let is_cut = matches!(action, LogAction::Truncate(_));
        self.store(action);
        if is_cut {
            self.tree = self.reload();
            let applied = self.tree.applied();
            return Event::Truncated { applied };
        }
        report
    }

    /// Has all on disk that the log was told, and reports none of it.
    pub(crate) fn store_pending(&mut self) {
        for action in std::mem::take(&mut self.pending) {
            self.store(action);
        }
    }

    /// Keeps the configuration that is in force, and shows it to clients.
    pub(super) fn configure(&mut self, configs: Configs) {
        let current = configs.current();
        let shown = self.tree.get(CONFIG_PATH).unwrap().stat().mzxid;
        if shown < current.version() {
            let now = WallTime::from_millis(1);
            let text = current.text().as_bytes();
            self.tree.set_config(text, current.version(), now);
        }
        if self.config.as_ref().map(|config| config.version()) != Some(current.version()) {
            self.config_before = vec![self.config.replace(Arc::clone(current))];
        }
        self.configs = Some(configs);
    }

    pub(super) fn store(&mut self, action: LogAction) {
        match action {
            LogAction::Append { zxid, bytes } => {
                let last = self.log.last().map_or(Zxid::ZERO, |last| last.zxid);
                assert!(zxid > last);
                self.log.push(LogEntry { zxid, bytes });
            }
            LogAction::SaveAcceptedEpoch(epoch) => {
                assert!(epoch > self.epochs.accepted);
                self.epochs.accepted = epoch;
            }
            LogAction::SaveCurrentEpoch(epoch) => {
                assert!(epoch > self.epochs.current && epoch <= self.epochs.accepted);
                self.epochs.current = epoch;
            }
            LogAction::Truncate(target) => {
                self.log.retain(|entry| entry.zxid <= target);
                self.snapshot.take_if(|(zxid, _)| *zxid > target);
            }
        }
    }

    pub(crate) fn apply(&mut self, action: ApplyAction, events: &mut Vec<Event>) {
        match action {
            ApplyAction::Apply(proposal) => {
                let Proposal { entry, asker, .. } = &*proposal;
                let applied = self.tree.apply(&entry.header, &entry.txn);
                let digest = entry.digest.as_ref();
                let check = self.tree.check_digest(entry.header.zxid, digest);
                let is_bad = self.checks_digests && matches!(check, DigestCheck::Different(..));
                assert!(!is_bad, "{check:?}");
                let zxid = entry.header.zxid;
                self.mismatches.push((zxid, proposal.mismatch));
                if *asker != Asker::Server {
                    self.asked = Some(entry.txn.clone());
                    self.answers.push((*asker, applied.result));
                }
                events.push(Event::Applied(entry.header.zxid));
            }
            ApplyAction::Barrier(barrier) => self.synced.push(barrier),
            ApplyAction::Capture { link } => {
                self.captured
                    .insert(link, (self.tree.applied(), capture(&mut self.tree)));
            }
            ApplyAction::Install { snapshot } => {
                let (zxid, stream) = self.received.remove(&snapshot).unwrap();
                self.tree = load(zxid, &stream);
                events.push(Event::Installed { snapshot, zxid });
            }
            ApplyAction::SaveSnapshot => {
                let zxid = self.tree.applied();
                self.snapshot = Some((zxid, capture(&mut self.tree)));
                self.log.clear();
                events.push(Event::SnapshotSaved { zxid });
            }
        }
    }

    pub(crate) fn control(&mut self, action: ControlAction, events: &mut Vec<Event>) {
        match action {
            ControlAction::Serve(mode) => self.mode = mode,
            ControlAction::SessionAnswered {
                session, is_alive, ..
            } => self.claims.push((session, is_alive)),
            ControlAction::ReadLog {
                token,
                after,
                upto,
                bytes_max,
            } => {
                let all = self.log.iter();
                let wanted = all.filter(|entry| entry.zxid > after && entry.zxid <= upto);
                let entries: Vec<LogEntry> = wanted.cloned().collect();
                let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
                let is_complete = bytes <= bytes_max;
                events.push(Event::LogRange {
                    token,
                    entries,
                    is_complete,
                });
            }
            ControlAction::Stopped => self.is_stopped = true,
            ControlAction::SessionOpened { session, .. } => self.opened.push(session),
            ControlAction::SessionEnded { session } => self.ended.push(session),
        }
    }
}

fn capture(tree: &mut Tree) -> Bytes {
    let mut stream = BytesMut::new();
    let mut capture = tree.capture();
    while capture.next_chunk(tree, 1 << 20, &mut stream) {}
    tree.end_capture(capture);
    stream.freeze()
}

fn load(zxid: Zxid, stream: &Bytes) -> Tree {
    let mut decoder = if stream.starts_with(b"ZKSN") {
        SnapshotDecoder::default()
    } else {
        SnapshotDecoder::of_wire(1 << 20)
    };
    let mut loader = TreeLoader::new(TreeOptions::default());
    decoder.feed(stream.clone());
    while let Some(item) = decoder.next_item().unwrap() {
        loader.add(&item).unwrap();
    }
    let (tree, _) = loader.finish(zxid, &Trailer::default()).unwrap();
    tree
}
