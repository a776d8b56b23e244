//! Where clients reach a server, and what it says there.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use zk_server::config::{Properties, Strictness};

use super::place::Place;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer worth reading.
const ANSWER_MAX: u64 = 64 << 10;

/// A client port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) port: u16,
    /// It is the TLS port.
    pub(super) is_secure: bool,
}

/// Why a server did not tell its mode.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silence {
    /// Nothing can be asked there.
    #[error("{0}")]
    Unreachable(#[from] io::Error),
    /// It answered something else.
    #[error("it answers: {0}")]
    Other(String),
}

impl Endpoint {
    /// Finds the client port of a server as the script does, with a word for each place it is not
    /// found in.
    pub(super) fn find(place: &Place, say: &mut dyn FnMut(&str)) -> Option<Self> {
        let number = |text: &str| text.parse::<u16>().ok();
        if let Some(port) = place.get("clientPort").and_then(number) {
            let host = place.get("clientPortAddress").unwrap_or("localhost");
            return Some(Self {
                host: host.to_owned(),
                port,
                is_secure: false,
            });
        }
        if let Some(found) = of_member(place, say) {
            return Some(found);
        }
        say("Client port not found. Looking for secureClientPort in the static config.");
        if let Some(port) = place.get("secureClientPort").and_then(number) {
            let host = place.get("secureClientPortAddress").unwrap_or("localhost");
            return Some(Self {
                host: host.to_owned(),
                port,
                is_secure: true,
            });
        }
        say("Unable to find either secure or unsecure client port in any configs. Terminating.");
        None
    }

    /// The line with the mode that the server says it is in, once it serves.
    pub(super) fn mode(&self) -> Result<String, Silence> {
        let answer = self.ask()?;
        match answer.lines().find(|line| line.contains("Mode")) {
            Some(line) => Ok(line.to_owned()),
            None => Err(Silence::Other(
                answer.lines().next().unwrap_or("nothing").to_owned(),
            )),
        }
    }

    fn ask(&self) -> io::Result<String> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIMEOUT) {
                Ok(socket) => return talk(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn talk(mut socket: TcpStream) -> io::Result<String> {
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.write_all(b"srvr")?;
    let mut answer = Vec::new();
    socket.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The client port in the line of this member, in `zoo.cfg` or the dynamic file.
fn of_member(place: &Place, say: &mut dyn FnMut(&str)) -> Option<Endpoint> {
    let data_dir = place.get("dataDir").unwrap_or_default();
    let my_id = fs::read_to_string(Path::new(data_dir).join("myid")).unwrap_or_default();
    let my_id = my_id.trim();
    if my_id.is_empty() || !my_id.bytes().all(|byte| byte.is_ascii_digit()) {
        say(
            "myid could not be determined, will not able to locate clientPort in the server \
             configs.",
        );
        return None;
    }
    let key = format!("server.{my_id}");
    let client_part = |properties: &Properties| {
        let line = &properties.get(&key)?.value;
        line.split_once(';')
            .map(|(_, client)| client.trim().to_owned())
    };
    let found = client_part(&place.properties).or_else(|| {
        say("Client port not found in static config file. Looking in dynamic config file.");
        let file = place.get("dynamicConfigFile")?;
        let content = fs::read(file).ok()?;
        let properties = Properties::parse(file, &content, Strictness::Normal).ok()?;
        client_part(&properties)
    });
    let Some((host, port)) = found.as_deref().and_then(split_client) else {
        say("Client port not found in the server configs");
        return None;
    };
    Some(Endpoint {
        host: host.to_owned(),
        port,
        is_secure: false,
    })
}

/// Address and port of `[address:]port`.
fn split_client(text: &str) -> Option<(&str, u16)> {
    match text.rsplit_once(':') {
        Some((host, port)) => {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host, port.parse().ok()?))
        }
        None => Some(("localhost", text.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_part_of_a_member_line_has_an_address_or_not() {
        assert_eq!(split_client("2181"), Some(("localhost", 2181)));
        assert_eq!(split_client("10.0.0.1:2181"), Some(("10.0.0.1", 2181)));
        assert_eq!(split_client("[127::1]:2181"), Some(("127::1", 2181)));
        assert_eq!(split_client("x"), None);
        assert_eq!(split_client("h:99999"), None);
    }
}
