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

use zk_core::ensemble::{BadMember, Hierarchy, Member, Role};
use zk_proto::ServerId;

use super::error::Problem;
use super::zoo_cfg::{Level, Notice, Setting, Strictness};

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

/// A `server.N` line, and what to say about it.
fn member(id: &str, value: &str, rules: MemberRules) -> Result<(Member, Vec<String>), String> {
    let mut remarks = Vec::new();
    let id = server_id(id)?;
    remarks.extend(check_id(id, rules)?);
    let tidy: String = value.chars().filter(|char| !char.is_whitespace()).collect();
    if tidy != value {
        remarks.push(format!("ignoring blanks in {value:?}"));
    }
    let member = Member::parse(id, &tidy).map_err(|bad| bad.to_string())?;
    if member.addresses.len() > 1 && !rules.multi_address {
        return Err("several addresses for one server need multiAddress.enabled=true".to_owned());
    }
    if member.secure_client.is_some() && !rules.secure_client {
        return Err(BadMember::Shape(value.to_owned()).to_string());
    }
    Ok((member, remarks))
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
