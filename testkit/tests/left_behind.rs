//! What is left of an ensemble that is dropped: nothing. Alone in its process, so that every thread and
//! file of a server is one of this ensemble.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use zk_testkit::Ensemble;

/// Long enough for whatever is to happen soon.
const SOON: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_behind() {
    let sockets_before = sockets();
    let builder = Ensemble::builder().config("4lw.commands.whitelist", "conf");
    let ensemble = builder.start().await.expect("started");
    let directory = data_dir(&ensemble).await;
    assert!(directory.is_dir());
    assert!(threads() > 0 && sockets() > sockets_before);
    drop(ensemble);
    until("its threads are gone", || threads() == 0).await;
    until("its ports are free", || sockets() <= sockets_before).await;
    until("its directory is gone", || !directory.exists()).await;
}

/// The directory of the first server.
async fn data_dir(ensemble: &Ensemble) -> PathBuf {
    let address = ensemble.client_link(0).addr();
    let mut socket = TcpStream::connect(address).await.expect("connected");
    socket.write_all(b"conf").await.expect("asked");
    let mut conf = String::new();
    socket.read_to_string(&mut conf).await.expect("answered");
    let line = conf.lines().find_map(|line| line.strip_prefix("dataDir="));
    Path::new(line.expect("it says where it writes")).to_owned()
}

/// How many threads of servers there are.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("this process");
    let names = tasks.flatten().map(|task| task.path().join("comm"));
    // One that ends meanwhile has no name.
    let names = names.filter_map(|name| fs::read_to_string(name).ok());
    names.filter(|name| name.starts_with("zk-")).count()
}

/// How many sockets are open.
fn sockets() -> usize {
    let files = fs::read_dir("/proc/self/fd").expect("this process");
    let files = files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok());
    let names = files.map(|file| file.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("socket:")).count()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        sleep(Duration::from_millis(2)).await;
    }
}
