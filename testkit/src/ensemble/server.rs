//! One server: its place on disk, its addresses, its process.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::child::Process;
use super::four_letter;
use super::{EnsembleError, LaunchError};

/// How often a condition is looked at while it is waited for.
const POLL: Duration = Duration::from_millis(5);

/// How long a server may take to end by itself after SIGTERM before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(15);

/// How long the kernel may take to carry out a signal that no process can refuse.
const SIGNAL_GRACE: Duration = Duration::from_secs(10);

/// First and longest time given to one `srvr` of a readiness probe.
///
/// Apache `ZooKeeper` 3.8 can leave a four-letter word unanswered for ever when it arrives before the
/// database is there (`NIOServerCnxn#close` fails on it and the socket stays open), so a probe gives
/// up early and asks again; it becomes more patient for the sake of slow machines.
pub(super) const PROBE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often the log of a server that does not serve is looked at.
const LOG_LOOK: Duration = Duration::from_secs(2);

/// How much of a log is shown: bytes and lines.
const LOG_TAIL: (u64, usize) = (64 * 1024, 60);

/// A server of an [`Ensemble`](super::Ensemble), running or not.
#[derive(Debug)]
pub struct Server {
    pub(super) id: u32,
    addrs: Addrs,
    pub(super) data_dir: PathBuf,
    pub(super) log_file: PathBuf,
    /// The programs that it can be; never empty.
    programs: Vec<Launch>,
    /// Which of them is launched next.
    chosen: AtomicUsize,
    /// Added to the environment.
    env: Vec<(&'static str, String)>,
    /// Length of the log when the process was last launched.
    log_start: AtomicU64,
    /// Critical sections only look or replace; none waits.
    process: Mutex<Option<Arc<Process>>>,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addrs {
    pub(super) client: SocketAddr,
    pub(super) secure: Option<SocketAddr>,
    /// For quorum and election; only of a member.
    pub(super) peers: [SocketAddr; 2],
}

/// How to start the process of a server, any number of times.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) dir: PathBuf,
}

impl Server {
    pub(super) fn new(
        id: u32,
        addrs: Addrs,
        data_dir: PathBuf,
        log_file: PathBuf,
        programs: Vec<Launch>,
        env: Vec<(&'static str, String)>,
    ) -> Self {
        let (log_start, process) = (AtomicU64::new(0), Mutex::new(None));
        Self {
            id,
            addrs,
            data_dir,
            log_file,
            programs,
            chosen: AtomicUsize::new(0),
            env,
            log_start,
            process,
        }
    }

    /// Where clients connect in plain text.
    pub fn client_addr(&self) -> SocketAddr {
        self.addrs.client
    }

    /// Where clients connect with TLS, if the ensemble was built with it.
    pub fn secure_addr(&self) -> Option<SocketAddr> {
        self.addrs.secure
    }

    /// Where the other members find it: its quorum and its election port.
    pub fn peer_addrs(&self) -> [SocketAddr; 2] {
        self.addrs.peers
    }

    /// The line that makes it a member of an ensemble, with this role.
    pub fn member_line(&self, role: &str) -> String {
        let Addrs {
            client,
            peers: [quorum, election],
            ..
        } = self.addrs;
        let (id, election) = (self.id, election.port());
        format!("server.{id}={quorum}:{election}:{role};{client}")
    }

    /// The `dataDir` of its configuration.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its server id, the content of `myid`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its process, if it runs (a paused one does).
    pub fn pid(&self) -> Option<u32> {
        self.running().map(|process| process.pid())
    }

    /// Whether it is stopped by [`pause`](super::Ensemble::pause).
    pub fn is_paused(&self) -> bool {
        self.running().is_some_and(|process| process.is_stopped())
    }

    /// The last lines of what it wrote to its standard output and error, over all its starts.
    pub fn log(&self) -> String {
        self.log_since(0)
    }

    /// Makes this program the one that is launched from now on.
    pub(super) fn choose(&self, program: usize) {
        assert!(program < self.programs.len(), "no program {program}");
        self.chosen.store(program, Ordering::Relaxed);
    }

    fn next_program(&self) -> &Launch {
        let chosen = self.chosen.load(Ordering::Relaxed);
        self.programs
            .get(chosen)
            .expect("checked when it was chosen")
    }

    /// Creates the process; does not wait for it to serve.
    pub(super) async fn launch(&self) -> Result<(), LaunchError> {
        if let Some(pid) = self.pid() {
            return Err(LaunchError::AlreadyRunning { id: self.id, pid });
        }
        let (out, err) = self.open_log().map_err(|source| LaunchError::Prepare {
            path: self.log_file.clone(),
            source,
        })?;
        let launch = self.next_program();
        let mut command = Command::new(&launch.program);
        command.args(&launch.args).current_dir(&launch.dir);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        for ambient in [
            "CLASSPATH",
            "JAVA_TOOL_OPTIONS",
            "JDK_JAVA_OPTIONS",
            "_JAVA_OPTIONS",
            "JVMFLAGS",
            "SERVER_JVMFLAGS",
        ] {
            command.env_remove(ambient);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let name = format!("server-{}", self.id);
        let process = Process::spawn(name, command)
            .await
            .map_err(|source| LaunchError::Spawn {
                id: self.id,
                program: launch.program.clone(),
                source,
            })?;
        tracing::debug!(sid = self.id, pid = process.pid(), "server launched");
        *self.process() = Some(Arc::new(process));
        Ok(())
    }

    /// Waits until `srvr` tells a mode.
    pub(super) async fn serving(&self, within: Duration) -> Result<(), LaunchError> {
        let deadline = Instant::now() + within;
        let mut patience = PROBE.0;
        let mut poll = poll();
        let mut answer = String::from("none");
        let mut next_look = Instant::now() + LOG_LOOK;
        while Instant::now() < deadline {
            poll.tick().await;
            self.check_alive()?;
            if Instant::now() >= next_look {
                self.check_leader_port()?;
                next_look += LOG_LOOK;
            }
            match four_letter::ask(self.addrs.client, "srvr", patience).await {
                Ok(reply) if four_letter::field(&reply, "Mode").is_some() => {
                    return self.check_identity().await;
                }
                Ok(reply) => reply.trim().clone_into(&mut answer),
                Err(err) => {
                    if err.kind() == io::ErrorKind::TimedOut {
                        patience = (patience * 2).min(PROBE.1);
                    }
                    answer = err.to_string();
                }
            }
        }
        let log = self.log();
        Err(LaunchError::NotServing {
            id: self.id,
            waited: within,
            answer,
            log,
        })
    }

    /// Lets no file of the process grow beyond `bytes` any more, as a full disk would.
    pub(super) fn limit_files(&self, bytes: u64) -> Result<(), EnsembleError> {
        let process = self
            .running()
            .ok_or(EnsembleError::NotRunning { id: self.id })?;
        process
            .limit_files(bytes)
            .map_err(|source| EnsembleError::Limit {
                id: self.id,
                pid: process.pid(),
                source,
            })
    }

    /// SIGTERM, then SIGKILL if that does not help.
    pub(super) async fn stop(&self) -> Result<(), EnsembleError> {
        let process = self
            .running()
            .ok_or(EnsembleError::NotRunning { id: self.id })?;
        self.send(&process, Signal::SIGTERM)?;
        // A paused process acts on SIGTERM only when it goes on. An error means that it has ended.
        drop(process.signal(Signal::SIGCONT));
        if timeout_at(Instant::now() + STOP_GRACE, process.ended())
            .await
            .is_err()
        {
            tracing::warn!(sid = self.id, pid = process.pid(), "server ignores SIGTERM");
            return self.kill().await;
        }
        tracing::debug!(sid = self.id, "server stopped");
        Ok(())
    }

    /// SIGKILL.
    pub(super) async fn kill(&self) -> Result<(), EnsembleError> {
        let process = self
            .running()
            .ok_or(EnsembleError::NotRunning { id: self.id })?;
        self.send(&process, Signal::SIGKILL)?;
        let ended = timeout_at(Instant::now() + SIGNAL_GRACE, process.ended()).await;
        ended.map_err(|_| self.unresponsive(&process, Signal::SIGKILL))?;
        tracing::debug!(sid = self.id, "server killed");
        Ok(())
    }

    /// SIGSTOP; returns when all threads of the process stand still.
    pub(super) async fn pause(&self) -> Result<(), EnsembleError> {
        self.stop_or_continue(Signal::SIGSTOP, true).await
    }

    /// SIGCONT.
    pub(super) async fn resume(&self) -> Result<(), EnsembleError> {
        self.stop_or_continue(Signal::SIGCONT, false).await
    }

    /// Sends SIGKILL without waiting; the drop of the process waits.
    pub(super) fn condemn(&self) {
        if let Some(process) = self.running() {
            // An error means that it ended in between.
            drop(process.signal(Signal::SIGKILL));
        }
    }

    async fn stop_or_continue(&self, signal: Signal, stopped: bool) -> Result<(), EnsembleError> {
        let process = self
            .running()
            .ok_or(EnsembleError::NotRunning { id: self.id })?;
        self.send(&process, signal)?;
        let deadline = Instant::now() + SIGNAL_GRACE;
        let mut poll = poll();
        while process.is_stopped() != stopped {
            if Instant::now() >= deadline {
                return Err(self.unresponsive(&process, signal));
            }
            poll.tick().await;
        }
        tracing::debug!(sid = self.id, signal = signal.as_str(), "server signalled");
        Ok(())
    }

    fn send(&self, process: &Process, signal: Signal) -> Result<(), EnsembleError> {
        process
            .signal(signal)
            .map_err(|source| EnsembleError::Signal {
                id: self.id,
                pid: process.pid(),
                signal: signal.as_str(),
                source,
            })
    }

    fn unresponsive(&self, process: &Process, signal: Signal) -> EnsembleError {
        EnsembleError::Unresponsive {
            id: self.id,
            pid: process.pid(),
            signal: signal.as_str(),
            waited: SIGNAL_GRACE,
        }
    }

    /// Fails when the process has ended or can never come to serve.
    fn check_alive(&self) -> Result<(), LaunchError> {
        let process = self.process().as_ref().map(Arc::clone);
        let Some(status) = process.and_then(|process| process.exit_status()) else {
            return Ok(());
        };
        let log = self.log_since_launch();
        // What Java says, and what the system says to others.
        let taken = ["java.net.BindException", "Address already in use"];
        if taken.iter().any(|words| log.contains(words)) {
            return Err(LaunchError::PortTaken { id: self.id, log });
        }
        Err(LaunchError::Exited {
            id: self.id,
            status,
            log,
        })
    }

    /// Fails when the server cannot lead because its quorum port is taken: such a server goes on
    /// electing itself for ever instead of ending.
    fn check_leader_port(&self) -> Result<(), LaunchError> {
        let log = self.log_since_launch();
        if log.contains("Couldn't bind to") {
            return Err(LaunchError::PortTaken { id: self.id, log });
        }
        Ok(())
    }

    /// Fails when the server that answers on our client port is somebody else's, who took the port
    /// between our choice and our bind.
    async fn check_identity(&self) -> Result<(), LaunchError> {
        let conf = four_letter::ask(self.addrs.client, "conf", PROBE.1)
            .await
            .unwrap_or_default();
        let data_dir = conf.lines().find_map(|line| line.strip_prefix("dataDir="));
        match data_dir {
            Some(dir) if !Path::new(dir).starts_with(&self.data_dir) => {
                Err(LaunchError::PortTaken {
                    id: self.id,
                    log: self.log(),
                })
            }
            // Without `conf` on the whitelist there is nothing to compare.
            Some(_) | None => Ok(()),
        }
    }

    fn running(&self) -> Option<Arc<Process>> {
        let process = self.process();
        process
            .as_ref()
            .filter(|process| process.exit_status().is_none())
            .map(Arc::clone)
    }

    fn process(&self) -> MutexGuard<'_, Option<Arc<Process>>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log twice, for standard output and standard error.
    fn open_log(&self) -> io::Result<(File, File)> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log_file)?;
        self.log_start
            .store(log.metadata()?.len(), Ordering::Relaxed);
        let again = log.try_clone()?;
        Ok((log, again))
    }

    fn log_since_launch(&self) -> String {
        self.log_since(self.log_start.load(Ordering::Relaxed))
    }

    fn log_since(&self, start: u64) -> String {
        read_tail(&self.log_file, start).unwrap_or_else(|err| format!("(log not readable: {err})"))
    }
}

/// A ticker for loops that look at a condition.
pub(super) fn poll() -> tokio::time::Interval {
    let mut poll = interval(POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    poll
}

/// The last lines of a file, of what comes after `start`.
fn read_tail(path: &Path, start: u64) -> io::Result<String> {
    let (bytes_max, lines_max) = LOG_TAIL;
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(bytes_max).max(start)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines
        .get(lines.len().saturating_sub(lines_max)..)
        .unwrap_or_default();
    Ok(tail.join("\n"))
}
