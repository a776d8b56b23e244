//! All members, and what they agree on: the text that goes into notifications, NEWLEADER and
//! `/zookeeper/config`.
//!
//! ```text
//! server.1=host:2888:3888:participant;0.0.0.0:2181
//! group.1=1:2:3
//! weight.1=2
//! version=100000003
//! ```
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumVerifier#toString`, `QuorumMaj`, `QuorumHierarchical`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use bytestring::ByteString;
use zk_proto::{ServerId, Zxid};

use super::member::{BadMember, Member, Role};
use super::quorum::{Hierarchy, QuorumRule};

/// Longest text that is read as a configuration: one of 254 members takes a tenth of it.
const TEXT_MAX: usize = 256 << 10;

/// All members of an ensemble and their quorums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnsembleConfig {
    members: BTreeMap<ServerId, Member>,
    hierarchy: Option<Hierarchy>,
    version: Zxid,
    /// Computed from members and hierarchy.
    rule: QuorumRule,
    /// Computed from the rest.
    text: ByteString,
}

/// Why a text is not a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadConfig {
    /// It is too long to be one.
    #[error("configuration of {0} bytes, at most {TEXT_MAX} are read")]
    TooLong(usize),
    /// A line is none of its lines.
    #[error("line {0:?} of a configuration is none of its kinds")]
    Line(String),
    /// A number is none.
    #[error("number in line {0:?} of a configuration is none")]
    Number(String),
    /// A member cannot be read.
    #[error("server.{id} of a configuration")]
    Member {
        /// Its id.
        id: ServerId,
        /// Why.
        #[source]
        source: BadMember,
    },
    /// A member is there twice.
    #[error("server.{0} is there twice in a configuration")]
    Twice(ServerId),
    /// There is no member.
    #[error("configuration without a member")]
    Empty,
}

impl EnsembleConfig {
    /// Members with their quorums. Of several members with one id the last counts.
    pub fn new(
        members: impl IntoIterator<Item = Member>,
        hierarchy: Option<Hierarchy>,
        version: Zxid,
    ) -> Self {
        let members: BTreeMap<_, _> = members.into_iter().map(|one| (one.id, one)).collect();
        let is_voter = |id: &ServerId| members.get(id).is_some_and(|one| one.role == Role::Voter);
        let rule = match &hierarchy {
            Some(hierarchy) => QuorumRule::hierarchical(hierarchy, |id| is_voter(&id)),
            None => QuorumRule::majority(members.keys().filter(|id| is_voter(id)).count()),
        };
        let text = render(&members, hierarchy.as_ref(), version);
        Self {
            members,
            hierarchy,
            version,
            rule,
            text,
        }
    }

    /// Reads what [`Self::text`] wrote, or an Apache server: lines in any order.
    ///
    /// # Errors
    /// [`BadConfig`].
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        if text.len() > TEXT_MAX {
            return Err(BadConfig::TooLong(text.len()));
        }
        let mut members = BTreeMap::new();
        let mut hierarchy: Option<Hierarchy> = None;
        let mut version = Zxid::ZERO;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let line = &unescape(line);
            let bad_line = || BadConfig::Line(line.clone());
            let bad_number = || BadConfig::Number(line.clone());
            let id = |text: &str| text.parse().map(ServerId::new).map_err(|_| bad_number());
            let (key, value) = line.split_once('=').ok_or_else(bad_line)?;
            let (key, value) = (key.trim(), value.trim());
            match key.split_once('.') {
                Some(("server", text)) => {
                    let id = id(text)?;
                    let member = Member::parse(id, value)
                        .map_err(|source| BadConfig::Member { id, source })?;
                    if members.insert(id, member).is_some() {
                        return Err(BadConfig::Twice(id));
                    }
                }
                Some(("group", group)) => {
                    let group = group.parse().map_err(|_| bad_number())?;
                    let ids = value.split(':').map(id).collect::<Result<_, _>>()?;
                    let hierarchy = hierarchy.get_or_insert_default();
                    hierarchy.groups.insert(group, ids);
                }
                Some(("weight", text)) => {
                    let weight = value.parse().map_err(|_| bad_number())?;
                    let hierarchy = hierarchy.get_or_insert_default();
                    hierarchy.weights.insert(id(text)?, weight);
                }
                None if key == "version" => {
                    let number = i64::from_str_radix(value, 16).map_err(|_| bad_number())?;
                    version = Zxid::new(number);
                }
                Some(_) | None => return Err(bad_line()),
            }
        }
        if members.is_empty() {
            return Err(BadConfig::Empty);
        }
        Ok(Self::new(members.into_values(), hierarchy, version))
    }

    /// The form that members exchange; no newline at the end.
    pub fn text(&self) -> &ByteString {
        &self.text
    }

    /// Transaction that made it; zero for one from a file.
    pub fn version(&self) -> Zxid {
        self.version
    }

    /// One member.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// All members by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// All voters by id.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> {
        let voters = self.members().filter(|one| one.role == Role::Voter);
        voters.map(|one| one.id)
    }

    /// Whether this is a member that votes.
    pub fn is_voter(&self, id: ServerId) -> bool {
        self.member(id).is_some_and(|one| one.role == Role::Voter)
    }

    /// Groups and weights, unless every voter has one vote.
    pub fn hierarchy(&self) -> Option<&Hierarchy> {
        self.hierarchy.as_ref()
    }

    /// Which sets of voters decide.
    pub fn rule(&self) -> &QuorumRule {
        &self.rule
    }

    /// Whether these decide. Each is to be given once; those without a vote do not count.
    pub fn is_quorum<'a>(&self, acks: impl IntoIterator<Item = &'a ServerId>) -> bool {
        let voters = acks.into_iter().copied().filter(|id| self.is_voter(*id));
        self.rule.is_quorum(voters)
    }

    /// Votes of a member; one that has none cannot be voted for.
    pub fn weight(&self, id: ServerId) -> u32 {
        self.rule.weight(id)
    }

    /// Whether both are one configuration: of one version, or with the same members and quorums.
    pub fn is_same(&self, other: &Self) -> bool {
        self.version == other.version || self.has_same_members(other)
    }

    /// Whether both have the same members and quorums, whatever their versions are.
    pub fn has_same_members(&self, other: &Self) -> bool {
        self.members == other.members && self.hierarchy == other.hierarchy
    }
}

impl fmt::Display for EnsembleConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn render(
    members: &BTreeMap<ServerId, Member>,
    hierarchy: Option<&Hierarchy>,
    version: Zxid,
) -> ByteString {
    let mut text = String::new();
    for (id, member) in members {
        let mut member = member.clone();
        member.addresses.sort_by(|a, b| a.host.cmp(&b.host));
        writeln!(text, "server.{id}={member}").expect("strings take all");
    }
    if let Some(Hierarchy { groups, weights }) = hierarchy {
        for (id, ids) in groups {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            writeln!(text, "group.{id}={}", ids.join(":")).expect("strings take all");
        }
        for (id, weight) in weights {
            writeln!(text, "weight.{id}={weight}").expect("strings take all");
        }
    }
    write!(text, "version={:x}", version.get()).expect("strings take all");
    text.into()
}

/// A line of Java properties whose colons and equal signs were escaped, as some writers do.
fn unescape(line: &str) -> String {
    let mut chars = line.chars();
    let mut out = String::with_capacity(line.len());
    while let Some(char) = chars.next() {
        out.extend(match char {
            '\\' => chars.next(),
            _ => Some(char),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "server.1=127.0.0.1:22101:22111:participant\n\
                         server.2=127.0.0.1:22102:22112:participant\n\
                         server.3=127.0.0.1:22103:22113:participant\n";

    #[test]
    fn the_text_goes_there_and_back_in_any_order() {
        let all = format!(
            "{THREE}server.4=[::1]:22104:22114:observer;0.0.0.0:2181\n\
             group.1=1:2\ngroup.2=3\nweight.1=2\nversion=10000000a"
        );
        let config = EnsembleConfig::parse(&all).expect("legal");
        assert_eq!(*config.text(), all);
        assert_eq!(config.version(), Zxid::new(0x1_0000_000a));
        assert_eq!(config.weight(ServerId::new(1)), 2);
        assert!(!config.is_voter(ServerId::new(4)) && !config.is_voter(ServerId::new(5)));
        let mut lines: Vec<&str> = all.lines().collect();
        lines.reverse();
        let again = EnsembleConfig::parse(&lines.join("\r\n")).expect("legal");
        assert_eq!(again, config);
    }

    #[test]
    fn configurations_are_the_same_by_version_or_by_members() {
        let parse = |text: String| EnsembleConfig::parse(&text).expect("legal");
        let one = parse(format!("{THREE}version=0"));
        let later = parse(format!("{THREE}version=5"));
        let other = parse("server.1=h:1:2:participant\nversion=0".to_owned());
        let last = parse("server.1=h:1:2:participant\nversion=7".to_owned());
        assert!(one.is_same(&later) && one.is_same(&other) && !one.is_same(&last));
        assert!(!one.has_same_members(&other));
    }

    #[test]
    fn acks_of_those_without_a_vote_do_not_count() {
        let text = format!("{THREE}server.4=h:1:2:observer\nversion=0");
        let config = EnsembleConfig::parse(&text).expect("legal");
        let ids = |ids: &[i64]| ids.iter().copied().map(ServerId::new).collect::<Vec<_>>();
        assert!(config.is_quorum(&ids(&[1, 3])));
        assert!(!config.is_quorum(&ids(&[1, 4, 5])));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for (text, part) in [
            ("", "without a member"),
            ("version=0", "without a member"),
            ("foo=bar\nversion=0", "none of its kinds"),
            ("server.1", "none of its kinds"),
            ("server.x=h:1:2", "number"),
            ("server.1=h:1:2\nversion=xyz", "number"),
            ("server.1=h:1:1", "server.1"),
            ("server.1=h:1:2\nserver.1=h:1:2", "twice"),
            ("group.1=a", "number"),
            ("weight.1=-1", "number"),
        ] {
            let error = EnsembleConfig::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = "#".repeat(TEXT_MAX + 1);
        assert_eq!(
            EnsembleConfig::parse(&long),
            Err(BadConfig::TooLong(TEXT_MAX + 1))
        );
    }
}
