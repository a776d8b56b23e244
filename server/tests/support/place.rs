//! A directory that the binary's verbs work in.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A configuration directory, and the program that is called with it.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) port: u16,
}

/// What a call said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        let place = Self {
            directory: tempfile::tempdir().expect("a directory"),
            port,
        };
        let text = format!(
            "dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n\
             admin.enableServer=false\nautopurge.purgeInterval=1\n",
            place.data().display()
        );
        fs::write(place.path("zoo.cfg"), text).expect("written");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.data().join("zookeeper_server.pid")
    }

    pub(crate) fn pid(&self) -> String {
        fs::read_to_string(self.pid_file()).expect("a pid file")
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zkserver"));
        command
            .env("ZOOCFGDIR", self.directory.path())
            .env("ZOO_LOG_DIR", self.path("logs"))
            .env_remove("ZOOCFG")
            .env_remove("ZOOPIDFILE")
            .env_remove("ZOO_DATADIR_AUTOCREATE_DISABLE")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        said(self.command().args(arguments).output().expect("ran"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.run(&["stop"]);
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
        code: output.status.code(),
    }
}
