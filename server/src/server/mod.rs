//! A whole server, as a value.

mod builder;
mod error;
mod listeners;
mod member;
mod plan;

pub use self::builder::Builder;
pub use self::error::StartError;
pub use self::member::MemberSockets;
pub use crate::stage::fail_stop::StopCause;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_core::peer::{Actions, Event, Peer, PeerOptions, PeerStatus, RecoveredEpochs};
use zk_proto::{ServerId, Zxid};

use self::listeners::{Addresses, Listeners};
use self::member::Membership;
use self::plan::Plan;
use crate::audit::Audit;
use crate::config::{Config, Topology};
use crate::entropy::random;
use crate::faults::{FaultDisk, Faults};
use crate::metrics::{Basic, Metrics};
use crate::net::admission::Admission;
use crate::net::connections::Connections;
use crate::net::delivery::{Delivery, Scratch};
use crate::net::service::{Service, Stats};
use crate::net::tally::Tally;
use crate::net::throttle::Throttle;
use crate::shared_tree::SharedTree;
use crate::stage::apply::{ApplyStage, Captures};
use crate::stage::clock::{Clock, wall};
use crate::stage::core::{CoreItem, CoreStage, MAILBOX_MAX};
use crate::stage::digests::Digests;
use crate::stage::fail_stop::{FailStop, chain};
use crate::stage::heard::Heard;
use crate::stage::intake::{self, Intake};
use crate::stage::log::{LogStage, Patience};
use crate::stage::log_reader::LogReader;
use crate::stage::mailbox::Mailbox;
use crate::stage::owner::{Owner, Owners};
use crate::stage::snapshot::SnapshotStage;
use crate::storage::{FileLog, Name, RecoverReport, StdDisk, recover};

/// How long connections may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a server that is told to stop may take to finish what it has begun.
const HAND_OVER: Duration = Duration::from_secs(2);

/// A running server. Dropped, it stops; [`Server::shutdown`] also waits until it has.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = zk_server::Server::builder().start().await?;
/// let address = server.client_address();
/// assert!(address.ip().is_loopback() && address.port() != 0);
/// server.shutdown().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    addresses: Addresses,
    fail_stop: Arc<FailStop>,
    tree: Arc<SharedTree>,
    core: Arc<Mailbox<CoreItem>>,
    status: Arc<Mutex<PeerStatus>>,
    /// Cancelled when the core has come to rest, as it was told to.
    at_rest: CancellationToken,
    tasks: TaskTracker,
    threads: Vec<JoinHandle<()>>,
    /// Removed with the server.
    temporary: Option<tempfile::TempDir>,
    /// Who tells of changes, if that is wanted, until it has told of the stop.
    audit: Option<Arc<Audit>>,
}

impl Server {
    /// Sets up a server in this process.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where clients connect to: the plaintext port, or the TLS port if there is no other.
    pub fn client_address(&self) -> SocketAddr {
        let Addresses { plain, secure, .. } = self.addresses;
        // A server without both is not started.
        plain
            .or(secure)
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Where clients connect to with TLS, if there is such a port.
    pub fn secure_client_address(&self) -> Option<SocketAddr> {
        self.addresses.secure
    }

    /// Where the admin server listens, if it does.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.addresses.admin
    }

    /// Where metrics are exported, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.addresses.exporter
    }

    /// Last transaction applied.
    pub fn last_zxid(&self) -> Zxid {
        self.tree.applied()
    }

    /// What the server is to the others, and how far its transactions are.
    pub fn status(&self) -> PeerStatus {
        *self.status.lock()
    }

    /// Completes when the server stops, by itself or because it was told to.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn stopped(&self) {
        self.fail_stop.stopping().cancelled().await;
    }

    /// Stops the server and waits until its threads are gone and its files are closed. What was
    /// acknowledged is on disk in any case.
    ///
    /// # Errors
    ///
    /// If the server had stopped by itself: why.
    ///
    /// # Cancel safety
    ///
    /// The server stops all the same.
    pub async fn shutdown(mut self) -> Result<(), Arc<StopCause>> {
        self.tell_of_stop();
        // A leader hands over, so that the others need not find out that it is gone.
        self.core.send([CoreItem::Event(Event::ShutdownRequested)]);
        let stopping = self.fail_stop.stopping();
        tokio::select! {
            () = self.at_rest.cancelled() => {}
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(HAND_OVER) => {
                tracing::warn!("the server did not come to rest in time");
            }
        }
        self.fail_stop.stop();
        if tokio::time::timeout(DRAIN, self.tasks.wait())
            .await
            .is_err()
        {
            let count = self.tasks.len();
            tracing::warn!(count, "connections did not end in time");
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || join(threads)).await;
        if joined.is_err() {
            tracing::warn!("the threads of the server could not be joined");
        }
        match self.fail_stop.cause() {
            Some(cause) => Err(cause),
            None => Ok(()),
        }
    }

    fn tell_of_stop(&mut self) {
        if let Some(audit) = self.audit.take() {
            audit.stopping();
        }
    }

    /// Everything but the acceptance of clients.
    async fn prepare(
        config: Config,
        faults: Faults,
        sockets: Option<MemberSockets>,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<(Self, Listeners, Arc<Service>), StartError> {
        let plan = Plan::new(&config)?;
        let tls = plan::tls(&config)?;
        let sasl = plan::sasl(&config)?;
        let listeners = Listeners::bind(&config).await?;
        let addresses = listeners.addresses();

        let membership = match &config.topology {
            Topology::Standalone => None,
            Topology::Ensemble(ensemble) => {
                Some(Membership::new(&config, ensemble, sockets).await?)
            }
        };

        // Reading a large state takes long, and blocks.
        let begun = Instant::now();
        let disk_faults = faults.clone();
        let recover_options = plan.recover;
        let recovering = tokio::task::spawn_blocking(move || {
            let disk = FaultDisk {
                disk: StdDisk::open(&plan.dirs)?,
                faults: disk_faults,
            };
            let recovered = recover(&disk, &plan.recover)?;
            let log = FileLog::open(disk.clone(), plan.log, recovered.tree.applied())?;
            Ok::<_, StartError>((disk, recovered, log))
        });
        let (disk, recovered, log) = match recovering.await {
            Ok(recovered) => recovered?,
            Err(_panic) => return Err(StopCause::Panic { thread: "recovery" }.into()),
        };
        report(&recovered.report);
        let metrics = Arc::new(Metrics::default());
        metrics.add(
            Basic::Dbinittime,
            u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
        metrics.add(Basic::StartupTxnsLoaded, recovered.report.replayed);
        let snapshot = recovered.report.snapshot;
        let snapshot = snapshot.or_else(|| recovered.report.written.map(|(name, _)| name));
        if let Some(zxid) = snapshot.and_then(Name::as_snapshot) {
            metrics.snapshot_written(zxid, wall().as_millis());
        }

        let clock = Clock::start();
        let access = plan::access(&config);
        let options = PeerOptions {
            server: membership.as_ref().map_or(ServerId::new(1), |one| one.me),
            tick: config.tick,
            session_salt: u16::try_from(random() & 0xffff).unwrap_or(0),
            prep: plan::prep_options(&config, access.clone()),
            reap_interval: config.limits.container_check_interval,
            reap_max: plan::reap_max(&config),
        };
        let tree = recovered.tree;
        let peer = match &membership {
            None => Peer::new(options, clock.now(), &tree)?,
            Some(membership) => {
                let epochs = recovered.epochs.map(|epochs| RecoveredEpochs {
                    accepted: epochs.accepted(),
                    current: epochs.current(),
                });
                let member = membership.options.clone();
                Peer::member(
                    options,
                    member,
                    epochs.unwrap_or_default(),
                    clock.now(),
                    &tree,
                )?
            }
        };
        if let Some(membership) = &membership {
            membership.warn_of_younger_members(&tree);
        }
        let status = Arc::new(Mutex::new(peer.status()));
        let mut tree = SharedTree::new(tree, random());
        if let Some(membership) = &membership {
            let config = Arc::clone(&membership.options.config);
            tree = tree.with_config(config, membership.dynamic.is_some());
        }
        let tree = Arc::new(tree);
        let heard = Arc::new(Heard::default());
        let in_flight_max = plan::in_flight_max(&config);
        let admission = Arc::new(Admission::new(in_flight_max, &config.throttle));
        let connections = Arc::new(Connections::new(Arc::clone(&admission)));
        let fail_stop = Arc::new(FailStop::new());
        let wants_audit = config.service.audit_enabled;
        let audit = wants_audit.then(|| Arc::new(Audit::new(access.schemes.clone())));

        let core_box = Arc::new(Mailbox::with_faults(MAILBOX_MAX, faults.clone()));
        // These take from the core only, which takes no more in than its own bound and the permits,
        // and one order of an operator at a time.
        let log_box = Arc::new(Mailbox::with_faults(usize::MAX, faults.clone()));
        let intake = Arc::new(Intake::new(intake::BYTES_MAX));
        let apply_box = Arc::new(Mailbox::with_faults(usize::MAX, faults.clone()));
        let snapshot_box = Arc::new(Mailbox::with_faults(1, faults.clone()));
        let boxes = (
            Arc::clone(&core_box),
            Arc::clone(&log_box),
            Arc::clone(&apply_box),
            Arc::clone(&snapshot_box),
        );
        let known = Arc::clone(&connections);
        fail_stop.on_stop(move || {
            for conn in known.all() {
                conn.outbox.abort();
            }
        });
        fail_stop.on_stop(move || {
            boxes.0.close();
            boxes.1.close();
            boxes.2.close();
            boxes.3.close();
            faults.let_go();
        });

        let tasks = TaskTracker::new();
        let dynamic = membership.as_ref().and_then(|one| one.dynamic.clone());
        let peers = membership.map(|membership| {
            let stopping = fail_stop.stopping();
            let intake = Arc::clone(&intake);
            Arc::new(membership.start(&core_box, intake, &recover_options, &tasks, stopping))
        });
        let members = peers.as_ref().map(|peers| peers.members.clone());
        let captures = Captures::default();
        let tally = Tally {
            stats: Arc::new(Stats::default()),
            metrics: Arc::clone(&metrics),
            tree: Arc::clone(&tree),
            clock,
        };
        let log_reader = LogReader {
            disk: disk.clone(),
            core: Arc::clone(&core_box),
            entry_bytes_max: recover_options.entry_bytes_max,
        };
        let at_rest = CancellationToken::new();
        let snapshot_stage = SnapshotStage {
            disk: disk.clone(),
            log: Arc::clone(&log_box),
            is_obsolete: Arc::clone(&captures.is_obsolete),
            tree: Arc::clone(&tree),
            mailbox: Arc::clone(&snapshot_box),
            apply: Arc::clone(&apply_box),
            compression: plan::compression(&config),
            purge: plan::purge(&config),
            purge_bytes_max: config.purge.max_bytes.map(std::num::NonZeroU64::get),
            has_last_zxid: config.storage.serialize_last_processed_zxid,
            metrics: Arc::clone(&metrics),
        };
        let apply_stage = ApplyStage {
            tree: Arc::clone(&tree),
            mailbox: Arc::clone(&apply_box),
            core: Arc::clone(&core_box),
            log: Arc::clone(&log_box),
            snapshots: snapshot_box,
            connections: Arc::clone(&connections),
            access: access.clone(),
            admission: Arc::clone(&admission),
            pace: plan::snapshot_pace(&config),
            peers: peers.clone(),
            captures,
            digests: Digests::new(Arc::clone(&metrics)),
            answer: BytesMut::new(),
            audit: audit.clone(),
            lines: Vec::new(),
            delivery: Delivery {
                tally: tally.clone(),
                runtime: Handle::current(),
                tasks: tasks.clone(),
            },
            scratch: Scratch::default(),
        };
        let mut core_stage = CoreStage {
            peer,
            tree: Arc::clone(&tree),
            log: Arc::clone(&log_box),
            apply: Arc::clone(&apply_box),
            heard: Arc::clone(&heard),
            connections: Arc::clone(&connections),
            status: Arc::clone(&status),
            intake: Arc::clone(&intake),
            kept: 0,
            clock,
            peers,
            read_log: Box::new(move |range| log_reader.start(range)),
            audit: audit.clone(),
            at_rest: at_rest.clone(),
            appends: Vec::new(),
            out: Actions::default(),
        };
        core_stage.start();
        let owners = Arc::new(Owners {
            core: Owner::new(core_stage, Arc::clone(&core_box), &fail_stop),
            apply: Owner::new(apply_stage, Arc::clone(&apply_box), &fail_stop),
        });
        let helped = Arc::clone(&owners);
        let log_stage = LogStage {
            disk,
            log,
            epochs: recovered.epochs,
            dynamic,
            recover: recover_options,
            apply: Arc::clone(&apply_box),
            mailbox: log_box,
            core: Arc::clone(&core_box),
            intake,
            help: Box::new(move || helped.help()),
            slow: config.storage.fsync_warning_threshold,
            delay: config.storage.flush_delay,
            poll: config
                .storage
                .max_write_queue_poll_time
                .unwrap_or(config.storage.flush_delay / 3),
            patience: Patience::default(),
            batch_max: usize::try_from(config.storage.max_batch_size).unwrap_or(usize::MAX),
            metrics: Arc::clone(&metrics),
        };
        let service = Arc::new(Service {
            port: addresses.plain.map(|address| address.port()),
            secure_port: addresses.secure.map(|address| address.port()),
            tls,
            handshaking: AtomicUsize::new(0),
            throttle: Throttle::new(&config.throttle, Instant::now(), random()),
            metrics: Arc::clone(&metrics),
            bounds: plan::bounds(&config)?,
            access,
            sasl,
            wanted_schemes: plan::wanted_schemes(&config),
            tree: Arc::clone(&tree),
            core: core_box,
            apply: apply_box,
            owners: Arc::clone(&owners),
            heard,
            connections,
            admission,
            status,
            fail_stop: Arc::clone(&fail_stop),
            clock,
            members,
            tally,
            audit: audit.clone(),
            config,
        });
        // From here on dropping the server stops what runs already.
        let mut server = Self {
            addresses,
            fail_stop: Arc::clone(&fail_stop),
            tree,
            tasks,
            core: Arc::clone(&service.core),
            status: Arc::clone(&service.status),
            at_rest,
            threads: Vec::new(),
            temporary,
            audit,
        };
        let stopping = fail_stop.stopping().clone();
        let is_stopping = move || stopping.is_cancelled();
        let snapshot = fail_stop.spawn("snapshot", move || snapshot_stage.run(is_stopping))?;
        server.threads.push(snapshot);
        server
            .threads
            .push(fail_stop.spawn("log", move || log_stage.run())?);
        let applying = Arc::clone(&owners);
        server.threads.push(fail_stop.spawn("apply", move || {
            applying.attend_apply();
            Ok(())
        })?);
        server.threads.push(fail_stop.spawn("core", move || {
            owners.attend_core();
            Ok(())
        })?);
        let address = server.client_address();
        tracing::info!(%address, zxid = %server.last_zxid(), "serving");
        Ok((server, listeners, service))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell_of_stop();
        self.fail_stop.stop();
        join(std::mem::take(&mut self.threads));
        drop(self.temporary.take());
    }
}

/// Waits for threads; their panics were reported by themselves.
fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        thread.join().ok();
    }
}

/// Tells the operator what recovery found.
fn report(report: &RecoverReport) {
    let snapshot = report.snapshot.map(|name| name.to_string());
    let snapshot = snapshot.as_deref().unwrap_or("none");
    tracing::info!(snapshot, count = report.replayed, "state recovered");
    for error in &report.skipped {
        tracing::warn!(err = %chain(error), "snapshot passed over");
    }
    if let Some((name, offset, damage)) = &report.tail.torn {
        tracing::warn!(%name, offset, err = %damage, "torn end of the log passed over");
    }
    if let Some(mismatch) = &report.mismatch {
        tracing::error!(zxid = %mismatch.zxid, "digest of the tree differs from the log's");
    }
    if report.orphans > 0 {
        tracing::warn!(
            count = report.orphans,
            "ephemeral znodes without a session deleted"
        );
    }
}

#[cfg(test)]
mod tests;
