//! What is between members: votes, links, trees, and what is cut.

use std::num::NonZeroU64;

use zk_proto::{ServerId, Zxid};

use crate::peer::*;
use crate::wire::quorum::{LeaderPacket, LearnerPacket};

use super::World;

impl World {
    /// Breaks what connects two members on quorum ports.
    pub(crate) fn disconnect(&mut self, a: i64, b: i64) {
        for (leader, learner) in [(a, b), (b, a)] {
            let member = self.members.get_mut(&leader).unwrap();
            let links: Vec<LinkId> = member
                .learners
                .iter()
                .filter(|(_, (other, _))| *other == learner)
                .map(|(&link, _)| link)
                .collect();
            for link in links {
                self.close(leader, link);
            }
        }
    }

    /// Cuts a member off from another, or from all.
    pub(crate) fn isolate(&mut self, id: i64) {
        for other in self.ids() {
            if other != id {
                self.cut.insert((id, other));
                self.cut.insert((other, id));
                self.disconnect(id, other);
            }
        }
    }

    fn is_stalled(&self, a: i64, b: i64) -> bool {
        self.stalled.contains(&a) || self.stalled.contains(&b)
    }

    pub(super) fn close(&mut self, leader: i64, link: LinkId) {
        let member = self.members.get_mut(&leader).unwrap();
        let Some((learner, attempt)) = member.learners.remove(&link) else {
            return;
        };
        self.queue.push_back((leader, Event::LearnerDown { link }));
        let member = self.members.get_mut(&learner).unwrap();
        if member.leader.is_some_and(|(.., other)| other == link) {
            member.leader = None;
        }
        self.queue
            .push_back((learner, Event::LeaderDown { attempt }));
    }

    pub(super) fn send(&mut self, id: i64, action: NetAction) {
        match action {
            NetAction::SendElection { to, notification } => {
                let to = to.get();
                let is_there = self.members[&to].peer.is_some();
                if !is_there {
                    let gone = Event::PeerUnreachable(ServerId::new(to));
                    self.queue.push_back((id, gone));
                } else if !self.cut.contains(&(id, to)) {
                    let from = ServerId::new(id);
                    self.queue
                        .push_back((to, Event::Election { from, notification }));
                }
            }
            NetAction::Configure(configs) => {
                let member = self.members.get_mut(&id).unwrap();
                member.configure(configs);
            }
            NetAction::Listen(is_listening) => {
                self.members.get_mut(&id).unwrap().is_listening = is_listening;
            }
            NetAction::SendLearner { link, packet } => {
                let learner = self.members[&id].learners.get(&link).copied();
                if let Some((to, attempt)) = learner.filter(|(to, _)| !self.is_stalled(id, *to)) {
                    let packet = packet.to_wire();
                    let packet = LeaderPacket::from_wire(packet).unwrap();
                    self.queue
                        .push_back((to, Event::LeaderPacket { attempt, packet }));
                }
            }
            NetAction::SendCommits { link, first, last } => {
                for zxid in (first.get()..=last.get()).map(Zxid::new) {
                    let packet = LeaderPacket::Commit { zxid };
                    self.send(id, NetAction::SendLearner { link, packet });
                }
            }
            NetAction::StreamSnapshot { link, zxid } => {
                let member = self.members.get_mut(&id).unwrap();
                let captured = member.captured.remove(&link).unwrap();
                assert_eq!(captured.0, zxid);
                if let Some(&(to, attempt)) = member.learners.get(&link) {
                    self.links += 1;
                    let snapshot = SnapshotId::new(self.links);
                    let other = self.members.get_mut(&to).unwrap();
                    other.received.insert(snapshot, captured);
                    let packet = LeaderPacket::Snap { zxid };
                    self.queue
                        .push_back((to, Event::LeaderPacket { attempt, packet }));
                    self.queue
                        .push_back((to, Event::LeaderSnapshot { attempt, snapshot }));
                    self.queue.push_back((id, Event::SnapshotSent { link }));
                }
            }
            NetAction::DropLearner { link } => self.close(id, link),
            NetAction::ConnectLeader { attempt, leader } => {
                let leader = leader.get();
                let other = &self.members[&leader];
                let is_there =
                    other.peer.is_some() && other.is_listening && !self.cut.contains(&(id, leader));
                if !is_there {
                    self.queue.push_back((id, Event::LeaderDown { attempt }));
                    return;
                }
                self.links += 1;
                let link = LinkId::new(NonZeroU64::new(self.links).unwrap());
                let other = self.members.get_mut(&leader).unwrap();
                other.learners.insert(link, (id, attempt));
                self.queue.push_back((leader, Event::LearnerUp { link }));
                self.members.get_mut(&id).unwrap().leader = Some((leader, attempt, link));
                self.queue.push_back((id, Event::LeaderUp { attempt }));
            }
            NetAction::SendLeader { attempt, packet } => {
                if let Some((leader, current, link)) = self.members[&id].leader
                    && current == attempt
                    && !self.is_stalled(id, leader)
                {
                    let packet = LearnerPacket::from_wire(packet.to_wire()).unwrap();
                    self.queue
                        .push_back((leader, Event::LearnerPacket { link, packet }));
                }
            }
            NetAction::DropLeader { attempt } => {
                if let Some((leader, current, link)) = self.members[&id].leader
                    && current == attempt
                {
                    self.close(leader, link);
                }
            }
        }
    }
}
