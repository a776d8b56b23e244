//! Servers behind a name: looked up in a DNS of the test's own, and found on real servers.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may panic like tests"
)]

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use zk_client::{Builder, DnsResolver, ErrorKind};
use zk_testkit::fault::Proxy;

use self::common::{
    fresh, not_sent, session_of, shared, soon, until, until_connected, until_suspended,
    until_trouble,
};

const SERVICE: &str = "_zookeeper._tcp.zk.test";
/// Kinds of records, and the class of all of them.
const A: u16 = 1;
const SRV: u16 = 33;
const INTERNET: u16 = 1;
/// Codes of answers.
const NO_SUCH_NAME: u16 = 3;
const REFUSED: u16 = 5;

/// A name server on loopback that says what the test wants.
#[derive(Debug)]
struct Dns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Zone {
    /// Priority, weight, port and host of each server.
    records: Vec<(u16, u16, u16, &'static str)>,
    /// Code of all answers.
    code: u16,
    /// Questions by name and kind.
    asked: BTreeMap<(String, u16), u32>,
}

impl Dns {
    async fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(Zone::default()));
        let task = tokio::spawn({
            let zone = Arc::clone(&zone);
            async move {
                let mut packet = [0; 1500];
                while let Ok((len, peer)) = socket.recv_from(&mut packet).await {
                    let answer = zone.lock().unwrap().answer(&packet[..len]);
                    socket.send_to(&answer, peer).await.unwrap();
                }
            }
        });
        Self {
            address,
            zone,
            task,
        }
    }

    /// Servers of these priorities and ports, on this machine.
    fn set(&self, records: &[(u16, u16)]) {
        let record = |&(priority, port)| (priority, 1, port, "zk-1.test");
        let mut zone = self.zone.lock().unwrap();
        zone.records = records.iter().map(record).collect();
        zone.code = 0;
    }

    fn fail(&self, code: u16) {
        self.zone.lock().unwrap().code = code;
    }

    fn asked(&self, name: &str, kind: u16) -> u32 {
        let zone = self.zone.lock().unwrap();
        let asked = zone.asked.get(&(name.to_owned(), kind));
        asked.copied().unwrap_or_default()
    }

    fn builder(&self) -> Builder {
        common::builder(&format!("zk+srv://zk.test{}", fresh()))
            .resolver(DnsResolver::of([self.address]))
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Zone {
    /// RFC 1035, section 4.1: the header, the question again, and what answers it.
    fn answer(&mut self, query: &[u8]) -> BytesMut {
        let (mut name, mut at) = (Vec::new(), 12);
        while query[at] > 0 {
            let end = at + 1 + usize::from(query[at]);
            name.push(std::str::from_utf8(&query[at + 1..end]).unwrap());
            at = end;
        }
        let name = name.join(".").to_lowercase();
        let question = &query[12..at + 5];
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        *self.asked.entry((name.clone(), kind)).or_default() += 1;
        let mut answers = Vec::new();
        if kind == SRV && name == SERVICE && self.code == 0 {
            for (priority, weight, port, host) in &self.records {
                let mut data = BytesMut::new();
                data.put_u16(*priority);
                data.put_u16(*weight);
                data.put_u16(*port);
                for label in host.split('.').filter(|label| !label.is_empty()) {
                    data.put_u8(label.len().try_into().unwrap());
                    data.put_slice(label.as_bytes());
                }
                data.put_u8(0);
                answers.push(data);
            }
        }
        if kind == A && name == "zk-1.test" {
            answers.push(BytesMut::from(&[127, 0, 0, 1][..]));
        }
        let mut packet = BytesMut::from(&query[..2]);
        // An answer, by who is in charge of the name.
        packet.put_u16(0x8580 | self.code);
        packet.put_u16(1);
        packet.put_u16(answers.len().try_into().unwrap());
        packet.put_u32(0);
        packet.put_slice(question);
        for data in answers {
            // The name is that of the question.
            packet.put_u16(0xc00c);
            packet.put_u16(kind);
            packet.put_u16(INTERNET);
            packet.put_u32(3_600);
            packet.put_u16(data.len().try_into().unwrap());
            packet.put_slice(&data);
        }
        packet
    }
}

#[tokio::test]
async fn servers_behind_a_name_are_found_anew_before_every_attempt() {
    let servers = shared().await;
    let old = Proxy::start(servers.addr(0)).await.unwrap();
    let new = Proxy::start(servers.addr(0)).await.unwrap();
    let dns = Dns::start().await;
    dns.set(&[(0, old.addr().port())]);
    let zk = dns.builder().connect().await.unwrap();
    zk.ensure_path("/a").await.unwrap();
    let session = session_of(&zk);
    // An hour is what the answer said that it holds.
    dns.set(&[(0, new.addr().port())]);
    let asked = dns.asked(SERVICE, SRV);
    drop(old);
    until_suspended(&zk).await;
    soon("it goes on", zk.set("/a", "x")).await.unwrap();
    assert!(dns.asked(SERVICE, SRV) > asked);
    assert_eq!((session_of(&zk), new.accepted()), (session, 1));
}

#[tokio::test]
async fn servers_of_a_larger_priority_are_left_for_those_of_a_smaller() {
    let servers = shared().await;
    let first = Proxy::start(servers.addr(0)).await.unwrap();
    let spare = Proxy::start(servers.addr(0)).await.unwrap();
    let dns = Dns::start().await;
    dns.set(&[(20, spare.addr().port()), (10, first.addr().port())]);
    let zk = dns.builder().connect().await.unwrap();
    zk.sync("/").await.unwrap();
    for _ in 0..5 {
        first.cut_all();
        until_suspended(&zk).await;
        zk.sync("/").await.unwrap();
    }
    assert_eq!(spare.accepted(), 0);
    first.refuse(true);
    first.cut_all();
    soon("there is a spare", zk.sync("/")).await.unwrap();
    assert_eq!(spare.connections(), 1);
    first.heal();
    spare.cut_all();
    soon("the first is there again", zk.sync("/"))
        .await
        .unwrap();
    assert_eq!((first.connections(), spare.connections()), (1, 0));
}

#[tokio::test]
async fn name_that_leads_nowhere_is_told_and_asked_for_again() {
    let servers = shared().await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let dns = Dns::start().await;
    for code in [NO_SUCH_NAME, REFUSED, 0] {
        dns.fail(code);
        let builder = dns.builder().connect_timeout(Duration::from_millis(700));
        let error = not_sent(builder.connect().await, ErrorKind::Dns);
        let told = format!("zk+srv://zk.test: cannot find the servers behind {SERVICE:?}: ");
        assert!(error.to_string().contains(&told), "{error}");
    }
    // A record that says that there is no such service.
    dns.zone.lock().unwrap().records = vec![(0, 0, 0, "")];
    let zk = dns.builder().start().unwrap();
    let trouble = until_trouble(&zk, ErrorKind::Dns).await;
    assert!(trouble.is_retryable(), "{trouble:?}");
    dns.set(&[(0, proxy.addr().port())]);
    until_connected(&zk).await;
    assert!(zk.trouble().is_none());
    let session = session_of(&zk);
    // Nobody knows of anybody, for a while.
    dns.fail(NO_SUCH_NAME);
    proxy.cut_all();
    until_trouble(&zk, ErrorKind::Dns).await;
    dns.set(&[(0, proxy.addr().port())]);
    soon("it goes on", zk.sync("/")).await.unwrap();
    assert_eq!(session_of(&zk), session);
    // And a plain list in its place.
    let asked = dns.asked(SERVICE, SRV);
    zk.set_servers(&servers.connect_string()).unwrap();
    until("it moves", async || proxy.connections() == 0).await;
    soon("it goes on", zk.sync("/")).await.unwrap();
    assert_eq!(dns.asked(SERVICE, SRV), asked);
}
