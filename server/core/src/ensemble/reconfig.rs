//! Another configuration, made of this one as a reconfig asks for it.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2Txn`, case `reconfig`;
//! `QuorumPeerConfig#parseDynamicConfig`; `QuorumServer#checkAddressDuplicate`.

use std::net::IpAddr;

use zk_proto::{ServerId, Zxid};

use super::config::{BadConfig, EnsembleConfig};
use super::member::{BadMember, Member, Role};

/// Ids that session ids can carry.
const ID_MAX: i64 = 255;

/// What is to be different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Some members come, in place of those with the same ids, and some leave before.
    Some {
        /// `server.N=…`, separated by commas.
        joining: &'a str,
        /// Ids, separated by commas. One that is no member is no fault.
        leaving: &'a str,
    },
    /// All members, and groups and weights if there are to be any, as lines separated by commas or
    /// line feeds.
    All(&'a str),
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadChange {
    /// An id is no number.
    #[error("server id {0:?} of a reconfig is no number")]
    Id(String),
    /// A joining server has not the shape of a member line.
    #[error("joining server {0:?} has not the form server.id=host:port:port[:role];[host:]port")]
    Shape(String),
    /// A joining server has no client address, or more addresses than the members have.
    #[error("joining server {0} names no client address, or other addresses than members may have")]
    Addresses(ServerId),
    /// A joining server cannot be read.
    #[error("joining server {id}")]
    Member {
        /// Its id.
        id: ServerId,
        /// Why.
        #[source]
        source: BadMember,
    },
    /// Two members would listen on one port.
    #[error("servers {0} and {1} both listen on {2}")]
    Clash(ServerId, ServerId, String),
    /// Members come and go one by one only where each voter has one vote.
    #[error("members of a hierarchical ensemble can only be changed as a whole")]
    Hierarchical,
    /// The members cannot be read.
    #[error("new members")]
    Config(#[from] BadConfig),
    /// A voter is in no group, or in several; or a group has a stranger.
    #[error("groups must have each voter once, and nobody else")]
    Groups,
    /// Too few voters.
    #[error("{found} voters, at least {least} are needed")]
    Voters {
        /// How many there would be.
        found: usize,
        /// How many are needed.
        least: usize,
    },
}

impl EnsembleConfig {
    /// This configuration with another version.
    #[must_use]
    pub fn with_version(&self, version: Zxid) -> Self {
        let members = self.members().cloned();
        Self::new(members, self.hierarchy().cloned(), version)
    }

    /// The configuration after a change, as of the transaction that makes it.
    ///
    /// # Errors
    /// [`BadChange`] for the first fault: of those who leave, then of those who join, from the left;
    /// or of all members. Last, too few voters.
    pub fn changed(
        &self,
        change: Change<'_>,
        version: Zxid,
        voters_min: usize,
    ) -> Result<Self, BadChange> {
        let changed = match change {
            Change::Some { joining, leaving } => self.with_some(joining, leaving, version)?,
            Change::All(text) => self.with_all(text, version)?,
        };
        let found = changed.voters().count();
        if found < voters_min {
            let least = voters_min;
            return Err(BadChange::Voters { found, least });
        }
        Ok(changed)
    }

    fn with_some(&self, joining: &str, leaving: &str, version: Zxid) -> Result<Self, BadChange> {
        if self.hierarchy().is_some() {
            return Err(BadChange::Hierarchical);
        }
        let mut members: Vec<Member> = self.members().cloned().collect();
        for id in parts(leaving) {
            let id = server_id(id)?;
            members.retain(|member| member.id != id);
        }
        for text in parts(joining) {
            let shape = || BadChange::Shape(text.to_owned());
            let (key, value) = text.split_once('=').ok_or_else(shape)?;
            if value.contains('=') {
                return Err(shape());
            }
            let id = server_id(key.rsplit('.').next().unwrap_or(key))?;
            let member =
                Member::parse(id, value).map_err(|source| BadChange::Member { id, source })?;
            if member.client.is_none() {
                return Err(BadChange::Addresses(id));
            }
            self.check_form(&member)?;
            members.retain(|other| other.id != id);
            for other in &members {
                if let Some(place) = clash(&member, other) {
                    return Err(BadChange::Clash(other.id, id, place));
                }
            }
            members.push(member);
        }
        Ok(Self::new(members, None, version))
    }

    fn with_all(&self, text: &str, version: Zxid) -> Result<Self, BadChange> {
        let parsed = Self::parse(&text.replace(',', "\n"))?;
        for member in parsed.members() {
            self.check_form(member)?;
        }
        if let Some(hierarchy) = parsed.hierarchy() {
            let ids: Vec<ServerId> = hierarchy.groups.values().flatten().copied().collect();
            let times = |id: ServerId| ids.iter().filter(|other| **other == id).count();
            let is_known = |id: &ServerId| parsed.member(*id).is_some();
            if !ids.iter().all(is_known) || parsed.voters().any(|id| times(id) != 1) {
                return Err(BadChange::Groups);
            }
        }
        Ok(parsed.with_version(version))
    }

    /// Members may have only what some member has now: the others may not be able to read it.
    fn check_form(&self, member: &Member) -> Result<(), BadChange> {
        let has_many = |one: &Member| one.addresses.len() > 1;
        let has_secure = |one: &Member| one.secure_client.is_some();
        let is_new_form = has_many(member) && !self.members().any(has_many)
            || has_secure(member) && !self.members().any(has_secure);
        if is_new_form || !(0..=ID_MAX).contains(&member.id.get()) {
            return Err(BadChange::Addresses(member.id));
        }
        Ok(())
    }

    /// Whether a member can be reached for learners where it could before.
    pub fn has_same_quorum_address(&self, other: &Self, id: ServerId) -> bool {
        let places = |config: &Self| {
            let addresses = &config.member(id)?.addresses;
            let place = |one: &super::PeerAddress| (one.host.clone(), one.quorum_port);
            Some(addresses.iter().map(place).collect::<Vec<_>>())
        };
        let place = places(self);
        place.is_some() && place == places(other)
    }

    /// Whether one that leads may go on to do so with other members: it votes, and those who follow have
    /// not to dial another address.
    pub fn keeps_leader(&self, other: &Self, id: ServerId) -> bool {
        let is_new = self.member(id).is_none();
        other.is_voter(id) && (is_new || self.has_same_quorum_address(other, id))
    }

    /// Whether this member observes. Who is no member does not: it follows without a vote.
    pub fn is_observer(&self, id: ServerId) -> bool {
        self.member(id)
            .is_some_and(|one| one.role == Role::Observer)
    }
}

fn parts(list: &str) -> impl Iterator<Item = &str> {
    let parts = list.split(',').map(str::trim);
    parts.filter(|part| !part.is_empty())
}

fn server_id(text: &str) -> Result<ServerId, BadChange> {
    let id = text.parse().map(ServerId::new);
    id.map_err(|_| BadChange::Id(text.to_owned()))
}

/// A port that both would use. Addresses that each machine has for itself tell nothing.
fn clash(one: &Member, other: &Member) -> Option<String> {
    let is_own = |host: &str| {
        let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
        host == "localhost" || host.parse().is_ok_and(is_local)
    };
    let mut one = one.clone();
    one.addresses.retain(|address| !is_own(&address.host));
    one.clash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Zxid = Zxid::new(0x1_0000_0007);

    fn three() -> EnsembleConfig {
        let line = |id| format!("server.{id}=h{id}:2888:3888:participant;2181\n");
        let lines: String = (1..=3).map(line).collect();
        EnsembleConfig::parse(&format!("{lines}version=5")).expect("legal")
    }

    fn some(joining: &str, leaving: &str) -> Result<EnsembleConfig, BadChange> {
        three().changed(Change::Some { joining, leaving }, VERSION, 2)
    }

    fn members(config: &EnsembleConfig) -> Vec<(i64, Role)> {
        let all = config.members();
        all.map(|one| (one.id.get(), one.role)).collect()
    }

    #[test]
    fn members_leave_join_and_change_their_roles() {
        let joining = "server.4=h4:2888:3888;2181,3=h3:2888:3888:observer;2181";
        let changed = some(joining, " 1, ,9").expect("legal");
        let expected = [(2, Role::Voter), (3, Role::Observer), (4, Role::Voter)];
        assert_eq!(members(&changed), expected);
        assert_eq!(changed.version(), VERSION);
        assert!(
            changed
                .text()
                .ends_with("server.4=h4:2888:3888:participant;0.0.0.0:2181\nversion=100000007")
        );
        let unchanged = some("", "9").expect("one that is no member is no fault");
        assert!(unchanged.has_same_members(&three()) && unchanged.version() == VERSION);
    }

    #[test]
    fn faulty_changes_are_refused() {
        for (joining, leaving, part) in [
            ("", "x", "no number"),
            ("server.x=h:1:2;3", "", "no number"),
            ("server.4", "", "has not the form"),
            ("server.4=h=1:1:2;3", "", "has not the form"),
            ("server.4=foo", "", "joining server 4"),
            ("server.4=h:1:1;3", "", "joining server 4"),
            ("server.4=h:1:2", "", "names no client address"),
            ("server.4=h:1:2|i:1:2;3", "", "other addresses"),
            ("server.4=h:1:2;3;4", "", "other addresses"),
            ("server.256=h:1:2;3", "", "other addresses"),
            (
                "server.4=h2:2888:2;3",
                "",
                "servers 2 and 4 both listen on h2:2888",
            ),
            ("", "2,3", "1 voters, at least 2"),
        ] {
            let error = some(joining, leaving).expect_err(joining).to_string();
            assert!(error.contains(part), "{joining} {leaving}: {error}");
        }
        some("server.2=h2:2888:3888;1", "").expect("its own ports are no clash");
        let local = "server.4=127.0.0.1:2888:3888;1,server.5=127.0.0.1:2888:3888;1";
        some(local, "").expect("nobody can tell");
    }

    #[test]
    fn all_members_are_changed_at_once_and_groups_with_them() {
        let all = |text: &str| three().changed(Change::All(text), VERSION, 1);
        let changed = all("server.1=h:1:2;3,server.2=i:1:2;3\nserver.3=j:1:2:observer");
        assert_eq!(members(&changed.expect("legal")).len(), 3);
        let servers = "server.1=h:1:2,server.2=i:1:2,server.3=j:1:2";
        let grouped = all(&format!("{servers},group.1=1:2,group.2=3,version=1")).expect("legal");
        assert_eq!(grouped.version(), VERSION);
        let change = Change::Some {
            joining: "",
            leaving: "1",
        };
        assert_eq!(
            grouped.changed(change, VERSION, 1),
            Err(BadChange::Hierarchical)
        );
        for (groups, part) in [
            ("group.1=1:2", "each voter once"),
            ("group.1=1:2:3,group.2=3", "each voter once"),
            ("group.1=1:2:3,group.2=4", "each voter once"),
            ("clientPort=1", "new members"),
        ] {
            let error = all(&format!("{servers},{groups}")).expect_err(groups);
            assert!(error.to_string().contains(part), "{groups}: {error}");
        }
        assert!(all("server.1=h:1:2:observer").is_err(), "nobody votes");
    }

    #[test]
    fn addresses_for_learners_are_compared_and_clients_are_not() {
        let moved = some("server.2=h2:2889:3888;2181,server.3=h3:2888:3888;1", "").expect("legal");
        let same = |id| three().has_same_quorum_address(&moved, ServerId::new(id));
        assert_eq!([1, 2, 3, 4].map(same), [true, false, true, false]);
    }
}
