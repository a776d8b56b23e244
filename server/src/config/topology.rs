//! Alone or with others: what member lines, `myid` and limits add up to.

use std::num::NonZeroU32;

use zk_core::ensemble::{ClientAddress, Role};
use zk_proto::ServerId;

use super::error::Problem;
use super::keys::Basics;
use super::members::{MemberRules, Members};
use super::resolve::{ListenAddress, Sources, my_id, required_ticks};
use super::value::Values;
use super::zoo_cfg::{Level, Notice, Origin, Setting, Strictness};

/// Alone or with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server without a member list.
    Standalone,
    /// A member of an ensemble.
    Ensemble(Ensemble),
}

/// A member of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ensemble {
    /// This member.
    pub my_id: ServerId,
    /// Its role.
    pub role: Role,
    /// All members.
    pub members: Members,
    /// Version of the member list: suffix of the dynamic file's name, else 0.
    pub version: u64,
    /// Ticks a learner has to connect and sync.
    pub init_limit: NonZeroU32,
    /// Ticks between a request to a learner and its answer.
    pub sync_limit: NonZeroU32,
    /// Ticks to connect to the elected leader.
    pub connect_limit: NonZeroU32,
    /// Fewest voters that an ensemble may have.
    pub voters_min: usize,
}

/// Decides the topology.
pub(super) fn topology(
    basics: &Basics,
    extended_types: bool,
    values: &Values,
    sources: Sources<'_>,
    notices: &mut Vec<Notice>,
    problems: &mut Vec<Problem>,
) -> Topology {
    let rules = MemberRules {
        multi_address: basics.multi_address_enabled,
        secure_client: basics.secure_client_spec,
        extended_types,
        strictness: sources.strictness,
    };
    let inline: Vec<&Setting> = ["server.", "group.", "weight."]
        .into_iter()
        .flat_map(|start| values.family(start).collect::<Vec<_>>())
        .collect();
    let (version, lines) = match sources.dynamic {
        Some((version, file)) => {
            notices.extend_from_slice(file.notices());
            problems.extend(inline.iter().map(|line| {
                Problem::new(
                    Some(line.origin.clone()),
                    "",
                    format!(
                        "parameter: {} must be in a separate dynamic config file",
                        line.key
                    ),
                )
            }));
            (version, dynamic_lines(file.settings(), problems))
        }
        None => (0, inline),
    };
    let members = match Members::parse(lines, rules, notices) {
        Ok(members) => members,
        Err(found) => {
            problems.extend(found);
            return Topology::Standalone;
        }
    };
    if !problems.is_empty() || !is_distributed(&members, basics, notices, problems) {
        return Topology::Standalone;
    }
    let init_limit = required_ticks("initLimit", basics.init_limit, values, problems);
    let sync_limit = required_ticks("syncLimit", basics.sync_limit, values, problems);
    let my_id = match my_id(sources, basics) {
        Ok(id) => id,
        Err(problem) => {
            problems.push(problem);
            return Topology::Standalone;
        }
    };
    let Some(me) = members.get(my_id) else {
        let known: Vec<String> = members.iter().map(|member| member.id.to_string()).collect();
        let path = sources.my_id.map(|(path, _)| path).unwrap_or_default();
        problems.push(Problem::new(
            None,
            "",
            format!(
                "myid {my_id} ({path}) is not in the server list {{{}}}",
                known.join(",")
            ),
        ));
        return Topology::Standalone;
    };
    let my_role = me.role;
    if let Ok(written) = Role::parse(&basics.peer_type)
        && written != my_role
    {
        notices.push(Notice {
            level: Level::Warn,
            origin: values
                .origin("peerType")
                .cloned()
                .unwrap_or(Origin::Default),
            text: format!("peerType: {written} here, {my_role} in the server list; the list wins"),
        });
    }
    Topology::Ensemble(Ensemble {
        my_id,
        role: my_role,
        members,
        version,
        init_limit,
        sync_limit,
        connect_limit: NonZeroU32::new(basics.connect_to_learner_master_limit)
            .unwrap_or(init_limit),
        voters_min: if basics.standalone_enabled { 2 } else { 1 },
    })
}

/// The member lines of a dynamic file, which holds nothing else.
fn dynamic_lines<'a>(
    settings: impl Iterator<Item = &'a Setting>,
    problems: &mut Vec<Problem>,
) -> Vec<&'a Setting> {
    let mut lines = Vec::new();
    for setting in settings {
        let reason = match setting.key.split_once('.') {
            Some(("server" | "group" | "weight", _)) => {
                lines.push(setting);
                continue;
            }
            _ if setting.key == "version" => {
                "dynamic file shouldn't have version inside".to_owned()
            }
            _ => format!("unrecognised parameter: {}", setting.key),
        };
        problems.push(Problem::new(Some(setting.origin.clone()), "", reason));
    }
    lines
}

/// Whether the member list makes an ensemble; complains about lists that make nothing.
fn is_distributed(
    members: &Members,
    basics: &Basics,
    notices: &mut Vec<Notice>,
    problems: &mut Vec<Problem>,
) -> bool {
    let voters = members.with_role(Role::Voter).count();
    let observers = members.with_role(Role::Observer).count();
    let mut refuse = |reason: &str| problems.push(Problem::new(None, "", reason));
    let mut warn = |text: &str| {
        notices.push(Notice {
            level: Level::Warn,
            origin: Origin::Default,
            text: text.to_owned(),
        });
    };
    match (voters, observers) {
        (0, 0) => {
            if !basics.standalone_enabled {
                refuse("standaloneEnabled = false then number of participants should be >0");
            }
            false
        }
        (0, _) => {
            refuse("observers w/o participants is an invalid configuration");
            false
        }
        (1, 0) if basics.standalone_enabled => {
            warn("only one server specified, ignoring the list and running standalone");
            false
        }
        (1, _) if basics.standalone_enabled => {
            refuse("observers w/o quorum is an invalid configuration");
            false
        }
        (1 | 2, _) => {
            warn("no server failure will be tolerated, you need at least 3 servers");
            true
        }
        (_, _) => {
            if voters.is_multiple_of(2) {
                warn("non-optimal configuration, consider an odd number of servers");
            }
            true
        }
    }
}

/// Where to listen for clients: what `zoo.cfg` and our own member line agree on.
pub(super) fn client_ports(
    basics: &Basics,
    topology: &Topology,
    values: &Values,
    problems: &mut Vec<Problem>,
) -> (Option<ListenAddress>, Option<ListenAddress>) {
    let mine = match topology {
        Topology::Ensemble(ensemble) => ensemble.members.get(ensemble.my_id),
        Topology::Standalone => None,
    };
    let plain = one_port(
        ["clientPort", "clientPortAddress"],
        (basics.client_port, &basics.client_port_address),
        mine.and_then(|member| member.client.as_ref()),
        values,
        problems,
    );
    let secure = one_port(
        ["secureClientPort", "secureClientPortAddress"],
        (
            basics.secure_client_port,
            &basics.secure_client_port_address,
        ),
        mine.and_then(|member| member.secure_client.as_ref()),
        values,
        problems,
    );
    match (&plain, &secure) {
        (None, None) if problems.is_empty() => problems.push(Problem::new(
            None,
            "",
            "neither clientPort nor secureClientPort is set, no client could connect",
        )),
        (Some(plain), Some(secure)) if plain.port == secure.port && plain.port != 0 => {
            problems.push(Problem::new(
                values.origin("secureClientPort").cloned(),
                "secureClientPort",
                format!("same port as clientPort: {}", plain.port),
            ));
        }
        _ => {}
    }
    (plain, secure)
}

/// One client port, from its key and address key and from our member line.
fn one_port(
    [key, address_key]: [&str; 2],
    (port, host): (Option<u16>, &str),
    listed: Option<&ClientAddress>,
    values: &Values,
    problems: &mut Vec<Problem>,
) -> Option<ListenAddress> {
    let host = Some(host.to_owned()).filter(|host| !host.is_empty());
    let Some(port) = port else {
        if host.is_some() && listed.is_none() {
            problems.push(Problem::new(
                values.origin(address_key).cloned(),
                "",
                format!("{address_key} is set but {key} is not set"),
            ));
        }
        return listed.map(|address| ListenAddress {
            host: host.or_else(|| Some(address.host.clone()).filter(|host| !is_wildcard(host))),
            port: address.port,
        });
    };
    let Some(address) = listed else {
        return Some(ListenAddress { host, port });
    };
    let listed_host = Some(address.host.clone()).filter(|host| !is_wildcard(host));
    let hosts_differ = matches!((&host, &listed_host), (Some(one), Some(other)) if one != other);
    if address.port != port || hosts_differ {
        problems.push(Problem::new(
            values.origin(key).cloned(),
            "",
            format!(
                "client address of this server is {}:{port} here and {address} in the server list",
                host.as_deref().unwrap_or("0.0.0.0"),
            ),
        ));
    }
    Some(ListenAddress {
        host: host.or(listed_host),
        port,
    })
}

/// Whether the host stands for all addresses.
fn is_wildcard(host: &str) -> bool {
    matches!(host, "0.0.0.0" | "::" | "0:0:0:0:0:0:0:0")
}

/// Version of a dynamic file: hexadecimal behind the last dot of its name, else 0.
pub fn dynamic_version(file_name: &str) -> u64 {
    let suffix = file_name.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let hex = suffix.bytes().all(|byte| byte.is_ascii_hexdigit());
    if hex {
        u64::from_str_radix(suffix, 16).unwrap_or(0)
    } else {
        0
    }
}

/// Whether a `--strict-config` or `strictConfig` asks for a second, stricter reading.
pub(super) fn wants_strict(strictness: Strictness, value: Option<&Setting>) -> bool {
    strictness == Strictness::Normal
        && value.is_some_and(|setting| setting.value.eq_ignore_ascii_case("true"))
}
