//! Service discovery.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use zk_client::Client;
use zk_recipes::{
    AllDown, Conflict, Discovery, DiscoveryError, DownPolicy, JsonStyle, KeepState, Provider,
    ServiceInstance, ServiceType, Strategy,
};

use crate::harness::{CALM, World, children, soon, until, until_children};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Details {
    weight: u32,
}

fn instance(id: &str) -> ServiceInstance<Details> {
    ServiceInstance::new("api")
        .id(id)
        .address("10.0.0.1")
        .port(80)
}

fn discovery(client: &Client) -> Discovery<Details> {
    Discovery::new(client, "/services")
}

#[tokio::test]
async fn instances_are_registered_as_curator_does() {
    let world = World::start().await;
    let zk = world.client().await;
    let session = zk.session().await.unwrap().id();
    let style = JsonStyle {
        java_class: Some("com.x.Details".into()),
        writes_enabled: false,
    };
    let services = discovery(&zk).json_style(style);
    let mut me = instance("a").payload(Details { weight: 2 });
    me.registration_time_utc = 7;
    let mut registration = services.register(me.clone()).await.unwrap();
    let node = zk.get("/services/api/a").await.unwrap().unwrap();
    assert_eq!(
        node.data,
        r#"{"name":"api","id":"a","address":"10.0.0.1","port":80,"sslPort":null,"payload":{"@class":"com.x.Details","weight":2},"registrationTimeUTC":7,"serviceType":"DYNAMIC","uriSpec":null}"#
    );
    assert_eq!(node.stat.ephemeral_owner, session);
    assert_eq!(services.services().await.unwrap(), ["api"]);
    assert_eq!(services.instances("api").await.unwrap(), [me]);
    registration.update(|me| me.port = Some(81)).unwrap();
    until("it says so", async || {
        services.instances("api").await.unwrap()[0].port == Some(81)
    })
    .await;
    registration.unregister().await;
    assert!(services.instances("api").await.unwrap().is_empty());
    assert!(services.instances("nothing").await.unwrap().is_empty());
    for (kind, suffix) in [
        (ServiceType::DynamicSequential, 10),
        (ServiceType::Static, 0),
        (ServiceType::Permanent, 0),
    ] {
        let registration = services
            .register(instance("x").service_type(kind))
            .await
            .unwrap();
        let names = children(&zk, "/services/api").await;
        assert_eq!(names[0].len(), 1 + suffix, "{names:?}");
        registration.unregister().await;
        until_children(&zk, "/services/api", 0).await;
    }
}

#[tokio::test]
async fn registration_heals_itself_and_a_lost_connection_is_no_reason_to_write() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let registration = discovery(&party).register(instance("a")).await.unwrap();
    let before = zk.exists("/services/api/a").await.unwrap().unwrap();
    party.cut().await;
    party.proxy.refuse(false);
    party.reconnected().await;
    party.client.sync("/").await.unwrap();
    assert_eq!(zk.exists("/services/api/a").await.unwrap().unwrap(), before);
    party.expire().await;
    until("it is back", async || {
        let stat = zk.exists("/services/api/a").await.unwrap();
        stat.is_some_and(|stat| stat.ephemeral_owner == party.session_id())
    })
    .await;
    zk.delete("/services/api/a").await.unwrap();
    until("it is back", async || {
        zk.exists("/services/api/a").await.unwrap().is_some()
    })
    .await;
    drop(registration);
    until_children(&zk, "/services/api", 0).await;
}

#[tokio::test]
async fn id_of_somebody_else_is_refused_or_waited_for() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let first = discovery(&other).register(instance("a")).await.unwrap();
    let error = soon("no wait", discovery(&zk).register(instance("a")))
        .await
        .unwrap_err();
    let owner = other.session().await.unwrap().id();
    assert!(
        matches!(error, DiscoveryError::DuplicateId { owner: told, .. } if told == owner),
        "{error}"
    );
    assert!(zk.exists("/services/api/a").await.unwrap().is_some());
    let waiting = tokio::spawn({
        let services = discovery(&zk).conflict(Conflict::Wait);
        async move { services.register(instance("a")).await }
    });
    tokio::task::yield_now().await;
    first.unregister().await;
    drop(soon("it is free", waiting).await.unwrap().unwrap());
    for service_type in [ServiceType::Dynamic, ServiceType::DynamicSequential] {
        let nameless = ServiceInstance::new("").id("a");
        for instance in [instance(""), nameless] {
            let instance = instance.service_type(service_type);
            let refused = soon("no wait", discovery(&zk).register(instance)).await;
            assert!(matches!(refused, Err(DiscoveryError::Client { .. })));
        }
    }
    assert_eq!(children(&zk, "/services").await, ["api"]);
    let error = soon("no wait", discovery(&zk).register(instance("a/b/")))
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoveryError::Client { .. }), "{error}");
}

#[tokio::test]
async fn static_service_is_of_who_registered_it_last() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let (here, there) = (discovery(&zk), discovery(&other));
    let me = |port| {
        let me = instance("a").port(port);
        me.service_type(ServiceType::Static)
    };
    let mut first = here.register(me(1)).await.unwrap();
    let second = there.register(me(2)).await.unwrap();
    let is_refused = |state: &KeepState| matches!(state, KeepState::Refused { .. });
    soon("it is told", first.state().wait_for(is_refused))
        .await
        .unwrap();
    let version = zk.exists("/services/api/a").await.unwrap().unwrap().version;
    first.update(|me| me.port = Some(3)).unwrap();
    first.unregister().await;
    let stat = zk.exists("/services/api/a").await.unwrap();
    assert_eq!(stat.map(|stat| stat.version), Some(version));
    assert_eq!(
        here.instances("api").await.unwrap()[0].port,
        second.instance().port
    );
    second.unregister().await;
    until_children(&zk, "/services/api", 0).await;
}

fn picks<T>(provider: &Provider<T>, times: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        if let Some(picked) = provider.pick() {
            *counts.entry(picked.id.clone()).or_default() += 1;
        }
    }
    counts
}

async fn until_known<T>(provider: &Provider<T>, count: usize) {
    until(&format!("{count} are known"), async || {
        provider.instances().len() == count
    })
    .await;
}

#[tokio::test]
async fn providers_choose_by_their_strategies() {
    let world = World::start().await;
    let zk = world.client().await;
    let services = discovery(&zk);
    let mut registrations = Vec::new();
    for (id, weight) in [("a", 1), ("b", 3), ("c", 0)] {
        let me = instance(id).payload(Details { weight });
        registrations.push(services.register(me).await.unwrap());
    }
    let off = services
        .register(instance("off").enabled(false))
        .await
        .unwrap();
    let each = |count| {
        BTreeMap::from([("a", count), ("b", count), ("c", count)].map(|(id, n)| (id.to_owned(), n)))
    };
    let turns = services.provider("api").start();
    soon("ready", turns.ready()).await.unwrap();
    until_known(&turns, 4).await;
    // Not written by default, so that it is enabled to whoever reads it.
    assert_eq!(picks(&turns, 40).len(), 4);
    off.unregister().await;
    until_known(&turns, 3).await;
    assert_eq!(picks(&turns, 30), each(10));
    let weigh =
        |instance: &ServiceInstance<Details>| instance.payload.as_ref().map_or(1, |one| one.weight);
    let weighted = services
        .provider("api")
        .strategy(Strategy::weighted(weigh))
        .start();
    until_known(&weighted, 3).await;
    assert_eq!(
        picks(&weighted, 40),
        BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 30)])
    );
    let random = services.provider("api").strategy(Strategy::Random).start();
    until_known(&random, 3).await;
    assert_eq!(picks(&random, 300).len(), 3);
    let filtered = services.provider("api").filter(|one| one.id != "b").start();
    until_known(&filtered, 3).await;
    assert_eq!(picks(&filtered, 30).len(), 2);
    // Who is picked and not done with counts. Of two that are drawn, the better one may still be ahead of
    // the third, by a few.
    for (strategy, ahead) in [(Strategy::LeastLoaded, 0), (Strategy::PowerOfTwo, 30)] {
        let least = services.provider("api").strategy(strategy).start();
        until_known(&least, 3).await;
        let under_way: Vec<_> = (0..300).map(|_| least.pick().unwrap()).collect();
        let mut counts = BTreeMap::new();
        for picked in &under_way {
            *counts.entry(picked.id.clone()).or_insert(0) += 1;
        }
        assert!(
            counts
                .values()
                .all(|count| (100 - ahead..=100 + ahead).contains(count)),
            "{counts:?}"
        );
    }
    let sticky = services.provider("api").strategy(Strategy::Sticky).start();
    until_known(&sticky, 3).await;
    let first = sticky.pick().unwrap().id.clone();
    assert_eq!(picks(&sticky, 20), BTreeMap::from([(first.clone(), 20)]));
    let at = registrations
        .iter()
        .position(|one| one.instance().id == first)
        .unwrap();
    registrations.remove(at).unregister().await;
    until_known(&sticky, 2).await;
    let next = picks(&sticky, 20);
    assert!(next.len() == 1 && !next.contains_key(&first), "{next:?}");
    drop(registrations);
    until_known(&sticky, 0).await;
    assert!(sticky.pick().is_none());
}

#[tokio::test]
async fn instances_that_share_an_id_are_told_apart() {
    let world = World::start().await;
    let zk = world.client().await;
    for port in [1, 2] {
        let me = instance("same").port(port);
        let json = me.to_json(&JsonStyle::default()).unwrap();
        zk.create(&format!("/services/api/{port}"), json)
            .parents()
            .await
            .unwrap();
    }
    let ports = |provider: &Provider<Details>| {
        let mut counts = BTreeMap::new();
        for _ in 0..12 {
            *counts.entry(provider.pick().unwrap().port).or_insert(0) += 1;
        }
        counts
    };
    let services = discovery(&zk);
    let weigh = |instance: &ServiceInstance<Details>| {
        instance.port.map_or(0, |port| u32::from(port == 2) + 1)
    };
    let weighted = services
        .provider("api")
        .strategy(Strategy::weighted(weigh))
        .start();
    until_known(&weighted, 2).await;
    assert_eq!(
        ports(&weighted),
        BTreeMap::from([(Some(1), 4), (Some(2), 8)])
    );
    // Any may be the first; whoever is stays.
    for _ in 0..10 {
        let sticky = services.provider("api").strategy(Strategy::Sticky).start();
        until_known(&sticky, 2).await;
        assert_eq!(ports(&sticky).len(), 1);
    }
    // An error of one is none of the other.
    let strict = services
        .provider("api")
        .down_policy(DownPolicy {
            errors: 1,
            ..DownPolicy::default()
        })
        .start();
    until_known(&strict, 2).await;
    strict.pick().unwrap().failed();
    assert_eq!(ports(&strict).len(), 1);
}

#[tokio::test]
async fn instance_that_fails_is_left_out_for_a_while() {
    let world = World::start().await;
    let zk = world.client().await;
    let services = discovery(&zk);
    let mut a = services.register(instance("a")).await.unwrap();
    let _b = services.register(instance("b")).await.unwrap();
    let policy = |all_down, forget_after| DownPolicy {
        errors: 2,
        forget_after,
        all_down,
    };
    let (long, short) = (Duration::from_hours(1), Duration::from_millis(300));
    let provider = services
        .provider("api")
        .down_policy(policy(AllDown::ServeAny, long))
        .start();
    until_known(&provider, 2).await;
    let fail = |provider: &Provider<Details>, id: &str| {
        let mut tries = (0..10).map(|_| provider.pick().unwrap());
        let picked = tries.find(|picked| picked.id == id);
        let failed: Result<(), &str> = picked.unwrap().report(Err("no answer"));
        assert!(failed.is_err());
    };
    fail(&provider, "a");
    assert_eq!(picks(&provider, 10).len(), 2);
    fail(&provider, "a");
    assert_eq!(picks(&provider, 10), BTreeMap::from([("b".to_owned(), 10)]));
    // Saying something else does not make it better.
    a.update(|a| a.port = Some(81)).unwrap();
    until("it is known", async || {
        provider
            .instances()
            .iter()
            .any(|one| one.instance.port == Some(81))
    })
    .await;
    assert_eq!(picks(&provider, 4), BTreeMap::from([("b".to_owned(), 4)]));
    // All of them.
    for _ in 0..2 {
        fail(&provider, "b");
    }
    assert!(provider.pick().is_some());
    let forgiving = services
        .provider("api")
        .down_policy(policy(AllDown::ServeNone, short))
        .start();
    until_known(&forgiving, 2).await;
    for _ in 0..2 {
        fail(&forgiving, "a");
    }
    until("it is forgotten", async || picks(&forgiving, 4).len() == 2).await;
    let strict = services
        .provider("api")
        .down_policy(policy(AllDown::ServeNone, long))
        .start();
    until_known(&strict, 2).await;
    for _ in 0..4 {
        strict.pick().unwrap().failed();
    }
    assert!(strict.pick().is_none());
}

#[tokio::test]
async fn what_is_no_instance_is_told_and_left_out() {
    let world = World::start().await;
    let zk = world.client().await;
    // As Curator lays them.
    let curator = r#"{"name":"api","id":"j","address":"h","port":80,"sslPort":null,"payload":{"@class":"com.x.Details","weight":9},"registrationTimeUTC":1,"serviceType":"DYNAMIC","uriSpec":{"parts":[{"value":"scheme","variable":true},{"value":"://","variable":false},{"value":"address","variable":true}]}}"#;
    zk.create("/services/api/j", curator)
        .parents()
        .await
        .unwrap();
    for (id, data) in [
        ("empty", ""),
        ("list", "[]"),
        ("other", r#"{"name":"api","id":"o","payload":"text"}"#),
    ] {
        zk.create(&format!("/services/api/{id}"), data)
            .await
            .unwrap();
    }
    let cache = discovery(&zk).cache("api");
    soon("ready", cache.ready()).await.unwrap();
    let found = cache.instances();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].instance.payload, Some(Details { weight: 9 }));
    assert_eq!(found[0].instance.uri().unwrap(), "http://h");
    let wrong: Vec<_> = cache
        .undecodable()
        .into_iter()
        .map(|one| (one.path, one.error.field))
        .collect();
    let wanted = [
        ("/services/api/empty", "(all)"),
        ("/services/api/list", "(all)"),
        ("/services/api/other", "payload"),
    ];
    assert_eq!(wrong, wanted.map(|(path, field)| (path.to_owned(), field)));
    assert_eq!(discovery(&zk).instances("api").await.unwrap().len(), 1);
}

#[tokio::test]
async fn consumers_serve_what_they_last_knew_while_cut_off() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let registration = discovery(&zk).register(instance("a")).await.unwrap();
    let provider = discovery(&party).provider("api").start();
    let fussy = discovery(&party)
        .provider("api")
        .max_stale(Duration::ZERO)
        .start();
    until_known(&provider, 1).await;
    until_known(&fussy, 1).await;
    assert!(provider.staleness().is_none() && fussy.pick().is_some());
    party.cut().await;
    until("it is told", async || {
        provider.staleness().is_some() && fussy.pick().is_none()
    })
    .await;
    registration.unregister().await;
    assert!(provider.pick().is_some());
    party.proxy.refuse(false);
    until_known(&provider, 0).await;
    until("it is fresh again", async || provider.staleness().is_none()).await;
}
