//! What nobody should find in a directory, or be told by it: an error or a described behaviour, never a
//! wait without end and never a second holder.
//!
//! Nothing goes wrong here but that, so one run of each is as good as many.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};
use tokio::time::timeout;
use zk_client::{Ace, Acl, Client, Error, ErrorKind, Id, Perms, Version};
use zk_recipes::{
    AcquireError, Barrier, BarrierError, Cache, ConfigError, ConfigWatch, Discovery,
    DiscoveryError, DoubleBarrier, Election, ElectionError, GenerationBarrier, Group, GroupFormat,
    LeaderLatch, LeaderObserver, Lock, LockFormat, LossReason, MultiLock, ReadWriteLock,
    ReentrantLock, Semaphore, ServiceInstance, publish_config,
};
use zk_testkit::simulation::{Simulation, World};

use crate::Outcome;

/// Names that are nobody's, of other recipes, of other programs.
const FOREIGN: [&str; 9] = [
    "!",
    "0",
    "readme",
    "ключ",
    "lock-x",
    "m-",
    "gen-x",
    "latch-0000000001-copy",
    "5f2c9a00-0000-4000-8000",
];

fn calm<F: Future<Output = Outcome>>(body: impl Fn(World) -> F + Sync) {
    Simulation::new().without_faults().run(0..1, body);
}

/// Longer than anything takes, and no time at all.
async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let output = timeout(Duration::from_mins(2), future).await;
    output.unwrap_or_else(|_| panic!("{what}: it waits"))
}

/// One that does not tell the time of day, which is not that of the simulation.
fn instance<T>(id: &str) -> ServiceInstance<T> {
    let mut instance = ServiceInstance::new("api").id(id);
    instance.registration_time_utc = 0;
    instance
}

fn of_lock<T>(result: Result<T, AcquireError>) -> Option<ErrorKind> {
    result.err()?.client_error().map(Error::kind)
}

fn of_barrier<T>(result: Result<T, BarrierError>) -> Option<ErrorKind> {
    result.err()?.client_error().map(Error::kind)
}

fn of_config<T>(result: Result<T, ConfigError>) -> Option<ErrorKind> {
    if let ConfigError::Client { source, .. } = result.err()? {
        Some(source.kind())
    } else {
        None
    }
}

/// How each recipe that owns znodes fails at a path.
async fn failures(zk: &Client, path: &str) -> Vec<(&'static str, Option<ErrorKind>)> {
    let lock = || Lock::new(zk, path);
    let book = ReadWriteLock::new(zk, path);
    let both = MultiLock::new(zk, ["a", "b"].map(|name| format!("{path}/{name}")));
    let again = ReentrantLock::<u8>::new(lock());
    let election = Election::new(zk, path).run_once(|_| async {}).await;
    let election = match election {
        Err(ElectionError::Acquire(error)) => of_lock(Err::<(), _>(error)),
        _ => None,
    };
    let discovery = Discovery::<()>::new(zk, path);
    let registered = discovery.register(instance("1")).await;
    let registered = match registered.err() {
        Some(DiscoveryError::Client { source, .. }) => Some(source.kind()),
        Some(DiscoveryError::Closed { .. }) => Some(ErrorKind::Closed),
        _ => None,
    };
    vec![
        ("lock", of_lock(lock().acquire().await)),
        ("read", of_lock(book.read().await)),
        ("write", of_lock(book.write().await)),
        ("locks", of_lock(both.acquire().await)),
        ("re-entrant lock", of_lock(again.acquire(1).await)),
        (
            "semaphore",
            of_lock(Semaphore::new(zk, path, 1).acquire().await),
        ),
        ("election", election),
        ("barrier", of_barrier(Barrier::new(zk, path).set().await)),
        (
            "double barrier",
            of_barrier(DoubleBarrier::new(zk, path, 1).enter().await),
        ),
        (
            "generation barrier",
            of_barrier(GenerationBarrier::new(zk, path, 1).wait("a").await),
        ),
        ("service", registered),
        (
            "configuration",
            of_config(publish_config(zk, path, &1, None).await),
        ),
    ]
}

/// How each recipe that only follows fails at a path.
async fn blindness(zk: &Client, path: &str) -> Vec<(&'static str, Option<ErrorKind>)> {
    let kind = |result: Result<(), Error>| result.err().map(|error| error.kind());
    let discovery = Discovery::<()>::new(zk, path);
    let config = ConfigWatch::<u8>::json(zk, path).start();
    vec![
        ("cache", kind(Cache::tree(zk, path).start().ready().await)),
        ("group", kind(Group::new(zk, path).members().ready().await)),
        ("instances", kind(discovery.cache("api").ready().await)),
        (
            "provider",
            kind(discovery.provider("api").start().ready().await),
        ),
        ("configuration", of_config(config.ready().await)),
    ]
}

async fn all_fail(zk: &Client, path: &str, wanted: ErrorKind) {
    for (recipe, kind) in soon(path, failures(zk, path)).await {
        assert_eq!(kind, Some(wanted), "{recipe} at {path:?}");
    }
}

#[test]
fn what_can_never_be_had_is_an_error_of_every_recipe() {
    calm(|world| async move {
        let zk = world.client().await?;
        zk.create("/ephemeral", "").ephemeral().await?;
        all_fail(&zk, "/ephemeral/x", ErrorKind::NoChildrenForEphemerals).await;
        let read = Acl::of([Ace::new(Perms::READ, Id::ANYONE)]);
        zk.create("/read", "").acl(read).await?;
        all_fail(&zk, "/read/x", ErrorKind::NoAuth).await;
        for path in ["relative", "/a//b", "/a/../b"] {
            all_fail(&zk, path, ErrorKind::BadArguments).await;
            for (recipe, kind) in soon(path, blindness(&zk, path)).await {
                assert_eq!(kind, Some(ErrorKind::BadArguments), "{recipe} at {path:?}");
            }
        }
        assert_eq!(zk.children("/").await?.map(|names| names.len()), Some(3));
        zk.close(Duration::from_secs(5)).await;
        all_fail(&zk, "/x", ErrorKind::Closed).await;
        for (recipe, kind) in soon("/x", blindness(&zk, "/x")).await {
            assert_eq!(kind, Some(ErrorKind::Closed), "{recipe}");
        }
        let latch = LeaderLatch::new(&zk, "/x").join();
        assert!(soon("latch", latch.wait_leader()).await.is_none());
        let observer = LeaderObserver::new(&zk, "/x");
        assert!(
            soon("observer", observer.current().changed())
                .await
                .is_err()
        );
        Ok(())
    });
}

async fn litter(zk: &Client, path: &str) -> Outcome {
    zk.ensure_path(path).await?;
    for name in FOREIGN {
        zk.create(&format!("{path}/{name}"), "foreign").await?;
    }
    Ok(())
}

#[test]
fn foreign_children_count_for_nothing() {
    calm(|world| async move {
        let zk = world.client().await?;
        for path in ["/book", "/double", "/rounds", "/leader", "/services/api"] {
            litter(&zk, path).await?;
        }
        let book = ReadWriteLock::new(&zk, "/book");
        drop(soon("writer", book.write()).await?);
        drop(soon("reader", book.read()).await?);
        assert!(book.contenders().await?.len() < 3);

        // Two of two: foreign ones do not make one of them enough, nor keep anybody from leaving.
        let double = DoubleBarrier::new(&zk, "/double", 2);
        let alone = double.enter_within(Duration::from_secs(5)).await;
        assert!(
            matches!(alone, Err(BarrierError::Timeout { .. })),
            "{alone:?}"
        );
        let (one, two) = tokio::join!(double.enter(), double.enter());
        let out = async { tokio::join!(one?.leave(), two?.leave()).0 };
        soon("out", out).await?;
        assert_eq!(
            zk.children("/double").await?.map(|left| left.len()),
            Some(FOREIGN.len())
        );

        let rounds = GenerationBarrier::new(&zk, "/rounds", 2);
        for round in 0..2 {
            let (one, two) = tokio::join!(rounds.wait("a"), rounds.wait("b"));
            assert_eq!((one?.generation(), two?.generation()), (round, round));
        }

        let latch = LeaderLatch::new(&zk, "/leader").identity("me").join();
        soon("leader", latch.wait_leader())
            .await
            .ok_or("it leads")?;
        let is_me = |leader: &Option<zk_recipes::Contender>| {
            leader
                .as_ref()
                .is_some_and(|leader| leader.identity == "me")
        };
        let observer = LeaderObserver::new(&zk, "/leader");
        soon("observer", observer.current().wait_for(is_me)).await?;

        let instances = Discovery::<()>::new(&zk, "/services").cache("api");
        soon("instances", instances.ready()).await?;
        assert_eq!(instances.undecodable().len(), FOREIGN.len());
        for format in [GroupFormat::Party, GroupFormat::ShallowParty] {
            let path = format!("/{format:?}");
            zk.create(&path, "").await?;
            for name in ["readme", "ключ"] {
                zk.create(&format!("{path}/{name}"), "foreign").await?;
            }
            let mut members = Group::new(&zk, &path).format(format).members();
            soon("members", members.ready()).await?;
            assert!(members.now().is_empty(), "{:?}", members.now());
        }
        Ok(())
    });
}

/// A directory that is deleted under those who wait: they get in line anew.
#[test]
fn whoever_waits_when_the_directory_is_deleted_gets_in_anew() {
    calm(|world| async move {
        let zk = world.client().await?;
        let book = ReadWriteLock::new(&zk, "/book");
        let writer = book.write().await?;
        let waiting = world.own().spawn({
            let book = book.clone();
            async move { book.write().await }
        });
        until_children(&zk, "/book", 2).await?;
        deleted(&zk, "/book").await?;
        assert_eq!(soon("loss", writer.lost()).await, LossReason::NodeDeleted);
        let next = soon("next writer", waiting).await??;
        assert!(next.is_held() && next.token() > writer.token());

        let pool = Semaphore::new(&zk, "/pool", 1);
        let lease = pool.acquire().await?;
        let waiting = world.own().spawn({
            let pool = pool.clone();
            async move { pool.acquire().await }
        });
        until_children(&zk, "/pool/leases", 2).await?;
        deleted(&zk, "/pool").await?;
        assert_eq!(soon("loss", lease.lost()).await, LossReason::NodeDeleted);
        let next = soon("next lease", waiting).await??;
        assert!(next.is_held() && next.token() > lease.token());

        let double = DoubleBarrier::new(&zk, "/double", 2);
        let waiting = world.own().spawn({
            let double = double.clone();
            async move { double.enter().await }
        });
        until_children(&zk, "/double", 1).await?;
        deleted(&zk, "/double").await?;
        let (one, two) = soon("both", async { tokio::join!(double.enter(), waiting) }).await;
        assert!(one?.is_held() && two??.is_held());

        for gone in ["/rounds", "/rounds/state"] {
            let rounds = GenerationBarrier::new(&zk, "/rounds", 2);
            let (one, two) = tokio::join!(rounds.wait("a"), rounds.wait("b"));
            let round = one?.generation();
            assert_eq!(two?.generation(), round);
            let waiting = world.own().spawn({
                let rounds = rounds.clone();
                async move { rounds.wait("a").await }
            });
            until_children(&zk, &format!("/rounds/gen-{}", round + 1), 1).await?;
            deleted(&zk, gone).await?;
            let both = async { tokio::join!(rounds.wait("b"), waiting) };
            let (one, two) = soon(gone, both).await;
            assert_eq!(one?.generation(), two??.generation(), "{gone}");
        }

        let latch = LeaderLatch::new(&zk, "/leader").join();
        let before = soon("leader", latch.wait_leader())
            .await
            .ok_or("it leads")?;
        deleted(&zk, "/leader").await?;
        assert_eq!(soon("loss", before.lost()).await, LossReason::NodeDeleted);
        let after = soon("leader", latch.wait_leader())
            .await
            .ok_or("it leads")?;
        assert!(after.token() > before.token());
        Ok(())
    });
}

/// Deletes all that is there at once, and nothing that comes after.
async fn deleted(zk: &Client, path: &str) -> Outcome {
    loop {
        let mut paths = Vec::new();
        let mut tree = zk.list_tree(path);
        while let Some(path) = tree.next().await {
            paths.push(path?);
        }
        paths.sort();
        let mut all = zk.transaction();
        for path in paths.iter().rev() {
            all = all.delete(path, Version::ANY);
        }
        match all.await {
            Ok(_) => return Ok(()),
            // Something came or went meanwhile.
            Err(error) if error.transaction_index().is_some() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn until_children(zk: &Client, path: &str, count: usize) -> Outcome {
    let mut lists = zk.observe_children(path);
    loop {
        let names = soon(path, lists.next()).await.ok_or("the client lives")??;
        if names.is_some_and(|names| names.len() == count) {
            return Ok(());
        }
    }
}

/// Numbers as a server gives them out behind 2³¹ creations, made by hand.
#[test]
fn numbers_go_on_over_their_overflow() {
    calm(|world| async move {
        let zk = world.client().await?;
        let guid = "_c_5f2c9a00-0000-4000-8000-00000000000";
        for path in ["/lock", "/leader"] {
            zk.create(path, "").await?;
        }
        let last = format!("/lock/{guid}1-lock-2147483647");
        let first = format!("/lock/{guid}2-lock--2147483648");
        zk.create(&first, "second").await?;
        zk.create(&last, "first").await?;
        let lock = Lock::new(&zk, "/lock");
        let who = lock.contenders().await?;
        let who: Vec<_> = who
            .into_iter()
            .map(|contender| contender.identity)
            .collect();
        assert_eq!(who, ["first", "second"]);
        for path in [first, last] {
            zk.delete(&path).await?;
        }
        // The own number is a small one, which comes after those that are negative.
        let before = format!("/lock/{guid}3-lock--000000001");
        zk.create(&before, "").await?;
        assert!(lock.try_acquire().await?.is_none());
        let waiting = world.own().spawn({
            let lock = lock.clone();
            async move { lock.acquire().await }
        });
        until_children(&zk, "/lock", 2).await?;
        assert!(!waiting.is_finished());
        zk.delete(&before).await?;
        drop(soon("lock", waiting).await??);

        let before = format!("/leader/{guid}4-latch--000000001");
        zk.create(&before, "").await?;
        let latch = LeaderLatch::new(&zk, "/leader").join();
        until_children(&zk, "/leader", 2).await?;
        assert!(
            latch
                .leader()
                .await?
                .is_some_and(|leader| leader.path == before)
        );
        assert!(!latch.has_leadership());
        zk.delete(&before).await?;
        soon("leader", latch.wait_leader())
            .await
            .ok_or("it leads")?;
        Ok(())
    });
}

/// One of two znodes is deleted: what is left must not be waited for by its own owner.
#[test]
fn an_owner_that_has_lost_half_of_its_lock_does_not_wait_for_the_other_half() {
    calm(|world| async move {
        let zk = world.client().await?;
        let lock = Lock::new(&zk, "/lock").format(LockFormat::Bridge);
        let lock = ReentrantLock::<u8>::new(lock);
        let before = lock.acquire(1).await?;
        zk.delete(before.node_path()).await?;
        assert_eq!(soon("loss", before.lost()).await, LossReason::NodeDeleted);
        let after = soon("again", lock.acquire(1)).await?;
        assert!(after.is_held() && after.token() > before.token());
        Ok(())
    });
}

/// Who leads may be secret, that somebody does is not.
#[test]
fn an_observer_that_may_not_read_the_leader_sees_that_there_is_one() {
    calm(|world| async move {
        let zk = world.client().await?;
        let secret = Acl::of([Ace::new(Perms::DELETE, Id::ANYONE)]);
        let observer = LeaderObserver::new(&zk, "/leader");
        let mut current = observer.current();
        for _ in 0..2 {
            let latch = LeaderLatch::new(&zk, "/leader");
            let latch = latch.identity("x").acl(secret.clone()).join();
            let seen = soon("seen", current.wait_for(Option::is_some))
                .await?
                .clone();
            let leader = soon("leader", latch.wait_leader())
                .await
                .ok_or("it leads")?;
            let is_it = |seen: zk_recipes::Contender| {
                seen.identity.is_empty() && seen.path == leader.node_path()
            };
            assert!(seen.is_some_and(is_it));
            latch.leave().await;
            soon("nobody", current.wait_for(Option::is_none)).await?;
        }
        Ok(())
    });
}

/// A payload whose reading panics.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Mine(u8);

impl<'de> Deserialize<'de> for Mine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        assert!(number < 100, "as planned");
        Ok(Self(number))
    }
}

#[test]
fn a_panic_in_what_the_user_gave_takes_nothing_along() {
    calm(|world| async move {
        let zk = world.client().await?;
        let discovery = Discovery::<Mine>::new(&zk, "/services");
        let mut kept = Vec::new();
        for number in [1, 100, 2] {
            let me = instance(&number.to_string()).payload(Mine(number));
            kept.push(discovery.register(me).await?);
        }
        let mut instances = discovery.cache("api");
        soon("instances", instances.ready()).await?;
        let ids = |instances: &zk_recipes::InstanceCache<Mine>| {
            let all = instances.instances();
            all.iter()
                .map(|found| found.instance.id.clone())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(ids(&instances), ["1", "2"].map(str::to_owned).into());
        assert_eq!(instances.undecodable().len(), 1);
        drop(kept.pop());
        while ids(&instances).len() > 1 {
            soon("it goes on", instances.changed()).await;
        }

        let provider = discovery.provider("api").filter(|_| panic!("as planned"));
        let provider = Arc::new(provider.start());
        soon("provider", provider.ready()).await?;
        let asked = Arc::clone(&provider);
        let asking = tokio::task::spawn(async move { asked.pick().is_some() });
        assert!(
            asking.await.is_err_and(|error| error.is_panic()),
            "it is the caller's"
        );
        assert_eq!(provider.instances().len(), 1);

        zk.create("/number", "1").await?;
        let config = ConfigWatch::<u8>::json(&zk, "/number")
            .validate(|number| {
                assert!(*number < 100, "as planned");
                Ok(())
            })
            .start();
        soon("number", config.ready()).await?;
        zk.set("/number", "100").await?;
        let mut trouble = config.trouble();
        soon("refused", trouble.wait_for(Option::is_some)).await?;
        zk.set("/number", "2").await?;
        soon("accepted", trouble.wait_for(Option::is_none)).await?;
        assert!(config.current().is_some_and(|now| **now == 2));
        Ok(())
    });
}

/// What programs of another version, or none, have left where a recipe keeps its own.
#[test]
fn what_another_version_has_written_is_an_error_and_no_wait() {
    calm(|world| async move {
        let zk = world.client().await?;
        for path in ["/rounds", "/max"] {
            zk.create(path, "").await?;
        }
        for state in ["", "2", "{\"gen\":-1,\"n\":2}", "{\"gen\":0}", "gen"] {
            zk.create("/rounds/state", state).await?;
            let rounds = GenerationBarrier::new(&zk, "/rounds", 1);
            let error = soon("rounds", rounds.wait("a")).await.err();
            assert!(
                matches!(error, Some(BarrierError::Mismatch { .. })),
                "{state:?}"
            );
            zk.delete("/rounds/state").await?;
        }
        // What a later version knows beside is no trouble.
        zk.create("/rounds/state", "{\"gen\":7,\"n\":1,\"v\":2}")
            .await?;
        let round = GenerationBarrier::new(&zk, "/rounds", 1).wait("a").await?;
        assert_eq!(round.generation(), 7);
        for max in ["", "3", "\u{ff}\u{ff}"] {
            zk.set("/max", max).await?;
            let max = zk_recipes::MaxLeases::Shared("/max".to_owned());
            let pool = Semaphore::new(&zk, "/pool", max);
            let error = soon("lease", async move { pool.acquire().await.err() }).await;
            assert!(
                matches!(error, Some(AcquireError::Mismatch { .. })),
                "{error:?}"
            );
        }
        // Nobody was left in line.
        let max = zk_recipes::MaxLeases::Fixed(1);
        drop(soon("lease", Semaphore::new(&zk, "/pool", max).acquire()).await?);
        Ok(())
    });
}
