use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use zeroize::Zeroizing;
use zk_proto::{OpCode, SessionId, ZPath, ZPathBuf};

use crate::acl::Acl;
use crate::builder::{Builder, servers};
use crate::config::{CallConfig, Config};
use crate::connect_string::Server;
use crate::core::{AttemptErrorKind, Event, Secret};
use crate::credentials::Auth;
use crate::error::{Error, ErrorKind, Outcome};
use crate::shared::{ReplySlot, Shared};
use crate::state::{ConnEvents, ConnState, SessionToken};
use crate::stats::Stats;

/// A client of an ensemble: a cheap handle, to be cloned and shared at will.
///
/// All handles of a client share one session at a time, one connection, and one order of requests;
/// see the [crate's page](crate) for what is promised about it. Operations are methods that return
/// builders, which do nothing until they are awaited or sent.
///
/// When the last handle is dropped the session is closed in the background, so that its ephemeral
/// znodes go; to be sure that this has happened, await [`Client::close`].
#[derive(Clone)]
pub struct Client {
    view: Arc<View>,
}

/// A client as seen below a path, or bound to a session.
#[derive(Debug)]
struct View {
    handle: Arc<Handle>,
    config: CallConfig,
    /// Number of the session outside which nothing is to be done.
    epoch: Option<u64>,
}

/// Closes the client when nobody holds it any more.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    close_timeout: Duration,
    detach: bool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let event = if self.detach {
            Event::Detach
        } else {
            Event::Close {
                within: self.close_timeout,
            }
        };
        // A client that is closed already has nothing to close.
        let _closed = self.shared.send(event);
    }
}

impl Client {
    /// Sets up a client of `host[:port][,host[:port]…][/chroot]`; the port is 2181 by default. An
    /// illegal connect string is reported when the builder connects.
    pub fn builder(connect: &str) -> Builder {
        Builder::new(connect)
    }

    /// Connects with the defaults: see [`Builder::connect`].
    ///
    /// # Errors
    /// As [`Builder::connect`].
    ///
    /// # Cancel safety
    /// As [`Builder::connect`].
    pub async fn connect(connect: &str) -> Result<Self, Error> {
        Self::builder(connect).connect().await
    }

    pub(crate) fn new(shared: Arc<Shared>, config: &Config) -> Self {
        let config = CallConfig::new(config);
        let handle = Arc::new(Handle {
            shared,
            close_timeout: config.close_timeout,
            detach: config.detach_on_drop,
        });
        Self {
            view: Arc::new(View {
                handle,
                config,
                epoch: None,
            }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.view.handle.shared
    }

    pub(crate) fn config(&self) -> &CallConfig {
        &self.view.config
    }

    pub(crate) fn default_acl(&self) -> &Acl {
        &self.view.config.default_acl
    }

    /// Number of the session outside which nothing is to be done.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.view.epoch
    }

    fn with_view(&self, change: impl FnOnce(&mut CallConfig), epoch: Option<u64>) -> Self {
        let mut config = self.view.config.clone();
        change(&mut config);
        let handle = Arc::clone(&self.view.handle);
        Self {
            view: Arc::new(View {
                handle,
                config,
                epoch,
            }),
        }
    }

    // --- views ----------------------------------------------------------------------------------

    /// The path below which this handle lives; `/` if it sees everything.
    pub fn chroot_path(&self) -> &str {
        self.view.config.chroot.as_str()
    }

    /// A handle that lives below `path` of this one: same session, same connection, same order. The
    /// znode need not exist.
    ///
    /// # Errors
    /// [`ErrorKind::BadArguments`] if `path` is not legal.
    pub fn chroot(&self, path: &str) -> Result<Self, Error> {
        let path = ZPath::new(path)?;
        let joined = zk_proto::join_chroot(self.view.config.chroot.as_path(), path.as_str());
        let chroot = ZPathBuf::new(joined)?;
        Ok(self.with_view(|config| config.chroot = chroot, self.view.epoch))
    }

    /// A handle that sees everything, whatever this one lives below.
    #[must_use]
    pub fn root(&self) -> Self {
        self.with_view(|config| config.chroot = ZPathBuf::root(), self.view.epoch)
    }

    /// A handle whose operations may take this long by default.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.with_view(|config| config.timeout = timeout, self.view.epoch)
    }

    /// A handle that creates znodes with this ACL by default.
    #[must_use]
    pub fn with_default_acl(&self, acl: Acl) -> Self {
        self.with_view(|config| config.default_acl = acl, self.view.epoch)
    }

    /// A handle bound to the present session: see [`Session`]. Waits until there is one.
    ///
    /// # Errors
    /// As [`Client::wait_connected`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn session(&self) -> Result<Session, Error> {
        loop {
            self.wait_connected(self.view.config.timeout).await?;
            let epoch = self.shared().epoch();
            let state = self.shared().state.borrow().clone();
            // The session may have ended and another begun between the two looks.
            if let ConnState::Connected {
                session,
                timeout,
                read_only,
                ..
            } = state
                && self.shared().epoch() == epoch
            {
                let client = self.with_view(|_| {}, Some(epoch));
                return Ok(Session {
                    client,
                    id: session,
                    timeout,
                    read_only,
                });
            }
        }
    }

    // --- state ----------------------------------------------------------------------------------

    /// Where the client stands: the latest value, and a way to wait for the next.
    pub fn state(&self) -> watch::Receiver<ConnState> {
        self.shared().state.subscribe()
    }

    /// Every change of state from now on.
    pub fn events(&self) -> ConnEvents {
        self.shared().follow()
    }

    /// Waits until the client is connected.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if it is not within the time given, with the last trouble there was;
    /// [`ErrorKind::Closed`], [`ErrorKind::SessionExpired`] or [`ErrorKind::AuthFailed`] if it never
    /// will be.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_connected(&self, within: Duration) -> Result<(), Error> {
        let mut state = self.state();
        let connected = async {
            loop {
                match &*state.borrow_and_update() {
                    ConnState::Connected { .. } => return Ok(()),
                    ConnState::Closed(reason) => {
                        return Err(Error::closed(*reason, Outcome::NotSent));
                    }
                    ConnState::Connecting
                    | ConnState::Suspended { .. }
                    | ConnState::Expired { .. }
                    | ConnState::Closing => {}
                }
                if state.changed().await.is_err() {
                    return Err(Error::new(ErrorKind::Closed, Outcome::NotSent));
                }
            }
        };
        match timeout(within, connected).await {
            Ok(result) => result,
            Err(_) => Err(self.explain(Error::new(ErrorKind::Timeout, Outcome::NotSent))),
        }
    }

    /// As [`Client::wait_connected`], for the first session: gives up early when no server could ever
    /// do, and reports what the trouble is rather than that time has passed.
    pub(crate) async fn wait_first_session(&self, within: Duration) -> Result<(), Error> {
        let mut state = self.state();
        let hopeless = async {
            loop {
                state.borrow_and_update();
                let trouble = self.shared().trouble.lock();
                let trouble = trouble.unwrap_or_else(PoisonError::into_inner).clone();
                if trouble.is_some_and(|trouble| trouble.is_hopeless()) {
                    return;
                }
                if state.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            result = self.wait_connected(within) => match result {
                Err(error) if error.kind() == ErrorKind::Timeout => {}
                result => return result,
            },
            () = hopeless => {}
        }
        let timeout = || Error::new(ErrorKind::Timeout, Outcome::NotSent);
        Err(self.trouble().unwrap_or_else(timeout))
    }

    /// What was last seen to go wrong with connecting; `None` while there is a connection, and as
    /// long as nothing has. A [`Client::state`] that is waited for changes with it.
    pub fn trouble(&self) -> Option<Error> {
        let trouble = self.shared().trouble.lock();
        let trouble = trouble.unwrap_or_else(PoisonError::into_inner).clone();
        let kind = match trouble?.error.kind {
            AttemptErrorKind::Dns => ErrorKind::Dns,
            AttemptErrorKind::Credentials => ErrorKind::Credentials,
            AttemptErrorKind::Io | AttemptErrorKind::Ended | AttemptErrorKind::Refused => {
                ErrorKind::Io
            }
            AttemptErrorKind::Tls => ErrorKind::Tls,
            AttemptErrorKind::Protocol | AttemptErrorKind::TooLong => ErrorKind::Protocol,
            AttemptErrorKind::Timeout | AttemptErrorKind::Moved => ErrorKind::Timeout,
        };
        Some(self.explain(Error::new(kind, Outcome::NotSent)))
    }

    /// Adds what is known of the trouble with connecting.
    pub(crate) fn explain(&self, error: Error) -> Error {
        let trouble = self
            .shared()
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*trouble {
            None => error,
            Some(trouble) => {
                error.with_detail(format!("{}: {}", trouble.server, trouble.error.message))
            }
        }
    }

    /// Whether the client is closed.
    pub fn is_closed(&self) -> bool {
        self.shared().state.borrow().is_closed()
    }

    /// Waits until the client is closed.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn closed(&self) {
        let mut state = self.state();
        // An error says that the driver has gone, which is as closed as can be.
        let _gone = state.wait_for(ConnState::is_closed).await;
    }

    /// What has been counted since the client was made.
    pub fn stats(&self) -> Stats {
        let load = self.shared().load();
        Stats {
            outstanding: load.requests as u64,
            outstanding_bytes: load.bytes as u64,
            ..self.shared().counters.snapshot()
        }
    }

    // --- session --------------------------------------------------------------------------------

    /// What another process needs to go on with this session; `None` while there is none, and for
    /// the session of a read-only server, which lives there only.
    ///
    /// One client at a time can be in a session: [`Client::detach`] this one before another goes on.
    /// If both go on, each makes a server close the connection of the other; the first of them that
    /// finds this out closes with [`CloseReason::SessionHijacked`](crate::CloseReason).
    pub fn session_token(&self) -> Option<SessionToken> {
        let granted = self
            .shared()
            .granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let granted = granted.clone()?;
        // From now on somebody else may turn up in the session.
        let _closed = self.shared().send(Event::TokenGiven);
        Some(SessionToken {
            id: granted.id,
            password: Zeroizing::new(granted.password.reveal().to_vec()),
            timeout: granted.timeout,
            last_zxid: self.shared().last_zxid(),
        })
    }

    /// Adds a credential to this connection and all that follow, and waits until a server has
    /// accepted it.
    ///
    /// # Errors
    /// [`ErrorKind::AuthFailed`] if a server refuses it: the client is closed then.
    /// [`ErrorKind::Timeout`] if no server has answered within [`Config::op_timeout`]; the credential
    /// is added all the same.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the credential back.
    pub async fn add_auth(&self, auth: Auth) -> Result<(), Error> {
        let (scheme, credential) = auth.into_parts();
        let (slot, reply) = oneshot::channel();
        self.send_auth(scheme, credential, Some(slot));
        match timeout(self.view.config.timeout, reply).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(failure))) => Err(self.error(OpCode::Auth, failure)),
            Ok(Err(_)) => {
                Err(Error::new(ErrorKind::Closed, Outcome::NotSent).with_op(OpCode::Auth))
            }
            Err(_) => {
                let error = Error::new(ErrorKind::Timeout, Outcome::Unknown).with_op(OpCode::Auth);
                Err(self.explain(error))
            }
        }
    }

    pub(crate) fn send_auth(&self, scheme: ByteString, auth: Bytes, waiter: Option<ReplySlot>) {
        // If the client is closed, the slot goes with the event, and whoever waits is told so.
        let _closed = self.shared().send(Event::AddAuth {
            scheme,
            auth: Secret::new(auth),
            waiter,
        });
    }

    /// Replaces the list of servers: `host:port,…`, a chroot in it is ignored. The client moves if
    /// its server is not in the list, or with the probability that evens out the load over a longer
    /// one, as soon as nothing is in flight. An attempt at a server that is not in it is given up.
    ///
    /// # Errors
    /// [`ErrorKind::ConnectString`] if the list is not legal or empty.
    pub fn set_servers(&self, list: &str) -> Result<(), Error> {
        self.replace_servers(servers(list)?);
        Ok(())
    }

    pub(crate) fn replace_servers(&self, servers: Vec<Server>) {
        // A closed client has no use for servers.
        let _closed = self.shared().send(Event::SetServers(servers));
    }

    /// Closes the session and the client: requests submitted before are done first, later ones fail.
    /// Ends when a server has closed the session, and so deleted its ephemeral znodes, or when the
    /// time given is over; then the session lives on until its timeout.
    ///
    /// Before there is a session nothing is waited for: what was submitted fails with
    /// [`ErrorKind::Closed`], unsent.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the closing.
    pub async fn close(&self, within: Duration) {
        // A client that is closed already has nothing to close.
        let _closed = self.shared().send(Event::Close { within });
        self.closed().await;
    }

    /// Stops the client and leaves the session to whoever goes on with it, or to its timeout.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the stopping.
    pub async fn detach(&self) {
        let _closed = self.shared().send(Event::Detach);
        self.closed().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &*self.shared().state.borrow())
            .field("chroot", &self.chroot_path())
            .finish_non_exhaustive()
    }
}

/// A client bound to one session: once that is over, every operation fails with
/// [`ErrorKind::SessionExpired`], and nothing of it reaches a server under another session.
///
/// Whoever does something in the name of a session, as every lock does, does it through this.
#[derive(Debug, Clone)]
pub struct Session {
    client: Client,
    id: SessionId,
    timeout: Duration,
    read_only: bool,
}

impl Session {
    /// The session.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Session timeout that the server granted.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the server was cut off from its ensemble when this handle was made.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether the session is known to be over.
    pub fn is_over(&self) -> bool {
        self.client
            .epoch()
            .is_some_and(|epoch| epoch != self.client.shared().epoch())
            || self.client.is_closed()
    }

    /// When the newest request of this session that the leader answered had been sent: a write, a sync,
    /// or the handshake. The leader had not let the session end by then. `None` once the session is
    /// known to be over.
    ///
    /// Reads and pings say nothing: a server that lags behind, or is cut off, answers them for a session
    /// that is over. While there is a [`Session::hold`], a sync is sent whenever a ping would be due.
    ///
    /// Whoever relies on the session, as the holder of a lock does, must stop to before
    /// [`Session::timeout`] has passed since. By [`Instant`], which may stand still while the machine is
    /// suspended (on Linux it does): where that can happen, a session may be over that seems to be young
    /// when the machine goes on, until a server is heard of.
    pub fn confirmed(&self) -> Option<Instant> {
        let confirmed = self.client.shared().confirmed();
        // Looked at afterwards: what was read is of this session then, or earlier.
        if self.is_over() { None } else { confirmed }
    }

    /// Tells the client that something depends on this session. While any such value lives, the
    /// client asks the leader at least every sixth of the session timeout, so that a silent server is
    /// noticed early enough to find another, and [`Session::confirmed`] moves on.
    pub fn hold(&self) -> SessionHold {
        let shared = Arc::clone(self.client.shared());
        // A closed client has nothing to keep.
        let _closed = shared.send(Event::Hold(1));
        SessionHold { shared }
    }

    /// Waits until the session is over.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn over(&self) {
        let mut state = self.client.state();
        // An error says that the driver has gone, and the session with it.
        let _gone = state.wait_for(|_| self.is_over()).await;
    }
}

/// See [`Session::hold`].
#[derive(Debug)]
#[must_use = "it counts while it lives"]
pub struct SessionHold {
    shared: Arc<Shared>,
}

impl Drop for SessionHold {
    fn drop(&mut self) {
        // A closed client has nothing to keep.
        let _closed = self.shared.send(Event::Hold(-1));
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}
