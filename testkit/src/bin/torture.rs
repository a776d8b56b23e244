//! Tortures servers, and judges them.
#![expect(
    clippy::print_stdout,
    reason = "a command that reports to whoever runs it"
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use zk_testkit::torture::{Plan, run};

const USAGE: &str = "\
usage: torture [--servers N[,N…]] [--secs T] [--phase T] [--seed S] [--dir PATH] [--zkserver PATH]

  --servers N,N…   servers of the ensembles, in turn (3,5)
  --secs T         how long in all (60)
  --phase T        how long with one ensemble (1200)
  --seed S         what faults and choices are drawn from (from the clock)
  --dir PATH       where servers keep their files (a temporary directory)
  --zkserver PATH  the server (the one beside this program)

Ends with 0 if all laws held, with 1 if one did not or there is no verdict, and with 3 if there were
troubles only: faults that could not be done, and waits that were given up or took long.";

/// What the command ends with when there were troubles only.
const TROUBLES: u8 = 3;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let plan = parse(std::env::args().skip(1))?;
    println!("{}", replay(&plan));
    let summary = run(&plan, |line| println!("{line}")).await?;
    for trouble in &summary.troubles {
        println!("trouble: {trouble}");
    }
    println!("{summary}");
    println!("{}", replay(&plan));
    ensure!(summary.slices > 0, "nothing was judged");
    Ok(if !summary.violations.is_empty() {
        ExitCode::FAILURE
    } else if summary.troubles.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(TROUBLES)
    })
}

fn replay(plan: &Plan) -> String {
    let servers: Vec<String> = plan.servers.iter().map(ToString::to_string).collect();
    format!(
        "cargo run --release -p zk-testkit --bin torture -- --servers {} --secs {} --phase {} --seed {}",
        servers.join(","),
        plan.time.as_secs(),
        plan.phase.as_secs(),
        plan.seed
    )
}

fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Plan> {
    let beside = std::env::current_exe()?.with_file_name("zkserver");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut plan = Plan {
        binary: beside,
        servers: vec![3, 5],
        time: Duration::from_mins(1),
        phase: Duration::from_mins(20),
        seed: now.as_secs(),
        directory: std::env::temp_dir().join(format!("zk-torture-{}", std::process::id())),
    };
    while let Some(arg) = args.next() {
        if matches!(arg.as_str(), "--help" | "-h") {
            println!("{USAGE}");
            std::process::exit(0);
        }
        let value = args
            .next()
            .with_context(|| format!("{arg} needs a value\n{USAGE}"))?;
        let number = || -> anyhow::Result<u64> {
            value
                .parse()
                .with_context(|| format!("{value:?} is no number"))
        };
        match arg.as_str() {
            "--servers" => {
                let counts = value.split(',').map(str::parse);
                plan.servers = counts.collect::<Result<_, _>>()?;
                let possible = plan.servers.iter().all(|count| (2..=5).contains(count));
                ensure!(possible, "there can be 2 to 5 servers");
            }
            "--secs" => plan.time = Duration::from_secs(number()?),
            "--phase" => plan.phase = Duration::from_secs(number()?),
            "--seed" => plan.seed = number()?,
            "--dir" => plan.directory = PathBuf::from(&value),
            "--zkserver" => plan.binary = PathBuf::from(&value),
            other => bail!("{other} is not an option\n{USAGE}"),
        }
    }
    let binary = plan.binary.display();
    ensure!(
        plan.binary.is_file(),
        "there is no {binary}: cargo build --release -p zk-server makes it"
    );
    Ok(plan)
}
