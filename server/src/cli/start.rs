//! `start`: a server in the background.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::pid_file::{self, Found};
use super::place::Place;
use super::{complain, say, say_begun};

/// How long a server has to live to count as started.
const ALIVE: Duration = Duration::from_secs(1);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);
/// What the program writes in front of the reason when it ends.
pub(super) const REASON: &str = "zkserver: ";

/// Starts a server; returns when it serves, has lived for a second, or is gone. With `wait` it has
/// to serve within that time.
pub(super) fn start(place: &Place, wait: Option<Duration>) -> u8 {
    if let Some(complaint) = place.missing_directory() {
        say(complaint);
        return 1;
    }
    say_begun("Starting zookeeper");
    if let Found::Running(pid) = pid_file::read(&place.pid_file) {
        say(format_args!(
            "already running as process {}.",
            pid.as_raw_nonzero()
        ));
        return 1;
    }
    let mut child = match spawn(place) {
        Ok(child) => child,
        Err(error) => {
            say("SERVER DID NOT START");
            complain(format_args!("{REASON}{error}"));
            return 1;
        }
    };
    if let Err(error) = pid_file::write(&place.pid_file, child.id()) {
        say("FAILED TO WRITE PID");
        complain(format_args!(
            "{REASON}cannot write {}: {error}",
            place.pid_file.display()
        ));
        child.kill().ok();
        child.wait().ok();
        return 1;
    }
    match watch(&mut child, place, wait) {
        Outcome::Started => {
            say("STARTED");
            0
        }
        Outcome::Ended => {
            say("FAILED TO START");
            fs::remove_file(&place.pid_file).ok();
            match reason(&place.log_file()) {
                Some(reason) => complain(reason),
                None => complain(format_args!("{REASON}see {}", place.log_file().display())),
            }
            1
        }
        Outcome::Silent => {
            say("STARTED, BUT DOES NOT SERVE YET");
            1
        }
    }
}

/// The command that starts a server in the background, as one could type it.
pub(super) fn command_line(place: &Place) -> String {
    format!(
        "\"{}\" start-foreground \"{}\" > \"{}\" 2>&1 < /dev/null",
        program().display(),
        place.config.display(),
        place.log_file().display()
    )
}

fn program() -> std::path::PathBuf {
    std::env::current_exe().unwrap_or_else(|_| super::name().into())
}

fn spawn(place: &Place) -> io::Result<Child> {
    for directory in [place.pid_file.parent(), Some(place.log_dir.as_path())] {
        if let Some(directory) = directory.filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(|error| named(directory, &error))?;
        }
    }
    let path = place.log_file();
    let log = File::create(&path).map_err(|error| named(&path, &error))?;
    // A bare name must not be looked up again.
    let config = std::path::absolute(&place.config)?;
    Command::new(program())
        .args(["start-foreground", "--detach"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("cannot create {}: {error}", path.display()),
    )
}

enum Outcome {
    Started,
    Ended,
    /// It lives and does not serve in the time it was given.
    Silent,
}

fn watch(child: &mut Child, place: &Place, wait: Option<Duration>) -> Outcome {
    let endpoint = Endpoint::find(place, &mut |_| {});
    let begun = Instant::now();
    loop {
        if !matches!(child.try_wait(), Ok(None)) {
            return Outcome::Ended;
        }
        let serves = || endpoint.as_ref().is_some_and(|at| at.mode().is_ok());
        // Somebody else may serve there: the process has to be alive afterwards, too.
        if serves() && matches!(child.try_wait(), Ok(None)) {
            return Outcome::Started;
        }
        match wait {
            None if begun.elapsed() >= ALIVE => return Outcome::Started,
            Some(wait) if begun.elapsed() >= wait => return Outcome::Silent,
            None | Some(_) => thread::sleep(LOOK),
        }
    }
}

/// Why a server ended, by the last thing it said.
fn reason(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let said = text.lines().rev().find(|line| line.starts_with(REASON));
    said.map(str::to_owned)
}
