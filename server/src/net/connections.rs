//! The connections of a server, by handle and by session.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};
use zk_core::conn::ConnId;
use zk_core::conn::auth::Identities;
use zk_core::conn::handshake::ServingMode;
use zk_proto::SessionId;

use super::activity::Activity;
use super::admission::Admission;
use super::outbox::Outbox;

/// How long after a change to serving nobody clients are kept waiting for the next one. Members that
/// are cut off turn clients away at once: those have others to go to.
const PATIENCE: Duration = Duration::from_millis(300);

/// A time that does not come: 136 years from the start.
const NEVER: u32 = u32::MAX;

/// Who is at the other end, as far as that is known before a word is said.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) remote: SocketAddr,
    /// It came over TLS.
    pub(crate) is_secure: bool,
    /// Its address, and what its certificate says.
    pub(crate) identities: Identities,
}

/// A client connection, as other threads see it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) remote: SocketAddr,
    pub(crate) is_secure: bool,
    pub(crate) outbox: Outbox,
    /// Who it is, by what it said so far.
    pub(crate) identities: Mutex<Identities>,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// What it did last, once it has a session.
    pub(crate) activity: Mutex<Option<Activity>>,
    /// Its session, [`SessionId::NONE`] until there is one.
    session: AtomicI64,
    /// Where the handshake waits for the core.
    handshake: Mutex<Option<oneshot::Sender<SessionReply>>>,
    /// When nobody waits for it any longer, in seconds since the start of the server.
    overdue_at: AtomicU32,
}

/// What a handshake waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionReply {
    /// The new session is there.
    Opened(SessionId),
    /// Whether the session that was claimed lives.
    Claimed {
        /// Whether it does.
        is_alive: bool,
    },
}

impl Conn {
    pub(crate) fn reset(&self) {
        self.received.store(0, Ordering::Relaxed);
        self.sent.store(0, Ordering::Relaxed);
        if let Some(activity) = &mut *self.activity.lock() {
            activity.reset();
        }
    }

    pub(crate) fn session(&self) -> Option<SessionId> {
        let session = SessionId::new(self.session.load(Ordering::Acquire));
        (session != SessionId::NONE).then_some(session)
    }

    /// Waits for it until then, in seconds since the start of the server.
    pub(crate) fn wait_until(&self, seconds: u32) {
        self.overdue_at.store(seconds, Ordering::Relaxed);
    }

    /// Where the reply to a handshake will come.
    pub(crate) fn await_session(&self) -> oneshot::Receiver<SessionReply> {
        let (sender, receiver) = oneshot::channel();
        *self.handshake.lock() = Some(sender);
        receiver
    }

    fn reply(&self, reply: SessionReply) {
        if let Some(waiting) = self.handshake.lock().take() {
            // A connection that is gone left a session behind, which will expire.
            waiting.send(reply).ok();
        }
    }
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Connections {
    by_id: RwLock<BTreeMap<ConnId, Arc<Conn>>>,
    by_session: Mutex<BTreeMap<SessionId, ConnId>>,
    per_address: Mutex<BTreeMap<IpAddr, usize>>,
    next: AtomicU32,
    /// What clients may do, and since when.
    mode: watch::Sender<(ServingMode, Instant)>,
    admission: Arc<Admission>,
}

/// A place among the connections of an address; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut per_address = self.connections.per_address.lock();
        if let Some(count) = per_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                per_address.remove(&self.address);
            }
        }
    }
}

impl Connections {
    pub(crate) fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            by_id: RwLock::new(BTreeMap::new()),
            by_session: Mutex::new(BTreeMap::new()),
            per_address: Mutex::new(BTreeMap::new()),
            next: AtomicU32::new(1),
            mode: watch::Sender::new((ServingMode::NotServing, Instant::now())),
        }
    }

    /// Counts a connection of an address, unless it has `max` already.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr, max: Option<usize>) -> Option<Place> {
        let mut per_address = self.per_address.lock();
        let count = per_address.entry(address).or_insert(0);
        if max.is_some_and(|max| *count >= max) {
            return None;
        }
        *count += 1;
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }

    /// Sockets, with those that have not said anything yet.
    pub(crate) fn sockets(&self) -> usize {
        self.per_address.lock().values().sum()
    }

    /// Adds a connection that is about to ask for a session.
    pub(crate) fn add(&self, caller: &Caller) -> Arc<Conn> {
        let mut by_id = self.by_id.write();
        // After four billion connections numbers come again; those still there are passed over.
        let id = loop {
            let id = ConnId::new(self.next.fetch_add(1, Ordering::Relaxed));
            if !by_id.contains_key(&id) {
                break id;
            }
        };
        let conn = Arc::new(Conn {
            id,
            remote: caller.remote,
            is_secure: caller.is_secure,
            outbox: Outbox::new(Arc::clone(&self.admission)),
            identities: Mutex::new(caller.identities.clone()),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            activity: Mutex::new(None),
            session: AtomicI64::new(SessionId::NONE.get()),
            handshake: Mutex::new(None),
            overdue_at: AtomicU32::new(NEVER),
        });
        by_id.insert(id, Arc::clone(&conn));
        conn
    }

    /// Forgets a connection.
    pub(crate) fn remove(&self, conn: &Conn) {
        self.by_id.write().remove(&conn.id);
        if let Some(session) = conn.session() {
            let mut by_session = self.by_session.lock();
            if by_session.get(&session) == Some(&conn.id) {
                by_session.remove(&session);
            }
        }
    }

    /// Makes a session that of a connection; another one that had it is closed. Of any that ask for
    /// it at a time, the last one has it, and no other stays.
    pub(crate) fn bind(&self, conn: &Conn, session: SessionId) {
        conn.session.store(session.get(), Ordering::Release);
        let before = self.by_session.lock().insert(session, conn.id);
        let before = before.filter(|before| *before != conn.id);
        if let Some(before) = before.and_then(|before| self.get(before)) {
            before.outbox.abort();
        }
    }

    /// Closes the connection of a session, if it has one.
    pub(crate) fn close_session(&self, session: SessionId) {
        if let Some(conn) = self.of_session(session) {
            conn.outbox.abort();
        }
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<Arc<Conn>> {
        self.by_id.read().get(&id).cloned()
    }

    pub(crate) fn identities(&self, id: ConnId) -> Option<Identities> {
        let conn = self.get(id)?;
        let identities = conn.identities.lock().clone();
        Some(identities)
    }

    pub(crate) fn of_session(&self, session: SessionId) -> Option<Arc<Conn>> {
        let id = self.by_session.lock().get(&session).copied()?;
        self.get(id)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<Conn>> {
        self.by_id.read().values().cloned().collect()
    }

    /// Those that nobody waits for any longer. Each is told once.
    pub(crate) fn overdue(&self, seconds: u32) -> Vec<Arc<Conn>> {
        let by_id = self.by_id.read();
        let is_overdue = |conn: &&Arc<Conn>| conn.overdue_at.load(Ordering::Relaxed) <= seconds;
        let overdue: Vec<_> = by_id.values().filter(is_overdue).cloned().collect();
        for conn in &overdue {
            conn.wait_until(NEVER);
        }
        overdue
    }

    /// What clients may do from now on. When that changes, all go: what they asked for under the
    /// other mode is answered by nobody.
    pub(crate) fn serve(&self, mode: ServingMode) {
        let (before, _) = self.mode.send_replace((mode, Instant::now()));
        if before != mode && before != ServingMode::NotServing {
            for conn in self.all() {
                drop(conn.handshake.lock().take());
                conn.outbox.abort();
            }
        }
    }

    pub(crate) fn mode(&self) -> ServingMode {
        self.mode.borrow().0
    }

    /// What clients may do, once the moment is over in which that is about to change: when members
    /// have just lost their leader, or have just started, the next one is there before a client that
    /// was turned away would come back.
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub(crate) async fn settled_mode(&self) -> ServingMode {
        let mut mode = self.mode.subscribe();
        let (now, since) = *mode.borrow_and_update();
        let left = PATIENCE.saturating_sub(since.elapsed());
        if now != ServingMode::NotServing || left.is_zero() {
            return now;
        }
        let serving = mode.wait_for(|(mode, _)| *mode != ServingMode::NotServing);
        match tokio::time::timeout(left, serving).await {
            Ok(Ok(mode)) => mode.0,
            Ok(Err(_)) | Err(_) => ServingMode::NotServing,
        }
    }

    /// A session that a connection asked for is there.
    pub(crate) fn session_opened(&self, conn: ConnId, session: SessionId) {
        if let Some(conn) = self.get(conn) {
            conn.reply(SessionReply::Opened(session));
        }
    }

    /// Whether a connection may have the session that it claimed.
    pub(crate) fn session_answered(&self, conn: ConnId, is_alive: bool) {
        if let Some(conn) = self.get(conn) {
            conn.reply(SessionReply::Claimed { is_alive });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::admission::of_lines;

    fn connections() -> Connections {
        Connections::new(Arc::new(of_lines(1, "")))
    }

    fn add(connections: &Connections) -> Arc<Conn> {
        let address = IpAddr::from([127, 0, 0, 1]);
        connections.add(&Caller {
            remote: SocketAddr::new(address, 1),
            is_secure: false,
            identities: Identities::of_peer(address),
        })
    }

    #[test]
    fn of_connections_that_take_a_session_at_a_time_one_stays() {
        let connections = connections();
        for session in (1..5000).map(SessionId::new) {
            let both = [add(&connections), add(&connections)];
            let barrier = std::sync::Barrier::new(both.len());
            std::thread::scope(|scope| {
                for conn in &both {
                    scope.spawn(|| {
                        barrier.wait();
                        connections.bind(conn, session);
                    });
                }
            });
            let stays = both.iter().filter(|conn| !conn.outbox.is_aborted());
            let stays: Vec<_> = stays.map(|conn| conn.id).collect();
            let known = connections.of_session(session).map(|conn| conn.id);
            assert_eq!(stays, known.as_slice(), "{session}");
        }
    }

    #[test]
    fn a_connection_is_overdue_when_its_time_has_come_and_told_of_once() {
        let connections = connections();
        let (one, other, new) = (add(&connections), add(&connections), add(&connections));
        one.wait_until(10);
        other.wait_until(12);
        let told = |seconds| {
            let overdue = connections.overdue(seconds);
            overdue.iter().map(|conn| conn.id).collect::<Vec<_>>()
        };
        assert_eq!(told(9), []);
        one.wait_until(11);
        assert_eq!(told(10), []);
        assert_eq!(told(11), [one.id]);
        assert_eq!(told(12), [other.id]);
        assert_eq!(told(1_000_000), []);
        new.wait_until(0);
        assert_eq!(told(0), [new.id]);
    }

    #[tokio::test]
    async fn a_client_that_comes_in_an_election_hears_how_it_ends() {
        let connections = connections();
        let ((), mode) = tokio::join!(
            async { connections.serve(ServingMode::Full) },
            connections.settled_mode(),
        );
        assert_eq!(mode, ServingMode::Full);
        connections.serve(ServingMode::NotServing);
        let (mode, ()) = tokio::join!(connections.settled_mode(), async {
            connections.serve(ServingMode::ReadOnly);
        });
        assert_eq!(mode, ServingMode::ReadOnly);
    }

    #[tokio::test]
    async fn a_client_of_a_server_that_is_cut_off_waits_once_at_most() {
        let connections = connections();
        assert_eq!(connections.settled_mode().await, ServingMode::NotServing);
        let start = Instant::now();
        assert_eq!(connections.settled_mode().await, ServingMode::NotServing);
        assert!(start.elapsed() < PATIENCE);
    }
}
