//! `start`: a server in the background.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;
use super::pid_file::{self, Found, Lock};
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
    let begun = launch(place);
    let (mut child, log_from) = match begun {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    match watch(&mut child, place, wait) {
        Outcome::Started => {
            say("STARTED");
            0
        }
        Outcome::Ended => {
            say("FAILED TO START");
            // Another may have been started since.
            if let Ok(pid) = i32::try_from(child.id()) {
                Lock::take(&place.pid_file).remove(pid);
            }
            match reason(&place.log_file(), log_from) {
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

/// Starts a process unless there is one, and tells its id; of two who do that at once, one does. Returns
/// the length of the log before it, or the exit code.
fn launch(place: &Place) -> Result<(Child, u64), u8> {
    let failed = |what: &str, error: io::Error| {
        say(what);
        complain(format_args!("{REASON}{error}"));
        1
    };
    for directory in [place.pid_file.parent(), Some(place.log_dir.as_path())] {
        if let Some(directory) = directory.filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(directory)
                .map_err(|error| failed("SERVER DID NOT START", named(directory, &error)))?;
        }
    }
    let lock = Lock::take(&place.pid_file);
    if let Found::Running(pid) = pid_file::read(&place.pid_file) {
        say(format_args!(
            "already running as process {}.",
            pid.as_raw_nonzero()
        ));
        return Err(1);
    }
    let (mut child, log_from) =
        spawn(place).map_err(|error| failed("SERVER DID NOT START", error))?;
    if let Err(error) = lock.write(child.id()) {
        say("FAILED TO WRITE PID");
        complain(format_args!(
            "{REASON}cannot write {}: {error}",
            place.pid_file.display()
        ));
        child.kill().ok();
        child.wait().ok();
        return Err(1);
    }
    Ok((child, log_from))
}

/// The command that starts a server in the background, as one could type it.
pub(super) fn command_line(place: &Place) -> String {
    format!(
        "\"{}\" start-foreground \"{}\" >> \"{}\" 2>&1 < /dev/null",
        program().display(),
        place.config.display(),
        place.log_file().display()
    )
}

fn program() -> std::path::PathBuf {
    std::env::current_exe().unwrap_or_else(|_| super::name().into())
}

/// Starts a process that writes behind what is in the log: that has the audit trail in it, too. Returns
/// where it begins.
fn spawn(place: &Place) -> io::Result<(Child, u64)> {
    let path = place.log_file();
    let log = File::options().create(true).append(true).open(&path);
    let log = log.map_err(|error| named(&path, &error))?;
    let begin = log.metadata()?.len();
    // A bare name must not be looked up again.
    let config = std::path::absolute(&place.config)?;
    let child = Command::new(program())
        .args(["start-foreground", "--detach"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    Ok((child, begin))
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

/// Why a server ended, by the last thing it said; its log begins here.
fn reason(log: &Path, begin: u64) -> Option<String> {
    let mut log = File::open(log).ok()?;
    log.seek(SeekFrom::Start(begin)).ok()?;
    let mut text = Vec::new();
    log.read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let said = text.lines().rev().find(|line| line.starts_with(REASON));
    said.map(str::to_owned)
}
