//! Faults, as the plan has them.

use zk_core::peer::Event;
use zk_core::session::SessionTimeout;

use super::event::Happening;
use super::plan::Fault;
use super::schedule::Micros;
use super::service::ToServer;
use super::trace::say;
use super::world::World;
use crate::check::Verdict;

/// Timeout of the sessions of a flood, in milliseconds.
const FLOOD_TIMEOUT_MS: i32 = 2_000;

impl World {
    /// Lets a fault happen.
    pub(crate) fn fault(&mut self, place: usize) -> Verdict {
        let Some(&(_, fault)) = self.plan.faults.get(place) else {
            return Ok(());
        };
        if self.is_healed {
            return Ok(());
        }
        let now = self.schedule.now();
        let end = self.plan.safety;
        let until = |span: u64| (now + span).min(end);
        self.faults_done += 1;
        say!(self, "fault: {fault:?}");
        match fault {
            Fault::Crash { member, down } => self.crash(member, down),
            Fault::CrashLeader { down } => self.crash_leader(down),
            Fault::CrashElected { times, down } => {
                self.elected_die = (times, down);
                self.crash_leader(down);
            }
            Fault::CrashAt {
                member,
                step,
                side,
                down,
            } => self.member(member).dies_at = Some((step, side, down)),
            Fault::Stop { member, .. } => {
                if self.peek(member).is_up() && !self.peek(member).is_paused {
                    self.coverage.note("fault: stop");
                    return self.tell(member, Event::ShutdownRequested);
                }
            }
            Fault::Pause { member, span } => {
                if self.peek(member).is_up() && !self.peek(member).is_paused {
                    self.coverage.note("fault: pause");
                    self.member(member).is_paused = true;
                    self.schedule.at(until(span), Happening::Resume(member));
                }
            }
            Fault::Cut {
                from,
                to,
                both,
                span,
            } => {
                self.coverage.note(if both {
                    "fault: cut"
                } else {
                    "fault: one-way cut"
                });
                self.set_cut(from, to, until(span));
                if both {
                    self.set_cut(to, from, until(span));
                }
            }
            Fault::Isolate { member, span } => {
                self.coverage.note("fault: isolation");
                for other in (0..self.plan.count()).filter(|other| *other != member) {
                    self.set_cut(member, other, until(span));
                    self.set_cut(other, member, until(span));
                }
            }
            Fault::Reset { member } => {
                self.coverage.note("fault: reset");
                self.reset_links_of(member);
            }
            Fault::SlowDisk { member, by, span } => {
                self.coverage.note("fault: slow disk");
                self.member(member).slow_disk = (by, until(span));
            }
            Fault::SlowApply { member, by, span } => {
                self.coverage.note("fault: slow tree");
                self.member(member).slow_apply = (by, until(span));
            }
            Fault::ClockJump { member, by_ms } => self.set_clock(member, by_ms),
            Fault::Change { client, parts } => self.ask_for_members(client, parts),
            Fault::MoveClients => {
                self.coverage.note("fault: all clients move");
                for client in 0..self.clients.len() {
                    self.move_client(client);
                }
                self.reset_all_outside();
            }
            Fault::Flood { member, sessions } => {
                self.coverage.note("fault: flood of sessions");
                for _ in 0..sessions {
                    // Nobody reads what comes back: these sessions end when they run out.
                    let conn = self.connect(usize::MAX, member);
                    if let Some(conn) = self.conns.get_mut(conn) {
                        conn.client_open = false;
                    }
                    let hello = ToServer::Hello {
                        session: None,
                        timeout: SessionTimeout::from_millis(FLOOD_TIMEOUT_MS),
                        last: zk_proto::Zxid::ZERO,
                    };
                    self.send_to_server(conn, hello);
                }
            }
        }
        Ok(())
    }

    fn crash_leader(&mut self, down: Micros) {
        let leads = |place: &u8| self.peek(*place).leads.is_some();
        if let Some(leader) = (0..self.plan.count()).find(leads) {
            self.coverage.note("fault: death of the leader");
            self.crash(leader, down);
        }
    }

    /// Sets the clock on the wall of a member by so much.
    pub(crate) fn set_clock(&mut self, member: u8, by_ms: i64) {
        self.coverage.note("fault: clock jump");
        self.member(member).clock.jump(by_ms);
    }

    /// All faults are over: what is cut is joined, who stands still goes on, who is down starts.
    pub(crate) fn heal(&mut self) {
        say!(self, "healed");
        self.is_healed = true;
        // Nobody can be well who is given less time than everything takes.
        self.plan.net.accept = (50, 500);
        self.plan.disk.sync.1 = self.plan.disk.sync.1.min(5_000);
        self.plan.disk.apply = (1, 500);
        self.plan.disk.batch = 100;
        self.plan.disk.snapshot = (1, 500);
        self.plan.disk.snapshot_chunk = 10_000;
        self.heal_cuts();
        self.elected_die = (0, 0);
        for place in 0..self.plan.count() {
            let member = self.member(place);
            member.dies_at = None;
            member.slow_disk = (0, 0);
            member.slow_apply = (0, 0);
            self.schedule.after(0, Happening::Resume(place));
            self.schedule.after(1_000, Happening::Start(place));
        }
        for client in &mut self.clients {
            client.heal();
        }
    }
}
