//! Groups and services: who is alive is known to all in the end, and nobody else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zk_client::{Client, CreateMode};
use zk_recipes::{
    Discovery, Group, GroupFormat, InstanceCache, Kept, Membership, Provider, Registration,
    ServiceInstance, ServiceType,
};
use zk_testkit::simulation::{Process, Simulation, World};

use crate::{Outcome, Truth, WORK, holds, objects};

const MEMBERS: usize = 4;

/// Members by id, with what they say.
type Members = BTreeMap<String, String>;

/// A way to be known, and to know others.
trait Roster: Copy + Send + Sync + 'static {
    type Member: Send;
    type Reader: Send;

    fn join(self, zk: &Client, id: &str) -> impl Future<Output = Outcome<Self::Member>> + Send;
    fn say(self, member: &mut Self::Member, what: &str) -> Outcome;
    fn leave(self, member: Self::Member) -> impl Future<Output = ()> + Send;

    fn follow(self, zk: &Client) -> impl Future<Output = Outcome<Self::Reader>> + Send;
    fn known(self, reader: &Self::Reader) -> Members;
    fn changed(self, reader: &mut Self::Reader) -> impl Future<Output = ()> + Send;

    /// Below what nothing is left in the end.
    fn path(self) -> String;
    /// Whether members can say anything.
    fn has_words(self) -> bool;
}

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Leaves,
    IsDropped,
    Dies,
    Stays,
}

async fn take_part<R: Roster>(roster: R, process: Process, fate: Fate, over: Truth<()>) -> Outcome {
    let zk = process.client().await?;
    let mut member = roster.join(&zk, process.name()).await?;
    for round in 0..5 {
        process.work(WORK * 2).await;
        roster.say(&mut member, &round.to_string())?;
    }
    match fate {
        Fate::Leaves => roster.leave(member).await,
        Fate::IsDropped => drop(member),
        Fate::Dies => std::future::pending().await,
        Fate::Stays => {
            roster.say(&mut member, "last")?;
            over.told().await;
            roster.leave(member).await;
        }
    }
    Ok(())
}

async fn read<R: Roster>(roster: R, process: Process, told: Truth<Members>) -> Outcome {
    let zk = process.client().await?;
    process.work(WORK * 5).await;
    let mut reader = roster.follow(&zk).await?;
    let mut truth = None;
    while truth.as_ref() != Some(&roster.known(&reader)) {
        tokio::select! {
            biased;
            () = roster.changed(&mut reader) => {}
            members = told.told(), if truth.is_none() => truth = Some(members),
        }
    }
    Ok(())
}

async fn all_know<R: Roster>(world: World, roster: R) -> Outcome {
    let (over, told) = (Truth::new(), Truth::new());
    let own = world.own();
    let members: Vec<_> = (0..MEMBERS)
        .map(|n| {
            let fate = match own.below(4) {
                0 => Fate::Leaves,
                1 => Fate::IsDropped,
                2 => Fate::Dies,
                _ => Fate::Stays,
            };
            let over = over.clone();
            let member = world.process(format!("member-{n}"), |process| {
                take_part(roster, process, fate, over)
            });
            (fate, member)
        })
        .collect();
    let readers: Vec<_> = (0..2)
        .map(|n| {
            let told = told.clone();
            world.process(format!("reader {n}"), |process| read(roster, process, told))
        })
        .collect();
    let mut alive = Members::new();
    let mut staying = Vec::new();
    for (fate, member) in members {
        let name = member.process().name().to_owned();
        match fate {
            Fate::Leaves | Fate::IsDropped => member.await?,
            Fate::Dies => {
                own.work(WORK * 20).await;
                member.kill();
            }
            Fate::Stays => {
                let last = if roster.has_words() { "last" } else { "" };
                alive.insert(name, last.to_owned());
                staying.push(member);
            }
        }
    }
    world.healed().await;
    told.tell(alive);
    for reader in readers {
        reader.await?;
    }
    over.tell(());
    for member in staying {
        member.await?;
    }
    crate::swept(&world, &roster.path()).await
}

impl Roster for GroupFormat {
    type Member = Kept;
    type Reader = Membership;

    async fn join(self, zk: &Client, id: &str) -> Outcome<Kept> {
        Ok(Group::new(zk, self.path()).format(self).join(id, ""))
    }

    fn say(self, member: &mut Kept, what: &str) -> Outcome {
        if self.has_words() {
            member.set_data(what.to_owned());
        }
        Ok(())
    }

    async fn leave(self, member: Kept) {
        member.close().await;
    }

    async fn follow(self, zk: &Client) -> Outcome<Membership> {
        let mut members = Group::new(zk, self.path()).format(self).members();
        members.ready().await?;
        Ok(members)
    }

    fn known(self, reader: &Membership) -> Members {
        let text = |member: zk_recipes::Member| {
            (
                member.id,
                String::from_utf8_lossy(&member.payload).into_owned(),
            )
        };
        reader.now().into_iter().map(text).collect()
    }

    async fn changed(self, reader: &mut Membership) {
        reader.changed().await;
    }

    fn path(self) -> String {
        "/group".to_owned()
    }

    fn has_words(self) -> bool {
        self == Self::Curator
    }
}

fn group_is_known(seeds: std::ops::Range<u64>, format: GroupFormat) {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, seeds, |world| all_know(world, format));
}

#[test]
fn a_member_that_lives_is_in_its_group_and_one_that_is_dead_is_not() {
    group_is_known(0..40, GroupFormat::Curator);
}

#[test]
fn a_member_that_lives_is_in_its_party_and_one_that_is_dead_is_not() {
    group_is_known(10_000..10_040, GroupFormat::Party);
}

#[test]
fn a_member_that_lives_is_in_its_shallow_party_and_one_that_is_dead_is_not() {
    group_is_known(20_000..20_040, GroupFormat::ShallowParty);
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Details {
    says: String,
}

/// A service; readers are caches.
#[derive(Debug, Clone, Copy)]
struct Service(ServiceType);

fn instances<'a>(
    found: impl IntoIterator<Item = &'a std::sync::Arc<zk_recipes::Found<Details>>>,
) -> Members {
    let text = |found: &std::sync::Arc<zk_recipes::Found<Details>>| {
        let instance = &found.instance;
        let says = instance
            .payload
            .as_ref()
            .map(|payload| payload.says.clone());
        (instance.id.clone(), says.unwrap_or_default())
    };
    found.into_iter().map(text).collect()
}

impl Service {
    fn discovery(zk: &Client) -> Discovery<Details> {
        Discovery::new(zk, "/services")
    }

    async fn register(self, zk: &Client, id: &str) -> Outcome<Registration<Details>> {
        let says = String::new();
        let me = ServiceInstance::new("api").id(id).port(80);
        let mut me = me.service_type(self.0).payload(Details { says });
        // The time of day is not that of the simulation.
        me.registration_time_utc = 0;
        Ok(Self::discovery(zk).register(me).await?)
    }

    fn update(member: &mut Registration<Details>, what: &str) -> Outcome {
        let says = what.to_owned();
        member.update(|instance| instance.payload = Some(Details { says }))?;
        Ok(())
    }
}

impl Roster for Service {
    type Member = Registration<Details>;
    type Reader = InstanceCache<Details>;

    async fn join(self, zk: &Client, id: &str) -> Outcome<Registration<Details>> {
        self.register(zk, id).await
    }

    fn say(self, member: &mut Registration<Details>, what: &str) -> Outcome {
        Self::update(member, what)
    }

    async fn leave(self, member: Registration<Details>) {
        member.unregister().await;
    }

    async fn follow(self, zk: &Client) -> Outcome<InstanceCache<Details>> {
        let cache = Self::discovery(zk).cache("api");
        cache.ready().await?;
        Ok(cache)
    }

    fn known(self, reader: &InstanceCache<Details>) -> Members {
        assert!(reader.undecodable().is_empty());
        instances(&reader.instances())
    }

    async fn changed(self, reader: &mut InstanceCache<Details>) {
        reader.changed().await;
    }

    fn path(self) -> String {
        "/services/api".to_owned()
    }

    fn has_words(self) -> bool {
        true
    }
}

#[test]
fn an_instance_that_lives_is_registered_and_one_that_is_dead_is_not() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 30_000..30_040, |world| {
        all_know(world, Service(ServiceType::Dynamic))
    });
}

#[test]
fn an_instance_with_a_number_that_lives_is_registered_and_one_that_is_dead_is_not() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 40_000..40_040, |world| {
        all_know(world, Service(ServiceType::DynamicSequential))
    });
}

/// A service; readers ask whom they would be sent to.
#[derive(Debug, Clone, Copy)]
struct Provided;

impl Roster for Provided {
    type Member = Registration<Details>;
    type Reader = Provider<Details>;

    async fn join(self, zk: &Client, id: &str) -> Outcome<Registration<Details>> {
        Service(ServiceType::Dynamic).register(zk, id).await
    }

    fn say(self, member: &mut Registration<Details>, what: &str) -> Outcome {
        Service::update(member, what)
    }

    async fn leave(self, member: Registration<Details>) {
        member.unregister().await;
    }

    async fn follow(self, zk: &Client) -> Outcome<Provider<Details>> {
        let provider = Service::discovery(zk).provider("api").start();
        provider.ready().await?;
        Ok(provider)
    }

    fn known(self, reader: &Provider<Details>) -> Members {
        // One after the other, each is asked once.
        let count = reader.instances().len();
        let picked: Vec<_> = (0..count).filter_map(|_| reader.pick()).collect();
        let text = |picked: &zk_recipes::Picked<Details>| {
            let says = picked.payload.as_ref().map(|payload| payload.says.clone());
            (picked.id.clone(), says.unwrap_or_default())
        };
        picked.iter().map(text).collect()
    }

    async fn changed(self, reader: &mut Provider<Details>) {
        reader.changed().await;
    }

    fn path(self) -> String {
        "/services/api".to_owned()
    }

    fn has_words(self) -> bool {
        true
    }
}

#[test]
fn whoever_offers_a_service_is_asked_and_nobody_else() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 50_000..50_040, |world| {
        all_know(world, Provided)
    });
}

/// A group as one would write it: a znode created once, and a list that is read again when it changes.
#[derive(Debug, Clone, Copy)]
struct Naive;

impl Roster for Naive {
    type Member = (Client, String);
    type Reader = Membership;

    async fn join(self, zk: &Client, id: &str) -> Outcome<(Client, String)> {
        let path = format!("{}/{id}", self.path());
        while zk.ensure_path(&self.path()).await.is_err() {}
        let create = || zk.create(&path, "").mode(CreateMode::Ephemeral);
        while create().if_absent().await.is_err() {}
        Ok((zk.clone(), path))
    }

    fn say(self, _: &mut (Client, String), _: &str) -> Outcome {
        Ok(())
    }

    async fn leave(self, (zk, path): (Client, String)) {
        zk.delete(&path).if_exists().await.ok();
    }

    async fn follow(self, zk: &Client) -> Outcome<Membership> {
        GroupFormat::Curator.follow(zk).await
    }

    fn known(self, reader: &Membership) -> Members {
        GroupFormat::Curator.known(reader)
    }

    async fn changed(self, reader: &mut Membership) {
        reader.changed().await;
    }

    fn path(self) -> String {
        GroupFormat::Curator.path()
    }

    fn has_words(self) -> bool {
        false
    }
}

#[test]
fn a_member_that_joins_once_is_found_out() {
    let law = "the body ends, once all is healed";
    objects(&Simulation::new(), law, |world| all_know(world, Naive));
}
