//! Following the members of the ensemble.

use zk_proto::{OpCode, SessionId};

use super::call::undecodable;
use crate::client::Client;
use crate::connect_string::Server;
use crate::error::{Error, ErrorKind};

/// A member of the ensemble, as `/zookeeper/config` names it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its number.
    pub id: i64,
    /// Host of its quorum port.
    pub host: String,
    /// Whether it votes; observers do not.
    pub is_participant: bool,
    /// Host and port for clients, if it names them. The host may be a wildcard (`0.0.0.0`, `::`).
    pub client: Option<(String, u16)>,
}

impl Member {
    /// Where clients reach it: its client address, unless that is missing or a wildcard.
    pub fn client_server(&self) -> Option<Server> {
        let (host, port) = self.client.as_ref()?;
        let is_wildcard = matches!(host.as_str(), "" | "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0");
        (!is_wildcard).then(|| Server::new(host, *port))
    }
}

/// The members that a configuration names; lines that are not understood are left out.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `QuorumPeer.QuorumServer#toString`:
/// `server.N=host:port:port:role;host:port`.
pub fn members(config: &[u8]) -> Vec<Member> {
    let text = String::from_utf8_lossy(config);
    text.lines().filter_map(member).collect()
}

fn member(line: &str) -> Option<Member> {
    let (id, value) = line.trim().strip_prefix("server.")?.split_once('=')?;
    let (quorum, client) = match value.split_once(';') {
        Some((quorum, client)) => (quorum, Some(client)),
        None => (value, None),
    };
    // Several addresses of one server are separated by bars; the first names its host.
    let first = quorum.split('|').next()?;
    let (host, rest) = host_and_rest(first)?;
    let is_participant = !rest.ends_with(":observer") && !quorum.ends_with(":observer");
    let client = client.and_then(|client| {
        let (host, port) = match client.rsplit_once(':') {
            Some((host, port)) => (host.trim_matches(['[', ']']), port),
            None => ("", client),
        };
        Some((host.to_owned(), port.parse().ok()?))
    });
    Some(Member {
        id: id.trim().parse().ok()?,
        host,
        is_participant,
        client,
    })
}

/// A host, IPv6 in brackets, and what follows its colon.
fn host_and_rest(text: &str) -> Option<(String, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => text.split_once(':')?,
    };
    Some((host.to_owned(), rest))
}

impl Client {
    /// Follows the members of the ensemble: replaces the client's list of servers, as
    /// [`Client::set_servers`] does, now and whenever the configuration changes. Runs until it is
    /// dropped or the client is closed: spawn it, or `select!` on it.
    ///
    /// `reach` tells where a member is to be reached from here, or that it is not:
    /// [`Member::client_server`] where the addresses in the configuration are good for clients, which
    /// behind address translation and in containers they often are not. A list that would be empty
    /// changes nothing.
    ///
    /// # Errors
    /// The error with which following ended: the client is closed, or may not read the configuration.
    ///
    /// # Cancel safety
    /// Dropping the future stops the following; the last list stays.
    pub async fn follow_config(
        &self,
        mut reach: impl FnMut(&Member) -> Option<Server>,
    ) -> Result<(), Error> {
        let root = self.root();
        let mut last = Vec::new();
        let mut states = root.observe("/zookeeper/config");
        while let Some(state) = states.next().await {
            let Some(node) = state? else {
                let missing = zk_proto::jute::DecodeError::new(zk_proto::jute::Reason::Null);
                return Err(undecodable(OpCode::GetData, missing.at("config", "data")));
            };
            let servers: Vec<_> = members(&node.data).iter().filter_map(&mut reach).collect();
            if !servers.is_empty() && servers != last {
                last.clone_from(&servers);
                self.replace_servers(servers);
            }
        }
        Err(
            Error::new(ErrorKind::Closed, crate::error::Outcome::NotSent)
                .with_session(SessionId::NONE),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_in_every_form() {
        let config = b"server.1=zk1:2888:3888:participant;zk1.example:2181\n\
            server.2=[::1]:2888:3888:observer;[::1]:2182\n\
            server.3=zk3:2888:3888;0.0.0.0:2181\n\
            server.4=a:1:2|b:3:4:participant;2183\n\
            server.5=zk5:2888:3888\n\
            version=100000000";
        let members = members(config);
        let shown: Vec<_> = members
            .iter()
            .map(|m| (m.id, m.host.as_str(), m.is_participant, m.client_server()))
            .collect();
        assert_eq!(
            shown,
            [
                (1, "zk1", true, Some(Server::new("zk1.example", 2181))),
                (2, "::1", false, Some(Server::new("::1", 2182))),
                (3, "zk3", true, None),
                (4, "a", true, None),
                (5, "zk5", true, None),
            ]
        );
        assert_eq!(members[3].client, Some((String::new(), 2183)));
    }
}
