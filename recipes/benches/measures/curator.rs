//! The same on Apache's server, by our lock and by Curator's: Debian's `zookeeper`,
//! `libcurator-recipes-java` and a JDK are needed.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::process::Command;
use zk_client::Client;
use zk_testkit::ensemble::reference::Reference;

use super::{CONTENDERS, Outcome, TURNS, contend};

/// What Curator needs to run, below `/usr/share/java`.
const JARS: [&str; 8] = [
    "curator-client",
    "curator-framework",
    "curator-recipes",
    "zookeeper",
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-nop",
    "guava",
];

/// Runs of each, one after the other in turns.
const RUNS: usize = 3;

/// On a server as it comes, which waits for its disk at each write, and on one that does not, so that the
/// locks are what is compared.
pub(super) async fn compare() -> Outcome {
    let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("curator");
    compile(&classes).await?;
    compare_on("yes", &classes).await?;
    compare_on("no", &classes).await
}

async fn compare_on(force_sync: &str, classes: &Path) -> Outcome {
    let server = Reference::builder()
        .session_timeouts(Duration::from_millis(400), Duration::from_mins(1))
        .config("tickTime", 200)
        .config("maxClientCnxns", 0)
        .jvm_flag(format!("-Dzookeeper.forceSync={force_sync}"))
        .start()
        .await?;
    let servers = server.connect_string();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        ours.push(our_turn(&servers).await?);
        theirs.push(their_turn(classes, &servers).await?);
    }
    let (ours, theirs) = (super::median(ours), super::median(theirs));
    println!(
        "Apache's server    forceSync={force_sync}, {CONTENDERS} want a lock: {ours:.1?} a turn, \
         Curator {} {theirs:.1?}: {:.1} times its rate",
        version()?,
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// The version of Debian's Curator, which its jars are linked by.
fn version() -> Outcome<String> {
    let prefix = "curator-recipes-";
    for entry in fs::read_dir("/usr/share/java")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let version = name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(".jar"));
        if let Some(version) = version {
            return Ok(version.to_owned());
        }
    }
    Err("no jar of Curator: libcurator-recipes-java is missing".into())
}

fn class_path(classes: &Path) -> String {
    let jars = JARS.map(|jar| format!("/usr/share/java/{jar}.jar"));
    format!("{}:{}", classes.display(), jars.join(":"))
}

async fn compile(classes: &Path) -> Outcome {
    fs::create_dir_all(classes)?;
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/measures/Contend.java");
    let compiled = Command::new("javac")
        .args(["-d", &classes.display().to_string()])
        .args(["-cp", &class_path(classes), source])
        .status()
        .await?;
    compiled.success().then_some(()).ok_or("javac fails")?;
    Ok(())
}

async fn our_turn(servers: &str) -> Outcome<Duration> {
    let clients = try_join_all((0..CONTENDERS).map(|_| Client::connect(servers))).await?;
    // As the other does.
    contend(&clients, "/warm").await?;
    let each = contend(&clients, "/contended").await?;
    for zk in clients {
        zk.close(Duration::from_secs(5)).await;
    }
    Ok(each)
}

async fn their_turn(classes: &Path, servers: &str) -> Outcome<Duration> {
    let output = Command::new("java")
        .args(["-cp", &class_path(classes), "Contend", servers])
        .args([CONTENDERS.to_string(), TURNS.to_string()])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8(output.stdout)?;
    Ok(Duration::from_nanos(said.trim().parse()?))
}
