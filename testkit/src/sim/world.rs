//! Everything there is in a run, and the loop that lets it happen.

use std::sync::Arc;
use std::time::Duration;

use zk_core::conn::auth::{Access, Schemes};
use zk_core::conn::handshake::ServingMode;
use zk_core::ensemble::{self, EnsembleConfig};
use zk_core::peer::{
    ControlAction, Event, LeaveReason, LogAction, MemberOptions, NetAction, Note, Peer,
    PeerOptions, RecoveredEpochs, Role, SyncPlan, Transition,
};
use zk_core::prep::PrepOptions;
use zk_core::tree::TreeOptions;
use zk_proto::{Epoch, ServerId, Zxid};

use super::client::Client;
use super::clock::Clock;
use super::coverage::Coverage;
use super::disk::{Damage, mark};
use super::event::Happening;
use super::laws::{Appended, Laws};
use super::member::{LogJob, LogWork, Member, tree_options};
use super::members::member_line;
use super::net::{Election, Link};
use super::outside::Outside;
use super::plan::{DurableStep, Plan, Side};
use super::rng::Rng;
use super::schedule::{Micros, Schedule};
use super::service::Conn;
use super::trace::{Trace, say};
use crate::check::{
    Past, Pasts, Verdict, Violation, acks, committed, epochs, replicas, truncation,
};

/// A run.
#[derive(Debug)]
pub struct World {
    pub(crate) plan: Plan,
    pub(crate) schedule: Schedule<Happening>,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    pub(crate) laws: Laws,
    pub(crate) members: Vec<Member>,
    pub(crate) elections: Vec<Election>,
    pub(crate) links: Vec<Link>,
    /// Until when messages from one member to another are held up, by sender and receiver.
    pub(crate) cuts: Vec<Micros>,
    /// The same for what passes between learners and leaders, while votes may pass.
    pub(crate) link_cuts: Vec<Micros>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) clients: Vec<Client>,
    pub(crate) access: Access,
    pub(crate) outside: Outside,
    config: Arc<EnsembleConfig>,
    pub(crate) net_rng: Rng,
    pub(crate) disk_rng: Rng,
    pub(crate) fault_rng: Rng,
    pub(crate) change_rng: Rng,
    /// How many that are elected die as soon as they have a new epoch, and for how long.
    pub(crate) elected_die: (u64, Micros),
    /// Whether all faults are over.
    pub(crate) is_healed: bool,
    pub(crate) events: u64,
    /// Faults of the plan that happened.
    pub(crate) faults_done: u64,
}

/// Where in a plan's seed its streams begin.
const NET: u64 = 1;
const DISK: u64 = 2;
const FAULTS: u64 = 3;
/// One before that is the plan's.
const CHANGES: u64 = 5;
/// Streams of clients begin here.
pub(crate) const CLIENTS: u64 = 100;

impl World {
    /// A world at its beginning.
    ///
    /// # Errors
    /// [`Violation`] if a member objects to an empty disk.
    pub fn new(plan: &Plan, with_text: bool) -> Result<Self, Violation> {
        let mut fault_rng = Rng::new(plan.seed, FAULTS);
        let options = tree_options(plan.seed);
        let count = plan.count();
        let member = |place: u8| {
            let knobs = &plan.members;
            let rate = 1_000_000 - knobs.drift + fault_rng.below(2 * knobs.drift + 1);
            let skew = fault_rng.below(2 * knobs.skew_ms + 1).cast_signed();
            let clock = Clock::new(rate, skew - knobs.skew_ms.cast_signed());
            Member::new(ServerId::new(i64::from(place) + 1), clock, options)
        };
        let members: Vec<_> = (0..count).map(member).collect();
        let pairs = usize::from(count) * usize::from(count);
        let mut schedule = Schedule::default();
        for place in 0..count {
            let at = fault_rng.below(300_000);
            schedule.at(at, Happening::Start(place));
        }
        for (place, (at, _)) in plan.faults.iter().enumerate() {
            schedule.at(*at, Happening::Fault(place));
        }
        let clients: Vec<_> = plan
            .clients
            .iter()
            .enumerate()
            .map(|(place, client)| Client::new(place, *client, plan.seed))
            .collect();
        for place in 0..clients.len() {
            schedule.at(fault_rng.below(500_000), Happening::Think(place));
        }
        let mut access = Access::new(Schemes::standard());
        // Members are changed by anybody: nobody here is a superuser.
        access.is_skipped = plan.changes.is_some();
        let first = Arc::new(config(plan));
        Ok(Self {
            schedule,
            trace: Trace::new(with_text),
            coverage: Coverage::default(),
            laws: Laws::new(Arc::clone(&first)),
            members,
            elections: (0..pairs).map(|_| Election::default()).collect(),
            links: Vec::new(),
            cuts: vec![0; pairs],
            link_cuts: vec![0; pairs],
            conns: Vec::new(),
            clients,
            access,
            outside: Outside::default(),
            config: first,
            net_rng: Rng::new(plan.seed, NET),
            disk_rng: Rng::new(plan.seed, DISK),
            fault_rng,
            change_rng: Rng::new(plan.seed, CHANGES),
            elected_die: (0, 0),
            is_healed: false,
            events: 0,
            faults_done: 0,
            plan: plan.clone(),
        })
    }

    /// Lets everything happen before `end`.
    ///
    /// # Errors
    /// [`Violation`] of the first law that is broken.
    pub fn run_until(&mut self, end: Micros) -> Verdict {
        while let Some(happening) = self.schedule.next_before(end) {
            self.events += 1;
            self.happen(happening)?;
        }
        self.schedule.advance(end);
        Ok(())
    }

    fn happen(&mut self, happening: Happening) -> Verdict {
        if let Some(member) = self.host(&happening)
            && let Some(member) = self.members.get_mut(usize::from(member))
            && member.is_paused
        {
            member.held.push(happening);
            return Ok(());
        }
        match happening {
            Happening::Fault(place) => self.fault(place),
            Happening::Start(member) => self.start(member),
            Happening::Resume(member) => {
                self.resume(member);
                Ok(())
            }
            Happening::Wake(member, life) => self.wake(member, life),
            Happening::Log(member, life) => self.log_done(member, life),
            Happening::Apply(member, life) => self.apply_batch(member, life),
            Happening::Saved(member, life) => self.snapshot_saved(member, life),
            Happening::OwnSnapshot(member, life) => self.own_snapshot_piece(member, life),
            Happening::Tell(member, life, event) => self.tell_in_life(member, life, *event),
            Happening::Vote { from, to } => self.vote_arrives(from, to),
            Happening::StaleVote { from, to } => self.stale_vote_arrives(from, to),
            Happening::Dial {
                learner,
                life,
                attempt,
                leader,
            } => self.dial_arrives(learner, life, attempt, leader),
            Happening::Stream(link) => self.stream_piece(link),
            Happening::Stalled(link) => self.stalled(link),
            Happening::Down(link) => self.down_arrives(link),
            Happening::Up(link) => self.up_arrives(link),
            Happening::Think(client) => self.think(client),
            Happening::ToServer(conn) => self.to_server_arrives(conn),
            Happening::ToClient(conn) => self.to_client_arrives(conn),
            Happening::Group(conn) => self.run_group(conn),
            Happening::Answer(conn) => self.finish_group(conn),
        }
    }

    /// The member in whose process something happens, which may stand still.
    fn host(&self, happening: &Happening) -> Option<u8> {
        match happening {
            Happening::Fault(_)
            | Happening::Start(_)
            | Happening::Resume(_)
            | Happening::Think(_)
            | Happening::ToClient(_) => None,
            Happening::Wake(member, _)
            | Happening::Log(member, _)
            | Happening::Apply(member, _)
            | Happening::Saved(member, _)
            | Happening::OwnSnapshot(member, _)
            | Happening::Tell(member, _, _) => Some(*member),
            Happening::Vote { to, .. } | Happening::StaleVote { to, .. } => Some(*to),
            Happening::Dial { leader, .. } => Some(*leader),
            Happening::Stream(link) | Happening::Up(link) => {
                self.links.get(*link).map(|link| link.leader)
            }
            Happening::Down(link) | Happening::Stalled(link) => {
                self.links.get(*link).map(|link| link.learner)
            }
            Happening::ToServer(conn) | Happening::Group(conn) | Happening::Answer(conn) => {
                self.conns.get(*conn).map(|conn| conn.member)
            }
        }
    }

    pub(crate) fn member(&mut self, place: u8) -> &mut Member {
        self.members
            .get_mut(usize::from(place))
            .expect("places of members are those of the plan")
    }

    pub(crate) fn peek(&self, place: u8) -> &Member {
        self.members
            .get(usize::from(place))
            .expect("places of members are those of the plan")
    }

    /// The member with this id, if it is one.
    pub(crate) fn place(&self, id: ServerId) -> Option<u8> {
        let place = self.members.iter().position(|member| member.id == id)?;
        u8::try_from(place).ok()
    }

    /// The members before any change.
    pub(crate) fn first_members(&self) -> &Arc<EnsembleConfig> {
        &self.config
    }

    pub(crate) fn options(&self) -> TreeOptions {
        tree_options(self.plan.seed)
    }

    // Members.

    /// Starts a member with what is on its disk.
    fn start(&mut self, place: u8) -> Verdict {
        let now = self.schedule.now();
        let options = self.options();
        let (seed, is_up) = (self.net_rng.next_u64(), self.peek(place).is_up());
        if is_up || self.peek(place).is_buried {
            return Ok(());
        }
        let recovered = {
            let member = self
                .members
                .get_mut(usize::from(place))
                .expect("places of members are those of the plan");
            // What a process that was killed had written is there, and must be made to last before
            // anybody hears of it.
            if !planted!(FoundLogNotSynced) {
                member.disk.sync();
            }
            member.disk.recover(options, &mut self.laws.pasts)
        };
        let recovered = recovered.map_err(|damage| damaged(place, &damage))?;
        let base = 1_000_000 + self.fault_rng.below(1_000_000_000);
        let member = self.member(place);
        member.clock.reboot(now, base);
        member.sessions = replicas::sessions(&recovered.tree);
        member.tree = recovered.tree;
        member.tree_past = recovered.past;
        member.handed = recovered.past;
        let clock = member.clock.read(now);
        let (acked, durable) = (member.acked, member.disk.durable());
        acks::restarted(&self.laws.pasts, place, acked, durable)?;
        self.replica_is_equal(place)?;
        self.recall_members(place)?;
        let mut peer = self.build_peer(place, seed, clock)?;
        let life = self.peek(place).life;
        say!(self, "{place} starts, life {life}, {}", {
            self.laws.pasts.show(recovered.past, 4)
        });
        let mut out = std::mem::take(&mut self.member(place).out);
        let member = self.member(place);
        peer.start(clock, &member.tree, &mut out);
        member.out = out;
        member.peer = Some(peer);
        self.coverage.note("start");
        self.dispatch(place)
    }

    /// A member's process ends; its disk loses what it may.
    pub(crate) fn crash(&mut self, place: u8, down: Micros) {
        if !self.peek(place).is_up() {
            return;
        }
        say!(self, "{place} dies");
        self.crash_log(place);
        let lost = {
            let member = self
                .members
                .get_mut(usize::from(place))
                .expect("places of members are those of the plan");
            member.disk.crash(&mut self.disk_rng)
        };
        self.coverage.note("death");
        if lost > 0 {
            self.coverage.note("death that loses unsynced records");
        }
        self.close_links_of(place, true);
        self.close_conns_of(place);
        self.forget_votes_of(place);
        self.end_life(place);
        let at = if self.is_healed { 1000 } else { down };
        self.schedule.after(at, Happening::Start(place));
    }

    /// A member has stopped in an orderly way.
    fn stopped(&mut self, place: u8) {
        say!(self, "{place} has stopped");
        self.coverage.note("orderly stop");
        self.close_links_of(place, false);
        self.close_conns_of(place);
        self.end_life(place);
        self.schedule.after(50_000, Happening::Start(place));
    }

    fn end_life(&mut self, place: u8) {
        let member = self.member(place);
        let held = std::mem::take(&mut member.held);
        member.lose_memory();
        // What belongs to the life that ended is passed over; what others sent finds nobody.
        for happening in held {
            self.schedule.after(0, happening);
        }
    }

    fn resume(&mut self, place: u8) {
        let member = self.member(place);
        if !member.is_paused {
            return;
        }
        member.is_paused = false;
        let held = std::mem::take(&mut member.held);
        for happening in held {
            self.schedule.after(0, happening);
        }
        say!(self, "{place} goes on");
    }

    fn wake(&mut self, place: u8, life: u32) -> Verdict {
        let now = self.schedule.now();
        let member = self.member(place);
        if member.life != life || now < member.wake_at {
            return Ok(());
        }
        member.wake_at = Micros::MAX;
        let clock = member.clock.read(now);
        let Member {
            peer: Some(peer),
            tree,
            out,
            ..
        } = member
        else {
            return Ok(());
        };
        let done = peer.handle_deadlines(clock, tree, out);
        done.map_err(|fatal| fell(place, &fatal))?;
        self.trace.mix(&[1, now, u64::from(place)]);
        self.dispatch(place)
    }

    /// Lets a member hear of something later.
    pub(crate) fn tell_after(&mut self, delay: Micros, place: u8, event: Event) {
        let life = self.peek(place).life;
        let happening = Happening::Tell(place, life, Box::new(event));
        self.schedule.after(delay, happening);
    }

    fn tell_in_life(&mut self, place: u8, life: u32, event: Event) -> Verdict {
        if self.peek(place).life == life {
            self.tell(place, event)
        } else {
            Ok(())
        }
    }

    /// Lets a member hear of something, and does what it wants done.
    pub(crate) fn tell(&mut self, place: u8, event: Event) -> Verdict {
        self.hear(place, event)?;
        self.dispatch(place)
    }

    /// Lets a member hear of something.
    fn hear(&mut self, place: u8, event: Event) -> Verdict {
        let now = self.schedule.now();
        if self.trace.has_text() && !matches!(event, Event::SessionHeard { .. }) {
            say!(self, "{place} ← {event:?}");
        }
        let member = self.member(place);
        let clock = member.clock.read(now);
        let Member {
            peer: Some(peer),
            tree,
            out,
            ..
        } = member
        else {
            return Ok(());
        };
        let done = peer.handle(clock, event, tree, out);
        self.trace.mix(&[2, now, u64::from(place)]);
        done.map_err(|fatal| fell(place, &fatal))
    }

    /// A step of a disk is done: the member hears of it, unless it dies there.
    pub(crate) fn completed(&mut self, place: u8, step: DurableStep, event: Event) -> Verdict {
        match self.dies_now(place, step) {
            Some((Side::After, down)) => {
                self.hear(place, event)?;
                self.coverage.died_at(step, Side::After);
                self.crash(place, down);
                Ok(())
            }
            Some((side, down)) => {
                self.coverage.died_at(step, side);
                self.crash(place, down);
                Ok(())
            }
            None => self.tell(place, event),
        }
    }

    /// Whether a member is to die at this step, once it is done.
    pub(crate) fn dies_now(&mut self, place: u8, step: DurableStep) -> Option<(Side, Micros)> {
        if step == DurableStep::AcceptedEpoch && self.elected_die.0 > 0 {
            let peer = self.peek(place).peer.as_ref();
            if peer.is_some_and(|peer| peer.status().role == Role::Leading) {
                self.elected_die.0 -= 1;
                self.coverage.note("fault: death of one that was elected");
                return Some((Side::Before, self.elected_die.1));
            }
        }
        let member = self.member(place);
        let (at, side, down) = member.dies_at?;
        (at == step && side != Side::During).then(|| {
            member.dies_at = None;
            (side, down)
        })
    }

    /// Whether a member dies as it begins with this step; if so, it is dead.
    pub(crate) fn dies_during(&mut self, place: u8, step: DurableStep) -> bool {
        let member = self.member(place);
        let Some((at, Side::During, down)) = member.dies_at else {
            return false;
        };
        if at != step {
            return false;
        }
        member.dies_at = None;
        self.coverage.died_at(step, Side::During);
        self.crash(place, down);
        true
    }

    /// Carries out what a member wants done.
    fn dispatch(&mut self, place: u8) -> Verdict {
        let life = self.peek(place).life;
        let mut out = std::mem::take(&mut self.member(place).out);
        let mut left = false;
        for note in &out.notes {
            if let Note::Transition(transition) = note {
                left |= matches!(transition, Transition::Left(_));
                self.noted(place, transition)?;
            }
        }
        // Before what comes behind it: a change is logged only when the file tells of the one before.
        for action in &out.net {
            if let NetAction::Configure(configs) = action {
                self.take_activated(place, configs)?;
                let work = LogWork::Members(Arc::clone(configs.current()));
                let past = Past::EMPTY;
                self.member(place).log_lane.push_back(LogJob { work, past });
                self.begin_log(place)?;
                if self.peek(place).life != life {
                    return Ok(());
                }
            }
        }
        for action in out.log.drain(..) {
            self.to_log(place, action)?;
            // It may have died on the way: nothing more of this life is done.
            if self.peek(place).life != life {
                return Ok(());
            }
        }
        if left {
            let member = self.member(place);
            member.leads = None;
            member.has_proposed = false;
        }
        out.notes.clear();
        if !out.apply.is_empty() {
            self.member(place).apply_lane.extend(out.apply.drain(..));
            self.begin_apply(place);
        }
        for action in out.net.drain(..) {
            self.to_net(place, action)?;
        }
        for action in out.control.drain(..) {
            self.control(place, action)?;
            if self.peek(place).life != life {
                return Ok(());
            }
        }
        // What was done may have let the member hear of something already, but not fill this.
        let member = self.member(place);
        if member.out.is_empty() {
            member.out = out;
        }
        self.arm(place);
        Ok(())
    }

    fn arm(&mut self, place: u8) {
        let now = self.schedule.now();
        let member = self.member(place);
        let Some(peer) = &member.peer else { return };
        let Some((deadline, _)) = peer.next_deadline() else {
            return;
        };
        let at = member.clock.when(deadline).max(now + 1);
        if at < member.wake_at {
            member.wake_at = at;
            let life = member.life;
            self.schedule.at(at, Happening::Wake(place, life));
        }
    }

    fn noted(&mut self, place: u8, transition: &Transition) -> Verdict {
        say!(self, "{place} notes {transition:?}");
        let mixed = format_args!("{transition:?}").to_string();
        self.trace.mix(&[3, mark(mixed.as_bytes())]);
        match transition {
            Transition::Looking { epoch, logged } => {
                self.coverage.note("election");
                let member = self.member(place);
                member.summary = (*epoch, *logged);
                member.looked_with = member.handed;
                epochs::settled(place, member.stored(), *logged)?;
            }
            Transition::EpochAcked(epoch) => {
                let life = self.peek(place).life;
                self.laws.one_leader.established(place, life, *epoch)?;
            }
            Transition::Established(epoch) => {
                self.coverage.note("leader established");
                let member = self.member(place);
                member.leads = Some(*epoch);
                member.has_proposed = false;
                let (life, handed) = (member.life, member.handed);
                self.laws.one_leader.established(place, life, *epoch)?;
                self.laws
                    .committed
                    .established(&self.laws.pasts, place, *epoch, handed)?;
                self.take(place, handed)?;
            }
            Transition::SyncStarted { link, plan, .. } => {
                self.coverage.note(match plan {
                    SyncPlan::Diff => "sync by DIFF",
                    SyncPlan::Trunc(_) => "sync by TRUNC",
                    SyncPlan::Snap(_) => "sync by SNAP",
                });
                self.sync_started(place, *link);
            }
            Transition::Elected { role, .. } if *role == Role::Leading => {
                self.coverage.note("elected to lead");
            }
            Transition::Elected { .. } => self.coverage.note("elected to follow"),
            Transition::Synced(_) => self.coverage.note("learner synced"),
            Transition::LearnerDropped { .. } => self.coverage.note("learner dropped"),
            Transition::Left(reason) => {
                self.coverage.note(left_name(reason));
                let is_leader = self.peek(place).leads.is_some();
                if is_leader && matches!(reason, LeaveReason::Reconfigured) {
                    self.coverage.note("change of members: leader handed over");
                }
            }
            Transition::EpochFixed(_)
            | Transition::LearnerSynced { .. }
            | Transition::SyncReceived { .. } => {}
            Transition::Configured(_) => self.coverage.note("other members"),
            _ => self.coverage.note("transition without a name"),
        }
        Ok(())
    }

    fn control(&mut self, place: u8, action: ControlAction) -> Verdict {
        match action {
            ControlAction::Serve(mode) => {
                say!(self, "{place} serves {mode:?}");
                self.member(place).mode = mode;
                if mode == ServingMode::Full {
                    let member = self.peek(place);
                    let past = member.tree_past;
                    let last = self.laws.pasts.last(member.handed);
                    epochs::settled(place, member.stored(), last)?;
                    let promised = self.promised_to(place);
                    committed::serves(&self.laws.pasts, place, promised, past)?;
                    self.take(place, past)?;
                } else {
                    self.close_conns_of(place);
                }
                Ok(())
            }
            ControlAction::SessionAnswered {
                conn,
                session,
                is_alive,
            } => {
                self.session_answered(conn, session, is_alive);
                Ok(())
            }
            ControlAction::ReadLog {
                token,
                after,
                upto,
                bytes_max,
            } => {
                let event = self.read_log(place, token, after, upto, bytes_max);
                let delay = self.disk_delay(place, (10, 2_000));
                self.tell_after(delay, place, event);
                Ok(())
            }
            ControlAction::Stopped => {
                self.stopped(place);
                Ok(())
            }
            ControlAction::SessionOpened { .. } | ControlAction::SessionEnded { .. } => Ok(()),
        }
    }

    /// A member takes a history for committed.
    pub(crate) fn take(&mut self, place: u8, past: Past) -> Verdict {
        let Self { laws, members, .. } = self;
        laws.take(place, past, &|pasts, id, past| {
            is_on_disk(members, pasts, id, past)
        })
    }

    /// A leader tells that a transaction is committed.
    pub(crate) fn commit(&mut self, place: u8, zxid: Zxid) -> Verdict {
        let Self { laws, members, .. } = self;
        laws.commit(place, zxid, &|pasts, id, past| {
            is_on_disk(members, pasts, id, past)
        })
    }

    /// Compares the tree of a member with those of all others that had the same history.
    pub(crate) fn replica_is_equal(&mut self, place: u8) -> Verdict {
        let member = self
            .members
            .get(usize::from(place))
            .expect("places of members are those of the plan");
        replicas::has(
            &mut self.laws.pasts,
            place,
            member.tree_past,
            &member.tree,
            member.sessions,
        )
    }

    // Disks.

    /// Hands something to the log stage.
    fn to_log(&mut self, place: u8, action: LogAction) -> Verdict {
        let mut past = Past::EMPTY;
        if let LogAction::Append { zxid, bytes } = &action {
            let member = self
                .members
                .get_mut(usize::from(place))
                .expect("places of members are those of the plan");
            let (history, leads) = (member.handed, member.leads);
            past = self.laws.pasts.then(history, *zxid, mark(bytes));
            member.handed = past;
            let is_first = leads == Some(zxid.epoch())
                && !std::mem::replace(&mut member.has_proposed, leads.is_some());
            let tree = member.tree_past;
            if self.laws.appended(place, past, bytes, leads)? == Appended::NewChange {
                self.coverage.note("change of members: proposed");
            }
            if is_first {
                let pasts = &self.laws.pasts;
                let laws = &self.laws.committed;
                laws.first_proposal(pasts, place, *zxid, history, tree)?;
            }
        }
        let work = LogWork::Core(action);
        self.member(place).log_lane.push_back(LogJob { work, past });
        self.begin_log(place)
    }

    /// What a log was cut or replaced by must keep what is committed.
    pub(crate) fn disk_replaced(&mut self, place: u8, old: Past) -> Verdict {
        let durable = self.peek(place).disk.durable();
        let committed = self.laws.committed.past();
        if place < self.plan.voters || self.plan.changes.is_some() {
            let Self { laws, members, .. } = self;
            let pasts = &laws.pasts;
            let in_force = laws.reconfig.in_force(pasts, committed);
            let is_durable = |past| {
                let has = |id: &ServerId| is_on_disk(members, pasts, *id, past);
                let voters: Vec<_> = in_force.voters().filter(has).collect();
                in_force.is_quorum(&voters)
            };
            truncation::replaced(&laws.pasts, place, old, durable, committed, is_durable)?;
        }
        let acked = self.peek(place).acked;
        let acked = self.laws.pasts.common(acked, durable);
        self.member(place).acked = acked;
        Ok(())
    }
}

/// Whether a server has a history on disk.
fn is_on_disk(members: &[Member], pasts: &Pasts, id: ServerId, past: Past) -> bool {
    let server = members.iter().find(|member| member.id == id);
    server.is_some_and(|server| pasts.has(server.disk.durable(), past))
}

/// A member found that it cannot go on.
pub(crate) fn fell(place: u8, why: &dyn std::fmt::Display) -> Violation {
    Violation {
        law: "no member falls",
        what: format!("member {place}: {why}"),
    }
}

/// A disk holds what no disk should.
pub(crate) fn damaged(place: u8, damage: &Damage) -> Violation {
    Violation {
        law: truncation::LAW,
        what: format!("disk of member {place}: {}", damage.0),
    }
}

fn left_name(reason: &LeaveReason) -> &'static str {
    use LeaveReason as R;
    match reason {
        R::NoQuorumInTime => "left: no quorum in time",
        R::SupportLost => "left: support lost",
        R::EpochBehind => "left: epoch behind",
        R::QuorumLost => "left: quorum lost",
        R::EpochExhausted => "left: epoch exhausted",
        R::Unreachable => "left: leader unreachable",
        R::LeaderLost => "left: leader lost",
        R::LeaderSilent => "left: leader silent",
        R::BadPacket(_) => "left: bad packet",
        R::OldEpoch => "left: old epoch",
        R::Gap { .. } => "left: gap",
        R::BadTruncation => "left: bad truncation",
        R::Shutdown => "left: shutdown",
        R::Reconfigured => "left: other members",
        _ => "left: other",
    }
}

impl World {
    /// Builds the core of a member.
    fn build_peer(
        &mut self,
        place: u8,
        seed: u64,
        now: zk_core::time::Now,
    ) -> Result<Peer, Violation> {
        let knobs = self.plan.members;
        let is_alone = self.plan.count() == 1;
        let member = self.peek(place);
        let options = PeerOptions {
            server: member.id,
            tick: Duration::from_millis(knobs.tick_ms),
            session_salt: u16::try_from(seed & 0xffff).unwrap_or(0),
            prep: PrepOptions {
                is_standalone: is_alone,
                counter_max: knobs.counter_max,
                reconfig_enabled: self.plan.changes.is_some(),
                ..PrepOptions::new(self.access.clone())
            },
            reap_interval: Duration::from_mins(1),
            reap_max: 10,
        };
        let last = member.tree.applied();
        let built = if is_alone {
            Peer::new(options, now, &member.tree)
        } else {
            let recovered = RecoveredEpochs {
                accepted: member.disk.accepted,
                current: member.disk.current,
            };
            let member_options = MemberOptions {
                init_limit: knobs.init_limit,
                sync_limit: knobs.sync_limit,
                finalize_wait: Duration::from_millis(knobs.finalize_ms),
                history_count_max: knobs.history_count,
                history_bytes_max: knobs.history_bytes,
                log_sync_bytes_max: knobs.log_sync_bytes,
                leader_serves: knobs.leader_serves,
                force_snapshot: knobs.force_snapshot,
                seed,
                ..MemberOptions::new(self.members_on_disk(place))
            };
            Peer::member(options, member_options, recovered, now, &member.tree)
        };
        let peer = built.map_err(|error| fell(place, &error))?;
        self.member(place).leads = is_alone.then(Epoch::default);
        if is_alone {
            self.laws.proposals.forget_behind(last);
        }
        Ok(peer)
    }
}

/// The configuration of all members at first.
fn config(plan: &Plan) -> EnsembleConfig {
    let member = |place: u8| {
        let role = if place < plan.voters {
            ensemble::Role::Voter
        } else {
            ensemble::Role::Observer
        };
        member_line(place, role)
    };
    let members = (0..plan.members_at_first()).map(member);
    EnsembleConfig::new(members, None, Zxid::ZERO)
}
