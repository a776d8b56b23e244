use std::time::Duration;

use super::super::super::WatchKind;
use zk_proto::request::AddWatchMode;

/// Everything that a run is made from: the same plan runs the same way.
#[derive(Debug, Clone)]
pub(in super::super) struct Plan {
    pub(in super::super) seed: u64,
    pub(in super::super) servers: usize,
    pub(in super::super) is_old: bool,
    pub(in super::super) renew: bool,
    pub(in super::super) allow_read_only: bool,
    pub(in super::super) session_timeout: Duration,
    pub(in super::super) in_flight_max: usize,
    pub(in super::super) in_flight_bytes_max: usize,
    pub(in super::super) steps: Vec<Step>,
}

/// What happens when.
#[derive(Debug, Clone)]
pub(in super::super) struct Step {
    pub(in super::super) at: Duration,
    pub(in super::super) what: What,
}

#[derive(Debug, Clone)]
pub(in super::super) enum What {
    /// The user submits a request.
    Ask(Ask),
    /// Another client changes the tree.
    Outside(Touch, &'static str),
    /// The user drops the watch that request left, counted backwards.
    Unsubscribe(usize),
    /// The user drops the future of a request, counted backwards.
    Abandon(usize),
    AddAuth,
    /// The list of servers from now on: those whose bit is set.
    SetServers(u32),
    Fault(Fault),
}

#[derive(Debug, Clone)]
pub(in super::super) struct Ask {
    pub(in super::super) what: Do,
    pub(in super::super) path: &'static str,
    pub(in super::super) timeout: Duration,
    /// Whether it is bound to the session that there is.
    pub(in super::super) is_pinned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Do {
    Create {
        ephemeral: bool,
    },
    Set,
    Delete,
    Multi,
    Sync,
    /// A read, or an addition of a watch: what leaves the watch, and whether it does.
    Read(WatchKind, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Touch {
    Create,
    Set,
    Delete,
}

#[derive(Debug, Clone)]
pub(in super::super) enum Fault {
    Kill(usize),
    Restart(usize),
    /// Attempts to connect to it hang.
    Blackhole(usize, bool),
    DialDelay(Duration),
    ReadOnly(usize, bool),
    /// How far it is behind.
    Lag(usize, Duration),
    /// How long a request takes in the pipeline of any server.
    Slow(Duration),
    /// The connection breaks now.
    Break,
    /// The connection breaks after so many more bytes from the client.
    CutSent(usize),
    /// This connection, or else the next, breaks after so many more bytes from the server.
    CutReceived(usize),
    /// Nothing that the client sends arrives any more; nothing that the server sends does.
    Stall {
        sent: bool,
        received: bool,
    },
    /// The client's writes do not go anywhere.
    Block,
    ExpireSession,
    Garbage(Garbage),
    RefuseAuth,
    /// Servers answer so many of the next requests unexecuted.
    Throttle(u32),
}

#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Garbage {
    /// A reply that answers nothing.
    UnknownXid,
    /// Too short for a header.
    Short,
    /// A length that is not legal.
    Length,
    /// An event of a kind that is not known: legal, and of no use.
    UnknownEvent,
    /// An event that does not decode.
    BrokenEvent,
}

pub(in super::super) const PATHS: [&str; 6] = ["/a", "/a/b", "/a/b/c", "/d", "/d/e", "/f"];

/// What a user mostly does.
#[derive(Debug, Clone, Copy)]
enum Mix {
    Everything,
    Watches,
}

/// When faults end and the ensemble is as good as new, at the latest.
const SPAN_MAX: u64 = 40_000;

impl Plan {
    /// Draws a plan.
    pub(in super::super) fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let servers = rng.usize(1..=3);
        let span = [4_000, 15_000, SPAN_MAX][rng.usize(0..3)];
        let mut plan = Self {
            seed,
            servers,
            is_old: rng.u8(0..3) == 0,
            renew: rng.u8(0..8) > 0,
            allow_read_only: rng.bool(),
            session_timeout: Duration::from_millis(rng.u64(2_000..=10_000)),
            in_flight_max: [1, 3, 1_000][rng.usize(0..3)],
            in_flight_bytes_max: [64, 16 << 20][rng.usize(0..2)],
            steps: Vec::new(),
        };
        // Few paths make many meetings.
        let paths = &PATHS[..rng.usize(1..=PATHS.len())];
        if rng.bool() {
            // What is there from the start can be watched.
            for path in paths {
                plan.push(0, What::Outside(Touch::Create, path));
            }
        }
        let mix = [Mix::Everything, Mix::Watches][rng.usize(0..2)];
        let asks = rng.usize(5..60);
        let mut at = 0;
        for _ in 0..asks {
            // In bursts: much of what goes wrong needs two things at once.
            if rng.u8(0..3) == 0 {
                at = rng.u64(0..span);
            } else {
                at += rng.u64(0..20);
            }
            plan.push(at, draw_use(&mut rng, mix, paths));
        }
        let faults = [0, 2, 6, 15][rng.usize(0..4)];
        for _ in 0..faults {
            let at = rng.u64(0..span);
            let fault = draw_fault(&mut rng, servers);
            plan.push(at, What::Fault(fault));
        }
        for _ in 0..rng.usize(0..3) {
            plan.break_twice(&mut rng, span, paths);
        }
        for _ in 0..rng.usize(0..3) {
            plan.crowd(&mut rng, span, paths);
        }
        for _ in 0..rng.usize(0..3) {
            // Also while watches are registered anew.
            let at = rng.u64(0..span);
            plan.push(at, What::Fault(Fault::Throttle(rng.u32(1..4))));
            if rng.bool() {
                plan.push(at, What::Fault(Fault::Break));
            }
        }
        if rng.u8(0..30) == 0 {
            let at = rng.u64(0..span);
            plan.push(at, What::Fault(Fault::RefuseAuth));
            plan.push(at + 1, What::AddAuth);
        }
        plan.steps.sort_by_key(|step| step.at);
        plan
    }

    /// The connection breaks, the world goes on, and the next connection breaks half-way through what
    /// it begins with.
    fn break_twice(&mut self, rng: &mut fastrand::Rng, span: u64, paths: &[&'static str]) {
        let mut at = rng.u64(0..span);
        for path in some(rng, paths) {
            self.push(
                at,
                What::Ask(Ask {
                    what: draw_do(rng, Mix::Watches),
                    path,
                    timeout: Duration::from_secs(3),
                    is_pinned: false,
                }),
            );
        }
        at += rng.u64(50..150);
        self.push(at, What::Fault(Fault::Break));
        // Behind the answer to the handshake there are one or two more, or part of one.
        self.push(at, What::Fault(Fault::CutReceived(rng.usize(30..110))));
        for path in some(rng, paths) {
            self.push(at, What::Outside(draw_touch(rng), path));
        }
    }

    /// Reads that leave watches and additions of watches of one path, close together, while watches
    /// of it are dropped and the znode changes.
    fn crowd(&mut self, rng: &mut fastrand::Rng, span: u64, paths: &[&'static str]) {
        let path = paths[rng.usize(0..paths.len())];
        let mut at = rng.u64(0..span);
        for _ in 0..rng.usize(3..8) {
            let what = match rng.u8(0..8) {
                0 | 1 => What::Outside(draw_touch(rng), path),
                2 | 3 => What::Unsubscribe(rng.usize(0..2)),
                _ => What::Ask(Ask {
                    what: draw_do(rng, Mix::Watches),
                    path,
                    timeout: Duration::from_secs(3),
                    is_pinned: false,
                }),
            };
            self.push(at, what);
            at += rng.u64(0..12);
        }
    }

    fn push(&mut self, at: u64, what: What) {
        let at = Duration::from_millis(at);
        self.steps.push(Step { at, what });
    }

    /// When the last step is over.
    pub(in super::super) fn span(&self) -> Duration {
        self.steps.last().map_or(Duration::ZERO, |step| step.at)
    }

    /// The plan with a range of its steps left out.
    pub(in super::super) fn without(&self, range: std::ops::Range<usize>) -> Self {
        let mut plan = self.clone();
        plan.steps.drain(range);
        plan
    }
}

/// About half of them.
fn some(rng: &mut fastrand::Rng, paths: &[&'static str]) -> Vec<&'static str> {
    let paths = paths.iter().copied();
    paths.filter(|_| rng.bool()).collect()
}

fn draw_use(rng: &mut fastrand::Rng, mix: Mix, paths: &[&'static str]) -> What {
    let path = paths[rng.usize(0..paths.len())];
    match rng.u8(0..100) {
        0..20 => What::Outside(draw_touch(rng), path),
        20..30 => What::Unsubscribe(rng.usize(0..6)),
        30..36 => What::Abandon(rng.usize(0..4)),
        36..38 => What::AddAuth,
        38..40 => What::SetServers(rng.u32(0..8)),
        _ => What::Ask(Ask {
            what: draw_do(rng, mix),
            path,
            timeout: Duration::from_millis([20, 300, 3_000, 30_000][rng.usize(0..4)]),
            is_pinned: rng.u8(0..6) == 0,
        }),
    }
}

fn draw_touch(rng: &mut fastrand::Rng) -> Touch {
    [Touch::Create, Touch::Set, Touch::Set, Touch::Delete][rng.usize(0..4)]
}

fn draw_do(rng: &mut fastrand::Rng, mix: Mix) -> Do {
    let (watched, first) = match mix {
        Mix::Everything => (rng.u8(0..3) > 0, 0),
        Mix::Watches => (true, 9),
    };
    match rng.u8(first..20) {
        0..3 => Do::Create {
            ephemeral: rng.u8(0..3) == 0,
        },
        3..6 => Do::Set,
        6 => Do::Delete,
        7 => Do::Multi,
        8 => Do::Sync,
        9..12 => Do::Read(WatchKind::Data, watched),
        12..14 => Do::Read(WatchKind::Exists, watched),
        14..16 => Do::Read(WatchKind::Children, watched),
        16..18 => Do::Read(WatchKind::Added(AddWatchMode::Persistent), true),
        _ => Do::Read(WatchKind::Added(AddWatchMode::PersistentRecursive), true),
    }
}

fn draw_fault(rng: &mut fastrand::Rng, servers: usize) -> Fault {
    let server = rng.usize(0..servers);
    let bytes = rng.usize(0..300);
    match rng.u8(0..28) {
        0..3 => Fault::Kill(server),
        3..6 => Fault::Restart(server),
        6 => Fault::Blackhole(server, rng.bool()),
        7 => Fault::DialDelay(Duration::from_millis(rng.u64(0..3_000))),
        8 => Fault::ReadOnly(server, rng.u8(0..3) > 0),
        9..11 => Fault::Lag(server, Duration::from_millis(rng.u64(0..5_000))),
        11 => Fault::Slow(Duration::from_millis(rng.u64(0..400))),
        12..15 => Fault::CutSent(bytes),
        15..19 => Fault::CutReceived(bytes),
        19..22 => {
            let received = rng.u8(0..3) > 0;
            let sent = !received || rng.bool();
            Fault::Stall { sent, received }
        }
        22 => Fault::Block,
        23 | 24 => Fault::ExpireSession,
        _ => Fault::Garbage(
            [
                Garbage::UnknownXid,
                Garbage::Short,
                Garbage::Length,
                Garbage::UnknownEvent,
                Garbage::BrokenEvent,
            ][rng.usize(0..5)],
        ),
    }
}
