//! Each verb of the proxy, on plain TCP.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use zk_testkit::fault::Direction::{Both, ToClient, ToServer};
use zk_testkit::fault::Proxy;

/// Far longer than anything here takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(30);

/// So long that no test could pass if it had to be waited for.
const FOR_EVER: Duration = Duration::from_hours(1);

#[tokio::test]
async fn bytes_and_ends_pass_both_ways() {
    let mut pair = Pair::connect().await;
    send(&mut pair.client, b"ping").await;
    assert_eq!(receive(&mut pair.server, 4).await, b"ping");
    send(&mut pair.server, b"pong!").await;
    assert_eq!(receive(&mut pair.client, 5).await, b"pong!");
    let proxy = &pair.proxy;
    assert_eq!(
        (
            proxy.bytes(ToServer),
            proxy.bytes(ToClient),
            proxy.bytes(Both)
        ),
        (4, 5, 9)
    );
    assert_eq!((proxy.accepted(), proxy.connections()), (1, 1));

    // A half-closed connection goes on the other way.
    pair.client.shutdown().await.unwrap();
    assert_end(&mut pair.server).await;
    send(&mut pair.server, b"bye").await;
    assert_eq!(receive(&mut pair.client, 3).await, b"bye");
    pair.server.shutdown().await.unwrap();
    assert_end(&mut pair.client).await;
    eventually("the connection is over", || pair.proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_reset_of_one_side_resets_the_other() {
    let mut pair = Pair::connect().await;
    pair.client.set_zero_linger().unwrap();
    drop(pair.client);
    assert_reset(&mut pair.server).await;
    assert_eq!(pair.proxy.connections(), 0);
}

#[tokio::test]
async fn large_transfers_arrive_whole_and_in_order() {
    let mut pair = Pair::connect().await;
    let bytes = pattern(8_000_000);
    let (mut client_in, mut client_out) = pair.client.split();
    let (mut server_in, mut server_out) = pair.server.split();
    let (mut at_client, mut at_server) = (vec![0; bytes.len()], vec![0; bytes.len()]);
    let all = async {
        tokio::try_join!(
            client_out.write_all(&bytes),
            server_out.write_all(&bytes),
            server_in.read_exact(&mut at_server),
            client_in.read_exact(&mut at_client),
        )
    };
    within(all).await.unwrap();
    assert!(at_client == bytes && at_server == bytes);
    assert_eq!(pair.proxy.bytes(Both), 16_000_000);
}

#[tokio::test]
async fn without_an_upstream_clients_are_reset() {
    let nobody = unused_addr().await;
    let proxy = Proxy::start(nobody).await.unwrap();
    assert_turned_away(proxy.addr()).await;
    eventually("the connection is over", || proxy.connections() == 0).await;
    assert_eq!(proxy.accepted(), 1);
}

#[tokio::test]
async fn cut_all_resets_both_sides_and_lets_new_connections_in() {
    let mut pair = Pair::connect().await;
    pair.proxy.cut_all();
    assert_eq!(pair.proxy.connections(), 0);
    assert_reset(&mut pair.client).await;
    assert_reset(&mut pair.server).await;

    pair.connect_again().await;
    assert_passes(&mut pair.client, &mut pair.server).await;
    assert_eq!(pair.proxy.accepted(), 2);
}

#[tokio::test]
async fn cut_all_reaches_stalled_connections() {
    let mut pair = Pair::connect().await;
    pair.proxy.stall(Both, true);
    pair.proxy.cut_all();
    assert_reset(&mut pair.client).await;
    assert_reset(&mut pair.server).await;
}

#[tokio::test]
async fn refused_connections_are_reset_while_live_ones_go_on() {
    let mut pair = Pair::connect().await;
    pair.proxy.refuse(true);
    assert_turned_away(pair.proxy.addr()).await;
    assert_passes(&mut pair.client, &mut pair.server).await;
    assert_eq!(pair.proxy.accepted(), 1);

    pair.proxy.refuse(false);
    pair.connect_again().await;
    assert_passes(&mut pair.client, &mut pair.server).await;
    assert_eq!(pair.proxy.accepted(), 2);
}

#[tokio::test]
async fn a_stalled_way_keeps_bytes_and_end_until_it_goes_on() {
    let mut pair = Pair::connect().await;
    pair.proxy.stall(ToServer, true);
    send(&mut pair.client, b"held").await;
    pair.client.shutdown().await.unwrap();
    send(&mut pair.server, b"free").await;
    assert_eq!(receive(&mut pair.client, 4).await, b"free");
    assert_eq!(pair.proxy.bytes(ToServer), 0);
    assert_silent(&pair.server);

    pair.proxy.stall(ToServer, false);
    assert_eq!(receive(&mut pair.server, 4).await, b"held");
    assert_end(&mut pair.server).await;
}

#[tokio::test]
async fn a_stall_hides_a_reset_until_it_is_over() {
    let mut pair = Pair::connect().await;
    pair.proxy.stall(ToServer, true);
    pair.client.set_zero_linger().unwrap();
    drop(pair.client);
    // The proxy finds out by writing to the client, yet does not tell.
    eventually("the proxy gives up on the client", || {
        drop(pair.server.try_write(b"anybody?"));
        pair.proxy.dropped(ToClient) > 0
    })
    .await;
    assert_eq!(pair.proxy.connections(), 1);
    assert_silent(&pair.server);

    pair.proxy.heal();
    assert_reset(&mut pair.server).await;
}

#[tokio::test]
async fn a_stall_holds_up_the_writer() {
    let pair = Pair::connect().await;
    pair.proxy.stall(ToServer, true);
    let block = vec![0; 64 * 1024];
    let mut written = 0;
    eventually("the writer is held up", || {
        match pair.client.try_write(&block) {
            Ok(count) => {
                written += count;
                assert!(written < 64 * 1024 * 1024, "buffers are not bounded");
                false
            }
            Err(err) => err.kind() == ErrorKind::WouldBlock && written > 0,
        }
    })
    .await;
    assert_eq!(pair.proxy.bytes(ToServer), 0);
}

#[tokio::test]
async fn a_stall_is_in_force_at_once_in_the_middle_of_a_stream() {
    let mut pair = Pair::connect().await;
    let (mut from_proxy, mut to_proxy) = pair.client.into_split();
    let sender = tokio::spawn(async move { while to_proxy.write_all(&[7; 1024]).await.is_ok() {} });
    receive(&mut pair.server, 100_000).await;

    pair.proxy.stall(Both, true);
    let passed = pair.proxy.bytes(ToServer);
    receive(&mut pair.server, usize::try_from(passed).unwrap() - 100_000).await;
    // The sender does not pause, but however many turns the proxy gets, nothing follows.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pair.proxy.bytes(ToServer), passed);
    assert_silent(&pair.server);

    pair.proxy.stall(Both, false);
    receive(&mut pair.server, 1_000_000).await;
    drop(pair.proxy);
    within(from_proxy.read(&mut [0; 1])).await.ok();
    within(sender).await.unwrap();
}

#[tokio::test]
async fn dropped_bytes_are_lost_and_later_ones_arrive() {
    let mut pair = Pair::connect().await;
    pair.proxy.drop_bytes(ToServer, true);
    send(&mut pair.client, b"lost").await;
    eventually("the bytes are dropped", || {
        pair.proxy.dropped(ToServer) == 4
    })
    .await;
    send(&mut pair.server, b"kept").await;
    assert_eq!(receive(&mut pair.client, 4).await, b"kept");

    pair.proxy.drop_bytes(ToServer, false);
    send(&mut pair.client, b"found").await;
    assert_eq!(receive(&mut pair.server, 5).await, b"found");
    assert_eq!(
        (pair.proxy.bytes(ToServer), pair.proxy.dropped(ToServer)),
        (5, 4)
    );
}

#[tokio::test]
async fn bytes_under_way_are_dropped_too() {
    let mut pair = Pair::connect().await;
    pair.proxy.delay(ToServer, FOR_EVER);
    send(&mut pair.client, b"late").await;
    pair.proxy.drop_bytes(ToServer, true);
    eventually("the bytes are dropped", || {
        pair.proxy.dropped(ToServer) == 4
    })
    .await;
    assert_eq!(pair.proxy.bytes(ToServer), 0);
}

#[tokio::test]
async fn a_dropped_end_is_told_when_the_way_is_good_again() {
    let mut pair = Pair::connect().await;
    pair.proxy.drop_bytes(ToServer, true);
    send(&mut pair.client, b"lost").await;
    drop(pair.client);
    eventually("the proxy gives up on the client", || {
        drop(pair.server.try_write(b"anybody?"));
        pair.proxy.dropped(ToClient) > 0
    })
    .await;
    assert_eq!(pair.proxy.connections(), 1);
    assert_silent(&pair.server);

    pair.proxy.drop_bytes(ToServer, false);
    assert_reset(&mut pair.server).await;
}

#[tokio::test]
async fn a_delay_shifts_bytes_and_keeps_their_order() {
    let delay = Duration::from_millis(200);
    let mut pair = Pair::connect().await;
    pair.proxy.delay(ToServer, delay);
    let start = Instant::now();
    let bytes = pattern(100);
    for byte in &bytes {
        send(&mut pair.client, &[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(receive(&mut pair.server, bytes.len()).await, bytes);
    assert!(start.elapsed() >= delay);
    // One after the other they would take 20 s.
    assert!(start.elapsed() < 50 * delay, "took {:?}", start.elapsed());
}

#[tokio::test]
async fn a_delay_leaves_the_other_way_alone() {
    let mut pair = Pair::connect().await;
    pair.proxy.delay(ToServer, FOR_EVER);
    assert_passes(&mut pair.server, &mut pair.client).await;
}

#[tokio::test]
async fn a_delay_does_not_limit_throughput() {
    let delay = Duration::from_millis(200);
    let mut pair = Pair::connect().await;
    pair.proxy.delay(ToServer, delay);
    let bytes = pattern(8_000_000);
    let start = Instant::now();
    let (sent, received) = tokio::join!(
        pair.client.write_all(&bytes),
        receive(&mut pair.server, bytes.len())
    );
    sent.unwrap();
    assert!(received == bytes);
    assert!(start.elapsed() >= delay);
    // In windows of 64 KiB it would take 24 s.
    assert!(start.elapsed() < 50 * delay, "took {:?}", start.elapsed());
}

#[tokio::test]
async fn bytes_under_way_follow_a_new_delay() {
    let mut pair = Pair::connect().await;
    pair.proxy.delay(ToServer, FOR_EVER);
    send(&mut pair.client, b"late").await;
    pair.client.shutdown().await.unwrap();
    pair.proxy.delay(ToServer, Duration::ZERO);
    assert_eq!(receive(&mut pair.server, 4).await, b"late");
    assert_end(&mut pair.server).await;
}

#[tokio::test]
async fn a_throttle_limits_the_rate_until_it_is_lifted() {
    let mut pair = Pair::connect().await;
    pair.proxy.throttle(ToServer, Some(100_000));
    let bytes = pattern(50_000);
    let start = Instant::now();
    send(&mut pair.client, &bytes).await;
    assert_eq!(receive(&mut pair.server, bytes.len()).await, bytes);
    // Half a second, but for the first slice and what it may catch up.
    assert!(
        start.elapsed() >= Duration::from_millis(400),
        "took {:?}",
        start.elapsed()
    );

    pair.proxy.throttle(ToServer, Some(0));
    send(&mut pair.client, b"held").await;
    send(&mut pair.server, b"free").await;
    assert_eq!(receive(&mut pair.client, 4).await, b"free");
    assert_eq!(pair.proxy.bytes(ToServer), 50_000);

    // A slow rate must not hold up what comes after it.
    pair.proxy.throttle(ToServer, Some(1));
    pair.proxy.throttle(ToServer, None);
    assert_eq!(receive(&mut pair.server, 4).await, b"held");
}

#[tokio::test]
async fn cut_after_lets_exactly_so_many_bytes_pass() {
    let mut pair = Pair::connect().await;
    send(&mut pair.server, b"before").await;
    assert_eq!(receive(&mut pair.client, 6).await, b"before");

    pair.proxy.cut_after(ToClient, 10);
    send(&mut pair.server, b"0123").await;
    assert_eq!(receive(&mut pair.client, 4).await, b"0123");
    // The other way does not count.
    assert_passes(&mut pair.client, &mut pair.server).await;
    send(&mut pair.server, b"456789abcdef").await;
    assert_eq!(receive(&mut pair.client, 6).await, b"456789");
    assert_end(&mut pair.client).await;
    assert_reset(&mut pair.server).await;
    assert_eq!(pair.proxy.connections(), 0);

    // It is over with that connection.
    pair.connect_again().await;
    send(&mut pair.server, &pattern(100)).await;
    assert_eq!(receive(&mut pair.client, 100).await, pattern(100));
}

#[tokio::test]
async fn cut_after_waits_for_the_next_connection_if_there_is_none() {
    let listener = listen().await;
    let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
    proxy.cut_after(ToServer, 3);
    let mut client = TcpStream::connect(proxy.addr()).await.unwrap();
    let (mut server, _) = within(listener.accept()).await.unwrap();
    send(&mut client, b"hello").await;
    assert_eq!(receive(&mut server, 3).await, b"hel");
    assert_end(&mut server).await;
    assert_reset(&mut client).await;
}

#[tokio::test]
async fn cut_after_nothing_cuts_at_once() {
    let mut pair = Pair::connect().await;
    pair.proxy.cut_after(ToServer, 0);
    assert_end(&mut pair.server).await;
    assert_reset(&mut pair.client).await;
}

#[tokio::test]
async fn the_last_bytes_before_a_cut_reach_a_reader_that_is_late() {
    let mut pair = Pair::connect().await;
    let bytes = pattern(200_000);
    pair.proxy.cut_after(ToClient, bytes.len() as u64);
    // Unread bytes the other way would make a plain close discard what is under way.
    send(&mut pair.client, b"unread").await;
    pair.server.write_all(&bytes).await.unwrap();
    eventually("all has passed", || pair.proxy.connections() == 0).await;
    assert!(receive(&mut pair.client, bytes.len()).await == bytes);
    assert_end(&mut pair.client).await;
}

#[tokio::test]
async fn new_connections_go_to_the_new_upstream() {
    let mut pair = Pair::connect().await;
    let other = listen().await;
    pair.proxy.set_upstream(other.local_addr().unwrap());
    let mut client = TcpStream::connect(pair.proxy.addr()).await.unwrap();
    let (mut server, _) = within(other.accept()).await.unwrap();
    assert_passes(&mut client, &mut server).await;
    assert_passes(&mut pair.client, &mut pair.server).await;
    assert_eq!(pair.proxy.connections(), 2);
}

#[tokio::test]
async fn heal_ends_every_fault() {
    let mut pair = Pair::connect().await;
    let proxy = &pair.proxy;
    proxy.refuse(true);
    proxy.throttle(Both, Some(1));
    proxy.delay(Both, FOR_EVER);
    proxy.drop_bytes(Both, true);
    proxy.stall(Both, true);
    proxy.cut_after(Both, 3);
    proxy.heal();
    assert_passes(&mut pair.client, &mut pair.server).await;
    assert_passes(&mut pair.server, &mut pair.client).await;
    pair.connect_again().await;
    assert_passes(&mut pair.client, &mut pair.server).await;
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections_and_frees_its_port() {
    let mut pair = Pair::connect().await;
    let addr = pair.proxy.addr();
    drop(pair.proxy);
    assert!(!matches!(
        within(pair.client.read(&mut [0; 1])).await,
        Ok(1..)
    ));
    assert!(!matches!(
        within(pair.server.read(&mut [0; 1])).await,
        Ok(1..)
    ));
    assert_eq!(
        TcpStream::connect(addr).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

/// A connection through a proxy, seen from both ends.
struct Pair {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    server: TcpStream,
}

impl Pair {
    async fn connect() -> Self {
        let listener = listen().await;
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let (client, server) = Self::connect_through(&proxy, &listener).await;
        Self {
            proxy,
            listener,
            client,
            server,
        }
    }

    async fn connect_again(&mut self) {
        (self.client, self.server) = Self::connect_through(&self.proxy, &self.listener).await;
    }

    async fn connect_through(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(proxy.addr()).await.unwrap();
        let (server, _) = within(listener.accept()).await.unwrap();
        (client, server)
    }
}

async fn listen() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// An address at which nobody listens.
async fn unused_addr() -> SocketAddr {
    listen().await.local_addr().unwrap()
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what)
        .await
        .expect("the deadline has passed")
}

/// Waits until `condition` holds, giving everybody else a turn between looks.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not yet: {what}");
        tokio::task::yield_now().await;
    }
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    within(stream.write_all(bytes)).await.unwrap();
}

async fn receive(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    bytes
}

async fn assert_passes(from: &mut TcpStream, to: &mut TcpStream) {
    send(from, b"hello").await;
    assert_eq!(receive(to, 5).await, b"hello");
}

async fn assert_end(stream: &mut TcpStream) {
    assert_eq!(within(stream.read(&mut [0; 1])).await.unwrap(), 0);
}

async fn assert_reset(stream: &mut TcpStream) {
    let err = within(stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionReset);
}

/// Asserts that a connection to `addr` is reset, as early as that may come.
async fn assert_turned_away(addr: SocketAddr) {
    let attempt = async { TcpStream::connect(addr).await?.read(&mut [0; 1]).await };
    let err: io::Error = within(attempt).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::ConnectionReset);
}

/// Asserts that nothing is there to be read, not even an end.
fn assert_silent(stream: &TcpStream) {
    assert_eq!(
        stream.try_read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
}

fn pattern(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}
