//! The session as a pure state machine: no clock, socket, thread, lock or entropy.
//!
//! ```text
//!             ┌──────────────────────────────────────────────┐
//!             ▼                                              │ lost, silent, refused
//!   Waiting ──pause over──▶ Dialing ──▶ Handshaking ──granted──▶ Linked
//!      ▲                       │             │                  (Link: what is in flight)
//!      └───────────────────────┴─────────────┴── failed
//!
//!   session:  none ──granted──▶ Some(id) ──a server says it is gone──▶ none (epoch + 1) or Closed
//! ```
//!
//! The driver feeds [`Event`]s and frames with the time at which it saw them, asks for the bytes to
//! send with [`Core::transmit`], carries out the [`Action`]s **in their order** (a watch event stands
//! before the reply that could show its effect), and comes back no later than
//! [`Core::next_deadline`]. The same code runs under a scripted server in the tests.

#[macro_use]
mod mutation;

mod action;
mod connect;
mod event;
mod exchange;
mod hosts;
mod link;
mod queue;
mod request;
mod sasl;
mod secret;
mod services;
mod time;
mod watches;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use zk_proto::{SessionId, Xid, Zxid};

use self::hosts::Hosts;
use self::link::Link;
use self::queue::Queue;
use self::watches::Watches;
use crate::connect_string::Server;

pub(crate) use self::action::{Action, Delivery, Transition, Trip};
pub(crate) use self::event::{AttemptError, AttemptErrorKind, Event, Proofs};
pub(crate) use self::link::GATHER_PART;
pub(crate) use self::queue::Load;
pub use self::request::CloseReason;
pub(crate) use self::request::{
    Cause, Failure, Frame, Reply, Request, Waiter, WatchId, WatchKind, WatchRequest,
};
pub(crate) use self::sasl::SaslConfig;
pub(crate) use self::secret::Secret;
pub use self::services::ServiceRecord;
pub(crate) use self::time::Time;

/// What a core is made from.
#[derive(Debug, Clone)]
pub(crate) struct CoreConfig {
    pub(crate) servers: Vec<Server>,
    pub(crate) session_timeout: Duration,
    pub(crate) allow_read_only: bool,
    /// Whether to begin a new session when one has expired.
    pub(crate) renew: bool,
    pub(crate) in_flight_max: usize,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) resume: Option<Granted>,
    pub(crate) last_zxid: Zxid,
    /// Proved where no provider says otherwise.
    pub(crate) sasl: Option<SaslConfig>,
    /// Draws the order of servers, pauses and jitter.
    pub(crate) seed: u64,
}

/// A session as a server granted it.
#[derive(Debug, Clone)]
pub(crate) struct Granted {
    pub(crate) id: SessionId,
    pub(crate) password: Secret,
    pub(crate) timeout: Duration,
}

/// Where the connection stands.
#[derive(Debug)]
enum Phase<W, S> {
    /// Nothing to do until then.
    Waiting { until: Time },
    /// The driver is connecting.
    Dialing { server: Server },
    /// Connected; the answer to the handshake is due.
    Handshaking {
        server: Server,
        deadline: Time,
        sent: Option<Time>,
    },
    /// In session.
    Linked(Box<Link<W, S>>),
    /// For good.
    Closed(CloseReason),
}

#[derive(Debug)]
struct Session {
    granted: Granted,
    /// Whether a server that takes part in the ensemble granted or confirmed it. Only then can it be
    /// taken to another server.
    is_resumable: bool,
    /// When the last request that the leader answered had been sent, if there was one: it had not let
    /// the session end by then. A server that lags does not know what the leader has done.
    proven: Time,
}

#[derive(Debug)]
struct Credential<W> {
    scheme: ByteString,
    auth: Secret,
    waiter: Option<W>,
    /// Whether bytes of it may have reached a server.
    was_sent: bool,
}

/// What a fresh connection begins with.
#[derive(Debug)]
enum Urgent {
    /// A token of the SASL exchange.
    Sasl(Bytes),
    /// The credential at this position.
    Auth(usize),
    /// A registration of watches.
    Watches(Frame),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Core<W, S> {
    config: CoreConfig,
    hosts: Hosts,
    phase: Phase<W, S>,
    session: Option<Session>,
    /// Number of the session that is or will be next: counts from 1, up at each expiry.
    epoch: u64,
    /// Highest zxid seen in a reply.
    last_zxid: Zxid,
    /// Highest zxid seen in a watch event.
    event_zxid: Zxid,
    /// The last one that a request had. It goes on over connections: a server takes a transaction of
    /// the session for the answer to the oldest request with its xid, even if it is one that was asked
    /// for on a former connection, at another server.
    xid: Xid,
    /// In the order in which they are sent.
    credentials: Vec<Credential<W>>,
    /// How many of them, the first ones, hold for one connection.
    provided: usize,
    /// What is proved by SASL on the connection that is or will be next.
    sasl: Option<SaslConfig>,
    /// Nonces used up.
    nonces: u64,
    /// To be sent before everything else on this connection.
    urgent: VecDeque<Urgent>,
    /// Not sent, in the order of submission.
    queue: Queue<W, S>,
    /// Length of the queue at which it is searched for what nobody waits for.
    withdraw_at: usize,
    /// No search for want of room before.
    withdraw_due: Time,
    watches: Watches<S>,
    /// No request is due before.
    requests_due: Time,
    /// Holds that need to know early when the session may be over.
    holds: i32,
    /// When closing ends, whatever is still open.
    closing: Option<Time>,
    /// When to look for a writable server, and the pause after that look.
    probe: Option<(Time, Duration)>,
    /// Zxid behind which changes of what is watched may not have been told. Stays while watches are
    /// being registered anew.
    watched_zxid: Zxid,
    /// Requests under way that register anew what is wanted on a path.
    rearming: usize,
    /// How many of them have to be answered before everything is told again.
    exposed: usize,
    /// Paths to be registered anew once what is being added there is answered.
    postponed: Vec<ByteString>,
    /// Paths of which every watch is being removed.
    wiping: Vec<ByteString>,
    /// Whether servers know how watches are removed, as all do since 3.5.
    knows_removal: bool,
    /// Connections in a row that ended soon after they began.
    brief: u32,
    /// Those of them that a server ended, while others may go on with the session.
    fights: u32,
    /// Whether somebody else has what it takes to go on with the session.
    is_shared: bool,
}

impl<W: Waiter, S: Clone> Core<W, S> {
    /// A client that has not begun to connect: it does at the first [`Event::Tick`].
    pub(crate) fn new(config: CoreConfig) -> Self {
        let session = config.resume.clone().map(|granted| Session {
            granted,
            is_resumable: true,
            proven: Time::default(),
        });
        Self {
            hosts: Hosts::new(config.servers.clone(), config.seed),
            phase: Phase::Waiting {
                until: Time::default(),
            },
            session,
            epoch: 1,
            last_zxid: config.last_zxid,
            event_zxid: Zxid::ZERO,
            // Somebody else may have asked for something in the session that is gone on with.
            xid: Xid::new(
                config
                    .resume
                    .as_ref()
                    .map_or(0, |_| i32::try_from(config.seed >> 33).unwrap_or(0)),
            ),
            credentials: Vec::new(),
            provided: 0,
            sasl: config.sasl.clone(),
            nonces: 0,
            urgent: VecDeque::new(),
            queue: Queue::new(),
            withdraw_at: exchange::WITHDRAW_MIN,
            withdraw_due: Time::default(),
            watches: Watches::new(),
            requests_due: Time::NEVER,
            holds: 0,
            closing: None,
            probe: None,
            watched_zxid: config.last_zxid,
            rearming: 0,
            exposed: 0,
            postponed: Vec::new(),
            wiping: Vec::new(),
            knows_removal: true,
            brief: 0,
            fights: 0,
            is_shared: config.resume.is_some(),
            config,
        }
    }

    /// Number of the session that is or will be next.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The session, if there is one.
    pub(crate) fn granted(&self) -> Option<&Granted> {
        self.session
            .as_ref()
            .filter(|session| session.is_resumable)
            .map(|session| &session.granted)
    }

    /// When the newest request that the leader answered had been sent, in the session that is.
    pub(crate) fn proven(&self) -> Option<Time> {
        self.session.as_ref().map(|session| session.proven)
    }

    /// Highest zxid seen: a server that has not got there must not be read from.
    pub(crate) fn last_zxid(&self) -> Zxid {
        // Apache's client counts replies alone: it may be told of a change, move to another server, and
        // read what was before.
        self.last_zxid.max(self.event_zxid)
    }

    /// Number of watches held.
    pub(crate) fn watches(&self) -> usize {
        self.watches.len()
    }

    /// What was submitted and is not resolved.
    pub(crate) fn load(&self) -> Load {
        let Load {
            mut requests,
            mut bytes,
        } = self.queue.load();
        if let Phase::Linked(link) = &self.phase {
            requests += link.in_flight().requests;
            bytes += link.in_flight().bytes;
        }
        Load { requests, bytes }
    }

    /// Whether frames are awaited.
    pub(crate) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Handshaking { .. } | Phase::Linked(_))
    }

    /// Whether the server has answered something behind the handshake.
    pub(crate) fn is_of_use(&self) -> bool {
        matches!(&self.phase, Phase::Linked(link) if link.is_proven)
    }

    /// Whether nothing will ever happen any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed(_))
    }

    /// When to come back with [`Event::Tick`] at the latest.
    pub(crate) fn next_deadline(&self) -> Time {
        let phase = match &self.phase {
            Phase::Waiting { until } => *until,
            Phase::Dialing { .. } => Time::NEVER,
            Phase::Handshaking { deadline, .. } => *deadline,
            Phase::Linked(link) => link.deadline(),
            Phase::Closed(_) => return Time::NEVER,
        };
        let probe = self.probe.map_or(Time::NEVER, |(at, _)| at);
        phase
            .min(probe)
            .min(self.requests_due)
            .min(self.closing.unwrap_or(Time::NEVER))
    }

    /// Takes in what happened.
    pub(crate) fn handle(&mut self, now: Time, event: Event<W, S>, out: &mut Vec<Action<W, S>>) {
        match event {
            Event::Submit(request) => self.submit(now, request, out),
            Event::Crowded => self.crowded(now),
            Event::Unsubscribe(id) => {
                let removals = self.watches.unsubscribe(id);
                self.remove_watches(removals);
            }
            Event::AddAuth {
                scheme,
                auth,
                waiter,
            } => self.add_auth(scheme, auth, waiter, out),
            Event::TokenGiven => self.is_shared = true,
            Event::SetServers(servers) => self.set_servers(now, servers, out),
            Event::Hold(change) => self.hold(change),
            Event::Close { within } => self.close(now, within, out),
            Event::Detach => self.shut(CloseReason::Detached, out),
            Event::Found(records) => self.found(now, &records, out),
            Event::Provided(proofs) => self.provided(*proofs),
            Event::Dialed => self.dialed(now),
            Event::DialFailed(error) | Event::Lost(error) => self.lost(now, error, out),
            Event::Probed { server, writable } => self.probed(now, &server, writable, out),
            Event::Tick => self.tick(now, out),
        }
    }
}
