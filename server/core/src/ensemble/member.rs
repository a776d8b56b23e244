//! One member: who it is, where it listens, whether it votes.
//!
//! ```text
//! addr[|addr…][;client[;secure client]]
//! addr     = host ":" quorumPort ":" electionPort [":" role]
//! client   = [host ":"] port
//! host     = name | IPv4 | "[" IPv6 "]"
//! ```
//!
//! Names are not resolved: addresses may change while a server runs.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumPeer.QuorumServer`.

use std::fmt;
use std::net::Ipv6Addr;

use zk_proto::ServerId;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes; `participant` in the text.
    Voter,
    /// Follows without a vote.
    Observer,
}

/// Where a member listens for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Name or address, without brackets.
    pub host: String,
    /// Port for learners, 2888 by convention.
    pub quorum_port: u16,
    /// Port for elections, 3888 by convention.
    pub election_port: u16,
}

/// Where a member listens for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress {
    /// Name or address, without brackets; `0.0.0.0` when not written.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: ServerId,
    /// Its addresses; never empty, more than one only with `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Its role.
    pub role: Role,
    /// Its plaintext client address, when the line names one.
    pub client: Option<ClientAddress>,
    /// Its TLS client address, when the line names one.
    pub secure_client: Option<ClientAddress>,
}

/// Why a member line cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMember {
    /// It has not the shape of one.
    #[error(
        "{0} does not have the form server_config or server_config;client_config where \
         server_config is the pipe separated list of host:port:port or host:port:port:type and \
         client_config is port or host:port"
    )]
    Shape(String),
    /// A port is no number, or out of range.
    #[error("expected a port from {min} to 65535, got {text:?}")]
    Port {
        /// Smallest that is accepted.
        min: u16,
        /// What stands there.
        text: String,
    },
    /// A role is neither of the two.
    #[error("unrecognised peer type {0:?}, expected participant or observer")]
    Role(String),
    /// Both ports for the others are one.
    #[error("quorum and election port must be different, both are {0}")]
    SamePort(u16),
    /// One member with two roles.
    #[error("multiple addresses should have similar roles")]
    Roles,
}

impl Member {
    /// Reads the value of a `server.N` line. Several addresses and a secure client address are
    /// accepted; whether they are welcome is the caller's to say.
    ///
    /// # Errors
    /// [`BadMember`] for the first fault from the left.
    pub fn parse(id: ServerId, text: &str) -> Result<Self, BadMember> {
        let shape = || BadMember::Shape(text.to_owned());
        let mut parts = text.split(';');
        let addresses = parts.next().unwrap_or_default();
        let client = parts.next().filter(|part| !part.is_empty());
        let secure = parts.next().filter(|part| !part.is_empty());
        if parts.next().is_some() {
            return Err(shape());
        }
        let mut parsed = Vec::new();
        let mut role = None;
        for part in addresses.split('|') {
            let (address, its_role) = peer_address(part).ok_or_else(shape)??;
            if address.quorum_port == address.election_port {
                return Err(BadMember::SamePort(address.quorum_port));
            }
            if role.is_some_and(|role| role != its_role) {
                return Err(BadMember::Roles);
            }
            role = Some(its_role);
            parsed.push(address);
        }
        let client = client.map(|part| client_address(part).ok_or_else(shape)?);
        let secure_client = secure.map(|part| client_address(part).ok_or_else(shape)?);
        Ok(Self {
            id,
            addresses: parsed,
            role: role.unwrap_or(Role::Voter),
            client: client.transpose()?,
            secure_client: secure_client.transpose()?,
        })
    }

    /// A port that the other one uses too, as `host:port`.
    pub fn clash(&self, other: &Self) -> Option<String> {
        self.addresses.iter().find_map(|mine| {
            let mut shared = other.addresses.iter().filter(|one| one.host == mine.host);
            shared.find_map(|theirs| {
                let theirs = [theirs.quorum_port, theirs.election_port];
                let mut ports = [mine.quorum_port, mine.election_port].into_iter();
                let port = ports.find(|port| theirs.contains(port))?;
                Some(format!("{}:{port}", bracketed(&mine.host)))
            })
        })
    }
}

impl Role {
    /// Reads a role, in any case.
    ///
    /// # Errors
    /// [`BadMember::Role`].
    pub fn parse(word: &str) -> Result<Self, BadMember> {
        match word.to_ascii_lowercase().as_str() {
            "participant" => Ok(Self::Voter),
            "observer" => Ok(Self::Observer),
            _ => Err(BadMember::Role(word.to_owned())),
        }
    }
}

impl fmt::Display for Member {
    /// The value of the `server.N` line, in the form members exchange.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.addresses.iter().enumerate() {
            if at > 0 {
                f.write_str("|")?;
            }
            let host = bracketed(&address.host);
            write!(
                f,
                "{host}:{}:{}:{}",
                address.quorum_port, address.election_port, self.role
            )?;
        }
        match (&self.client, &self.secure_client) {
            (None, None) => Ok(()),
            (Some(client), None) => write!(f, ";{client}"),
            (None, Some(secure)) => write!(f, ";;{secure}"),
            (Some(client), Some(secure)) => write!(f, ";{client};{secure}"),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Voter => "participant",
            Self::Observer => "observer",
        })
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", bracketed(&self.host), self.port)
    }
}

/// The host as it is written in front of a port.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// Splits off the host in front of the first colon that is not part of an IPv6 address.
pub fn host_and_rest(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

/// `None` when the shape is wrong, an error when a field is.
fn peer_address(text: &str) -> Option<Result<(PeerAddress, Role), BadMember>> {
    let (host, rest) = host_and_rest(text)?;
    let mut fields = rest.split(':');
    let (quorum, election) = (fields.next()?, fields.next()?);
    let role = fields.next().map_or(Ok(Role::Voter), Role::parse);
    if fields.next().is_some() {
        return None;
    }
    Some((|| {
        let address = PeerAddress {
            quorum_port: port(quorum, 1)?,
            election_port: port(election, 1)?,
            host: host.to_owned(),
        };
        Ok((address, role?))
    })())
}

/// `None` when the shape is wrong, an error when the port is.
fn client_address(text: &str) -> Option<Result<ClientAddress, BadMember>> {
    let (host, port_text) = host_and_rest(text).unwrap_or(("0.0.0.0", text));
    if port_text.contains(':') {
        return None;
    }
    Some(port(port_text, 0).map(|port| ClientAddress {
        host: host.to_owned(),
        port,
    }))
}

fn port(text: &str, min: u16) -> Result<u16, BadMember> {
    let port = text.parse().ok().filter(|port| *port >= min);
    port.ok_or_else(|| BadMember::Port {
        min,
        text: text.to_owned(),
    })
}
