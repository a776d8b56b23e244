//! What an ensemble looks like, whichever program serves it: sizes, times, directories, ports and
//! `zoo.cfg`.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::ports::free_port;
use super::properties::Properties;
use super::server::{Addrs, Launch, Server};
use super::{Ensemble, LaunchError};

/// How often the ensemble is started on other ports when somebody else takes one of them.
const ATTEMPTS_MAX: usize = 4;

/// The largest number of voters.
pub(crate) const VOTERS_MAX: usize = 5;

/// The largest number of observers.
const OBSERVERS_MAX: usize = 16;

/// What all builders collect.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) voters: usize,
    pub(super) observers: usize,
    pub(super) tick_time: Duration,
    pub(super) session_timeouts: Option<(Duration, Duration)>,
    pub(super) start_within: Duration,
    /// Lines of `zoo.cfg` that win over ours.
    pub(super) config: Properties,
    /// Variables of the servers' environment.
    pub(super) env: Vec<(&'static str, String)>,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) tls: Option<TlsFiles>,
    /// Quorum and election port at which the first server reaches the second, if not its own.
    pub(super) dials: BTreeMap<(usize, usize), (u16, u16)>,
}

/// Files for the TLS client port of each server.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// PEM file with the server's certificate chain and its private key (PKCS#8, not encrypted).
    pub keystore_pem: PathBuf,
    /// PEM file with the certificates that clients' certificates must chain to.
    pub truststore_pem: PathBuf,
    /// Whether clients must show a certificate.
    pub client_auth: bool,
}

/// The ports of one server.
#[derive(Debug, Clone, Copy)]
struct Ports {
    client: u16,
    secure: Option<u16>,
    quorum: u16,
    election: u16,
}

/// The program of the servers.
pub(super) trait Program {
    /// Prefix of the name of a temporary directory.
    const PREFIX: &'static str;

    /// Writes what the program wants beside `zoo.cfg`, and tells how it is started. Of several
    /// ways, the first is taken until another is chosen.
    fn prepare(&self, dir: &Path, config_file: &Path) -> Result<Vec<Launch>, LaunchError>;
}

impl Layout {
    pub(super) fn new() -> Self {
        Self {
            voters: 1,
            observers: 0,
            tick_time: Duration::from_millis(200),
            session_timeouts: None,
            start_within: Duration::from_mins(1),
            config: Properties::default(),
            env: Vec::new(),
            data_dir: None,
            tls: None,
            dials: BTreeMap::new(),
        }
    }

    /// Starts the ensemble on other ports as long as somebody else takes one of them.
    pub(super) async fn start<P: Program>(&self, program: &P) -> Result<Ensemble, LaunchError> {
        self.start_as(program, |_| ()).await
    }

    /// Starts the ensemble after a last look at it.
    pub(super) async fn start_as<P: Program>(
        &self,
        program: &P,
        choose: impl Fn(&Ensemble),
    ) -> Result<Ensemble, LaunchError> {
        let mut attempt = 1;
        loop {
            let ensemble = self.prepare(program)?;
            choose(&ensemble);
            match ensemble.start_all(self.start_within).await {
                Ok(()) => return Ok(ensemble),
                Err(err @ LaunchError::PortTaken { .. }) if attempt < ATTEMPTS_MAX => {
                    tracing::info!(attempt, err = %err, "starting again on other ports");
                    attempt += 1;
                }
                Err(err) => return Err(err),
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), LaunchError> {
        let reason = if self.voters == 0 || self.voters > VOTERS_MAX {
            "there must be 1 to 5 voters"
        } else if self.observers > OBSERVERS_MAX {
            "there can be at most 16 observers"
        } else if self.tick_time < Duration::from_millis(1) {
            "the tick must be at least 1 ms"
        } else {
            return Ok(());
        };
        Err(LaunchError::Layout {
            voters: self.voters,
            observers: self.observers,
            reason,
        })
    }

    /// Chooses ports and writes the files of all servers.
    pub(super) fn prepare<P: Program>(&self, program: &P) -> Result<Ensemble, LaunchError> {
        let (base, temp_dir) = self.base_dir(P::PREFIX)?;
        let ports = self.choose_ports()?;
        let servers = (1..)
            .zip(&ports)
            .map(|(id, own)| self.prepare_server(program, &base, id, *own, &ports))
            .collect::<Result<_, _>>()?;
        Ok(Ensemble::new(servers, temp_dir))
    }

    fn base_dir(&self, prefix: &str) -> Result<(PathBuf, Option<TempDir>), LaunchError> {
        if let Some(dir) = &self.data_dir {
            create_dir(dir)?;
            // The servers run in directories of their own, so a relative path would not do.
            let dir = dir
                .canonicalize()
                .map_err(|source| unprepared(dir, source))?;
            return Ok((dir, None));
        }
        let temp =
            TempDir::with_prefix(prefix).map_err(|source| unprepared(&env::temp_dir(), source))?;
        Ok((temp.path().to_path_buf(), Some(temp)))
    }

    fn choose_ports(&self) -> Result<Vec<Ports>, LaunchError> {
        (0..self.voters + self.observers)
            .map(|_| {
                Ok(Ports {
                    client: free_port()?,
                    secure: self.tls.as_ref().map(|_| free_port()).transpose()?,
                    quorum: free_port()?,
                    election: free_port()?,
                })
            })
            .collect()
    }

    fn prepare_server<P: Program>(
        &self,
        program: &P,
        base: &Path,
        id: u32,
        own: Ports,
        all: &[Ports],
    ) -> Result<Server, LaunchError> {
        let dir = base.join(format!("server-{id}"));
        let data_dir = dir.join("data");
        create_dir(&data_dir)?;
        write(&data_dir.join("myid"), &format!("{id}\n"))?;
        let config_file = dir.join("zoo.cfg");
        write(
            &config_file,
            &self.zoo_cfg(&data_dir, id, own, all).to_string(),
        )?;
        let programs = program.prepare(&dir, &config_file)?;
        let addrs = Addrs {
            client: loopback(own.client),
            secure: own.secure.map(loopback),
            peers: [loopback(own.quorum), loopback(own.election)],
        };
        Ok(Server::new(
            id,
            addrs,
            data_dir,
            dir.join("server.log"),
            programs,
            self.env.clone(),
        ))
    }

    fn zoo_cfg(&self, data_dir: &Path, id: u32, own: Ports, all: &[Ports]) -> Properties {
        let mut cfg = Properties::default();
        cfg.set("tickTime", self.tick_time.as_millis());
        cfg.set("initLimit", self.ticks_in(Duration::from_secs(30)));
        cfg.set("syncLimit", self.ticks_in(Duration::from_secs(4)));
        cfg.set("dataDir", data_dir.display());
        // Four-letter words count as connections, and tests open many from one address.
        cfg.set("maxClientCnxns", 0);
        // A server that looks for a leader for long falls back to asking once a minute.
        cfg.set("fastleader.maxNotificationInterval", 1000);
        if let Some((min, max)) = self.session_timeouts {
            cfg.set("minSessionTimeout", min.as_millis());
            cfg.set("maxSessionTimeout", max.as_millis());
        }
        if let (Some(tls), Some(port)) = (&self.tls, own.secure) {
            cfg.set("secureClientPort", port);
            cfg.set("secureClientPortAddress", Ipv4Addr::LOCALHOST);
            cfg.set(
                "serverCnxnFactory",
                "org.apache.zookeeper.server.NettyServerCnxnFactory",
            );
            cfg.set("ssl.keyStore.location", tls.keystore_pem.display());
            cfg.set("ssl.keyStore.type", "PEM");
            cfg.set("ssl.trustStore.location", tls.truststore_pem.display());
            cfg.set("ssl.trustStore.type", "PEM");
            cfg.set(
                "ssl.clientAuth",
                if tls.client_auth { "need" } else { "none" },
            );
            cfg.set("ssl.enabledProtocols", "TLSv1.3,TLSv1.2");
        }
        if all.len() == 1 {
            cfg.set("clientPort", own.client);
            cfg.set("clientPortAddress", Ipv4Addr::LOCALHOST);
        } else {
            // Refused by the server only for one voter with observers, which is legal without it.
            cfg.set("standaloneEnabled", self.voters > 1);
            for (index, ports) in all.iter().enumerate() {
                let role = if index < self.voters {
                    "participant"
                } else {
                    "observer"
                };
                let Ports {
                    client,
                    quorum,
                    election,
                    ..
                } = ports;
                let from = id.saturating_sub(1) as usize;
                let dial = self.dials.get(&(from, index));
                let (quorum, election) = dial.copied().unwrap_or((*quorum, *election));
                let host = Ipv4Addr::LOCALHOST;
                cfg.set(
                    format!("server.{}", index + 1),
                    format!("{host}:{quorum}:{election}:{role};{host}:{client}"),
                );
            }
        }
        cfg.set_all(&self.config);
        cfg
    }

    /// Whole ticks in `time`, but some at least.
    fn ticks_in(&self, time: Duration) -> u128 {
        (time.as_millis() / self.tick_time.as_millis().max(1)).max(5)
    }
}

/// `program` with `args`, so that the kernel ends it when we die in a way that runs no drop.
pub(super) fn tied_to_us(program: &Path, setpriv: Option<&Path>) -> (PathBuf, Vec<OsString>) {
    match setpriv {
        Some(setpriv) => {
            let args = ["--pdeathsig", "KILL"].map(OsString::from);
            let args = args.into_iter().chain([program.into()]).collect();
            (setpriv.to_path_buf(), args)
        }
        None => (program.to_path_buf(), Vec::new()),
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

pub(super) fn create_dir(path: &Path) -> Result<(), LaunchError> {
    fs::create_dir_all(path).map_err(|source| unprepared(path, source))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), LaunchError> {
    fs::write(path, text).map_err(|source| unprepared(path, source))
}

fn unprepared(path: &Path, source: std::io::Error) -> LaunchError {
    LaunchError::Prepare {
        path: path.to_path_buf(),
        source,
    }
}

/// A program on `PATH`.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
