//! SIGKILL of the binary under load, again and again, judged by a client that counts.
//!
//! `ZK_KILLS=200 cargo test -p zk-server --test kill9 -- --nocapture` is the long form.

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::{Process, SOON, client, configure, start};
use tokio::sync::watch;
use tokio::task::JoinSet;
use zk_client::Client;

/// Writers at a time, each waiting for its answers.
const WRITERS: usize = 12;

/// What one writer knows when its server is gone.
#[derive(Debug, Default)]
struct Account {
    /// Steps that were acknowledged.
    acknowledged: u64,
    /// One more may have been done.
    tried: u64,
}

/// Number of kills; the seed of when they come is the round.
fn kills() -> u64 {
    let text = std::env::var("ZK_KILLS").unwrap_or_else(|_| "10".to_owned());
    text.parse().expect("ZK_KILLS is a number")
}

/// Each step creates two znodes and moves a counter, all of it or nothing. Ends with the server, or when it is
/// known to be gone: a step that was not sent would wait for another one.
async fn write(
    zk: Client,
    base: String,
    total: watch::Sender<u64>,
    mut life: watch::Receiver<()>,
) -> Account {
    let mut account = Account::default();
    loop {
        let step = account.tried;
        account.tried += 1;
        let (left, right) = (format!("{base}/a{step}"), format!("{base}/b{step}"));
        let step = zk
            .transaction()
            .create(&left, vec![b'l'; 100])
            .set(&base, step.to_string(), i32::try_from(step).expect("few"))
            .create(&right, vec![b'r'; 100])
            .timeout(SOON);
        let done = tokio::select! {
            biased;
            done = step => done.is_ok(),
            _ = life.changed() => false,
        };
        if !done {
            return account;
        }
        account.acknowledged += 1;
        total.send_modify(|total| *total += 1);
    }
}

/// Compares what is there with what a writer knows; how many steps were done.
async fn judge(zk: &Client, base: &str, account: &Account) -> u64 {
    let node = zk.get(base).await.expect("read").expect("the counter");
    let done = u64::try_from(node.stat.version.get()).expect("not negative");
    assert!(
        done >= account.acknowledged,
        "{base}: {account:?} acknowledged, {done} there"
    );
    assert!(
        done <= account.tried,
        "{base}: {account:?} tried, {done} there"
    );
    let children = zk.children(base).await.expect("read").expect("there");
    let mut wanted: Vec<String> = (0..done)
        .flat_map(|step| [format!("a{step}"), format!("b{step}")])
        .collect();
    let mut children = children;
    children.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(children, wanted, "{base}: a step was half applied");
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_acknowledged_step_and_halves_none() {
    let directory = tempfile::tempdir().expect("a directory");
    // Snapshots, new log files and purges come often enough to be killed in, too.
    configure(
        directory.path(),
        "snapCount=300\nautopurge.purgeInterval=1\nmaxClientCnxns=0",
    );
    let begun = Instant::now();
    let (mut acknowledged, mut unknown) = (0, 0);
    let mut history: BTreeMap<String, (Account, u64)> = BTreeMap::new();
    let mut random = 7_u64;
    let mut slowest = Duration::ZERO;
    for round in 0..=kills() {
        let starting = Instant::now();
        let process: Process = start(directory.path());
        slowest = slowest.max(starting.elapsed());
        let zk = client(process.address).await;
        // All of the last round, and a few of those before.
        let last = format!("/r{}-", round.saturating_sub(1));
        for (base, (account, done)) in &mut history {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            if base.starts_with(&last) {
                *done = judge(&zk, base, account).await;
                acknowledged += account.acknowledged;
                unknown += u64::from(*done > account.acknowledged);
            } else if (random >> 33).is_multiple_of(16) {
                assert_eq!(
                    judge(&zk, base, account).await,
                    *done,
                    "{base} changed later"
                );
            }
        }
        if round == kills() {
            break;
        }
        let (total, mut progress) = watch::channel(0);
        let (alive, life) = watch::channel(());
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let zk = client(process.address).await;
            let base = format!("/r{round}-w{writer}");
            zk.create(&base, "").await.expect("created");
            let (total, life) = (total.clone(), life.clone());
            writers.spawn(async move {
                let account = write(zk, base.clone(), total, life).await;
                (base, account)
            });
        }
        // The moment is drawn by steps, not by time: under any load something is going on then.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let moment = 50 + (random >> 33) % 900;
        let reached = progress.wait_for(|total| *total >= moment);
        let reached = tokio::time::timeout(SOON * 3, reached).await;
        reached.expect("in time").expect("somebody writes");
        process.kill();
        drop(alive);
        while let Some(joined) = writers.join_next().await {
            let (base, account) = joined.expect("no panic");
            history.insert(base, (account, 0));
        }
    }
    assert!(acknowledged > 0);
    println!(
        "{} kills in {:.0?}: {acknowledged} steps acknowledged, {unknown} more done, none lost, none \
         halved; slowest start {slowest:.0?}",
        kills(),
        begun.elapsed()
    );
}
