//! A disk that is slow to sync: a library between a server and its C library.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// Delays each call that makes a file durable by a millisecond.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static void pause_1_ms(void) {
    struct timespec span = {0, 1000000};
    nanosleep(&span, 0);
}

int fdatasync(int fd) {
    static int (*next)(int);
    if (!next) next = dlsym(RTLD_NEXT, "fdatasync");
    pause_1_ms();
    return next(fd);
}

int fsync(int fd) {
    static int (*next)(int);
    if (!next) next = dlsym(RTLD_NEXT, "fsync");
    pause_1_ms();
    return next(fd);
}
"#;

/// The library, there as long as this is.
pub(crate) struct SlowSync {
    pub(crate) path: PathBuf,
    _directory: TempDir,
}

/// Builds it with the C compiler of the machine.
pub(crate) fn build() -> anyhow::Result<SlowSync> {
    let directory = TempDir::with_prefix("zk-slow-sync-")?;
    let source = directory.path().join("slow_sync.c");
    let path = directory.path().join("slow_sync.so");
    std::fs::write(&source, SOURCE)?;
    let status = Command::new("cc")
        .args(["-O2", "-shared", "-fPIC", "-o"])
        .arg(&path)
        .arg(&source)
        .arg("-ldl")
        .status()
        .context("the rows with a slow disk need a C compiler, `cc`")?;
    ensure!(status.success(), "the C compiler failed");
    Ok(SlowSync {
        path,
        _directory: directory,
    })
}
