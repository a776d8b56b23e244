//! What a run is made of, as data: drawn from a seed, cut down when it fails.

use super::rng::Rng;
use super::schedule::Micros;

/// A run: members, their surroundings, clients and faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What everything was drawn from, and what the run itself draws from.
    pub seed: u64,
    /// Members that vote.
    pub voters: u8,
    /// Members that do not.
    pub observers: u8,
    /// How members are configured.
    pub members: MemberKnobs,
    /// How links are.
    pub net: NetKnobs,
    /// How disks and stages are.
    pub disk: DiskKnobs,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// Who joins, if members come and go.
    pub changes: Option<Changes>,
    /// The faults, and changes of the members, by time.
    pub faults: Vec<(Micros, Fault)>,
    /// When the last fault ends, and everything is healed.
    pub safety: Micros,
    /// Who stays cut off from a majority for a while yet.
    pub siege: Option<Siege>,
    /// How long afterwards all must be well, at the latest.
    pub liveness: Micros,
}

/// A minority of the voters that cannot talk to the others as it should, while these can talk to each
/// other and nothing else goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Siege {
    /// Whether who leads then is the first of the minority.
    pub takes_leader: bool,
    /// The minority, and who comes after it where a leader takes a place, or where one has no vote then.
    pub order: Vec<u8>,
    /// How many they are, at most.
    pub count: usize,
    /// What does not pass.
    pub holds: Holds,
    /// For how long the others must go on to serve.
    pub span: Micros,
}

/// What does not pass between a minority and the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Anything.
    All,
    /// What the minority sends.
    FromMinority,
    /// What the others send.
    ToMinority,
    /// Links to leaders; votes pass.
    Links,
    /// Something else for each pair and direction, as it is drawn.
    Some,
}

/// Members that come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Servers that are no members at first.
    pub strangers: u8,
    /// How many in a thousand starts find the file about the members as it was before it was written
    /// last.
    pub stale_per_mille: u64,
    /// Whether one server dies for good when all others are healed, a moment after a last change.
    pub buries: bool,
}

/// What a server is after a change of the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What it was.
    Same,
    /// A member that votes.
    Votes,
    /// A member that observes.
    Observes,
    /// No member.
    Leaves,
}

/// Servers of a run, members and strangers, at most.
pub const SERVERS_MAX: usize = 8;

/// How members are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberKnobs {
    /// A tick, in milliseconds.
    pub tick_ms: u64,
    /// Ticks that discovery and synchronisation may take.
    pub init_limit: u32,
    /// Ticks of silence that are too many.
    pub sync_limit: u32,
    /// How long an election waits for better votes, in milliseconds.
    pub finalize_ms: u64,
    /// Committed transactions kept for learners that lag.
    pub history_count: usize,
    /// Their bytes.
    pub history_bytes: usize,
    /// Bytes of the log read for one learner.
    pub log_sync_bytes: usize,
    /// Whether every learner gets a snapshot.
    pub force_snapshot: bool,
    /// Whether the leader serves clients.
    pub leader_serves: bool,
    /// Transactions between a member's own snapshots.
    pub snapshot_every: u64,
    /// Transactions of an epoch, to see epochs end.
    pub counter_max: u32,
    /// How wrong monotonic clocks run, at most, in microseconds per million.
    pub drift: u64,
    /// How far wall clocks are off, at most, in milliseconds.
    pub skew_ms: u64,
}

/// How links are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetKnobs {
    /// Microseconds that a message takes.
    pub latency: (Micros, Micros),
    /// How many in a thousand take longer.
    pub tail_per_mille: u64,
    /// And how long.
    pub tail: (Micros, Micros),
    /// Microseconds until a connection is accepted.
    pub accept: (Micros, Micros),
    /// How many in a thousand connections end by themselves with each message.
    pub reset_per_mille: u64,
    /// How many in a thousand election messages come twice, the second time late.
    pub stale_per_mille: u64,
}

/// How disks and stages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskKnobs {
    /// Microseconds to make a batch of the log durable.
    pub sync: (Micros, Micros),
    /// How many in a thousand take longer.
    pub tail_per_mille: u64,
    /// And how long.
    pub tail: (Micros, Micros),
    /// Microseconds to apply a batch.
    pub apply: (Micros, Micros),
    /// Most transactions in a batch.
    pub batch: usize,
    /// Microseconds between the pieces of a snapshot.
    pub snapshot: (Micros, Micros),
    /// Bytes of a piece.
    pub snapshot_chunk: usize,
}

/// A client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientPlan {
    /// Requests it makes during the run.
    pub requests: u32,
    /// Microseconds between them.
    pub think: (Micros, Micros),
    /// Most that are not answered yet.
    pub pipeline: u32,
    /// Timeout it asks for, in milliseconds.
    pub timeout_ms: i32,
    /// How many in a thousand requests are followed by a move to another server.
    pub move_per_mille: u64,
    /// How many in a thousand requests are followed by the end of the session and a new one.
    pub close_per_mille: u64,
    /// How many in a thousand requests are followed by silence until the session expires.
    pub vanish_per_mille: u64,
    /// How many in a thousand requests only read.
    pub read_per_mille: u64,
}

/// Something that goes wrong, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A member dies and comes back; what its disk had not made durable is lost in part.
    Crash {
        /// Who.
        member: u8,
        /// For how long.
        down: Micros,
    },
    /// The same, of whoever leads then.
    CrashLeader {
        /// For how long.
        down: Micros,
    },
    /// Who leads dies, and so does each of the next that are elected, with its new epoch on disk and before
    /// anybody hears of that.
    CrashElected {
        /// How many of them.
        times: u64,
        /// For how long.
        down: Micros,
    },
    /// A member dies the next time it comes to a step of its disk.
    CrashAt {
        /// Who.
        member: u8,
        /// Where.
        step: DurableStep,
        /// On which side of it.
        side: Side,
        /// For how long.
        down: Micros,
    },
    /// A member is asked to stop, and comes back.
    Stop {
        /// Who.
        member: u8,
        /// For how long.
        down: Micros,
    },
    /// A member stands still.
    Pause {
        /// Who.
        member: u8,
        /// For how long.
        span: Micros,
    },
    /// Messages from one member to another are held up.
    Cut {
        /// From whom.
        from: u8,
        /// To whom.
        to: u8,
        /// Whether the other way too.
        both: bool,
        /// For how long.
        span: Micros,
    },
    /// A member is cut off from all others; its clients are not.
    Isolate {
        /// Who.
        member: u8,
        /// For how long.
        span: Micros,
    },
    /// All connections of a member are reset.
    Reset {
        /// Whose.
        member: u8,
    },
    /// The disk of a member takes this much longer for everything.
    SlowDisk {
        /// Whose.
        member: u8,
        /// How much.
        by: Micros,
        /// For how long.
        span: Micros,
    },
    /// The tree of a member takes this much longer for everything.
    SlowApply {
        /// Whose.
        member: u8,
        /// How much.
        by: Micros,
        /// For how long.
        span: Micros,
    },
    /// The wall clock of a member is set.
    ClockJump {
        /// Whose.
        member: u8,
        /// By so many milliseconds.
        by_ms: i64,
    },
    /// Other members are asked for.
    Change {
        /// By whom.
        client: u8,
        /// What becomes of each server.
        parts: [Part; SERVERS_MAX],
    },
    /// All clients go to other servers at once.
    MoveClients,
    /// Many sessions are asked for at once.
    Flood {
        /// Of whom.
        member: u8,
        /// How many.
        sessions: u32,
    },
}

/// Something that a disk makes durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DurableStep {
    /// A batch of transactions.
    Append,
    /// The accepted epoch.
    AcceptedEpoch,
    /// The current epoch.
    CurrentEpoch,
    /// A log cut short.
    Truncate,
    /// A snapshot that a leader sent.
    Snapshot,
    /// A snapshot of the member's own.
    OwnSnapshot,
    /// The file that tells who the members are.
    Members,
}

/// On which side of a step a member dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// It has begun; how much of it lasts is drawn.
    During,
    /// It is done, and nobody was told.
    Before,
    /// The core was told; nothing that follows from it was done.
    After,
}

impl DurableStep {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Append,
        Self::AcceptedEpoch,
        Self::CurrentEpoch,
        Self::Truncate,
        Self::Snapshot,
        Self::OwnSnapshot,
        Self::Members,
    ];

    /// Those that there are whether or not members change.
    const OF_ALL_RUNS: [Self; 6] = [
        Self::Append,
        Self::AcceptedEpoch,
        Self::CurrentEpoch,
        Self::Truncate,
        Self::Snapshot,
        Self::OwnSnapshot,
    ];
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::During, Self::Before, Self::After];
}

const MS: Micros = 1000;
/// Where in a seed the stream of what is about other members begins: its own, so that it moves nothing
/// else.
const CHANGES: u64 = 4;
/// The same of what befalls servers around changes. Streams 1, 2, 3 and 5 are those of the run.
const STORMS: u64 = 6;
/// And of leaders that die at birth, and clients that only read.
const REST: u64 = 7;

impl Plan {
    /// Everything that a seed says. Swarm: each kind of fault is off in about half of all runs, and
    /// wild in some.
    pub fn draw(seed: u64) -> Self {
        let mut plan = Self::draw_all(seed);
        if plan.changes.is_some() {
            draw_storms(seed, &plan.members, plan.count(), &mut plan.faults);
        }
        plan.draw_rest();
        plan
    }

    /// The same with no leaders that die at birth or around changes of the members, no clients that only
    /// read, and sieges of an odd number of voters only: what a seed said before there was more.
    pub fn draw_calm(seed: u64) -> Self {
        let mut plan = Self::draw_all(seed);
        if plan.voters.is_multiple_of(2) || plan.changes.is_some() {
            plan.siege = None;
        }
        plan
    }

    /// In some runs, leaders die at birth, so that servers have promised different epochs; in some, a
    /// client only reads, and goes on to do so where writes come to a halt.
    fn draw_rest(&mut self) {
        let mut rng = Rng::new(self.seed, REST);
        if rng.one_in(4) && self.count() > 1 {
            for _ in 0..=rng.below(3) {
                let times = rng.between((1, 3));
                let down = rng.pick(&[MS, 10 * MS, 100 * MS, 500 * MS, 2_000 * MS]);
                let at = rng.below(self.safety);
                self.faults.push((at, Fault::CrashElected { times, down }));
            }
            self.faults.sort_by_key(|(at, _)| *at);
        }
        if rng.one_in(3) && self.clients.len() > 1 {
            let reader = rng.index(self.clients.len());
            if let Some(client) = self.clients.get_mut(reader) {
                client.read_per_mille = 1000;
            }
        }
    }

    fn draw_all(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 0);
        let (voters, observers) = rng.pick(&[
            (3, 0),
            (3, 0),
            (3, 0),
            (3, 0),
            (3, 1),
            (3, 1),
            (5, 0),
            (5, 1),
            (1, 0),
            (2, 0),
            (4, 0),
        ]);
        let members = draw_members(&mut rng);
        let net = draw_net(&mut rng);
        let disk = draw_disk(&mut rng);
        let safety = rng.pick(&[3_000, 6_000, 6_000, 12_000, 20_000]) * MS;
        let clients = draw_clients(&mut rng, safety, members.tick_ms);
        let count = voters + observers;
        let mut faults = draw_faults(&mut rng, &members, count, safety);
        let siege = draw_siege(&mut rng, voters, &members);
        let changes = draw_changes(seed, (voters, observers), &members, safety, &mut faults);
        Self {
            seed,
            voters,
            observers,
            members,
            net,
            disk,
            clients,
            changes,
            faults,
            safety,
            siege,
            liveness: liveness(&members, voters),
        }
    }

    /// What a seed says of members, surroundings and faults, for clients that are no part of the run.
    pub fn without_clients(seed: u64, voters: u8, safety: Micros) -> Self {
        let mut rng = Rng::new(seed, 0);
        let members = draw_members(&mut rng);
        let net = draw_net(&mut rng);
        let disk = draw_disk(&mut rng);
        let faults = draw_faults(&mut rng, &members, voters, safety);
        Self {
            seed,
            voters,
            observers: 0,
            members,
            net,
            disk,
            clients: Vec::new(),
            changes: None,
            faults,
            safety,
            siege: None,
            liveness: liveness(&members, voters),
        }
    }

    /// All servers: members of both kinds, and those that are none at first.
    pub fn count(&self) -> u8 {
        self.members_at_first() + self.changes.map_or(0, |changes| changes.strangers)
    }

    /// Members of both kinds, before any change.
    pub fn members_at_first(&self) -> u8 {
        self.voters + self.observers
    }
}

/// How long healed members may take until all is well: elections whose notifications have backed
/// off, some attempts of discovery that run into their limits, and a disk that is slow.
fn liveness(members: &MemberKnobs, voters: u8) -> Micros {
    let attempt = members.tick_ms * u64::from(members.init_limit + members.sync_limit);
    (60_000 + 10 * attempt + 1_000 * u64::from(voters)) * MS
}

fn draw_members(rng: &mut Rng) -> MemberKnobs {
    let tick_ms = rng.pick(&[50, 100, 200, 200, 500]);
    MemberKnobs {
        tick_ms,
        init_limit: rng.pick(&[5, 10, 20]),
        sync_limit: rng.pick(&[2, 5, 5, 10]),
        finalize_ms: rng.pick(&[1, 20, 200, 200]),
        history_count: rng.pick(&[1, 2, 5, 20, 500, 500]),
        history_bytes: rng.pick(&[500, 1 << 20]),
        log_sync_bytes: rng.pick(&[0, 1_000, 32 << 20]),
        force_snapshot: rng.one_in(10),
        leader_serves: !rng.one_in(10),
        snapshot_every: rng.pick(&[3, 10, 40, 1_000_000]),
        counter_max: if rng.one_in(12) { 25 } else { u32::MAX - 1 },
        drift: rng.pick(&[0, 0, 200, 20_000]),
        skew_ms: rng.pick(&[0, 10, 5_000, 100_000_000]),
    }
}

fn draw_net(rng: &mut Rng) -> NetKnobs {
    NetKnobs {
        latency: rng.pick(&[(50, 80), (100, 1_000), (100, 10_000), (10_000, 40_000)]),
        tail_per_mille: rng.pick(&[0, 0, 5, 50]),
        tail: (20 * MS, 300 * MS),
        accept: rng.pick(&[(50, 500), (100, 20_000), (100, 400_000)]),
        reset_per_mille: rng.pick(&[0, 0, 0, 1]),
        stale_per_mille: rng.pick(&[0, 0, 50, 300]),
    }
}

fn draw_disk(rng: &mut Rng) -> DiskKnobs {
    DiskKnobs {
        sync: rng.pick(&[(20, 100), (100, 1_000), (1_000, 10_000), (100, 60_000)]),
        tail_per_mille: rng.pick(&[0, 0, 5, 50]),
        tail: (50 * MS, 800 * MS),
        apply: rng.pick(&[(1, 20), (10, 500), (100, 20_000), (10_000, 100_000)]),
        batch: rng.pick(&[1, 3, 100, 100]),
        snapshot: rng.pick(&[(1, 50), (100, 5_000), (1_000, 60_000)]),
        snapshot_chunk: rng.pick(&[64, 500, 100_000]),
    }
}

fn draw_clients(rng: &mut Rng, safety: Micros, tick_ms: u64) -> Vec<ClientPlan> {
    // What a server grants at least, and some more.
    let least = i32::try_from(4 * tick_ms).unwrap_or(i32::MAX);
    let count = rng.pick(&[1, 2, 3, 5, 8]);
    let pace = rng.pick(&[1, 5, 30]) * MS;
    let moves = rng.one_in(2);
    let closes = rng.one_in(3);
    let vanishes = rng.one_in(3);
    let draw = |_| ClientPlan {
        requests: u32::try_from(rng.between((10, 120)).min(safety / pace)).unwrap_or(10),
        think: (0, 2 * pace),
        pipeline: rng.pick(&[1, 1, 4, 20]).try_into().unwrap_or(1),
        timeout_ms: rng.pick(&[400, 1_000, 2_000, 8_000]).max(least),
        move_per_mille: if moves { 30 } else { 0 },
        close_per_mille: if closes { 20 } else { 0 },
        vanish_per_mille: if vanishes { 8 } else { 0 },
        read_per_mille: rng.pick(&[100, 300, 600]),
    };
    (0..count).map(draw).collect()
}

fn draw_faults(
    rng: &mut Rng,
    members: &MemberKnobs,
    count: u8,
    safety: Micros,
) -> Vec<(Micros, Fault)> {
    let mut faults = Vec::new();
    // Spans worth trying: a blink, about the limit of patience, and longer.
    let patience = members.tick_ms * u64::from(members.sync_limit) * MS;
    let spans = [20 * MS, 200 * MS, patience, patience * 2, 2_000 * MS];
    let wild = |rng: &mut Rng| if rng.one_in(4) { 12 } else { 4 };
    let mut add = |rng: &mut Rng, draw: &mut dyn FnMut(&mut Rng, u8, Micros) -> Fault| {
        if rng.one_in(2) {
            return;
        }
        let most = wild(rng);
        for _ in 0..=rng.below(most) {
            let at = rng.below(safety);
            let member = u8::try_from(rng.below(u64::from(count))).unwrap_or(0);
            let base = rng.pick(&spans);
            let span = rng.between((base / 2, base * 2));
            faults.push((at, draw(rng, member, span)));
        }
    };
    add(rng, &mut |_, member, down| Fault::Crash { member, down });
    add(rng, &mut |rng, member, down| Fault::CrashAt {
        member,
        step: rng.pick(&DurableStep::OF_ALL_RUNS),
        side: rng.pick(&Side::ALL),
        down,
    });
    add(rng, &mut |_, member, down| Fault::Stop { member, down });
    add(rng, &mut |_, member, span| Fault::Pause { member, span });
    add(rng, &mut |rng, from, span| Fault::Cut {
        from,
        to: u8::try_from(rng.below(u64::from(count))).unwrap_or(0),
        both: rng.one_in(2),
        span,
    });
    add(rng, &mut |_, member, span| Fault::Isolate { member, span });
    add(rng, &mut |_, member, _| Fault::Reset { member });
    add(rng, &mut |rng, member, span| Fault::SlowDisk {
        member,
        by: rng.pick(&[5, 50, 500, 3_000]) * MS,
        span,
    });
    add(rng, &mut |rng, member, span| Fault::SlowApply {
        member,
        by: rng.pick(&[5, 50, 500, 3_000]) * MS,
        span,
    });
    add(rng, &mut |rng, member, _| Fault::ClockJump {
        member,
        by_ms: rng.pick(&[-86_400_000, -5_000, 5_000, 86_400_000]),
    });
    add(rng, &mut |_, _, _| Fault::MoveClients);
    add(rng, &mut |rng, member, _| Fault::Flood {
        member,
        sessions: u32::try_from(rng.between((5, 60))).unwrap_or(5),
    });
    if rng.one_in(4) {
        swizzle(rng, count, safety, &mut faults);
    }
    if rng.one_in(5) {
        crash_all(rng, count, safety, &mut faults);
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn draw_siege(rng: &mut Rng, voters: u8, members: &MemberKnobs) -> Option<Siege> {
    let most = u64::from(voters.saturating_sub(1) / 2);
    if most == 0 || rng.one_in(3) {
        return None;
    }
    let mut order: Vec<u8> = (0..voters).collect();
    rng.shuffle(&mut order);
    let patience = members.tick_ms * u64::from(members.sync_limit) * MS;
    Some(Siege {
        takes_leader: !rng.one_in(3),
        order,
        count: usize::try_from(rng.between((1, most))).unwrap_or(1),
        holds: rng.pick(&[
            Holds::All,
            Holds::FromMinority,
            Holds::ToMinority,
            Holds::Links,
            Holds::Some,
        ]),
        span: rng.below(3 * patience),
    })
}

/// In some runs, has members come and go, and adds what may go wrong with that.
fn draw_changes(
    seed: u64,
    (voters, observers): (u8, u8),
    members: &MemberKnobs,
    safety: Micros,
    faults: &mut Vec<(Micros, Fault)>,
) -> Option<Changes> {
    let mut rng = Rng::new(seed, CHANGES);
    // A server on its own has no members to change.
    if !rng.one_in(4) || voters < 2 {
        return None;
    }
    let strangers = rng.pick(&[0, 1, 1, 2, 2]);
    let count = voters + observers + strangers;
    let changes = Changes {
        strangers,
        stale_per_mille: rng.pick(&[0, 0, 250]),
        buries: rng.one_in(2),
    };
    let mut times: Vec<Micros> = Vec::new();
    for _ in 0..=rng.pick(&[2, 5, 12, 30]) {
        times.push(rng.below(safety));
    }
    if changes.buries {
        times.push(safety - rng.pick(&[2, 10, 30, 100, 300]) * MS);
    }
    for at in times {
        let mut parts = [Part::Same; SERVERS_MAX];
        for _ in 0..rng.pick(&[1, 1, 1, 2, 4]) {
            let server = rng.index(usize::from(count));
            let part = rng.pick(&[Part::Votes, Part::Votes, Part::Observes, Part::Leaves]);
            if let Some(one) = parts.get_mut(server) {
                *one = part;
            }
        }
        let client = u8::try_from(rng.below(8)).unwrap_or(0);
        faults.push((at, Fault::Change { client, parts }));
    }
    let patience = members.tick_ms * u64::from(members.sync_limit) * MS;
    let spans = [20 * MS, 200 * MS, patience, patience * 2];
    // What befalls strangers, and the file about the members; all in about half of these runs.
    if rng.one_in(2) {
        for _ in 0..=rng.below(6) {
            let member = u8::try_from(rng.below(u64::from(count))).unwrap_or(0);
            let down = rng.pick(&spans);
            let side = rng.pick(&Side::ALL);
            let step = DurableStep::Members;
            let fault = Fault::CrashAt {
                member,
                step,
                side,
                down,
            };
            faults.push((rng.below(safety), fault));
        }
    }
    if rng.one_in(2) && strangers > 0 {
        for _ in 0..=rng.below(6) {
            let stranger = u8::try_from(rng.below(u64::from(strangers))).unwrap_or(0);
            let member = voters + observers + stranger;
            let span = rng.pick(&spans);
            let fault = if rng.one_in(2) {
                Fault::Isolate { member, span }
            } else {
                Fault::Crash { member, down: span }
            };
            faults.push((rng.below(safety), fault));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    Some(changes)
}

/// In most runs with changes, leaders die while one is under way, and others come back to be synchronised
/// meanwhile.
fn draw_storms(seed: u64, members: &MemberKnobs, count: u8, faults: &mut Vec<(Micros, Fault)>) {
    let mut rng = Rng::new(seed, STORMS);
    if rng.one_in(3) {
        return;
    }
    let patience = members.tick_ms * u64::from(members.sync_limit) * MS;
    let spans = [20 * MS, 200 * MS, patience, patience * 2];
    let is_change = |(_, fault): &&(Micros, Fault)| matches!(fault, Fault::Change { .. });
    let changes: Vec<Micros> = faults.iter().filter(is_change).map(|(at, _)| *at).collect();
    for at in changes {
        if !rng.one_in(3) {
            continue;
        }
        let soon = rng.pick(&[1, 3, 10, 30, 100]) * MS;
        let down = rng.pick(&spans);
        faults.push((at + rng.below(soon), Fault::CrashLeader { down }));
        if rng.one_in(2) {
            let member = u8::try_from(rng.below(u64::from(count))).unwrap_or(0);
            let span = rng.pick(&spans);
            let fault = match rng.below(3) {
                0 => Fault::Reset { member },
                1 => Fault::Crash { member, down: span },
                _ => Fault::Isolate { member, span },
            };
            faults.push((at.saturating_sub(rng.below(2 * span)), fault));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
}

/// A random subset is cut off one by one, and comes back in another order.
fn swizzle(rng: &mut Rng, count: u8, safety: Micros, faults: &mut Vec<(Micros, Fault)>) {
    let mut members: Vec<u8> = (0..count).filter(|_| rng.one_in(2)).collect();
    rng.shuffle(&mut members);
    let start = rng.below(safety);
    let all_gone = start + 300 * MS;
    for (place, member) in (0..).zip(members) {
        let at = start + place * 60 * MS;
        let span = all_gone - at + rng.below(600 * MS);
        faults.push((at, Fault::Isolate { member, span }));
    }
}

/// All members die within a moment.
fn crash_all(rng: &mut Rng, count: u8, safety: Micros, faults: &mut Vec<(Micros, Fault)>) {
    let start = rng.below(safety);
    let within = rng.pick(&[1, MS, 50 * MS]);
    for member in 0..count {
        let down = rng.between((MS, 500 * MS));
        faults.push((start + rng.below(within), Fault::Crash { member, down }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_everything() {
        for seed in 0..200 {
            let plan = Plan::draw(seed);
            assert_eq!(plan, Plan::draw(seed));
            assert!(plan.faults.is_sorted_by_key(|(at, _)| *at));
            assert!(
                plan.faults
                    .iter()
                    .all(|(at, _)| *at < plan.safety + 400 * MS)
            );
        }
    }

    #[test]
    fn every_kind_of_fault_is_off_in_some_runs_and_on_in_others() {
        let kinds = |seed| -> Vec<_> {
            let plan = Plan::draw(seed);
            let kind = |(_, fault): &(Micros, Fault)| std::mem::discriminant(fault);
            plan.faults.iter().map(kind).collect()
        };
        let runs: Vec<_> = (0..200).map(kinds).collect();
        let mut all: Vec<_> = runs.iter().flatten().copied().collect();
        all.dedup();
        for kind in all {
            let on = runs.iter().filter(|run| run.contains(&kind)).count();
            assert!((20..190).contains(&on), "{on} of 200");
        }
    }

    #[test]
    fn members_change_in_some_runs_and_nothing_else_is_another_for_that() {
        let plans: Vec<_> = (0..200).map(Plan::draw).collect();
        let changing = plans.iter().filter(|plan| plan.changes.is_some());
        assert!((20..80).contains(&changing.count()));
        for mut plan in plans.into_iter().filter(|plan| plan.changes.is_some()) {
            assert!(usize::from(plan.count()) <= SERVERS_MAX && plan.voters > 1);
            let is_change = |(_, fault): &(Micros, Fault)| matches!(fault, Fault::Change { .. });
            assert!(plan.faults.iter().any(is_change));
            let first = plan.members_at_first();
            let mut rng = Rng::new(plan.seed, 0);
            rng.next_u64();
            assert_eq!(plan.members, draw_members(&mut rng), "as without changes");
            plan.changes = None;
            assert_eq!(plan.count(), first);
        }
    }
}
