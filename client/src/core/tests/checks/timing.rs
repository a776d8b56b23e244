use std::collections::VecDeque;
use std::time::Duration;

use super::super::super::{AttemptErrorKind, Time};
use super::super::ensemble::ConnId;
use super::super::world::Fact;
use super::Check;

/// The timing rules: when pings go, when a server counts as dead, how long a pause may be.
///
/// # Source
/// `client-api.md` §5.2.
#[derive(Debug, Default)]
pub(super) struct Timing {
    servers: usize,
    session_timeout: Duration,
    /// What the session has been granted, or is to be asked for.
    granted: Duration,
    link: Option<Live>,
    /// The one before.
    lost: Option<Live>,
    /// When attempts began, of late.
    dials: VecDeque<Time>,
    /// Attempts that failed since one succeeded.
    failures: u32,
    /// When the next attempt is due at the latest, while none is under way.
    dial_due: Option<Time>,
}

#[derive(Debug)]
struct Live {
    conn: ConnId,
    timeout: Duration,
    last_sent: Time,
    last_received: Time,
    /// When each frame that is not answered was sent.
    owed: VecDeque<Time>,
    has_ping: bool,
    /// Whether anything was answered but the handshake.
    is_proven: bool,
}

const PING_MAX: Duration = Duration::from_secs(10);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

impl Check for Timing {
    fn see(&mut self, now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Planned(plan) => {
                self.servers = plan.servers;
                self.session_timeout = plan.session_timeout;
                self.granted = plan.session_timeout;
                self.dial_due = Some(now);
            }
            Fact::ServersSet { count } => {
                self.servers = *count;
                self.failures = 0;
            }
            Fact::Dialed { within } => {
                self.dial_due = None;
                // Twice the servers in a second after a full pass; far more is a loop.
                self.dials.push_back(now);
                while self
                    .dials
                    .front()
                    .is_some_and(|first| now - *first > Duration::from_secs(1))
                {
                    self.dials.pop_front();
                }
                if self.dials.len() > 20 * self.servers {
                    return Err(format!("{} attempts within a second", self.dials.len()));
                }
                let longest = self.session_timeout.max(Duration::from_secs(1));
                if *within > longest {
                    return Err(format!("an attempt may take {within:?}"));
                }
            }
            Fact::AttemptFailed { passed } => {
                // A link that was lost before it was announced may have been of use all the same.
                if self.lost.take().is_some_and(|link| link.is_proven) {
                    self.failures = 0;
                } else {
                    self.failures += 1;
                }
                let passes = self.failures / u32::try_from(self.servers).unwrap();
                let pause = match passes {
                    0 => Duration::ZERO,
                    _ => (PAUSE_MIN * (1 << (passes - 1).min(16))).min(self.pause_max()),
                };
                if *passed != (passes > 0) {
                    return Err(format!("a full pass is over: {passed} after {passes}"));
                }
                self.dial_due = Some(now + pause);
            }
            Fact::Linked { conn, timeout } => {
                self.granted = *timeout;
                self.link = Some(Live {
                    conn: *conn,
                    timeout: *timeout,
                    last_sent: now,
                    last_received: now,
                    owed: VecDeque::new(),
                    has_ping: false,
                    is_proven: false,
                });
            }
            Fact::Suspended { cause, .. } => {
                self.dial_due = Some(now + self.pause_max());
                // Hanging up came before: what it was like is still known.
                let link = self.lost.take();
                let is_useless = link.as_ref().is_some_and(|link| !link.is_proven);
                self.failures += u32::from(is_useless && cause.kind != AttemptErrorKind::Moved);
                if cause.kind == AttemptErrorKind::Timeout
                    && let Some(link) = link
                    && now < link.last_received + link.timeout / 4
                {
                    return Err(format!(
                        "a server that answered at {:?} is not dead",
                        link.last_received
                    ));
                }
            }
            Fact::HungUp => self.lost = self.link.take().or_else(|| self.lost.take()),
            Fact::Expired { .. } => self.granted = self.session_timeout,
            Fact::Closed(_) => {
                self.link = None;
                self.dial_due = None;
            }
            Fact::Wrote {
                conn,
                frames,
                pings,
            } => {
                if let Some(link) = self.link.as_mut().filter(|link| link.conn == *conn) {
                    let interval = (link.timeout / 3).min(PING_MAX);
                    if *pings > 0 && now < link.last_sent + interval.mul_f64(0.8) {
                        return Err(format!(
                            "a ping {:?} after the last byte",
                            now - link.last_sent
                        ));
                    }
                    link.has_ping |= *pings > 0;
                    link.last_sent = now;
                    link.owed.extend(std::iter::repeat_n(now, *frames));
                }
            }
            Fact::Received {
                conn,
                answers,
                is_pong,
            } => {
                if let Some(link) = self.link.as_mut().filter(|link| link.conn == *conn) {
                    link.last_received = now;
                    link.has_ping &= !is_pong;
                    if *answers {
                        link.is_proven = true;
                        self.failures = 0;
                        link.owed.pop_front();
                    }
                }
            }
            Fact::Turned { .. } => {
                if let Some(due) = self.dial_due
                    && now > due
                {
                    return Err(format!("the next attempt was due at {due:?}"));
                }
                if let Some(link) = &self.link {
                    link.check(now)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Timing {
    /// Longest pause: a session is not lost to the client's own waiting.
    fn pause_max(&self) -> Duration {
        PAUSE_MAX.min(self.granted / 3)
    }
}

impl Live {
    fn check(&self, now: Time) -> Result<(), String> {
        let interval = (self.timeout / 3).min(PING_MAX);
        if !self.has_ping && now > self.last_sent + interval {
            return Err(format!("no byte was sent since {:?}", self.last_sent));
        }
        let silent = self.last_received + self.timeout * 2 / 3;
        let dead = match self.owed.front() {
            Some(sent) => silent.min(self.last_received.max(*sent) + self.timeout / 4),
            None => silent,
        };
        if now > dead {
            return Err(format!("the server is dead since {dead:?}"));
        }
        Ok(())
    }
}
