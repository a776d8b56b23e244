use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};
use zk_client::{Client, ConnState, ConnectString, WatchEnd, WatchItem, WatchStream};

use super::args::Invocation;
use super::commands;
use super::failure::Failure;
use super::properties::Properties;
use super::show::{event, say, state};

/// Commands that are remembered.
const HISTORY_MAX: usize = 11;
/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(5);

/// What there is between one command and the next.
#[derive(Debug)]
pub(crate) struct Shell {
    pub(crate) server: String,
    timeout: Duration,
    read_only: bool,
    properties: Properties,
    client: Option<Client>,
    /// Whether changes of the connection are told, as they are where somebody looks on.
    pub(crate) is_interactive: bool,
    teller: Option<JoinHandle<()>>,
    pub(crate) watches: Vec<Held>,
    /// Whether watch events are printed.
    pub(crate) prints_watches: Arc<AtomicBool>,
    /// The last commands, with their numbers.
    history: Vec<(usize, String)>,
    /// Number of the next command.
    pub(crate) number: usize,
}

/// A watch that somebody waits for.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Children,
    Persistent,
    Recursive,
}

impl Shell {
    pub(crate) fn new(invocation: &Invocation) -> Self {
        Self {
            server: invocation.server.clone(),
            timeout: invocation.timeout,
            read_only: invocation.read_only,
            properties: invocation.properties.clone(),
            client: None,
            is_interactive: false,
            teller: None,
            watches: Vec::new(),
            prints_watches: Arc::new(AtomicBool::new(true)),
            history: Vec::new(),
            number: 0,
        }
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// An address that is none.
    pub(crate) fn start(&mut self) -> Result<(), Failure> {
        let builder = Client::builder(&self.server)
            .session_timeout(self.timeout)
            .connect_timeout(self.timeout)
            .allow_read_only(self.read_only);
        let builder = self.properties.apply(builder).map_err(Failure::said)?;
        let client = builder
            .start()
            .map_err(|error| Failure::said(error.to_string()))?;
        if self.is_interactive {
            self.teller = Some(tokio::spawn(tell_states(client.clone())));
        }
        self.client = Some(client);
        Ok(())
    }

    /// Connects: waits until there is a session, or every server has failed once if it is not
    /// `is_patient`.
    ///
    /// # Errors
    /// No server, or none in time.
    pub(crate) async fn open(&mut self, is_patient: bool) -> Result<(), Failure> {
        self.start()?;
        let client = self.client()?;
        let connect = self.server.parse::<ConnectString>();
        let servers = connect.map_or(1, |connect| connect.servers.len() as u64);
        let deadline = Instant::now() + self.timeout;
        let mut looks = interval(Duration::from_millis(20));
        loop {
            let last = Instant::now() >= deadline
                || client.is_closed()
                || (!is_patient && client.stats().attempts_failed >= servers);
            if client.state().borrow().is_connected() {
                return Ok(());
            }
            if last {
                let error = client.wait_connected(Duration::ZERO).await.err();
                let reason = error.map_or(String::new(), |error| format!("\n{error}"));
                return Err(Failure::said(format!(
                    "KeeperErrorCode = ConnectionLoss for /{reason}"
                )));
            }
            looks.tick().await;
        }
    }

    /// The client.
    ///
    /// # Errors
    /// It was closed.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let client = self.client.clone();
        client.ok_or_else(|| Failure::said("Not connected"))
    }

    /// Ends the session, if there is one.
    pub(crate) async fn close(&mut self) {
        for watch in self.watches.drain(..) {
            watch.task.abort();
        }
        if let Some(client) = self.client.take() {
            client.close(CLOSE).await;
        }
        if let Some(teller) = self.teller.take() {
            // It ends with the client.
            let _told = teller.await;
        }
    }

    /// Remembers a line, and does what it says.
    ///
    /// # Errors
    /// What the command says.
    pub(crate) async fn execute_line(&mut self, line: &str) -> Result<(), Failure> {
        let words = super::words::split(line);
        if words.is_empty() {
            return Ok(());
        }
        if self.history.len() >= HISTORY_MAX {
            self.history.remove(0);
        }
        self.history.push((self.number, line.trim().to_owned()));
        self.number += 1;
        self.execute(&words).await
    }

    /// Does what the words say.
    ///
    /// # Errors
    /// What the command says.
    pub(crate) async fn execute(&mut self, words: &[String]) -> Result<(), Failure> {
        let Some((name, words)) = words.split_first() else {
            return Ok(());
        };
        let command = commands::find(name).ok_or_else(|| Failure::NoCommand(name.clone()))?;
        (command.run)(self, words).await
    }

    /// The last commands.
    pub(crate) fn history(&self) -> &[(usize, String)] {
        &self.history
    }

    /// How the connection stands, in one word.
    pub(crate) fn state(&self) -> &'static str {
        let Some(client) = &self.client else {
            return "CLOSED";
        };
        let state = client.state();
        let state = state.borrow();
        match &*state {
            ConnState::Connected { read_only, .. } => {
                if *read_only {
                    "CONNECTEDREADONLY"
                } else {
                    "CONNECTED"
                }
            }
            ConnState::Closed(_) | ConnState::Closing => "CLOSED",
            ConnState::Connecting | ConnState::Suspended { .. } | ConnState::Expired { .. } | _ => {
                "CONNECTING"
            }
        }
    }

    /// Prints what a one-shot watch has to tell.
    pub(crate) fn hold(
        &mut self,
        path: &str,
        kind: Kind,
        watch: impl Future<Output = WatchEnd> + Send + 'static,
    ) {
        let prints = Arc::clone(&self.prints_watches);
        let task = tokio::spawn(async move {
            if let WatchEnd::Event(told) = watch.await
                && prints.load(Ordering::Relaxed)
            {
                say(&event(&told));
            }
        });
        self.remember(path, kind, task);
    }

    /// Prints what a stream has to tell.
    pub(crate) fn follow(&mut self, path: &str, kind: Kind, mut stream: WatchStream) {
        let prints = Arc::clone(&self.prints_watches);
        let task = tokio::spawn(async move {
            while let Some(item) = stream.next().await {
                if let WatchItem::Event(told) = item
                    && prints.load(Ordering::Relaxed)
                {
                    say(&event(&told));
                }
            }
        });
        self.remember(path, kind, task);
    }

    fn remember(&mut self, path: &str, kind: Kind, task: JoinHandle<()>) {
        self.watches.retain(|watch| !watch.task.is_finished());
        let path = path.to_owned();
        self.watches.push(Held { path, kind, task });
    }

    /// Lets go of watches. Returns whether there was any.
    pub(crate) fn forget(&mut self, wanted: impl Fn(&Held) -> bool) -> bool {
        self.watches.retain(|watch| !watch.task.is_finished());
        let before = self.watches.len();
        self.watches.retain(|watch| {
            let is_wanted = wanted(watch);
            if is_wanted {
                watch.task.abort();
            }
            !is_wanted
        });
        self.watches.len() < before
    }
}

/// Tells of the connection until the client is closed.
async fn tell_states(client: Client) {
    let mut events = client.events();
    // The handle must not keep the client open.
    drop(client);
    while let Some(now) = events.next().await {
        let name = match now {
            ConnState::Connected {
                read_only: true, ..
            } => "ConnectedReadOnly",
            ConnState::Connected { .. } => "SyncConnected",
            ConnState::Suspended { .. } => "Disconnected",
            ConnState::Expired { .. } => "Expired",
            ConnState::Closed(zk_client::CloseReason::AuthFailed) => "AuthFailed",
            ConnState::Closed(_) => "Closed",
            ConnState::Connecting | ConnState::Closing | _ => continue,
        };
        say(&state(name));
    }
}
