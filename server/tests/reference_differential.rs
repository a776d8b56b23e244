//! Random requests to Apache's server and to ours: no answer may differ, but for what `QUIRKS.md`
//! tells.
//!
//! Without a variable the same scripts are played every time. `DIFFERENTIAL_SEED=n` plays one;
//! `DIFFERENTIAL_SECS=n` plays new ones for so long, from the seed that the clock says or
//! `DIFFERENTIAL_FROM=n`; `DIFFERENTIAL_ALL=1` does not make what it finds short, but goes on on new
//! servers and tells all at the end.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]
#![expect(clippy::print_stderr, reason = "seeds are to be seen")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zk_testkit::differential::{Difference, Pair, Quirk, Script, Tally, shrink};
use zk_testkit::ensemble::Ensemble;
use zk_testkit::ensemble::process::ZkServer;
use zk_testkit::ensemble::reference::Reference;

/// Scripts that are tried to make one that fails shorter.
const SHRINK_BUDGET: usize = 60;

/// Scripts that are played when nothing is asked for.
const SCRIPTS: u64 = 800;

/// Lines of `zoo.cfg` for both servers: nothing happens by the clock, and quotas are enforced. The
/// digest is that of `super:secret`.
const CONFIG: [(&str, &str); 6] = [
    ("znode.container.checkIntervalMs", "2000000000"),
    ("enforceQuota", "true"),
    ("forceSync", "no"),
    ("maxSessionTimeout", "120000"),
    ("preAllocSize", "1024"),
    (
        "DigestAuthenticationProvider.superDigest",
        "super:lK75jTNcA+U9vtVEw5vB51mj/w4=",
    ),
];

/// Both servers, empty.
struct Servers {
    theirs: Ensemble,
    ours: Ensemble,
}

impl Servers {
    async fn start() -> Self {
        let (mut theirs, mut ours) = (
            Reference::builder().jvm_flag("-Dznode.container.checkIntervalMs=2000000000"),
            ZkServer::builder(env!("CARGO_BIN_EXE_zkserver"))
                .property("znode.container.checkIntervalMs", "2000000000"),
        );
        for (key, value) in CONFIG.into_iter().skip(1) {
            theirs = theirs.config(key, value);
            ours = ours.config(key, value);
        }
        Self {
            theirs: theirs.start().await.unwrap(),
            ours: ours.start().await.unwrap(),
        }
    }

    fn pair(&self) -> Pair {
        let addr = |ensemble: &Ensemble| ensemble.server(0).client_addr();
        Pair::new(addr(&self.theirs), addr(&self.ours), "super:secret").unwrap()
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap())
}

/// Makes a script that fails shorter on servers of its own, and fails.
fn report(seed: u64, script: &Script, difference: Difference) -> ! {
    let handle = tokio::runtime::Handle::current();
    let (script, difference) = shrink(script, difference, SHRINK_BUDGET, |script| {
        let servers = tokio::task::block_in_place(|| handle.block_on(Servers::start()));
        servers.pair().play(script, &mut Tally::default()).unwrap()
    });
    for (number, step) in script.steps.iter().enumerate() {
        eprintln!("{number}: {step:?}");
    }
    panic!(
        "seed {seed}, {:?}: {difference}\nDIFFERENTIAL_SEED={seed} cargo test -p zk-server \
         --test reference_differential random_requests",
        script.flavour
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn random_requests_have_the_same_answers() {
    let clock = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
            * 1_000_000
    };
    let secs = variable("DIFFERENTIAL_SECS");
    let (first, scripts) = match (variable("DIFFERENTIAL_SEED"), secs) {
        (Some(one), _) => (one, 1),
        (None, Some(_)) => (
            variable("DIFFERENTIAL_FROM").unwrap_or_else(clock),
            u64::MAX,
        ),
        (None, None) => (1, SCRIPTS),
    };
    let limit = secs.map_or(Duration::MAX, Duration::from_secs);
    eprintln!("seeds from {first}");
    let finds_all = variable("DIFFERENTIAL_ALL").is_some();
    let mut servers = Servers::start().await;
    let mut pair = servers.pair();
    let mut found = Vec::new();
    let (begun, mut tally, mut seed) = (Instant::now(), Tally::default(), first);
    while seed - first < scripts && begun.elapsed() < limit {
        let script = Script::new(seed);
        let played = pair.play(&script, &mut tally).unwrap_or_else(|err| {
            let logs = [&servers.theirs, &servers.ours].map(|servers| servers.logs(0));
            panic!("seed {seed}: {err}\ntheirs: {}\nours: {}", logs[0], logs[1]);
        });
        if let Some(difference) = played {
            eprintln!("seed {seed}: {difference}");
            if finds_all {
                found.push(seed);
                servers = Servers::start().await;
                pair = servers.pair();
                seed += 1;
                continue;
            }
            report(seed, &script, difference);
        }
        if tally.scripts % 500 == 0 {
            eprintln!("{seed}: {tally:?}");
        }
        seed += 1;
    }
    eprintln!("seeds {first} to {seed}: {tally:?}");
    assert_eq!(found, [0; 0], "seeds that differ");
    assert!(tally.succeeded * 4 > tally.requests, "{tally:?}");
}

#[test]
fn every_quirk_is_in_the_register() {
    let register = include_str!("../QUIRKS.md");
    let headings: BTreeSet<_> = register
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    for quirk in Quirk::ALL {
        assert!(headings.contains(quirk.name()), "{}", quirk.name());
    }
}
