//! Configuration that follows its znode.

use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_core::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use zk_client::{Bytes, Client, Error, Node, Observe, Stat, Version, host};

use crate::kernel::chance::part_of;

/// Decodes the data of a znode.
type Decode<T> = Arc<dyn Fn(&[u8]) -> Result<T, String> + Send + Sync>;

/// Says what is wrong with a value.
type Validate<T> = Arc<dyn Fn(&T) -> Result<(), String> + Send + Sync>;

/// A value in a znode, typed, that follows what is written there.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use zk_recipes::ConfigWatch;
///
/// #[derive(serde::Deserialize)]
/// struct Limits {
///     requests: u32,
/// }
///
/// let limits = ConfigWatch::<Limits>::json(&zk, "/config/limits")
///     .validate(|limits| if limits.requests > 0 { Ok(()) } else { Err("no requests".into()) })
///     .start();
/// println!("{}", limits.ready().await?.requests);
/// let mut changes = limits.watch();
/// changes.changed().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// - The last good value is kept while the znode is gone, does not decode, is vetoed, or no server can be
///   reached; [`ConfigWatch::trouble`] tells why.
/// - States in between may be left out, the last never is.
/// - Not more than one new value in the interval asked for.
pub struct ConfigWatch<T> {
    value: watch::Receiver<Option<Arc<Config<T>>>>,
    trouble: watch::Receiver<Option<ConfigError>>,
    _task: AbortOnDropHandle<()>,
}

/// A value, and what is known of the znode that it was read from. Derefs to the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config<T> {
    value: T,
    stat: Stat,
}

/// Why there is no newer value.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such znode.
    #[error("{path}: there is no such znode")]
    Absent {
        /// Path of the znode.
        path: String,
    },
    /// The data does not decode.
    #[error("{path}: version {version} does not decode: {reason}")]
    Undecodable {
        /// Path of the znode.
        path: String,
        /// Version of its data.
        version: i32,
        /// What the decoder says.
        reason: String,
    },
    /// The value was refused.
    #[error("{path}: version {version} was refused: {reason}")]
    Refused {
        /// Path of the znode.
        path: String,
        /// Version of its data.
        version: i32,
        /// Why.
        reason: String,
    },
    /// A value cannot be written.
    #[error("{path}: cannot be written: {reason}")]
    Unwritable {
        /// Path of the znode.
        path: String,
        /// Why.
        reason: String,
    },
    /// It cannot be read or written.
    #[error("{path}: cannot be read or written")]
    Client {
        /// Path of the znode.
        path: String,
        /// What went wrong.
        source: Error,
    },
}

/// Sets up a [`ConfigWatch`].
#[must_use = "nothing is read before it is started"]
pub struct ConfigBuilder<T> {
    client: Client,
    path: String,
    decode: Decode<T>,
    validate: Option<Validate<T>>,
    pace: Pace,
}

/// How fast values may follow each other.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    interval: Duration,
    debounce: Duration,
    jitter: Duration,
}

impl<T: DeserializeOwned + Send + Sync + 'static> ConfigWatch<T> {
    /// A value written as JSON.
    pub fn json(client: &Client, path: impl Into<String>) -> ConfigBuilder<T> {
        Self::with(client, path, |data| {
            serde_json::from_slice(data).map_err(|error| error.to_string())
        })
    }
}

impl<T: Send + Sync + 'static> ConfigWatch<T> {
    /// A value written in any way.
    pub fn with(
        client: &Client,
        path: impl Into<String>,
        decode: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
    ) -> ConfigBuilder<T> {
        ConfigBuilder {
            client: client.clone(),
            path: path.into(),
            decode: Arc::new(decode),
            validate: None,
            pace: Pace::default(),
        }
    }

    /// The value, if there was a good one yet.
    pub fn current(&self) -> Option<Arc<Config<T>>> {
        self.value.borrow().clone()
    }

    /// The latest value, and a way to wait for the next: for ever once the client is closed, which
    /// [`ConfigWatch::trouble`] tells.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Config<T>>>> {
        self.value.clone()
    }

    /// Every new value from now on, the present one first; the latest if the reader is slower.
    pub fn stream(&self) -> impl Stream<Item = Arc<Config<T>>> + Send + Unpin + use<T> {
        let mut value = self.value.clone();
        value.mark_changed();
        Box::pin(futures_util::stream::unfold(
            value,
            |mut value| async move {
                loop {
                    value.changed().await.ok()?;
                    let now = value.borrow_and_update().clone();
                    if let Some(now) = now {
                        return Some((now, value));
                    }
                }
            },
        ))
    }

    /// Waits for the first good value.
    ///
    /// # Errors
    /// [`ConfigError`]: what is wrong with what is there, or that there is nothing, as soon as that is
    /// known. The value may come later: see [`ConfigWatch::watch`].
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) -> Result<Arc<Config<T>>, ConfigError> {
        let (mut value, mut trouble) = (self.value.clone(), self.trouble.clone());
        loop {
            if let Some(now) = value.borrow_and_update().clone() {
                return Ok(now);
            }
            if let Some(error) = trouble.borrow_and_update().clone() {
                return Err(error);
            }
            tokio::select! {
                biased;
                changed = value.changed() => if changed.is_err() { break },
                changed = trouble.changed() => if changed.is_err() { break },
            }
        }
        // The task lives as long as this does.
        std::future::pending().await
    }

    /// Why there is no newer value: the latest trouble, and a way to wait for the next. `None` while
    /// what is there is what the value says.
    pub fn trouble(&self) -> watch::Receiver<Option<ConfigError>> {
        self.trouble.clone()
    }
}

impl<T> fmt::Debug for ConfigWatch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigWatch").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for ConfigBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigBuilder")
            .field("path", &self.path)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl<T> Config<T> {
    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// What else is known of the znode: its version to write against, and when it was written.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }
}

impl<T> Deref for Config<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Send + Sync + 'static> ConfigBuilder<T> {
    /// Refuses values for which this returns an error: the last good one is kept.
    pub fn validate(
        mut self,
        check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.validate = Some(Arc::new(check));
        self
    }

    /// Lets so much time pass between two values at least.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.pace.interval = interval;
        self
    }

    /// Waits until nothing was written for so long.
    pub fn debounce(mut self, quiet: Duration) -> Self {
        self.pace.debounce = quiet;
        self
    }

    /// Waits a random part of this before each new value but the first, so that not all of a fleet
    /// reload at once.
    pub fn jitter(mut self, most: Duration) -> Self {
        self.pace.jitter = most;
        self
    }

    /// Begins to read, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> ConfigWatch<T> {
        let (value, values) = watch::channel(None);
        let (trouble, troubles) = watch::channel(None);
        let task = host::spawn(self.follow(value, trouble));
        ConfigWatch {
            value: values,
            trouble: troubles,
            _task: AbortOnDropHandle::new(task),
        }
    }

    async fn follow(
        self,
        value: watch::Sender<Option<Arc<Config<T>>>>,
        trouble: watch::Sender<Option<ConfigError>>,
    ) {
        let mut next = Instant::now();
        let mut states = self.client.observe(&self.path);
        loop {
            match states.next().await {
                Some(Ok(node)) => {
                    let has_value = value.borrow().is_some();
                    let soonest = || next.max(Instant::now() + part_of(self.pace.jitter));
                    let until = has_value.then(soonest);
                    let (node, end) = self.latest(node, &mut states, until).await;
                    let is_end = end.is_some();
                    if let Some(source) = end {
                        trouble.send_replace(Some(self.unreadable(source)));
                        // What it was last has to wait for its turn all the same.
                        sleep_until(until.unwrap_or(next)).await;
                    }
                    match self.decoded(node) {
                        Ok(config) => {
                            next = Instant::now() + self.pace.interval;
                            value.send_if_modified(|known| {
                                let is_new = known.as_ref().is_none_or(|known| {
                                    known.stat.czxid != config.stat.czxid
                                        || known.stat.mzxid != config.stat.mzxid
                                });
                                if is_new {
                                    *known = Some(Arc::new(config));
                                }
                                is_new
                            });
                            if !is_end {
                                trouble.send_replace(None);
                            }
                        }
                        Err(error) => {
                            tracing::warn!(err = %error, "the last good configuration is kept");
                            if !is_end {
                                trouble.send_replace(Some(error));
                            }
                        }
                    }
                }
                Some(Err(source)) => {
                    trouble.send_replace(Some(self.unreadable(source)));
                }
                None => {
                    if self.client.is_closed() {
                        // The senders stay: whoever waits is not told of an end that is none.
                        std::future::pending::<()>().await;
                    }
                    // It may be readable later.
                    sleep(RETRY).await;
                    states = self.client.observe(&self.path);
                }
            }
        }
    }

    /// What the znode is when it is time for the next value: whatever is written until then, and until
    /// nothing has been for a while, takes the place of what was before it. If it cannot be read any more,
    /// what it was last, and why.
    async fn latest(
        &self,
        mut node: Option<Node>,
        states: &mut Observe,
        mut until: Option<Instant>,
    ) -> (Option<Node>, Option<Error>) {
        let debounce = self.pace.debounce;
        let quiet = || (!debounce.is_zero()).then(|| Instant::now() + debounce);
        while let Some(deadline) = until.or_else(quiet) {
            match timeout_at(deadline, states.next()).await {
                Ok(Some(Ok(newer))) => node = newer,
                Ok(Some(Err(error))) => return (node, Some(error)),
                Err(_) if until.take().is_some() => {}
                // Nothing more, or the end, before which an error comes.
                Err(_) | Ok(None) => break,
            }
        }
        (node, None)
    }

    fn unreadable(&self, source: Error) -> ConfigError {
        let path = self.path.clone();
        ConfigError::Client { path, source }
    }

    fn decoded(&self, node: Option<Node>) -> Result<Config<T>, ConfigError> {
        let path = || self.path.clone();
        let Some(node) = node else {
            return Err(ConfigError::Absent { path: path() });
        };
        let version = node.stat.version.get();
        let decoded = guarded(|| (self.decode)(&node.data));
        let value = decoded.map_err(|reason| ConfigError::Undecodable {
            path: path(),
            version,
            reason,
        })?;
        if let Some(validate) = &self.validate {
            guarded(|| validate(&value)).map_err(|reason| ConfigError::Refused {
                path: path(),
                version,
                reason,
            })?;
        }
        let stat = node.stat;
        Ok(Config { value, stat })
    }
}

/// Runs a user's function, whose panic is a failure like any other.
fn guarded<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Pause before another attempt to read what may not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Writes a value as JSON where a [`ConfigWatch`] reads it: over the version that was read, or as a new
/// znode without one. Tells the new stat.
///
/// # Errors
/// [`ConfigError::Unwritable`] for a value that has no JSON, and for a version that cannot be required
/// because the protocol takes it for any, −1 after 2³² changes; [`ConfigError::Client`] with `BadVersion` or
/// `NodeExists` if somebody else was faster, and as [`Client::set`] and [`Client::create`].
///
/// # Cancel safety
/// It may be written or not.
pub async fn publish_config<T: serde::Serialize>(
    client: &Client,
    path: &str,
    value: &T,
    over: Option<&Stat>,
) -> Result<Stat, ConfigError> {
    let unwritable = |reason: String| ConfigError::Unwritable {
        path: path.to_owned(),
        reason,
    };
    let data = serde_json::to_vec(value).map_err(|error| unwritable(error.to_string()))?;
    let data = Bytes::from(data);
    let written = match over {
        Some(stat) if stat.version == Version::ANY => {
            return Err(unwritable(format!("its version is {}", stat.version)));
        }
        Some(stat) => client.set(path, data).version(stat.version).await,
        None => {
            let created = client.create(path, data).parents().await;
            created.map(|created| created.stat.unwrap_or_default())
        }
    };
    written.map_err(|source| ConfigError::Client {
        path: path.to_owned(),
        source,
    })
}
