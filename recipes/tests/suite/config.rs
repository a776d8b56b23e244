//! Configuration that follows its znode.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use zk_client::{Ace, Acl, CreateMode, ErrorKind, Perms, Version};
use zk_recipes::{ConfigError, ConfigWatch, publish_config};

use crate::harness::{CALM, World, soon, until};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Limits {
    requests: u32,
}

#[tokio::test]
async fn value_follows_its_znode_and_the_last_good_one_is_kept() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let limits = ConfigWatch::<Limits>::json(&party, "/config/limits")
        .validate(|limits| match limits.requests {
            0 => Err("none allowed".to_owned()),
            13 => panic!("the check panics, as it is to"),
            _ => Ok(()),
        })
        .start();
    let error = soon("it is told", limits.ready()).await.unwrap_err();
    assert!(matches!(error, ConfigError::Absent { .. }), "{error}");
    let stat = publish_config(&zk, "/config/limits", &Limits { requests: 1 }, None)
        .await
        .unwrap();
    let mut values = limits.watch();
    soon("it is there", values.wait_for(Option::is_some))
        .await
        .unwrap();
    let now = limits.current().unwrap();
    assert_eq!((now.requests, now.stat().version), (1, stat.version));
    assert!(limits.trouble().borrow().is_none());
    // What is no good.
    for (data, is_wanted) in [
        ("{", "decode"),
        (r#"{"requests":-1}"#, "decode"),
        (r#"{"requests":0}"#, "none allowed"),
        (r#"{"requests":13}"#, "panicked"),
    ] {
        zk.set("/config/limits", data).await.unwrap();
        until("it is told", async || {
            limits
                .trouble()
                .borrow()
                .as_ref()
                .is_some_and(|error| error.to_string().contains(is_wanted))
        })
        .await;
        assert_eq!(limits.current().unwrap().requests, 1);
    }
    zk.delete("/config/limits").await.unwrap();
    until("it is told", async || {
        matches!(
            &*limits.trouble().borrow(),
            Some(ConfigError::Absent { .. })
        )
    })
    .await;
    assert_eq!(limits.current().unwrap().requests, 1);
    // Over a lost session.
    party.expire().await;
    zk.create("/config/limits", r#"{"requests":2}"#)
        .await
        .unwrap();
    until("it follows", async || {
        limits.current().unwrap().requests == 2
    })
    .await;
    assert!(limits.trouble().borrow().is_none());
}

#[tokio::test]
async fn value_that_cannot_be_read_any_more_is_kept_and_that_is_told() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    other.create("/c", "1").await.unwrap();
    let config = ConfigWatch::<u32>::json(&zk, "/c").start();
    soon("it is there", config.ready()).await.unwrap();
    let mut trouble = config.trouble();
    let kind = |trouble: Option<ConfigError>| match trouble {
        Some(ConfigError::Client { source, .. }) => source.kind(),
        other => panic!("{other:?}"),
    };
    let secret = Acl::of([Ace::new(Perms::WRITE | Perms::ADMIN, zk_client::Id::ANYONE)]);
    // Servers tell nobody of what may not be read, but that the one that could be is gone.
    let replaced = other.transaction().delete("/c", Version::ANY);
    let replaced = replaced.create_with("/c", "2", CreateMode::Persistent, Some(&secret));
    replaced.await.unwrap();
    let told = soon("it is told", trouble.wait_for(Option::is_some)).await;
    assert_eq!(kind(told.unwrap().clone()), ErrorKind::NoAuth);
    assert_eq!(*config.current().unwrap().value(), 1);
    other.set_acl("/c", Acl::open()).await.unwrap();
    soon("it is read", trouble.wait_for(Option::is_none))
        .await
        .unwrap();
    assert_eq!(*config.current().unwrap().value(), 2);
    zk.close(Duration::from_secs(5)).await;
    let told = soon("it is told", trouble.wait_for(Option::is_some)).await;
    assert_eq!(kind(told.unwrap().clone()), ErrorKind::Closed);
    assert_eq!(*config.current().unwrap().value(), 2);
}

#[tokio::test]
async fn publishing_over_what_has_changed_is_refused() {
    let world = World::start().await;
    let zk = world.client().await;
    let value = Limits { requests: 1 };
    let first = publish_config(&zk, "/c", &value, None).await.unwrap();
    let second = publish_config(&zk, "/c", &value, Some(&first))
        .await
        .unwrap();
    assert_eq!(second.version.get(), 1);
    let kind = |error: ConfigError| match error {
        ConfigError::Client { source, .. } => source.kind(),
        other => panic!("{other}"),
    };
    let error = publish_config(&zk, "/c", &value, Some(&first))
        .await
        .unwrap_err();
    assert_eq!(kind(error), ErrorKind::BadVersion);
    let error = publish_config(&zk, "/c", &value, None).await.unwrap_err();
    assert_eq!(kind(error), ErrorKind::NodeExists);
    let unwritable = std::collections::HashMap::from([(vec![1], 1)]);
    let error = publish_config(&zk, "/d", &unwritable, None)
        .await
        .unwrap_err();
    assert!(matches!(error, ConfigError::Unwritable { .. }), "{error}");
}

#[tokio::test]
async fn values_do_not_follow_each_other_too_fast_and_the_last_is_not_left_out() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/c", "0").await.unwrap();
    let interval = Duration::from_millis(150);
    let config = ConfigWatch::<u32>::json(&zk, "/c")
        .min_interval(interval)
        .debounce(Duration::from_millis(10))
        .jitter(Duration::from_millis(5))
        .start();
    soon("it is there", config.ready()).await.unwrap();
    let mut stream = config.stream();
    let first = soon("the present one", stream.next()).await.unwrap();
    assert_eq!(*first.value(), 0);
    let begun = Instant::now();
    let writing = async {
        for value in 1..=60_u32 {
            zk.set("/c", value.to_string()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let reading = async {
        let mut seen = vec![Instant::now()];
        loop {
            let value = soon("the next", stream.next()).await.unwrap();
            seen.push(Instant::now());
            if *value.value() == 60 {
                return seen.len() - 1;
            }
        }
    };
    let ((), seen) = tokio::join!(writing, reading);
    let most = begun.elapsed().as_millis() / interval.as_millis() + 2;
    assert!(seen as u128 <= most, "{seen} values, at most {most}");
}
