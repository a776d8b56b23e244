//! `status`: does the server serve, and in which role?

use super::endpoint::{Endpoint, Silence};
use super::pid_file::{self, Found};
use super::place::Place;
use super::say;

/// What the script says last when it got no answer; monitors look for this sentence.
const NO_ANSWER: &str = "Error contacting service. It is probably not running.";

/// What the script says about a TLS port that it could not ask.
const TLS_NOTE: [&str; 4] = [
    "Note: only a TLS port is configured, and it cannot be asked without a client certificate.",
    "  Configure a clientPort on a loopback address, or ask the server with",
    "  openssl s_client -connect <host>:<port> -cert <file> -key <file>",
    "  and the word srvr.",
];

/// Asks the server for its role.
pub(super) fn status(place: &Place) -> u8 {
    let Some(endpoint) = Endpoint::find(place, &mut |text| say(text)) else {
        return 1;
    };
    say(format_args!(
        "Client port found: {}. Client address: {}. Client SSL: {}.",
        endpoint.port, endpoint.host, endpoint.is_secure
    ));
    if endpoint.is_secure {
        for line in TLS_NOTE {
            say(line);
        }
        say(NO_ANSWER);
        return 1;
    }
    match endpoint.mode() {
        Ok(mode) => {
            say(mode);
            0
        }
        Err(silence) => {
            say(why(place, &endpoint, &silence));
            say(NO_ANSWER);
            1
        }
    }
}

/// What is known about the server that did not answer.
fn why(place: &Place, endpoint: &Endpoint, silence: &Silence) -> String {
    let Endpoint { host, port, .. } = endpoint;
    match pid_file::read(&place.pid_file) {
        Found::Running(pid) => format!(
            "Process {} is running, asked at {host}:{port}: {silence}",
            pid.as_raw_nonzero()
        ),
        Found::Stale(pid) => format!(
            "Process {pid} of {} is not running, asked at {host}:{port}: {silence}",
            place.pid_file.display()
        ),
        Found::Nothing => format!("Asked at {host}:{port}: {silence}"),
    }
}
