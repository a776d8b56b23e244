//! Servers that become members, and members that leave: what they are told of it, what their disks keep
//! of it, and who asks for it.

use std::sync::Arc;

use zk_core::ensemble::{self, ClientAddress, Configs, EnsembleConfig, PeerAddress};
use zk_core::tree::{CONFIG_PATH, Tree};
use zk_proto::request::{ReconfigRequest, Request};
use zk_proto::{ServerId, Zxid};

use super::plan::{Part, SERVERS_MAX};
use super::trace::say;
use super::world::World;
use crate::check::Verdict;

impl World {
    /// The members as the disk of a server tells them. One that is no member adds itself, to take part.
    pub(crate) fn members_on_disk(&self, place: u8) -> Arc<EnsembleConfig> {
        if let Some(config) = self.peek(place).disk.members() {
            return Arc::clone(config);
        }
        let first = self.first_members();
        if place < self.plan.members_at_first() {
            return Arc::clone(first);
        }
        let own = member_line(place, ensemble::Role::Voter);
        let members = first.members().cloned().chain([own]);
        Arc::new(EnsembleConfig::new(members, None, Zxid::ZERO))
    }

    /// A server that starts finds out who the members are; its file may tell what it told before.
    pub(crate) fn recall_members(&mut self, place: u8) -> Verdict {
        let Some(changes) = self.plan.changes else {
            return Ok(());
        };
        let logged = config_in(&self.peek(place).tree);
        let version = self.members_on_disk(place).version();
        let is_logged_later = logged.as_ref().is_some_and(|one| one.version() > version);
        if !self.is_healed && self.change_rng.per_mille(changes.stale_per_mille) && !is_logged_later
        {
            self.coverage
                .note("start with an old file about the members");
            self.member(place).disk.forget_members();
        }
        let mut configs = Configs::new(self.members_on_disk(place));
        if let Some(logged) = logged {
            configs.see(logged);
        }
        self.know_members(place, configs)
    }

    /// A server is told that it knows other members, in force or proposed.
    pub(crate) fn configure(&mut self, place: u8, configs: Configs) -> Verdict {
        let (current, next) = (configs.current(), configs.next());
        let version = current.version();
        say!(
            self,
            "{place} has {:?} in force, {:?} proposed",
            current.text(),
            { next.map(|next| next.text()) }
        );
        self.trace
            .mix(&[6, u64::from(place), version.get().cast_unsigned()]);
        self.know_members(place, configs)
    }

    /// What a server has in force, it takes for committed.
    pub(crate) fn take_activated(&mut self, place: u8, configs: &Configs) -> Verdict {
        match self.laws.proposals.past(configs.current().version()) {
            Some(past) => self.take(place, past),
            None => Ok(()),
        }
    }

    fn know_members(&mut self, place: u8, configs: Configs) -> Verdict {
        let laws = &self.laws;
        let committed = laws.committed.past();
        let past = |version| laws.proposals.past(version);
        laws.reconfig
            .configured(&laws.pasts, place, &configs, committed, past)?;
        self.member(place).configs = Some(configs);
        self.show_members(place);
        Ok(())
    }

    /// Has the tree of a server tell which members it has in force, unless it has younger ones.
    pub(crate) fn show_members(&mut self, place: u8) {
        let now = self.schedule.now();
        let member = self.member(place);
        let Some(configs) = &member.configs else {
            return;
        };
        let current = configs.current();
        let znode = member.tree.get(CONFIG_PATH);
        let known = znode.map_or(Zxid::ZERO, |znode| znode.stat().mzxid);
        if known < current.version() {
            let wall = member.clock.read(now).wall;
            let text = current.text().as_bytes();
            member.tree.set_config(text, current.version(), wall);
        }
    }

    /// A client asks for other members: this one, or the next that a server hears.
    pub(crate) fn ask_for_members(&mut self, client: u8, parts: [Part; SERVERS_MAX]) {
        let count = self.clients.len().max(1);
        let first = usize::from(client) % count;
        let heard = (first..count)
            .chain(0..first)
            .find(|place| self.clients.get(*place).is_some_and(|one| one.is_welcome));
        let Some(client) = heard else {
            self.coverage.note("change of members: nobody hears it");
            return;
        };
        let (mut joining, mut leaving) = (Vec::new(), Vec::new());
        for (place, part) in (0..self.plan.count()).zip(parts) {
            match part {
                Part::Same => {}
                Part::Votes => joining.push(member_line(place, ensemble::Role::Voter)),
                Part::Observes => joining.push(member_line(place, ensemble::Role::Observer)),
                Part::Leaves => leaving.push(self.peek(place).id.to_string()),
            }
        }
        let line = |member: &ensemble::Member| format!("server.{}={member}", member.id);
        let joining: Vec<String> = joining.iter().map(line).collect();
        let some = |text: String| (!text.is_empty()).then(|| text.into());
        let request = Request::Reconfig(ReconfigRequest {
            joining_servers: some(joining.join(",")),
            leaving_servers: some(leaving.join(",")),
            new_members: None,
            cur_config_id: -1,
        });
        self.coverage.note("change of members: asked for");
        self.ask_for(client, &request);
    }

    /// Lets one server die for good, the leader if there is one, if those that are left are a quorum of
    /// all members that may have to decide.
    pub(crate) fn bury(&mut self) {
        if !self.plan.changes.is_some_and(|changes| changes.buries) {
            return;
        }
        let any = self.change_rng.below(u64::from(self.plan.count()));
        let leads = |place: &u8| self.peek(*place).leads.is_some();
        let leader = (0..self.plan.count()).find(leads);
        let place = leader.unwrap_or_else(|| u8::try_from(any).unwrap_or(0));
        let (laws, id) = (&self.laws, self.peek(place).id);
        let (pasts, committed) = (&laws.pasts, laws.committed.past());
        let is_left = |other: ServerId| other != id;
        let is_quorum_left = |config: &Arc<EnsembleConfig>| {
            let left: Vec<_> = config.voters().filter(|id| is_left(*id)).collect();
            config.is_quorum(&left)
        };
        let suffices = (0..self.plan.count()).all(|other| {
            let one = self.peek(other);
            let history = one.disk.durable();
            laws.reconfig.may_lead(pasts, committed, history, &is_left)
                && match &one.configs {
                    Some(pair) => {
                        is_quorum_left(pair.current()) && pair.next().is_none_or(is_quorum_left)
                    }
                    // A change in its history may be committed, and nobody left who knows it.
                    None => is_quorum_left(&self.members_on_disk(other)),
                }
        });
        // What is proposed may be on its way to them.
        let suffices = suffices && laws.reconfig.open(pasts, committed).all(is_quorum_left);
        if !suffices
            || !laws
                .reconfig
                .may_lead(pasts, committed, committed, &is_left)
        {
            return;
        }
        self.coverage.note("change of members: one dies for good");
        self.member(place).is_buried = true;
        self.crash(place, 0);
    }

    /// What is not as it should be about the members when all is healed: all know the same, and nothing
    /// else is proposed.
    pub(crate) fn members_missing(&self) -> Vec<String> {
        if self.plan.changes.is_none() {
            return Vec::new();
        }
        let committed = self.laws.committed.past();
        let in_force = self.laws.reconfig.in_force(&self.laws.pasts, committed);
        let differs = |configs: &Option<Configs>| {
            let agrees = configs.as_ref().is_some_and(|configs| {
                configs.next().is_none() && configs.current().has_same_members(in_force)
            });
            !agrees
        };
        let all = self.members.iter().filter(|one| !one.is_buried);
        let others = all.filter(|one| differs(&one.configs));
        let tell = |one: &super::member::Member| {
            let text = |config: &Arc<EnsembleConfig>| config.text().clone();
            let current = one.configs.as_ref().map(|known| text(known.current()));
            let next = one.configs.as_ref().and_then(|known| known.next());
            format!("{} knows {current:?} and {:?}", one.id, next.map(text))
        };
        others.map(tell).collect()
    }
}

/// A member as it is written; nobody resolves the addresses.
pub(super) fn member_line(place: u8, role: ensemble::Role) -> ensemble::Member {
    let host = format!("m{place}");
    ensemble::Member {
        id: ServerId::new(i64::from(place) + 1),
        addresses: vec![PeerAddress {
            host: host.clone(),
            quorum_port: 2888,
            election_port: 3888,
        }],
        role,
        client: Some(ClientAddress { host, port: 2181 }),
        secure_client: None,
    }
}

/// What a tree tells of the members.
fn config_in(tree: &Tree) -> Option<Arc<EnsembleConfig>> {
    let text = tree.get(CONFIG_PATH)?.data()?;
    let config = EnsembleConfig::parse(std::str::from_utf8(text).ok()?);
    config.ok().map(Arc::new)
}
