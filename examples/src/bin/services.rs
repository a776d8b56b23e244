//! Services register themselves; callers find them, share the load, and leave out who fails.
//!
//! `cargo run -p zk-examples --bin services [HOST:PORT,…]`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use serde::{Deserialize, Serialize};
use zk_examples::{Outcome, Servers};
use zk_recipes::{Discovery, Provider, ServiceInstance, Strategy};

/// What an instance says of itself beside its address.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Details {
    weight: u32,
}

#[tokio::main]
async fn main() -> Outcome {
    let servers = Servers::from_args().await?;
    let zk = servers.client("/zk-example-services").await?;
    let services = Discovery::<Details>::new(&zk, "/services");

    // Three processes offer the same service, one of them on a larger machine.
    let mut registrations = Vec::new();
    for (id, port, weight) in [("api-1", 8001, 1), ("api-2", 8002, 1), ("api-3", 8003, 2)] {
        let instance = ServiceInstance::new("api")
            .id(id)
            .address("127.0.0.1")
            .port(port)
            .payload(Details { weight });
        registrations.push(services.register(instance).await?);
        println!("registered    {id} on port {port}, weight {weight}");
    }

    // A caller shares its requests among them, by weight.
    let weigh =
        |instance: &ServiceInstance<Details>| instance.payload.as_ref().map_or(1, |one| one.weight);
    let mut api = services
        .provider("api")
        .strategy(Strategy::weighted(weigh))
        .start();
    api.ready().await?;
    println!("8 requests    {}", requests(&api, 8));

    // One fails twice, and is left out for half a minute.
    for _ in 0..2 {
        while let Some(picked) = api.pick() {
            if picked.id == "api-1" {
                picked.failed();
                break;
            }
        }
    }
    println!("api-1 fails   {}", requests(&api, 6));

    // One goes. Callers hear of it.
    if let Some(registration) = registrations.pop() {
        registration.unregister().await;
    }
    while api.instances().len() > 2 {
        api.changed().await;
    }
    println!("api-3 goes    {}", requests(&api, 4));

    for registration in registrations {
        registration.unregister().await;
    }
    println!(
        "all are gone  {} instances",
        services.instances("api").await?.len()
    );
    zk.root().delete_tree("/zk-example-services").await?;
    Ok(())
}

/// Whom so many requests go to.
fn requests(api: &Provider<Details>, count: usize) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..count {
        if let Some(instance) = api.pick() {
            *counts.entry(instance.id.clone()).or_insert(0) += 1;
        }
    }
    let counts: Vec<_> = counts
        .iter()
        .map(|(id, count)| format!("{id}: {count}"))
        .collect();
    counts.join(", ")
}
