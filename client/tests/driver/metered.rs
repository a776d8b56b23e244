//! What a recorder of metrics is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tokio::time::sleep;

use crate::script::{Mode, SOON, connected};

/// Numbers by name and labels; of histograms, how many there were.
#[derive(Debug, Clone, Default)]
struct Numbers(Arc<Mutex<BTreeMap<String, Arc<Cell>>>>);

#[derive(Debug, Default)]
struct Cell(std::sync::atomic::AtomicU64);

impl Cell {
    fn add(&self, count: u64) {
        self.0
            .fetch_add(count, std::sync::atomic::Ordering::Relaxed);
    }
}

impl metrics::CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _: u64) {}
}

impl metrics::GaugeFn for Cell {
    fn increment(&self, _: f64) {
        self.add(1);
    }

    fn decrement(&self, _: f64) {
        self.add(u64::MAX);
    }

    fn set(&self, _: f64) {}
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        assert!((0.0..1_000.0).contains(&value), "{value} s");
        self.add(1);
    }
}

impl Numbers {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{} {}", key.name(), labels.join(" "));
        let mut cells = self.0.lock().unwrap();
        Arc::clone(cells.entry(name.trim().to_owned()).or_default())
    }

    fn get(&self, name: &str) -> u64 {
        let cells = self.0.lock().unwrap();
        let cell = cells
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {cells:?}"));
        cell.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl Recorder for Numbers {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

#[tokio::test(start_paused = true)]
async fn recorder_is_told_of_requests_connections_and_watches() {
    let numbers = Numbers::default();
    let _recorder = metrics::set_default_local_recorder(&numbers);
    let (script, client) = connected().await;
    let (_, watch) = client.get("/a").watch().await.unwrap();
    client.sync("/a").await.unwrap();
    assert_eq!(numbers.get("zk_client_watches"), 1);
    drop(watch);
    script.set(Mode::HangUp);
    client.set("/a", "x").await.unwrap_err();
    script.set(Mode::Serve);
    client.wait_connected(SOON).await.unwrap();
    sleep(Duration::from_mins(1)).await;
    for (name, wanted) in [
        ("zk_client_requests_total op=getData result=ok", 1),
        ("zk_client_requests_total op=setData result=unknown", 1),
        ("zk_client_requests_total op=sync result=ok", 1),
        ("zk_client_queue_seconds op=getData", 1),
        ("zk_client_answer_seconds op=getData", 1),
        ("zk_client_suspended_seconds", 1),
        ("zk_client_connects_total", 2),
        ("zk_client_connections_lost_total cause=ended", 1),
        ("zk_client_watches", 0),
        ("zk_client_outstanding", 0),
    ] {
        assert_eq!(numbers.get(name), wanted, "{name}");
    }
    assert!(numbers.get("zk_client_ping_seconds") > 3);
    assert!(numbers.get("zk_client_bytes_in_total") > 50);
}
