//! What happens to processes and their connections, drawn from the seed.

use std::fmt;

use super::Simulation;
use crate::sim::outside::Heading;
use crate::sim::rng::Rng;
use crate::sim::schedule::Micros;

const MS: Micros = 1000;

/// Where in a seed the faults of processes begin.
const STREAM: u64 = 50;

/// Something that goes wrong with a process. Which one is said by a number that is taken modulo the
/// number of processes at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: Micros,
    pub(super) process: u64,
    pub(super) what: Mishap,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mishap {
    /// Nothing passes between the process and a member, or any member.
    Cut {
        /// The member; all without.
        member: Option<u8>,
        /// The way; both without.
        heading: Option<Heading>,
        /// For how long.
        span: Micros,
    },
    /// Its connections break.
    Reset {
        /// Whether the servers notice at once.
        tells_server: bool,
    },
    /// It stands still.
    Pause {
        /// For how long.
        span: Micros,
    },
    /// Its sessions are ended by an administrator.
    Expire,
    /// It dies, and its connections with it. Only the body has this done: a process that is gone
    /// comes to no end.
    Death,
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut {
                member,
                heading,
                span,
            } => {
                let way = match heading {
                    None => "nothing passes to or from",
                    Some(Heading::In) => "nothing passes to",
                    Some(Heading::Out) => "nothing comes from",
                };
                match member {
                    Some(member) => write!(f, "{way} server {member}, {} ms", span / MS),
                    None => write!(f, "{way} all servers, {} ms", span / MS),
                }
            }
            Self::Reset { tells_server: true } => f.write_str("connections break"),
            Self::Reset {
                tells_server: false,
            } => f.write_str("connections break, unnoticed by servers"),
            Self::Pause { span } => write!(f, "stands still, {} ms", span / MS),
            Self::Death => f.write_str("dies"),
            Self::Expire => f.write_str("sessions are ended by an administrator"),
        }
    }
}

/// The faults of a seed, by time. Swarm: each kind is off in about half of all runs.
pub(super) fn draw(simulation: &Simulation, seed: u64, timeout: Micros, end: Micros) -> Vec<Fault> {
    let servers = u64::from(simulation.servers);
    let mut rng = Rng::new(seed, STREAM);
    let mut faults = Vec::new();
    // A blink, and around what sessions and their holders live through.
    let spans = [20 * MS, timeout / 3, timeout * 2 / 3, timeout, timeout * 2];
    let mut add = |rng: &mut Rng, draw: &mut dyn FnMut(&mut Rng, Micros) -> Mishap| {
        if rng.one_in(2) {
            return;
        }
        let most = if rng.one_in(4) { 16 } else { 5 };
        for _ in 0..=rng.below(most) {
            let at = rng.below(end);
            let base = rng.pick(&spans);
            let span = rng.between((base / 2, base * 3 / 2));
            let process = rng.next_u64();
            let what = draw(rng, span);
            faults.push(Fault { at, process, what });
        }
    };
    add(&mut rng, &mut |rng, span| Mishap::Cut {
        member: (!rng.one_in(3)).then(|| u8::try_from(rng.below(servers)).unwrap_or(0)),
        heading: rng.pick(&[None, Some(Heading::In), Some(Heading::Out)]),
        span,
    });
    add(&mut rng, &mut |_, span| Mishap::Cut {
        member: None,
        heading: None,
        span,
    });
    add(&mut rng, &mut |rng, _| Mishap::Reset {
        tells_server: rng.one_in(2),
    });
    if simulation.has_pauses {
        add(&mut rng, &mut |_, span| Mishap::Pause { span });
    }
    if simulation.has_administrators {
        add(&mut rng, &mut |_, _| Mishap::Expire);
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}
