//! What is done to an ensemble while clients work, drawn from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fault::Direction;
use crate::sim::rng::Rng;
use crate::{Ensemble, Error, Way};

/// How often faults that are over are looked for.
const POLL: Duration = Duration::from_millis(20);
/// How long a server on a full disk may go on before it is killed.
const FULL: Duration = Duration::from_secs(4);

/// Kinds of faults, by name as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kill,
    KillAll,
    /// In order, as an operator does; of a leader this is a hand-over.
    Stop,
    Pause,
    FullDisk,
    /// A cable between two servers is pulled.
    Cut,
    /// Bytes between two servers go one way only.
    HalfOpen,
    /// All cables of a server to others.
    Isolate,
    /// A server hears nobody, or nobody hears it.
    HalfIsolate,
    Delay,
    Throttle,
    /// All connections between two servers.
    Reset,
    /// Connections of clients to a server.
    ClientReset,
    ClientStall,
    ClientHalfOpen,
    ClientRefuse,
}

impl Kind {
    /// Each with its weight.
    const ALL: [(Self, u64); 16] = [
        (Self::Kill, 14),
        (Self::KillAll, 2),
        (Self::Stop, 10),
        (Self::Pause, 12),
        (Self::FullDisk, 6),
        (Self::Cut, 8),
        (Self::HalfOpen, 8),
        (Self::Isolate, 6),
        (Self::HalfIsolate, 6),
        (Self::Delay, 6),
        (Self::Throttle, 3),
        (Self::Reset, 6),
        (Self::ClientReset, 6),
        (Self::ClientStall, 5),
        (Self::ClientHalfOpen, 5),
        (Self::ClientRefuse, 3),
    ];

    fn draw(rng: &mut Rng) -> Self {
        let total = Self::ALL.iter().map(|(_, weight)| weight).sum();
        let mut chance = rng.below(total);
        for (kind, weight) in Self::ALL {
            if chance < weight {
                return kind;
            }
            chance -= weight;
        }
        Self::Kill
    }

    /// Whether it keeps the server from taking part in a quorum.
    fn takes_out(self) -> bool {
        matches!(
            self,
            Self::Kill
                | Self::Stop
                | Self::Pause
                | Self::FullDisk
                | Self::Isolate
                | Self::HalfIsolate
        )
    }

    fn is_of_process(self) -> bool {
        matches!(self, Self::Kill | Self::Stop | Self::Pause | Self::FullDisk)
    }
}

/// A fault that is in force.
#[derive(Debug)]
struct Active {
    kind: Kind,
    victim: usize,
    end: Instant,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How often, by kind.
    pub(super) deeds: BTreeMap<Kind, u64>,
    /// Of these, how often it met the leader.
    pub(super) leaders: u64,
    /// What could not be done, and why.
    pub(super) troubles: Vec<String>,
}

/// Hurts an ensemble.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    ensemble: &'a Ensemble,
    rng: Rng,
    active: Vec<Active>,
    tally: &'a mut Tally,
}

impl<'a> Faults<'a> {
    pub(super) fn new(ensemble: &'a Ensemble, rng: Rng, tally: &'a mut Tally) -> Self {
        Self {
            ensemble,
            rng,
            active: Vec::new(),
            tally,
        }
    }

    /// Goes on for so long, then mends everything that can be mended at once.
    pub(super) async fn run(mut self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        // Slices differ in how close faults follow each other.
        let longest = self.rng.between((800, 5_000));
        let mut next = Instant::now();
        while Instant::now() < end {
            self.mend(false).await;
            if Instant::now() >= next {
                self.hurt().await;
                next = Instant::now() + Duration::from_millis(self.rng.between((50, longest)));
            }
            sleep(POLL).await;
        }
        self.mend(true).await;
        self.gone()
    }

    /// Servers that ended by themselves, with what they said last.
    fn gone(&self) -> Vec<String> {
        let Some(processes) = self.ensemble.processes() else {
            return Vec::new();
        };
        let servers = processes.servers().iter().enumerate();
        let gone = servers.filter(|(_, server)| server.pid().is_none());
        gone.map(|(index, server)| format!("server {index} ended by itself:\n{}", server.log()))
            .collect()
    }

    async fn hurt(&mut self) {
        let count = self.ensemble.len();
        let kind = Kind::draw(&mut self.rng);
        let mut victim = self.rng.index(count);
        let leader = match self.ensemble.processes() {
            Some(processes) => processes.leader().await.ok(),
            None => None,
        };
        if let Some(leader) = leader
            && self.rng.one_in(3)
        {
            victim = leader;
        }
        let out: BTreeSet<usize> = self
            .active
            .iter()
            .filter(|active| active.kind.takes_out())
            .map(|active| active.victim)
            .collect();
        // Mostly a quorum is left.
        let spare = if self.rng.below(10) < 7 {
            (count - 1) / 2
        } else {
            count
        };
        if kind.takes_out() && !out.contains(&victim) && out.len() >= spare {
            return;
        }
        let is_busy = |server: usize| {
            let mut active = self.active.iter();
            active.any(|active| active.kind.is_of_process() && active.victim == server)
        };
        if kind.is_of_process() && is_busy(victim) {
            return;
        }
        if kind == Kind::KillAll && ((0..count).any(is_busy) || self.rng.one_in(2)) {
            return;
        }
        *self.tally.deeds.entry(kind).or_default() += 1;
        self.tally.leaders += u64::from(leader == Some(victim));
        if let Err(error) = self.inflict(kind, victim).await {
            self.trouble(kind, victim, &error);
        }
    }

    async fn inflict(&mut self, kind: Kind, victim: usize) -> Result<(), Error> {
        let ensemble = self.ensemble;
        let count = ensemble.len();
        let other = (victim + 1 + self.rng.index(count - 1)) % count;
        let way = self.rng.pick(&[Way::There, Way::Back]);
        let direction = self.rng.pick(&[Direction::ToServer, Direction::ToClient]);
        // From what nobody notices to what everybody gives up.
        let top = self.rng.pick(&[300, 2_000, 8_000]);
        let mut time = Duration::from_millis(self.rng.between((0, top)));
        match kind {
            Kind::Kill => ensemble.kill(victim).await?,
            Kind::Stop => ensemble.stop(victim).await?,
            Kind::Pause => ensemble.pause(victim).await?,
            Kind::KillAll => {
                for server in 0..count {
                    ensemble.kill(server).await?;
                }
                for server in 0..count {
                    ensemble.launch(server).await?;
                }
            }
            Kind::FullDisk => {
                let bytes = self.rng.pick(&[0, 5_000, 50_000, 400_000]);
                let bytes = self.rng.between((0, bytes));
                if let Some(processes) = ensemble.processes() {
                    processes.limit_files(victim, bytes)?;
                }
                time = FULL;
            }
            Kind::Cut => ensemble.cut(victim, other, Way::Both)?,
            Kind::HalfOpen => ensemble.cut(victim, other, way)?,
            Kind::Isolate => ensemble.isolate(victim)?,
            Kind::HalfIsolate => {
                for other in (0..count).filter(|other| *other != victim) {
                    ensemble.cut(victim, other, way)?;
                }
            }
            Kind::Delay => {
                let delay = Duration::from_millis(self.rng.between((1, 200)));
                ensemble.delay(victim, other, way, delay)?;
            }
            Kind::Throttle => {
                let rate = self.rng.between((2_000, 100_000));
                ensemble.throttle(victim, other, way, Some(rate))?;
            }
            Kind::Reset => ensemble.reset(victim, other)?,
            Kind::ClientReset => ensemble.client_link(victim).cut_all(),
            Kind::ClientStall => ensemble.client_link(victim).stall(Direction::Both, true),
            Kind::ClientHalfOpen => ensemble.client_link(victim).stall(direction, true),
            Kind::ClientRefuse => {
                ensemble.client_link(victim).refuse(true);
                ensemble.client_link(victim).cut_all();
            }
        }
        let end = Instant::now() + time;
        self.active.push(Active { kind, victim, end });
        Ok(())
    }

    /// Ends what is over, or everything.
    async fn mend(&mut self, all: bool) {
        let now = Instant::now();
        let (over, active): (Vec<_>, Vec<_>) = std::mem::take(&mut self.active)
            .into_iter()
            .partition(|active| all || active.end <= now);
        self.active = active;
        let mut are_links_over = false;
        for fault in over {
            let mended = match fault.kind {
                Kind::Kill | Kind::Stop => self.ensemble.launch(fault.victim).await,
                Kind::Pause => self.ensemble.resume(fault.victim).await,
                Kind::FullDisk => {
                    // It has stopped by itself, or has had nothing to write.
                    match self.ensemble.kill(fault.victim).await {
                        Ok(()) | Err(Error::NotRunning { .. }) => {
                            self.ensemble.launch(fault.victim).await
                        }
                        Err(error) => Err(error),
                    }
                }
                Kind::KillAll | Kind::Reset | Kind::ClientReset => Ok(()),
                Kind::Cut
                | Kind::HalfOpen
                | Kind::Isolate
                | Kind::HalfIsolate
                | Kind::Delay
                | Kind::Throttle
                | Kind::ClientStall
                | Kind::ClientHalfOpen
                | Kind::ClientRefuse => {
                    are_links_over = true;
                    Ok(())
                }
            };
            if let Err(error) = mended {
                self.trouble(fault.kind, fault.victim, &error);
            }
        }
        // Faults of links overlap: when one is over, all are.
        if are_links_over {
            self.active.retain(|active| {
                active.kind.is_of_process() || matches!(active.kind, Kind::KillAll)
            });
        }
        if are_links_over || all {
            self.ensemble.heal();
        }
    }

    fn trouble(&mut self, kind: Kind, victim: usize, error: &Error) {
        let text = format!("{kind:?} of server {victim}: {error}");
        self.tally.troubles.push(text);
    }
}
