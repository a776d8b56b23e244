//! What makes a server a member of an ensemble: its place among the others, and its ports.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_core::ensemble::{EnsembleConfig, Member};
use zk_core::peer::{Event, MemberOptions};
use zk_core::tree::{CONFIG_PATH, Tree};
use zk_core::wire::quorum::LengthLimit;
use zk_proto::{ServerId, Zxid};

use super::error::StartError;
use super::listeners::{BACKLOG, listen};
use super::plan::SocketPlace;
use crate::config::{Config, DynamicFiles, Ensemble};
use crate::entropy::random;
use crate::net::election_mesh::{ElectionMesh, MeshEvent, MeshOptions};
use crate::net::leader_link::{LeaderLimits, LeaderLink};
use crate::net::learner_links::{LearnerLimits, LearnerLinks};
use crate::net::members::Members;
use crate::net::peer_sasl::PeerSasl;
use crate::net::peer_socket::{PeerAuth, PeerTls};
use crate::net::peers::Peers;
use crate::stage::core::CoreItem;
use crate::stage::intake::Intake;
use crate::stage::mailbox::Mailbox;
use crate::storage::RecoverOptions;

/// Pause between attempts to bind a port of ours.
const BIND_RETRY: Duration = Duration::from_secs(1);

/// Sockets that a member listens on, bound before anybody has to know their ports.
#[derive(Debug)]
pub struct MemberSockets {
    /// For learners.
    pub quorum: std::net::TcpListener,
    /// For elections.
    pub election: std::net::TcpListener,
}

/// A member before it runs.
pub(super) struct Membership {
    pub(super) me: ServerId,
    pub(super) options: MemberOptions,
    /// Where it keeps who the members are, if they change.
    pub(super) dynamic: Option<DynamicFiles>,
    tick: Duration,
    init_limit: u32,
    sync_limit: u32,
    cnx_timeout: Duration,
    handshake_timeout: Option<Duration>,
    auth: PeerAuth,
    quorum: Vec<TcpListener>,
    election: Vec<TcpListener>,
}

impl Membership {
    /// Takes the sockets, or binds the ports of the configuration.
    pub(super) async fn new(
        config: &Config,
        ensemble: &Ensemble,
        sockets: Option<MemberSockets>,
    ) -> Result<Self, StartError> {
        let version = i64::try_from(ensemble.version).unwrap_or(0);
        let members = EnsembleConfig::new(
            ensemble.members.iter().cloned(),
            ensemble.members.hierarchy().cloned(),
            Zxid::new(version),
        );
        let settings = &config.ensemble;
        let defaults = MemberOptions::new(Arc::new(members));
        let history = usize::try_from(config.storage.commit_log_count).unwrap_or(usize::MAX);
        let options = MemberOptions {
            init_limit: ensemble.init_limit.get(),
            sync_limit: ensemble.sync_limit.get(),
            connect_limit: ensemble.connect_limit.get(),
            notification_interval: (
                settings.min_notification_interval,
                settings.max_notification_interval,
            ),
            leader_serves: settings.leader_serves,
            read_only: settings.read_only_mode,
            local_sessions: settings.local_sessions_enabled,
            local_sessions_upgrading: settings.local_sessions_upgrading_enabled,
            force_snapshot: settings.force_snapshot_sync,
            history_count_max: defaults.history_count_max.max(history),
            seed: random(),
            ..defaults
        };
        let me = ensemble.my_id;
        let (quorum, election) = if let Some(sockets) = sockets {
            (vec![adopt(sockets.quorum)?], vec![adopt(sockets.election)?])
        } else {
            let member = options.config.member(me);
            let member = member.ok_or(StartError::NoMember { me })?;
            bind(member, config).await?
        };
        let dynamic = DynamicFiles::open(config, &options.config);
        Ok(Self {
            me,
            options,
            dynamic,
            tick: config.tick,
            init_limit: ensemble.init_limit.get(),
            sync_limit: ensemble.sync_limit.get(),
            cnx_timeout: settings.cnx_timeout,
            handshake_timeout: settings.quorum_cnxn_timeout,
            auth: PeerAuth::new(PeerTls::new(config)?, PeerSasl::new(config)?),
            quorum,
            election,
        })
    }

    /// Warns of members in the tree that count beside those of the files: without a quorum of both there
    /// is no leader. Right behind a change that is normal; behind a disaster, an operator who wrote other
    /// members into the files without a version waits for ever.
    pub(super) fn warn_of_younger_members(&self, tree: &Tree) {
        let files = &self.options.config;
        if let Some(known) = younger_members(files, tree).filter(|_| self.dynamic.is_some()) {
            tracing::warn!(
                files = files.text().replace('\n', ", "),
                known = known.text().replace('\n', ", "),
                "the members of the files are older than the known ones, a quorum of both is needed to \
                 lead (to go on without the known ones, give the files a higher version)"
            );
        }
    }

    /// Begins to listen and to dial.
    pub(super) fn start(
        self,
        core: &Arc<Mailbox<CoreItem>>,
        intake: Arc<Intake>,
        recover: &RecoverOptions,
        tasks: &TaskTracker,
        stopping: &CancellationToken,
    ) -> Peers {
        let members = Members::from(Arc::clone(&self.options.config));
        let bound = self.options.config.member(self.me).cloned();
        let length = LengthLimit(recover.entry_bytes_max);
        let patience = self.tick * self.init_limit;
        let sink = {
            let core = Arc::clone(core);
            move |event| {
                let event = match event {
                    MeshEvent::Received(from, notification) => {
                        Event::Election { from, notification }
                    }
                    MeshEvent::Reachable(peer) => Event::PeerReachable(peer),
                    MeshEvent::Unreachable(peer) => Event::PeerUnreachable(peer),
                };
                core.send([CoreItem::Event(event)]);
            }
        };
        let mesh = ElectionMesh::start(
            MeshOptions {
                me: self.me,
                members: members.clone(),
                auth: self.auth.clone(),
                connect_timeout: self.cnx_timeout,
                handshake_timeout: self
                    .handshake_timeout
                    .unwrap_or(self.tick * self.sync_limit),
            },
            self.election,
            Arc::new(sink),
            tasks,
            stopping,
        );
        let learners = LearnerLinks::start(
            self.quorum,
            (self.auth.clone(), members.clone()),
            Arc::clone(core),
            LearnerLimits { length, patience },
            stopping.clone(),
            tasks,
        );
        let limits = LeaderLimits {
            length,
            auth: self.auth,
            connect: self.tick * self.sync_limit,
            patience,
            tree: recover.tree,
            item_max: 2 * recover.entry_bytes_max,
        };
        let leader = LeaderLink::new(
            members.clone(),
            Arc::clone(core),
            intake,
            limits,
            stopping.clone(),
            tasks,
        );
        Peers {
            mesh,
            learners,
            leader,
            members,
            bound,
        }
    }
}

fn adopt(listener: std::net::TcpListener) -> Result<TcpListener, StartError> {
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|source| StartError::Listen {
            address: "a socket of the caller".to_owned(),
            source,
        })
}

/// Binds the quorum and election ports of a member. One that is still in use, by the process that
/// this one replaces, is tried again.
async fn bind(
    member: &Member,
    config: &Config,
) -> Result<(Vec<TcpListener>, Vec<TcpListener>), StartError> {
    let (mut quorum, mut election) = (Vec::new(), Vec::new());
    for address in &member.addresses {
        let host = (!config.ensemble.quorum_listen_on_all_ips).then(|| address.host.clone());
        let place = |port| SocketPlace {
            host: host.clone(),
            port,
        };
        quorum.push(bind_one(&place(address.quorum_port), config).await?);
        election.push(bind_one(&place(address.election_port), config).await?);
    }
    Ok((quorum, election))
}

/// # Source
/// Apache `ZooKeeper` 3.9, `QuorumCnxManager.Listener`: 0 tries for ever.
async fn bind_one(place: &SocketPlace, config: &Config) -> Result<TcpListener, StartError> {
    let tries = config.ensemble.election_port_bind_retry;
    let mut failed = 0;
    loop {
        let error = match listen(place, BACKLOG).await {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        failed += 1;
        let StartError::Listen { source, .. } = &error else {
            return Err(error);
        };
        if failed == tries || source.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        tracing::warn!(address = %place, err = %source, "port cannot be bound yet");
        tokio::time::sleep(BIND_RETRY).await;
    }
}

/// The members that a tree knows, if those of the files are others and older.
fn younger_members(files: &EnsembleConfig, tree: &Tree) -> Option<EnsembleConfig> {
    let znode = tree.get(CONFIG_PATH)?;
    let text = std::str::from_utf8(znode.data()?).ok()?;
    let known = EnsembleConfig::parse(text).ok()?;
    let is_younger = known.version() > files.version() && !known.has_same_members(files);
    is_younger.then_some(known)
}

#[cfg(test)]
mod tests {
    use zk_core::time::WallTime;
    use zk_core::tree::TreeOptions;

    use super::*;

    #[test]
    fn files_that_are_older_than_the_tree_are_noticed() {
        let config = |text: &str| EnsembleConfig::parse(text).expect("legal");
        let mut tree = Tree::new(TreeOptions::default());
        let one = config("server.1=h1:1:2");
        assert_eq!(younger_members(&one, &tree), None);
        let known = config("server.1=h1:1:2\nserver.2=h2:1:2\nversion=100000005");
        let now = WallTime::from_millis(1);
        tree.set_config(known.text().as_bytes(), known.version(), now);
        assert_eq!(younger_members(&one, &tree), Some(known.clone()));
        let younger = config("server.1=h1:1:2\nversion=100000006");
        assert_eq!(younger_members(&younger, &tree), None);
        let same = config("server.1=h1:1:2\nserver.2=h2:1:2");
        assert_eq!(younger_members(&same, &tree), None);
    }
}
