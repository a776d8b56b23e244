//! `stop`: the end of a server in the background.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::pid_file::{self, Found, Lock};
use super::place::Place;
use super::{complain, say, say_begun};

/// How long a server may take to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(20);

/// Stops the server and waits until it is gone.
pub(super) fn stop(place: &Place, patience: Duration) -> u8 {
    say_begun("Stopping zookeeper");
    let pid = match pid_file::read(&place.pid_file) {
        Found::Nothing => {
            say(format_args!(
                "no zookeeper to stop (could not find file {})",
                place.pid_file.display()
            ));
            return 0;
        }
        Found::Stale(number) => {
            complain(format_args!("kill: ({number}) - No such process"));
            Lock::take(&place.pid_file).remove(number);
            say("STOPPED");
            return 0;
        }
        Found::Running(pid) => pid,
    };
    let number = pid.as_raw_nonzero();
    if let Err(error) = kill_process(pid, Signal::TERM) {
        say("NOT STOPPED");
        complain(format_args!("kill: ({number}) - {error}"));
        return 1;
    }
    let begun = Instant::now();
    while pid_file::is_server(pid) {
        if begun.elapsed() >= patience {
            say("NOT STOPPED");
            complain(format_args!(
                "process {number} still runs after {} seconds",
                patience.as_secs()
            ));
            return 1;
        }
        thread::sleep(LOOK);
    }
    Lock::take(&place.pid_file).remove(number.get());
    say("STOPPED");
    0
}
