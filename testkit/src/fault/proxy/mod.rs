//! A TCP proxy whose faults are switched from the test.

mod connection;
mod pump;
mod state;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use self::state::{Control, Link, Way};

/// Pause after a failed accept: when file descriptors run out, asking again at once is a busy loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// Which way of the link a verb is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From clients to the server.
    ToServer,
    /// From the server to clients.
    ToClient,
    /// Both ways.
    Both,
}

/// A TCP proxy in front of one address, on a port of its own on 127.0.0.1.
///
/// Every verb acts on live connections and on those to come. When it returns it is in force: bytes
/// the new state forbids do not pass any more, even those the proxy had already read.
///
/// Buffers are bounded: who writes into a stalled or slow way is held up by TCP sooner or later.
///
/// Dropping the proxy ends it, with all its connections.
///
/// # Examples
/// ```
/// use std::net::SocketAddr;
/// use zk_testkit::fault::{Direction, Proxy};
///
/// # async fn example(server: SocketAddr) -> std::io::Result<()> {
/// let proxy = Proxy::start(server).await?;
/// // Let clients connect to `proxy.addr()`, then take the server's answers away.
/// proxy.stall(Direction::ToClient, true);
/// // Let them find out, then bring the answers back.
/// proxy.heal();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    control: Arc<Control>,
    acceptor: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`, which need not listen yet.
    ///
    /// # Errors
    /// What the system says when there is no port to listen on.
    ///
    /// # Cancel safety
    /// Safe: nothing is left behind.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let control = Arc::new(Control::new(upstream));
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&control)));
        Ok(Self {
            addr,
            control,
            acceptor,
        })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Resets every live connection, on both sides. New ones are accepted.
    pub fn cut_all(&self) {
        self.control.change(|state| state.live.clear());
    }

    /// While true, new connections are accepted and reset at once; live ones go on.
    ///
    /// The proxy keeps listening, so that nobody else gets its port.
    pub fn refuse(&self, refuse: bool) {
        self.control.change(|state| state.is_refusing = refuse);
    }

    /// While true, no bytes move that way and no end of a connection is passed on; connections stay
    /// open, as on a link whose cable is pulled.
    ///
    /// Nothing is lost: when the stall ends, everything goes on from where it stopped.
    pub fn stall(&self, direction: Direction, stall: bool) {
        self.change_links(direction, |link| link.is_stalled = stall);
    }

    /// While true, bytes that way are read and lost, with those that wait in the proxy.
    ///
    /// The end of a connection is lost as well, but is told to the other side when this is over, as
    /// TCP would by sending it again.
    pub fn drop_bytes(&self, direction: Direction, drop: bool) {
        self.change_links(direction, |link| link.is_dropping = drop);
    }

    /// Lets every byte arrive later by `delay`, in order.
    ///
    /// Bytes travel at the same time, so throughput is not limited below 4 MiB per `delay`. Bytes
    /// that are under way follow the new delay too. Zero is no delay.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.change_links(direction, |link| link.delay = delay);
    }

    /// Limits each connection to a number of bytes per second; 0 lets nothing pass.
    pub fn throttle(&self, direction: Direction, bytes_per_second: Option<u64>) {
        self.change_links(direction, |link| link.rate = bytes_per_second);
    }

    /// Cuts a connection after exactly `bytes` more bytes have passed that way.
    ///
    /// This arms every live connection, or the next one if there is none, and is over once a
    /// connection is cut. A count of 0 cuts at once. The receiver gets all of the bytes, then the
    /// end of the stream; the sender is reset. For [`Direction::Both`] the ways count separately.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.control.change(|state| {
            for way in Way::of(direction) {
                if state.live.is_empty() {
                    *state.next_budget.get_mut(way) = Some(bytes);
                }
                for budget in state.live.values_mut() {
                    *budget.get_mut(way) = Some(bytes);
                }
            }
        });
    }

    /// Connects new connections to another address; live ones stay where they are.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.control.change(|state| state.upstream = upstream);
    }

    /// While true, nothing passes either way, as in front of a server that stands still. Apart from
    /// the verbs on the link: [`heal`](Self::heal) does not end it.
    pub(crate) fn freeze(&self, freeze: bool) {
        self.control.change(|state| state.is_frozen = freeze);
    }

    /// Number of live connections, including those that are not yet connected upstream.
    ///
    /// A connection counts until both sides have ended it, or one has reset it, or it is cut.
    pub fn connections(&self) -> usize {
        self.control.state().live.len()
    }

    /// Number of connections accepted so far; refused ones do not count.
    pub fn accepted(&self) -> u64 {
        self.control.state().accepted
    }

    /// Number of bytes passed on so far; dropped ones do not count.
    pub fn bytes(&self, direction: Direction) -> u64 {
        let state = self.control.state();
        Way::of(direction).map(|way| state.passed.get(way)).sum()
    }

    /// Number of bytes read and lost so far, by [`drop_bytes`](Self::drop_bytes) or because nobody
    /// was left to take them.
    pub fn dropped(&self, direction: Direction) -> u64 {
        let state = self.control.state();
        Way::of(direction).map(|way| state.dropped.get(way)).sum()
    }

    /// Goes back to plain forwarding: no verb is in force any more, but the upstream stays.
    pub fn heal(&self) {
        self.control.change(|state| {
            state.is_refusing = false;
            state.next_budget = state::Budget::default();
            for way in Way::ALL {
                *state.links.get_mut(way) = Link::default();
            }
            for budget in state.live.values_mut() {
                *budget = state::Budget::default();
            }
        });
    }

    fn change_links(&self, direction: Direction, change: impl Fn(&mut Link)) {
        self.control.change(|state| {
            for way in Way::of(direction) {
                change(state.links.get_mut(way));
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut_all();
        // The task owns the listener and the tasks of all connections; they end with it.
        self.acceptor.abort();
    }
}

/// Accepts connections for ever and owns their tasks.
async fn accept(listener: TcpListener, control: Arc<Control>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // Tasks that have ended are taken out of the set.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((client, peer)) => {
                let Some(number) = control.state().admit() else {
                    tracing::debug!(%peer, "connection refused");
                    connection::reset(client);
                    continue;
                };
                tracing::debug!(%peer, number, "connection accepted");
                connections.spawn(connection::run(number, client, Arc::clone(&control)));
            }
            Err(err) => {
                tracing::warn!(%err, "accept failed");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}
