//! Our own server as a process.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::error::LoadError;

/// A standalone `zkserver` on loopback; killed when dropped.
#[derive(Debug)]
pub struct Zkserver {
    program: PathBuf,
    directory: PathBuf,
    address: SocketAddr,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl Zkserver {
    /// Writes the configuration for the binary `program` into `directory`, where its data will be,
    /// too; `lines` are added to it.
    ///
    /// # Errors
    /// [`LoadError::Start`].
    pub fn new(program: &Path, directory: &Path, lines: &str) -> Result<Self, LoadError> {
        let config = directory.join("zoo.cfg");
        let failed = |source| LoadError::Start {
            path: config.clone(),
            source,
        };
        // Free a moment ago, and so it will be: nobody else on this machine is given it so soon.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let text = format!(
            "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\ntickTime=2000\n\
             maxSessionTimeout=3600000\nmaxClientCnxns=0\nadmin.enableServer=false\n{lines}\n",
            directory.join("data").display(),
            address.port(),
        );
        fs::write(&config, text).map_err(failed)?;
        Ok(Self {
            program: program.into(),
            directory: directory.into(),
            address,
            environment: Vec::new(),
            child: None,
        })
    }

    /// Sets a variable of its environment.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.into(), value.into()));
    }

    /// Starts the process; does not wait for it to serve.
    ///
    /// # Errors
    /// [`LoadError::Start`].
    pub fn launch(&mut self) -> Result<(), LoadError> {
        let failed = |source: io::Error| LoadError::Start {
            path: self.program.clone(),
            source,
        };
        let log = fs::File::create(self.directory.join("server.log")).map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .arg("start-foreground")
            .arg(self.directory.join("zoo.cfg"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.child = Some(command.spawn().map_err(failed)?);
        Ok(())
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process, if it was launched.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it wrote to its standard error, or nothing.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("server.log")).unwrap_or_default()
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Drop for Zkserver {
    fn drop(&mut self) {
        self.kill();
    }
}
