//! `host:port,host:port/chroot`, `zk+srv://name/chroot`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use zk_proto::{PathError, ZPathBuf};

/// Port of a server that is named without one.
pub const DEFAULT_PORT: u16 = 2181;

/// How the name of a service begins.
const SERVICE: &str = "zk+srv://";

/// A server to connect to: a host name or address, a port, and whether to speak TLS. Or a service:
/// the name behind which servers are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    host: Arc<str>,
    port: u16,
    /// What the connect string says; `None` leaves it to the client's configuration.
    tls: Option<bool>,
    is_service: bool,
}

impl Server {
    /// A server by host name or address (IPv6 without brackets).
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
            tls: None,
            is_service: false,
        }
    }

    /// Servers that are found by SRV records before every attempt to connect: of `name` itself if it
    /// begins with an underscore, else of `_zookeeper._tcp.name`.
    pub fn service(name: &str) -> Self {
        Self {
            host: name.into(),
            port: 0,
            tls: None,
            is_service: true,
        }
    }

    /// Whether this is a name behind which servers are found.
    pub fn is_service(&self) -> bool {
        self.is_service
    }

    /// The name that has the SRV records of a service.
    pub(crate) fn service_name(&self) -> String {
        if self.host.starts_with('_') {
            self.host.to_string()
        } else {
            format!("_zookeeper._tcp.{}", self.host)
        }
    }

    /// Host name or address, IPv6 without brackets; the name of a service.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port; 0 for a service.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the connect string asks for TLS (`tls://`) or against it (`tcp://`), if it does.
    pub fn tls(&self) -> Option<bool> {
        self.tls
    }
}

/// `host:port`, IPv6 in brackets; `zk+srv://name` for a service.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_service {
            write!(f, "{SERVICE}{}", self.host)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A parsed connect string: servers, and the path below which the client lives.
///
/// `[tcp://|tls://]host[:port][,…][/chroot]`; the port is 2181 by default, IPv6 stands in brackets.
///
/// Or `zk+srv://name[/chroot]`, with the feature `srv` or a [`Resolver`](crate::Resolver) that finds
/// services: the servers are those that the SRV records of the name list at the time, as
/// [`Server::service`] says; smaller priorities before larger, within one by weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectString {
    /// At least one, in the order of the text.
    pub servers: Vec<Server>,
    /// The root if the text names none.
    pub chroot: ZPathBuf,
}

/// As it is read, with every port.
impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.servers.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match server.tls {
                None => {}
                Some(true) => f.write_str("tls://")?,
                Some(false) => f.write_str("tcp://")?,
            }
            write!(f, "{server}")?;
        }
        match self.chroot.as_str() {
            "/" => Ok(()),
            chroot => f.write_str(chroot),
        }
    }
}

/// Why text is not a connect string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectStringError {
    /// It names no server.
    #[error("connect string {text:?} names no server")]
    NoServer {
        /// The connect string.
        text: String,
    },
    /// A server has no host.
    #[error("server {server:?} of the connect string has no host")]
    NoHost {
        /// The part of the connect string.
        server: String,
    },
    /// A host has characters that no host has.
    #[error(
        "server {server:?} of the connect string has an illegal host: {character:?} is not allowed"
    )]
    IllegalHost {
        /// The part of the connect string.
        server: String,
        /// The first such character.
        character: char,
    },
    /// A port is not a number from 1 to 65535.
    #[error(
        "server {server:?} of the connect string has the port {port:?}, which is not 1 to 65535"
    )]
    IllegalPort {
        /// The part of the connect string.
        server: String,
        /// The port.
        port: String,
    },
    /// An IPv6 address is not closed by a bracket, or not an address.
    #[error("server {server:?} of the connect string is not [IPv6]:port")]
    IllegalIpv6 {
        /// The part of the connect string.
        server: String,
    },
    /// A service beside other servers.
    #[error("service {server:?} of the connect string does not stand alone")]
    ServiceNotAlone {
        /// The part of the connect string.
        server: String,
    },
    /// A service with a port: those are told by its records.
    #[error(
        "service {server:?} of the connect string has a port, which its SRV records are to tell"
    )]
    ServiceWithPort {
        /// The part of the connect string.
        server: String,
    },
    /// A scheme other than `tcp`, `tls` and `zk+srv`.
    #[error(
        "server {server:?} of the connect string has an unknown scheme: \
         tcp://, tls:// and zk+srv:// are known"
    )]
    UnknownScheme {
        /// The part of the connect string.
        server: String,
    },
    /// The chroot is not a path.
    #[error("chroot of the connect string is not a path")]
    Chroot(#[source] PathError),
}

impl FromStr for ConnectString {
    type Err = ConnectStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The chroot starts at the first slash that is not part of a scheme.
        let mut at = 0;
        let slash = loop {
            match text.get(at..).unwrap_or_default().find('/') {
                None => break None,
                Some(offset) => {
                    let slash = at + offset;
                    let scheme = text.get(..slash).is_some_and(|head| head.ends_with(':'))
                        && text.get(slash..).is_some_and(|tail| tail.starts_with("//"));
                    if !scheme {
                        break Some(slash);
                    }
                    at = slash + 2;
                }
            }
        };
        let (servers, chroot) = text.split_at(slash.unwrap_or(text.len()));
        let chroot = match chroot {
            "" | "/" => ZPathBuf::root(),
            path => ZPathBuf::new(path.to_owned()).map_err(ConnectStringError::Chroot)?,
        };
        let servers = servers
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(server)
            .collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(ConnectStringError::NoServer {
                text: text.to_owned(),
            });
        }
        if servers.len() > 1
            && let Some(service) = servers.iter().find(|server| server.is_service)
        {
            return Err(ConnectStringError::ServiceNotAlone {
                server: service.to_string(),
            });
        }
        Ok(Self { servers, chroot })
    }
}

fn server(text: &str) -> Result<Server, ConnectStringError> {
    let named = || text.to_owned();
    let (tls, rest) = match text.split_once("://") {
        None => (None, text),
        Some(("tcp", rest)) => (Some(false), rest),
        Some(("tls", rest)) => (Some(true), rest),
        Some(("zk+srv", rest)) => (None, rest),
        Some(_) => return Err(ConnectStringError::UnknownScheme { server: named() }),
    };
    let is_service = text.starts_with(SERVICE);
    let (host, port) = if let Some(rest) = rest.strip_prefix('[') {
        let illegal = || ConnectStringError::IllegalIpv6 { server: named() };
        let (address, rest) = rest.split_once(']').ok_or_else(illegal)?;
        address
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| illegal())?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port),
            None if rest.is_empty() => None,
            None => return Err(illegal()),
        };
        (address, port)
    } else {
        match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    if host.is_empty() {
        return Err(ConnectStringError::NoHost { server: named() });
    }
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if let Some(character) = host.chars().find(|c| !legal(*c)) {
        return Err(ConnectStringError::IllegalHost {
            server: named(),
            character,
        });
    }
    if is_service {
        return match port {
            None => Ok(Server::service(host)),
            Some(_) => Err(ConnectStringError::ServiceWithPort { server: named() }),
        };
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            ConnectStringError::IllegalPort {
                server: named(),
                port: port.to_owned(),
            }
        })?,
    };
    Ok(Server {
        tls,
        ..Server::new(host, port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ConnectString {
        text.parse().unwrap()
    }

    #[test]
    fn servers_and_chroot_are_read() {
        let parsed = parse("zk1:2182, zk2,[::1]:2183/app/x");
        let shown: Vec<_> = parsed.servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["zk1:2182", "zk2:2181", "[::1]:2183"]);
        assert_eq!(parsed.chroot.as_str(), "/app/x");
        assert_eq!(parse("zk/").chroot, ZPathBuf::root());
        assert_eq!(parse("[::1]").servers, [Server::new("::1", 2181)]);
    }

    #[test]
    fn schemes_are_per_server() {
        let parsed = parse("tls://a:1,tcp://b,c/x");
        let tls: Vec<_> = parsed.servers.iter().map(Server::tls).collect();
        assert_eq!(tls, [Some(true), Some(false), None]);
        assert_eq!(parsed.chroot.as_str(), "/x");
    }

    #[test]
    fn service_stands_alone_and_has_records_under_its_name_or_a_usual_one() {
        let parsed = parse("zk+srv://zk.example.com/app");
        assert_eq!(parsed.servers, [Server::service("zk.example.com")]);
        assert_eq!(parsed.chroot.as_str(), "/app");
        let name = |text: &str| parse(text).servers.pop().map(|it| it.service_name());
        let usual = name("zk+srv://zk.example.com");
        assert_eq!(usual.as_deref(), Some("_zookeeper._tcp.zk.example.com"));
        let own = name("zk+srv://_client._tcp.zk.default.svc");
        assert_eq!(own.as_deref(), Some("_client._tcp.zk.default.svc"));
        let message = |text: &str| text.parse::<ConnectString>().unwrap_err().to_string();
        assert!(
            message("zk+srv://a,b:1").contains("\"zk+srv://a\" of the connect string does not")
        );
        assert!(message("zk+srv://a:1").contains("has a port"));
        assert!(message("zk+srv://").contains("has no host"));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for text in ["zk", "zk/", "tls://a:1, tcp://[::1],c/x/y", "zk+srv://a/x"] {
            let parsed = parse(text);
            assert_eq!(parse(&parsed.to_string()), parsed);
        }
        let shown = parse("tls://a:1, tcp://[::1],c/x/y").to_string();
        assert_eq!(shown, "tls://a:1,tcp://[::1]:2181,c:2181/x/y");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let message = |text: &str| text.parse::<ConnectString>().unwrap_err().to_string();
        assert_eq!(message(""), "connect string \"\" names no server");
        assert_eq!(message("/a"), "connect string \"/a\" names no server");
        assert_eq!(
            message("zk:99999"),
            "server \"zk:99999\" of the connect string has the port \"99999\", which is not 1 to 65535"
        );
        assert!(message("zk:").contains("has the port \"\""));
        assert!(message("zk:0").contains("has the port \"0\""));
        assert!(message(":2181").contains("has no host"));
        assert!(message("a b:1").contains("' ' is not allowed"));
        assert!(message("[::1").contains("is not [IPv6]:port"));
        assert!(message("[zk]:1").contains("is not [IPv6]:port"));
        assert!(message("http://zk").contains("unknown scheme"));
        assert!(message("zk/a//b").contains("chroot of the connect string"));
    }
}
