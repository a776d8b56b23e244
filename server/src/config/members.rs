//! The member list: `server.N`, `group.G` and `weight.N` lines, in `zoo.cfg` or a dynamic file.
//!
//! ```text
//! server.N = addr[|addr…][;client[;secure client]]
//! addr     = host ":" quorumPort ":" electionPort [":" role]
//! client   = [host ":"] port
//! host     = name | IPv4 | "[" IPv6 "]"
//! ```
//!
//! Names are not resolved here: members are compared by id, and addresses may change while the
//! server runs.

use std::collections::BTreeMap;
use std::fmt;

use zk_proto::ServerId;

use super::error::Problem;
use super::zoo_cfg::{Level, Notice, Setting, Strictness};

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes; `participant` in the file.
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
#[non_exhaustive]
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

/// Groups and weights of a hierarchical quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hierarchy {
    /// Members of each group, by group id.
    pub groups: BTreeMap<i64, Vec<ServerId>>,
    /// Votes of members; one where absent.
    pub weights: BTreeMap<ServerId, u32>,
}

/// All members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    by_id: BTreeMap<ServerId, Member>,
    hierarchy: Option<Hierarchy>,
}

/// What the rest of the configuration allows in member lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemberRules {
    /// Several addresses per member.
    pub multi_address: bool,
    /// A third, secure client part.
    pub secure_client: bool,
    /// TTL znodes, which need the id 255 for themselves.
    pub extended_types: bool,
    /// Which ids are accepted.
    pub strictness: Strictness,
}

impl Members {
    /// Reads member lines.
    ///
    /// # Errors
    ///
    /// Every line that is wrong, and groups that do not hold every voter once.
    pub fn parse<'a>(
        lines: impl IntoIterator<Item = &'a Setting>,
        rules: MemberRules,
        notices: &mut Vec<Notice>,
    ) -> Result<Self, Vec<Problem>> {
        let mut members = Self::default();
        let mut problems = Vec::new();
        let mut hierarchy: Option<Hierarchy> = None;
        let mut seen: Vec<(&Setting, Member)> = Vec::new();
        for line in lines {
            let complain = |reason: String| {
                Problem::new(Some(line.origin.clone()), &line.key, reason).with_value(&line.value)
            };
            match line.key.split_once('.') {
                Some(("server", id)) => match member(id, &line.value, rules) {
                    Ok((member, remarks)) => {
                        notices.extend(remarks.into_iter().map(|remark| Notice {
                            level: Level::Warn,
                            origin: line.origin.clone(),
                            text: format!("{}: {remark}", line.key),
                        }));
                        if let Some((first, _)) = seen.iter().find(|(_, old)| old.id == member.id) {
                            problems.push(complain(format!(
                                "same server id as {} ({})",
                                first.key, first.origin
                            )));
                        }
                        for (other, old) in &seen {
                            if let Some(address) = old.clash(&member) {
                                problems.push(complain(format!(
                                    "{address} is also used by {} ({})",
                                    other.key, other.origin
                                )));
                            }
                        }
                        seen.push((line, member));
                    }
                    Err(reason) => problems.push(complain(reason)),
                },
                Some(("group", id)) => match group(id, &line.value) {
                    Ok((id, ids)) => {
                        hierarchy.get_or_insert_default().groups.insert(id, ids);
                    }
                    Err(reason) => problems.push(complain(reason)),
                },
                Some(("weight", id)) => match weight(id, &line.value) {
                    Ok((id, weight)) => {
                        hierarchy.get_or_insert_default().weights.insert(id, weight);
                    }
                    Err(reason) => problems.push(complain(reason)),
                },
                _ => problems.push(complain("not a member line".to_owned())),
            }
        }
        members.by_id = seen
            .into_iter()
            .map(|(_, member)| (member.id, member))
            .collect();
        members.hierarchy = hierarchy;
        if problems.is_empty() {
            problems.extend(members.hierarchy_problems());
        }
        if problems.is_empty() {
            Ok(members)
        } else {
            Err(problems)
        }
    }

    /// One member.
    pub fn get(&self, id: ServerId) -> Option<&Member> {
        self.by_id.get(&id)
    }

    /// All members by id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Members with this role.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Member> {
        self.iter().filter(move |member| member.role == role)
    }

    /// Groups and weights, unless every voter has one vote.
    pub fn hierarchy(&self) -> Option<&Hierarchy> {
        self.hierarchy.as_ref()
    }

    /// The lines of a dynamic configuration: sorted, without a version.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .iter()
            .map(|member| format!("server.{}={member}", member.id.get()))
            .collect();
        if let Some(hierarchy) = &self.hierarchy {
            lines.extend(hierarchy.groups.iter().map(|(id, ids)| {
                let ids: Vec<String> = ids.iter().map(|id| id.get().to_string()).collect();
                format!("group.{id}={}", ids.join(":"))
            }));
            let weights = hierarchy.weights.iter();
            lines.extend(weights.map(|(id, weight)| format!("weight.{}={weight}", id.get())));
        }
        lines.sort();
        lines
    }

    /// Every voter in exactly one group, no group with a stranger.
    fn hierarchy_problems(&self) -> Vec<Problem> {
        let Some(hierarchy) = &self.hierarchy else {
            return Vec::new();
        };
        let mut reasons = Vec::new();
        for (group, ids) in &hierarchy.groups {
            for id in ids {
                if !self.by_id.contains_key(id) {
                    reasons.push(format!(
                        "group.{group} names server {}, which is none",
                        id.get()
                    ));
                }
            }
        }
        for voter in self.with_role(Role::Voter) {
            let id = voter.id;
            match hierarchy
                .groups
                .values()
                .flatten()
                .filter(|&&other| other == id)
                .count()
            {
                0 => reasons.push(format!("server {} is not in a group", id.get())),
                1 => {}
                _ => reasons.push(format!("server {} is in multiple groups", id.get())),
            }
        }
        reasons
            .into_iter()
            .map(|reason| Problem::new(None, "", reason))
            .collect()
    }
}

impl Member {
    /// A port of this member that the other one uses too, as `host:port`.
    fn clash(&self, other: &Self) -> Option<String> {
        self.addresses.iter().find_map(|mine| {
            let shared = other
                .addresses
                .iter()
                .filter(|theirs| theirs.host == mine.host);
            shared.into_iter().find_map(|theirs| {
                let theirs = [theirs.quorum_port, theirs.election_port];
                let port = [mine.quorum_port, mine.election_port].into_iter();
                port.filter(|port| theirs.contains(port))
                    .map(|port| format!("{}:{port}", bracketed(&mine.host)))
                    .next()
            })
        })
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
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// A `server.N` line, and what to say about it.
fn member(id: &str, value: &str, rules: MemberRules) -> Result<(Member, Vec<String>), String> {
    let mut remarks = Vec::new();
    let id = server_id(id)?;
    remarks.extend(check_id(id, rules)?);
    let tidy: String = value.chars().filter(|char| !char.is_whitespace()).collect();
    if tidy != value {
        remarks.push(format!("ignoring blanks in {value:?}"));
    }
    let mut parts = tidy.split(';');
    let addresses = parts.next().unwrap_or_default();
    let client = parts.next().filter(|part| !part.is_empty());
    let secure = parts.next().filter(|part| !part.is_empty());
    if parts.next().is_some() || (secure.is_some() && !rules.secure_client) {
        return Err(shape(value));
    }
    let mut parsed = Vec::new();
    let mut role = None;
    for text in addresses.split('|') {
        let (address, its_role) = peer_address(text).ok_or_else(|| shape(value))??;
        if address.quorum_port == address.election_port {
            return Err(format!(
                "quorum and election port must be different, both are {}",
                address.quorum_port
            ));
        }
        if role.is_some_and(|role| role != its_role) {
            return Err("multiple addresses should have similar roles".to_owned());
        }
        role = Some(its_role);
        parsed.push(address);
    }
    if parsed.len() > 1 && !rules.multi_address {
        return Err("several addresses for one server need multiAddress.enabled=true".to_owned());
    }
    let client = client.map(|text| client_address(text, value)).transpose()?;
    let secure_client = secure.map(|text| client_address(text, value)).transpose()?;
    let role = role.unwrap_or(Role::Voter);
    Ok((
        Member {
            id,
            addresses: parsed,
            role,
            client,
            secure_client,
        },
        remarks,
    ))
}

/// A decimal server id.
pub(super) fn server_id(text: &str) -> Result<ServerId, String> {
    let number = text
        .trim()
        .parse()
        .map_err(|_| format!("server id {text:?} is not a number"))?;
    Ok(ServerId::new(number))
}

/// Refuses ids that would collide in session ids; remarks on the ones at the border.
fn check_id(id: ServerId, rules: MemberRules) -> Result<Option<String>, String> {
    let number = id.get();
    if rules.extended_types && number > 254 {
        return Err("extendedTypesEnabled=true needs server ids up to 254".to_owned());
    }
    match number {
        1..=254 => Ok(None),
        0 | 255 => Ok(Some("server ids from 1 to 254 are recommended".to_owned())),
        _ if rules.strictness == Strictness::Off => Ok(Some(
            "session ids keep the low byte of the server id only".to_owned(),
        )),
        _ => Err("server ids must be from 0 to 255: session ids keep one byte of them".to_owned()),
    }
}

/// `None` when the shape is wrong, an error when a field is.
fn peer_address(text: &str) -> Option<Result<(PeerAddress, Role), String>> {
    let (host, rest) = host_and_rest(text)?;
    let mut fields = rest.split(':');
    let (quorum, election) = (fields.next()?, fields.next()?);
    let role = match fields.next() {
        None => Ok(Role::Voter),
        Some(word) => role(word),
    };
    if fields.next().is_some() {
        return None;
    }
    Some((|| {
        let quorum_port = port(quorum, 1)?;
        let election_port = port(election, 1)?;
        Ok((
            PeerAddress {
                host: host.to_owned(),
                quorum_port,
                election_port,
            },
            role?,
        ))
    })())
}

/// A role, in any case.
pub(super) fn role(word: &str) -> Result<Role, String> {
    match word.to_ascii_lowercase().as_str() {
        "participant" => Ok(Role::Voter),
        "observer" => Ok(Role::Observer),
        _ => Err(format!(
            "unrecognised peer type {word:?}, expected participant or observer"
        )),
    }
}

fn client_address(text: &str, line: &str) -> Result<ClientAddress, String> {
    let (host, port_text) = match host_and_rest(text) {
        Some((host, port)) => (host, port),
        None => ("0.0.0.0", text),
    };
    if port_text.contains(':') {
        return Err(shape(line));
    }
    Ok(ClientAddress {
        host: host.to_owned(),
        port: port(port_text, 0)?,
    })
}

/// Splits off the host in front of the first colon that is not part of an IPv6 address.
fn host_and_rest(text: &str) -> Option<(&str, &str)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':')?)
        }
        None => text.split_once(':')?,
    };
    (!host.is_empty()).then_some((host, rest))
}

fn port(text: &str, min: u16) -> Result<u16, String> {
    let port = text.parse().ok().filter(|port| *port >= min);
    port.ok_or_else(|| format!("expected a port from {min} to 65535, got {text:?}"))
}

fn shape(value: &str) -> String {
    format!(
        "{value} does not have the form server_config or server_config;client_config where \
         server_config is the pipe separated list of host:port:port or host:port:port:type and \
         client_config is port or host:port"
    )
}

fn group(id: &str, value: &str) -> Result<(i64, Vec<ServerId>), String> {
    let id = id
        .parse()
        .map_err(|_| format!("group id {id:?} is not a number"))?;
    let ids = value.split(':').map(server_id).collect::<Result<_, _>>()?;
    Ok((id, ids))
}

fn weight(id: &str, value: &str) -> Result<(ServerId, u32), String> {
    let weight = value
        .parse()
        .map_err(|_| format!("weight {value:?} is not a whole number"))?;
    Ok((server_id(id)?, weight))
}

#[cfg(test)]
mod tests {
    use super::super::zoo_cfg::Properties;
    use super::*;

    fn parse_with(text: &str, rules: MemberRules) -> Result<(Members, Vec<Notice>), String> {
        let file =
            Properties::parse("zoo.cfg", text.as_bytes(), Strictness::Normal).expect("legal");
        let mut notices = Vec::new();
        let members = Members::parse(file.settings(), rules, &mut notices);
        members
            .map(|members| (members, notices))
            .map_err(|problems| {
                problems
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join("\n")
            })
    }

    fn parse(text: &str) -> Result<Members, String> {
        parse_with(text, MemberRules::default()).map(|(members, _)| members)
    }

    #[test]
    fn every_historic_form_is_read() {
        let members = parse(
            "server.1=h1:2888:3888\n\
             server.2=10.0.0.2:2888:3888:participant\n\
             server.3=[2001:db8::1]:2888:3888:OBSERVER\n\
             server.04=h4:2888:3888;2181\n\
             server.5=h5:2888:3888:observer;[::1]:2181\n\
             server.6=h6:2888:3888;127.0.0.1:2181\n\
             server.107=h7:2888:3888;",
        )
        .expect("legal");
        assert_eq!(
            members.lines(),
            [
                "server.107=h7:2888:3888:participant",
                "server.1=h1:2888:3888:participant",
                "server.2=10.0.0.2:2888:3888:participant",
                "server.3=[2001:db8::1]:2888:3888:observer",
                "server.4=h4:2888:3888:participant;0.0.0.0:2181",
                "server.5=h5:2888:3888:observer;[::1]:2181",
                "server.6=h6:2888:3888:participant;127.0.0.1:2181",
            ]
        );
        let again = parse(&members.lines().join("\n")).expect("legal");
        assert_eq!(again, members);
    }

    #[test]
    fn wrong_shapes_are_refused() {
        for value in [
            "h",
            "h:1",
            "h:1:2:participant:3",
            "::1:1:2",
            "[::1:1:2",
            "[h]:1:2",
            ":1:2",
            "h:1:2;a:b:c",
            "h:1:2;;3",
        ] {
            let error = parse(&format!("server.1={value}")).expect_err(value);
            assert!(error.contains("does not have the form"), "{value}: {error}");
            assert!(error.starts_with("zoo.cfg:1: server.1="), "{error}");
        }
        for (line, part) in [
            ("server.1=h:1:1", "must be different"),
            ("server.1=h:1:abc", "expected a port"),
            ("server.1=h:1:70000", "expected a port"),
            ("server.1=h:1:2:foo", "unrecognised peer type"),
            ("server.a=h:1:2", "is not a number"),
            ("server.-1=h:1:2", "from 0 to 255"),
            ("server.256=h:1:2", "from 0 to 255"),
            ("server.1=a:1:2|b:1:2", "multiAddress.enabled"),
            ("server.1=a:1:2:observer|b:1:2", "similar roles"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn blanks_in_addresses_are_forgiven_with_a_notice() {
        let (members, notices) =
            parse_with("server.2=1.1.1.2:2888 :3888", MemberRules::default()).expect("legal");
        assert_eq!(members.lines(), ["server.2=1.1.1.2:2888:3888:participant"]);
        assert_eq!(
            notices[0].to_string(),
            "zoo.cfg:1: server.2: ignoring blanks in \"1.1.1.2:2888 :3888\""
        );
    }

    #[test]
    fn rules_open_more_forms() {
        let rules = MemberRules {
            multi_address: true,
            secure_client: true,
            strictness: Strictness::Off,
            ..MemberRules::default()
        };
        let text = "server.9999999999=a:1:2|b:1:2;;2281";
        let (members, _) = parse_with(text, rules).expect("legal");
        assert_eq!(
            members.lines(),
            ["server.9999999999=a:1:2:participant|b:1:2:participant;;0.0.0.0:2281"]
        );
    }

    #[test]
    fn two_servers_cannot_share_a_port() {
        let error = parse("server.1=h:2888:3888\nserver.2=h:3888:3889").expect_err("shared");
        assert_eq!(
            error,
            "zoo.cfg:2: server.2=h:3888:3889: h:3888 is also used by server.1 (zoo.cfg:1)"
        );
        let error = parse("server.1=a:2888:3888\nserver.01=b:2888:3888").expect_err("same id");
        assert!(
            error.contains("same server id as server.1 (zoo.cfg:1)"),
            "{error}"
        );
        parse("server.1=a:2888:3888\nserver.2=b:2888:3888").expect("different hosts");
    }

    #[test]
    fn groups_hold_every_voter_once() {
        let servers = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer\n";
        let members =
            parse(&format!("{servers}group.1=1:2\ngroup.2=3\nweight.3=2")).expect("legal");
        let hierarchy = members.hierarchy().expect("groups");
        assert_eq!(hierarchy.groups[&1], [ServerId::new(1), ServerId::new(2)]);
        assert_eq!(hierarchy.weights[&ServerId::new(3)], 2);
        for (lines, reason) in [
            ("group.1=1:2", "server 3 is not in a group"),
            ("group.1=1:2\ngroup.2=2:3", "server 2 is in multiple groups"),
            ("weight.1=2", "server 1 is not in a group"),
            ("group.1=1:2:3:9", "group.1 names server 9"),
            ("group.1=1:2:3\nweight.1=-1", "not a whole number"),
        ] {
            let error = parse(&format!("{servers}{lines}")).expect_err(lines);
            assert!(error.contains(reason), "{lines}: {error}");
        }
    }
}
