use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::future::BoxFuture;
use zk_proto::jute::Encode as _;
use zk_proto::request::AddWatchMode;
use zk_proto::response::ErrorResponse;
use zk_proto::{ErrorCode, OpCode};

use super::call::{Call, incomplete, operation, path_frame};
use super::data::Node;
use crate::client::Client;
use crate::core::WatchKind;
use crate::error::{Error, ErrorKind, Outcome};
use crate::watch::{Watch, WatchStream};

/// Events held for a reader unless the builder says otherwise.
const BUFFER_DEFAULT: usize = 256;
/// First and longest pause of an observer before it asks a server again that could not answer.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Watches a znode and its list of children for good: creation, deletion, change of data, and
    /// children coming and going. The znode need not exist. Since 3.6.
    ///
    /// # Errors
    /// [`ErrorKind::Unimplemented`] from servers before 3.6.
    ///
    /// # Cancel safety
    /// Dropping the future unsubscribes.
    pub fn watch_node<'a>(&'a self, path: &'a str) -> AddWatch<'a> {
        self.add_watch(path, AddWatchMode::Persistent)
    }

    /// Watches a znode and all below it for good: creation, deletion and change of data. It tells no
    /// changes of lists of children, since it tells of the children themselves. Since 3.6.
    ///
    /// # Errors, cancel safety
    /// As [`Client::watch_node`].
    pub fn watch_tree<'a>(&'a self, path: &'a str) -> AddWatch<'a> {
        self.add_watch(path, AddWatchMode::PersistentRecursive)
    }

    fn add_watch<'a>(&'a self, path: &'a str, mode: AddWatchMode) -> AddWatch<'a> {
        AddWatch {
            client: self,
            path,
            mode,
            buffer: BUFFER_DEFAULT,
            timeout: None,
        }
    }

    /// Follows a znode: its state now, and its latest state after every change. States between may
    /// be left out, the last never is. It goes on over lost connections and sessions, and ends with
    /// an error only when the client is closed or may not read the znode; of a [`crate::Session`], when
    /// that is over too.
    ///
    /// # Cancel safety
    /// Dropping the stream unsubscribes.
    pub fn observe(&self, path: &str) -> Observe {
        Observer::new(self, path, |client, path| {
            Box::pin(async move {
                let (node, watch) = client.get(&path).watch().await?;
                Ok((Some(node), watch))
            })
        })
    }

    /// Follows the names of a znode's children, as [`Client::observe`] follows its data.
    ///
    /// # Cancel safety
    /// Dropping the stream unsubscribes.
    pub fn observe_children(&self, path: &str) -> ObserveChildren {
        Observer::new(self, path, |client, path| {
            Box::pin(async move {
                let (names, watch) = client.children(&path).watch().await?;
                Ok((Some(names), watch))
            })
        })
    }
}

/// See [`Client::watch_node`] and [`Client::watch_tree`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct AddWatch<'a> {
    client: &'a Client,
    path: &'a str,
    mode: AddWatchMode,
    buffer: usize,
    timeout: Option<Duration>,
}

impl AddWatch<'_> {
    /// Events held for a reader that is behind, 256 by default; more than that become a gap.
    pub fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_call(self) -> Call<WatchStream> {
        let frame = path_frame(self.client, OpCode::AddWatch, self.path, 4).map(|mut frame| {
            self.mode.code().encode(frame.body());
            frame.sealed()
        });
        Call::new(self.client, OpCode::AddWatch, frame, |mut answer| {
            let (stream, op) = (answer.take_stream(), answer.op);
            let ErrorResponse { err } = answer.body()?;
            match ErrorCode::from_code(err) {
                None => stream.ok_or_else(|| incomplete(op, "watch")),
                Some(code) => {
                    Err(Error::new(ErrorKind::from_code(code), Outcome::Rejected).with_op(op))
                }
            }
        })
        .resent(true)
        .within(self.timeout)
        .watching(WatchKind::Added(self.mode), self.buffer)
    }
}

operation!(AddWatch => WatchStream);

/// A state and the watch of what comes after it.
type Observed<T> = BoxFuture<'static, Result<(Option<T>, Watch), Error>>;

/// See [`Client::observe`].
pub type Observe = Observer<Node>;

/// See [`Client::observe_children`].
pub type ObserveChildren = Observer<Vec<String>>;

/// The latest states of one znode, for ever.
#[must_use = "streams do nothing unless polled"]
pub struct Observer<T> {
    client: Client,
    path: String,
    /// How to read a state.
    read: fn(Client, String) -> Observed<T>,
    /// The read that comes next; `None` after the end.
    next: Option<Observed<T>>,
}

impl<T: Send + 'static> Observer<T> {
    fn new(client: &Client, path: &str, read: fn(Client, String) -> Observed<T>) -> Self {
        let (client, path) = (client.clone(), path.to_owned());
        let next = Some(observed(client.clone(), path.clone(), read, None));
        Self {
            client,
            path,
            read,
            next,
        }
    }

    /// The next state: `None` in it stands for no such znode. `None` after the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses no state.
    pub async fn next(&mut self) -> Option<Result<Option<T>, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl<T: Send + 'static> Stream for Observer<T> {
    type Item = Result<Option<T>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(next) = &mut this.next else {
            return Poll::Ready(None);
        };
        let Poll::Ready(result) = next.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(Some(match result {
            Ok((state, watch)) => {
                let (client, path) = (this.client.clone(), this.path.clone());
                this.next = Some(observed(client, path, this.read, Some(watch)));
                Ok(state)
            }
            Err(err) => {
                this.next = None;
                Err(err)
            }
        }))
    }
}

impl<T> std::fmt::Debug for Observer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Waits for the change that `last` watches, then reads the znode with a watch.
fn observed<T: Send + 'static>(
    client: Client,
    path: String,
    read: fn(Client, String) -> Observed<T>,
    last: Option<Watch>,
) -> Observed<T> {
    Box::pin(async move {
        if let Some(watch) = last {
            // However it ended, the znode is to be read again; a closed client says so itself.
            let _end = watch.await;
        }
        let mut pause = RETRY_MIN;
        loop {
            let error = match read_or_wait_for(&client, &path, read).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => continue,
                Err(error) => error,
            };
            // The next connection or session will do, unless the handle is bound to the one that is over.
            let is_over = error.kind() == ErrorKind::SessionExpired;
            let may_pass = error.is_retryable() || is_over && client.epoch().is_none();
            if !may_pass || client.is_closed() {
                return Err(error);
            }
            client.wait_connected(Duration::MAX).await?;
            // A server that is overloaded, or whose replies are none, is not asked without end.
            if matches!(error.kind(), ErrorKind::Throttled | ErrorKind::Protocol) {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    })
}

/// Reads a znode, or its absence, with a watch; `None` if it appeared between the two reads.
async fn read_or_wait_for<T>(
    client: &Client,
    path: &str,
    read: fn(Client, String) -> Observed<T>,
) -> Result<Option<(Option<T>, Watch)>, Error> {
    match read(client.clone(), path.to_owned()).await {
        Ok(found) => Ok(Some(found)),
        // A znode that is not there can be watched by `exists` only.
        Err(err) if err.kind() == ErrorKind::NoNode => match client.exists(path).watch().await? {
            (None, watch) => Ok(Some((None, watch))),
            (Some(_), _) => Ok(None),
        },
        Err(err) => Err(err),
    }
}
