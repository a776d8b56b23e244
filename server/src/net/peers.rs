//! The other members of the ensemble, as the core thread reaches them.

use zk_core::ensemble::{Configs, Member};
use zk_core::peer::{LinkId, NetAction, SnapshotId};
use zk_core::tree::Tree;

use super::election_mesh::ElectionMesh;
use super::leader_link::LeaderLink;
use super::learner_links::{CaptureLease, LearnerLinks};
use super::members::{Members, moved};

/// Everything on the quorum and election ports. Nothing here waits.
pub(crate) struct Peers {
    pub(crate) mesh: ElectionMesh,
    pub(crate) learners: LearnerLinks,
    pub(crate) leader: LeaderLink,
    /// Known to all three.
    pub(crate) members: Members,
    /// This server as it listens; none if it was no member when it started.
    pub(crate) bound: Option<Member>,
}

impl Peers {
    /// Carries out an action of the net lane.
    pub(crate) fn perform(&self, action: NetAction) {
        match action {
            NetAction::SendElection { to, notification } => self.mesh.send(to, &notification),
            NetAction::Configure(configs) => self.configure(configs),
            NetAction::Listen(is_listening) => {
                if is_listening {
                    self.leader.forget_trees();
                }
                self.learners.listen(is_listening);
            }
            NetAction::SendLearner { link, packet } => self.learners.send(link, packet),
            NetAction::SendCommits { link, first, last } => {
                self.learners.send_commits(link, first, last);
            }
            NetAction::StreamSnapshot { link, zxid } => self.learners.stream_snapshot(link, zxid),
            NetAction::DropLearner { link } => self.learners.drop_link(link),
            NetAction::ConnectLeader { attempt, leader } => self.leader.connect(attempt, leader),
            NetAction::SendLeader { attempt, packet } => self.leader.send(attempt, packet),
            NetAction::DropLeader { attempt } => self.leader.drop_link(attempt),
        }
    }

    fn configure(&self, configs: Configs) {
        let before = self.members.current();
        let now = configs.current();
        if let Some(line) = self.bound.as_ref().and_then(|it| moved(it, &before, now)) {
            tracing::warn!(
                server = %line,
                "this server is to listen elsewhere, and does so when it is started again"
            );
        }
        self.members.set(configs);
    }

    /// The capture that the stream of a link waits for.
    pub(crate) fn captured(&self, link: LinkId, lease: CaptureLease) {
        self.learners.captured(link, lease);
    }

    /// A tree that a leader sent, once.
    pub(crate) fn take_tree(&self, snapshot: SnapshotId) -> Option<Tree> {
        self.leader.take_tree(snapshot)
    }
}
