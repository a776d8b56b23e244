//! The stages of a member beside its core: log, apply, snapshots. Each takes its time.

use bytes::BytesMut;
use zk_core::answer::{answer_sync, answer_write};
use zk_core::conn::ConnId;
use zk_core::conn::handshake::ServingMode;
use zk_core::conn::pipeline::{Answer, Broken, Then};
use zk_core::conn::request::error_frame;
use zk_core::peer::{
    ApplyAction, Asker, Barrier, EpochKind, Event, LogAction, LogEntry, Origin, Proposal,
    RangeToken, SnapshotId,
};
use zk_core::watch::{Notification, trigger_effect};
use zk_core::wire::txn::Txn;
use zk_proto::{ErrorCode, Zxid};

use super::disk::{Record, Snapshot, mark};
use super::event::Happening;
use super::member::{Captured, LogBatch, LogWork, Member, OwnSnapshot};
use super::plan::DurableStep;
use super::schedule::Micros;
use super::trace::say;
use super::world::{World, damaged};
use crate::check::{Past, Verdict, Violation, epochs, replicas, truncation};

/// Snapshots of its own that a member keeps.
const SNAPSHOTS_KEPT: usize = 3;

impl World {
    /// How long something takes on the disk of a member.
    pub(crate) fn disk_delay(&mut self, place: u8, usual: (Micros, Micros)) -> Micros {
        let now = self.schedule.now();
        let knobs = self.plan.disk;
        let mut delay = self.disk_rng.between(usual);
        if !self.is_healed && self.disk_rng.per_mille(knobs.tail_per_mille) {
            delay += self.disk_rng.between(knobs.tail);
        }
        let (by, until) = self.peek(place).slow_disk;
        if now < until { delay + by } else { delay }
    }

    fn apply_delay(&mut self, place: u8) -> Micros {
        let now = self.schedule.now();
        let delay = self.disk_rng.between(self.plan.disk.apply);
        let (by, until) = self.peek(place).slow_apply;
        if now < until { delay + by } else { delay }
    }

    // Log.

    /// Lets the log stage take its next batch, if it has nothing to do.
    pub(crate) fn begin_log(&mut self, place: u8) -> Verdict {
        let most = self.plan.disk.batch;
        let member = self.member(place);
        if member.log_batch.is_some() {
            return Ok(());
        }
        let Some(job) = member.log_lane.pop_front() else {
            return Ok(());
        };
        let step = match &job.work {
            LogWork::Core(LogAction::Append { .. }) => DurableStep::Append,
            LogWork::Core(LogAction::SaveAcceptedEpoch(_)) => DurableStep::AcceptedEpoch,
            LogWork::Core(LogAction::SaveCurrentEpoch(_)) => DurableStep::CurrentEpoch,
            LogWork::Core(LogAction::Truncate(_)) => DurableStep::Truncate,
            LogWork::Members(_) => DurableStep::Members,
        };
        member.log_batch = Some(match job.work {
            LogWork::Core(LogAction::Append { mut zxid, bytes }) => {
                let mut next = Some((bytes, job.past));
                let mut count = 0;
                while let Some((bytes, past)) = next.take() {
                    let record = Record { zxid, past, bytes };
                    if !(planted!(LogHasHole) && record.zxid.counter() % 32 == 31) {
                        let written = member.disk.append(record);
                        written.map_err(|damage| damaged(place, &damage))?;
                    }
                    count += 1;
                    let is_append = |job: &mut super::member::LogJob| {
                        let is_append = matches!(job.work, LogWork::Core(LogAction::Append { .. }));
                        count < most && is_append
                    };
                    if let Some(job) = member.log_lane.pop_front_if(is_append)
                        && let LogWork::Core(LogAction::Append { zxid: then, bytes }) = job.work
                    {
                        zxid = then;
                        next = Some((bytes, job.past));
                    }
                }
                LogBatch::Sync(zxid)
            }
            LogWork::Core(
                other @ (LogAction::SaveAcceptedEpoch(_)
                | LogAction::SaveCurrentEpoch(_)
                | LogAction::Truncate(_)),
            ) => LogBatch::Other(other),
            LogWork::Members(config) => LogBatch::Members(config),
        });
        let life = member.life;
        if self.dies_during(place, step) {
            return Ok(());
        }
        let delay = self.disk_delay(place, self.plan.disk.sync);
        self.schedule.after(delay, Happening::Log(place, life));
        Ok(())
    }

    /// A member dies while its log stage is at something: a file that is replaced is the old one or
    /// the new one.
    pub(crate) fn crash_log(&mut self, place: u8) {
        let is_done = self.disk_rng.one_in(2);
        let member = self.member(place);
        match member.log_batch.take() {
            Some(LogBatch::Other(action)) if is_done => match action {
                LogAction::SaveAcceptedEpoch(epoch) => member.disk.accepted = epoch,
                LogAction::SaveCurrentEpoch(epoch) => member.disk.current = epoch,
                LogAction::Truncate(zxid) => {
                    let old = member.disk.durable();
                    member.disk.truncate(zxid);
                    let durable = member.disk.durable();
                    let acked = member.acked;
                    let _ = old;
                    let acked = self.laws.pasts.common(acked, durable);
                    self.member(place).acked = acked;
                }
                LogAction::Append { .. } => {}
            },
            Some(LogBatch::Members(config)) if is_done => member.disk.keep_members(config),
            Some(LogBatch::Other(_) | LogBatch::Sync(_) | LogBatch::Members(_)) | None => {}
        }
        let is_half = self.disk_rng.one_in(3);
        let member = self.member(place);
        if let Some(snapshot) = member.saving.take() {
            if is_half {
                // Removed last to first, so that what is left of the log is a prefix.
                member.disk.replace_half(snapshot);
            } else if is_done {
                member.disk.replace(snapshot);
            }
            if is_half || is_done {
                let (acked, durable) = (member.acked, member.disk.durable());
                let acked = self.laws.pasts.common(acked, durable);
                self.member(place).acked = acked;
            }
        }
    }

    /// The log stage is done with its batch.
    pub(crate) fn log_done(&mut self, place: u8, life: u32) -> Verdict {
        let member = self.member(place);
        if member.life != life {
            return Ok(());
        }
        let Some(batch) = member.log_batch.take() else {
            return Ok(());
        };
        let old = member.stored();
        let (step, event) = match batch {
            LogBatch::Members(config) => {
                member.disk.keep_members(config);
                return self.members_kept(place, life);
            }
            LogBatch::Sync(zxid) => {
                if !planted!(LogToldTooEarly) {
                    member.disk.sync();
                }
                (DurableStep::Append, Event::LogDurable(zxid))
            }
            LogBatch::Other(LogAction::SaveAcceptedEpoch(epoch)) => {
                member.disk.accepted = epoch;
                let kind = EpochKind::Accepted;
                (
                    DurableStep::AcceptedEpoch,
                    Event::EpochSaved { kind, epoch },
                )
            }
            LogBatch::Other(LogAction::SaveCurrentEpoch(epoch)) => {
                if !planted!(EpochToldTooEarly) {
                    member.disk.current = epoch;
                }
                let kind = EpochKind::Current;
                (DurableStep::CurrentEpoch, Event::EpochSaved { kind, epoch })
            }
            LogBatch::Other(LogAction::Truncate(zxid)) => {
                let applied = self.truncate(place, zxid)?;
                (DurableStep::Truncate, Event::Truncated { applied })
            }
            LogBatch::Other(LogAction::Append { zxid, .. }) => {
                (DurableStep::Append, Event::LogDurable(zxid))
            }
        };
        epochs::saved(place, old, self.peek(place).stored())?;
        self.completed(place, step, event)?;
        if self.peek(place).life == life {
            self.begin_log(place)?;
        }
        Ok(())
    }

    /// The file about the members is written, which nobody waits for.
    fn members_kept(&mut self, place: u8, life: u32) -> Verdict {
        if let Some((side, down)) = self.dies_now(place, DurableStep::Members) {
            self.coverage.died_at(DurableStep::Members, side);
            self.crash(place, down);
        }
        if self.peek(place).life == life {
            self.begin_log(place)?;
        }
        Ok(())
    }

    /// Cuts a log, and loads the tree anew.
    fn truncate(&mut self, place: u8, zxid: Zxid) -> Result<Zxid, Violation> {
        let options = self.options();
        let old = self.peek(place).disk.durable();
        self.drop_captures(place);
        let Self { members, laws, .. } = self;
        let member = members
            .get_mut(usize::from(place))
            .expect("places of members are those of the plan");
        if !member.disk.can_truncate(zxid, &laws.pasts) {
            // The snapshots are all above it, and the log does not reach back: nothing is done.
            self.coverage.note("log that could not be cut");
            return Ok(member.tree.applied());
        }
        member.disk.truncate(zxid);
        let recovered = member
            .disk
            .recover(options, &mut laws.pasts)
            .map_err(|damage| damaged(place, &damage))?;
        member.sessions = replicas::sessions(&recovered.tree);
        if !planted!(TreeOutlivesTruncation) {
            member.tree = recovered.tree;
            member.tree_past = recovered.past;
        }
        member.handed = recovered.past;
        let (durable, tree) = (member.disk.durable(), member.tree_past);
        let applied = member.tree.applied();
        truncation::truncated(&laws.pasts, place, zxid, durable, tree)?;
        self.disk_replaced(place, old)?;
        self.show_members(place);
        self.replica_is_equal(place)?;
        Ok(applied)
    }

    /// Reads a part of a log.
    pub(crate) fn read_log(
        &self,
        place: u8,
        token: RangeToken,
        after: Zxid,
        upto: Zxid,
        bytes_max: usize,
    ) -> Event {
        let log = self.peek(place).disk.log();
        let pasts = &self.laws.pasts;
        let mut entries = Vec::new();
        let mut bytes = 0;
        // What the log has without a gap: behind a crash, snapshots may stand in for a part of it.
        let mut last = None;
        let mut is_complete = false;
        for record in log {
            let is_next = last.is_none_or(|last| pasts.before(record.past) == last);
            let begins = pasts.before(record.past) == Past::EMPTY || record.zxid <= after;
            if !is_next || entries.is_empty() && !begins && record.zxid > after && last.is_none() {
                entries.clear();
                if record.zxid > after {
                    is_complete = false;
                    break;
                }
            }
            last = Some(record.past);
            if record.zxid > upto {
                break;
            }
            if record.zxid > after {
                bytes += record.bytes.len();
                if bytes > bytes_max {
                    is_complete = false;
                    break;
                }
                entries.push(LogEntry {
                    zxid: record.zxid,
                    bytes: record.bytes.clone(),
                });
            }
            is_complete = record.zxid >= upto;
        }
        Event::LogRange {
            token,
            entries,
            is_complete,
        }
    }

    // Apply.

    /// Lets the apply stage take its next batch, if it has nothing to do.
    pub(crate) fn begin_apply(&mut self, place: u8) {
        let member = self.peek(place);
        if member.is_applying || member.saving.is_some() || member.apply_lane.is_empty() {
            return;
        }
        let life = member.life;
        let delay = self.apply_delay(place);
        self.member(place).is_applying = true;
        self.schedule.after(delay, Happening::Apply(place, life));
    }

    /// The apply stage works off a batch.
    pub(crate) fn apply_batch(&mut self, place: u8, life: u32) -> Verdict {
        let most = self.plan.disk.batch;
        let member = self.member(place);
        if member.life != life {
            return Ok(());
        }
        member.is_applying = false;
        let before = member.tree.applied();
        for _ in 0..most {
            let Some(action) = self.member(place).apply_lane.pop_front() else {
                break;
            };
            match action {
                ApplyAction::Apply(proposal) => self.apply(place, &proposal)?,
                ApplyAction::Barrier(barrier) => self.barrier(place, &barrier)?,
                ApplyAction::Capture { link } => {
                    let member = self.member(place);
                    let captured = Captured {
                        capture: member.tree.capture(),
                        past: member.tree_past,
                        bytes: BytesMut::new(),
                    };
                    member.captures.insert(link, captured);
                    self.capture_ready(link);
                }
                ApplyAction::Install { snapshot } => return self.install(place, life, snapshot),
                ApplyAction::SaveSnapshot => {
                    self.save_snapshot(place);
                    break;
                }
            }
        }
        let applied = self.peek(place).tree.applied();
        if applied > before {
            self.tell(place, Event::Applied(applied))?;
        }
        if self.peek(place).life == life {
            self.begin_apply(place);
        }
        Ok(())
    }

    fn apply(&mut self, place: u8, proposal: &Proposal) -> Verdict {
        let Proposal { entry, asker, .. } = proposal;
        let zxid = entry.header.zxid;
        let client = match *asker {
            Asker::Client { origin, op } => self
                .live_conn(place, origin.conn)
                .map(|conn| (conn, origin, op)),
            Asker::Handshake(_) | Asker::Server => None,
        };
        if let Some((conn, ..)) = client {
            self.before_write(place, conn)?;
        }
        let Self {
            members,
            laws,
            conns,
            access,
            ..
        } = self;
        let member = members
            .get_mut(usize::from(place))
            .expect("places of members are those of the plan");
        let applied = member.tree.apply(&entry.header, &entry.txn);
        let check = member.tree.check_digest(zxid, entry.digest.as_ref());
        if matches!(entry.txn, Txn::CreateSession(_) | Txn::CloseSession(_)) {
            member.sessions = replicas::sessions(&member.tree);
        }
        let past = laws
            .pasts
            .then(member.tree_past, zxid, mark(&proposal.bytes));
        member.tree_past = past;
        member.applied_since_snapshot += 1;
        let mode = member.mode;
        let mut told = Vec::new();
        let who = |conn: ConnId| {
            let conn = conns.get(conn.get() as usize);
            conn.map(|conn| conn.identities.clone())
        };
        for effect in &applied.effects {
            trigger_effect(&mut member.watches, effect, access, &who, &mut told);
        }
        self.trace
            .mix(&[4, u64::from(place), zxid.get().cast_unsigned()]);
        say!(self, "{place} applies {zxid}");
        if mode == ServingMode::Full {
            self.take(place, past)?;
        }
        replicas::checked(&self.laws.pasts, place, past, check)?;
        self.replica_is_equal(place)?;
        if planted!(EventsLost) && zxid.counter() % 8 == 7 {
            told.clear();
        }
        let late = if planted!(EventsBehindReplies) {
            std::mem::take(&mut told)
        } else {
            Vec::new()
        };
        self.tell_watchers(zxid, &told)?;
        match *asker {
            Asker::Client { .. } => {
                if let Some((conn, origin, op)) = client {
                    let mut bytes = BytesMut::new();
                    let tree = &self.peek(place).tree;
                    let then = answer_write(
                        op,
                        origin.xid,
                        zxid,
                        &entry.txn,
                        &applied.result,
                        tree,
                        &mut bytes,
                    );
                    self.answer(place, conn, origin, zxid, bytes, then)?;
                }
            }
            Asker::Handshake(conn) => self.session_opened(conn, entry.header.session),
            Asker::Server => {
                if matches!(entry.txn, Txn::CloseSession(_)) {
                    self.session_expired(place, entry.header.session);
                }
            }
        }
        self.tell_watchers(zxid, &late)?;
        self.consider_snapshot(place);
        Ok(())
    }

    /// Those who watch hear of a transaction.
    fn tell_watchers(&mut self, zxid: Zxid, told: &[Notification]) -> Verdict {
        for notification in told {
            let frame = notification.frame(zxid);
            for receiver in &notification.receivers {
                self.push_event(*receiver, zxid, frame.clone())?;
            }
        }
        Ok(())
    }

    fn barrier(&mut self, place: u8, barrier: &Barrier) -> Verdict {
        let origin = barrier.origin;
        let Some(conn) = self.live_conn(place, origin.conn) else {
            return Ok(());
        };
        self.before_write(place, conn)?;
        let state = self.peek(place).tree.applied();
        let mut bytes = BytesMut::new();
        let mut then = Then::Continue;
        match &barrier.outcome {
            Ok(path) => answer_sync(origin.xid, state, path.as_ref(), &mut bytes),
            Err(ErrorCode::SessionMoved) => then = Then::Close,
            Err(code) => bytes.extend_from_slice(&error_frame(origin.xid, state, *code)),
        }
        self.answer(place, conn, origin, state, bytes, then)
    }

    /// Executes the reads in front of a write of a connection.
    fn before_write(&mut self, place: u8, conn: usize) -> Verdict {
        let Self {
            members,
            conns,
            access,
            ..
        } = self;
        let (Some(member), Some(conn)) = (members.get_mut(usize::from(place)), conns.get_mut(conn))
        else {
            return Ok(());
        };
        let Member { tree, watches, .. } = member;
        let (id, state) = (conn.id, tree.applied());
        let mut run = |job: super::service::ReadJob| job.run(id, access, tree, watches);
        let done = conn.pipeline.run_before_write(state, &mut run);
        done.map_err(|broken| broke(place, &broken))
    }

    /// Answers a write or sync of a connection, and the reads behind it.
    fn answer(
        &mut self,
        place: u8,
        conn: usize,
        origin: Origin,
        zxid: Zxid,
        bytes: BytesMut,
        then: Then,
    ) -> Verdict {
        let Self {
            members,
            conns,
            access,
            ..
        } = self;
        let (Some(member), Some(of)) = (members.get_mut(usize::from(place)), conns.get_mut(conn))
        else {
            return Ok(());
        };
        let Member { tree, watches, .. } = member;
        let id = of.id;
        let answer = Answer {
            bytes: bytes.freeze(),
            then,
        };
        let mut run = |job: super::service::ReadJob| job.run(id, access, tree, watches);
        let done = of.pipeline.commit(origin.ticket, zxid, answer, &mut run);
        done.map_err(|broken| broke(place, &broken))?;
        self.drain(conn);
        Ok(())
    }

    fn install(&mut self, place: u8, life: u32, snapshot: SnapshotId) -> Verdict {
        self.drop_captures(place);
        let member = self.member(place);
        let Some(received) = member.received.remove(&snapshot) else {
            return Err(Violation {
                law: truncation::LAW,
                what: format!("member {place} installs {snapshot}, which it does not have"),
            });
        };
        member.sessions = replicas::sessions(&received.tree);
        member.tree = received.tree;
        member.tree_past = received.past;
        member.handed = received.past;
        let zxid = received.zxid;
        self.show_members(place);
        self.replica_is_equal(place)?;
        self.tell(place, Event::Installed { snapshot, zxid })?;
        if self.peek(place).life == life {
            self.begin_apply(place);
        }
        Ok(())
    }

    /// Takes the whole tree for the disk; it gets there later.
    fn save_snapshot(&mut self, place: u8) {
        let member = self.member(place);
        let mut capture = member.tree.capture();
        let zxid = capture.zxid();
        let mut bytes = BytesMut::new();
        while capture.next_chunk(&member.tree, usize::MAX, &mut bytes) {}
        member.tree.end_capture(capture);
        member.saving = Some(Snapshot {
            zxid,
            past: member.tree_past,
            bytes: bytes.freeze(),
        });
        let life = member.life;
        if self.dies_during(place, DurableStep::Snapshot) {
            return;
        }
        let usual = self.plan.disk.snapshot;
        let delay = self.disk_delay(place, usual);
        self.schedule.after(delay, Happening::Saved(place, life));
    }

    /// The tree of a leader is on disk, in the place of everything.
    pub(crate) fn snapshot_saved(&mut self, place: u8, life: u32) -> Verdict {
        let member = self.member(place);
        if member.life != life {
            return Ok(());
        }
        let Some(snapshot) = member.saving.take() else {
            return Ok(());
        };
        let zxid = snapshot.zxid;
        let old = member.disk.durable();
        member.disk.replace(snapshot);
        self.disk_replaced(place, old)?;
        self.completed(place, DurableStep::Snapshot, Event::SnapshotSaved { zxid })?;
        if self.peek(place).life == life {
            self.begin_apply(place);
        }
        Ok(())
    }

    // Snapshots of its own.

    fn consider_snapshot(&mut self, place: u8) {
        let every = self.plan.members.snapshot_every;
        let member = self.member(place);
        if member.own_snapshot.is_some() || member.applied_since_snapshot < every {
            return;
        }
        member.applied_since_snapshot = 0;
        member.own_snapshot = Some(OwnSnapshot {
            capture: member.tree.capture(),
            past: member.tree_past,
            bytes: BytesMut::new(),
        });
        let life = member.life;
        let usual = self.plan.disk.snapshot;
        let delay = self.disk_delay(place, usual);
        self.schedule
            .after(delay, Happening::OwnSnapshot(place, life));
    }

    /// Writes the next piece of a snapshot; the last piece makes it count.
    pub(crate) fn own_snapshot_piece(&mut self, place: u8, life: u32) -> Verdict {
        let chunk = self.plan.disk.snapshot_chunk;
        let member = self.member(place);
        if member.life != life {
            return Ok(());
        }
        let Some(own) = &mut member.own_snapshot else {
            return Ok(());
        };
        if own.capture.next_chunk(&member.tree, chunk, &mut own.bytes) {
            member.tree.release_emitted(&own.capture);
            let usual = self.plan.disk.snapshot;
            let delay = self.disk_delay(place, usual);
            self.schedule
                .after(delay, Happening::OwnSnapshot(place, life));
            return Ok(());
        }
        let Some(own) = member.own_snapshot.take() else {
            return Ok(());
        };
        let snapshot = Snapshot {
            zxid: if planted!(SnapshotNamedLate) {
                member.tree.applied()
            } else {
                own.capture.zxid()
            },
            past: own.past,
            bytes: own.bytes.freeze(),
        };
        member.tree.end_capture(own.capture);
        if self.dies_during(place, DurableStep::OwnSnapshot) {
            return Ok(());
        }
        // One that was begun before the log was cut or replaced shows what is gone.
        self.member(place).disk.keep(snapshot, SNAPSHOTS_KEPT);
        self.coverage.note("own snapshot");
        if let Some((DurableStep::OwnSnapshot, side, down)) = self.peek(place).dies_at {
            self.member(place).dies_at = None;
            self.coverage.died_at(DurableStep::OwnSnapshot, side);
            self.crash(place, down);
        }
        Ok(())
    }

    /// The tree is about to be another one: captures of it have nothing to read from.
    fn drop_captures(&mut self, place: u8) {
        let member = self.member(place);
        member.own_snapshot = None;
        member.captures.clear();
    }
}

/// A pipeline noticed that a law of it is about to be broken.
pub(crate) fn broke(place: u8, broken: &Broken) -> Violation {
    Violation {
        law: "pipeline (L4, L5)",
        what: format!("member {place}: {broken}"),
    }
}
