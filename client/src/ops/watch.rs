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
    /// an error only when the client is closed or may not read the znode.
    ///
    /// # Cancel safety
    /// Dropping the stream unsubscribes.
    pub fn observe(&self, path: &str) -> Observe {
        let next = observed(self.clone(), path.to_owned(), None);
        Observe {
            client: self.clone(),
            path: path.to_owned(),
            next: Some(next),
        }
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

type Observed = BoxFuture<'static, Result<(Option<Node>, Watch), Error>>;

/// See [`Client::observe`].
#[must_use = "streams do nothing unless polled"]
pub struct Observe {
    client: Client,
    path: String,
    /// The read that comes next; `None` after the end.
    next: Option<Observed>,
}

impl Observe {
    /// The next state: `None` in it stands for no such znode. `None` after the end.
    ///
    /// # Cancel safety
    /// Dropping the future loses no state.
    pub async fn next(&mut self) -> Option<Result<Option<Node>, Error>> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Observe {
    type Item = Result<Option<Node>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(next) = &mut this.next else {
            return Poll::Ready(None);
        };
        let Poll::Ready(result) = next.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        Poll::Ready(Some(match result {
            Ok((node, watch)) => {
                this.next = Some(observed(
                    this.client.clone(),
                    this.path.clone(),
                    Some(watch),
                ));
                Ok(node)
            }
            Err(err) => {
                this.next = None;
                Err(err)
            }
        }))
    }
}

impl std::fmt::Debug for Observe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observe")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// Waits for the change that `last` watches, then reads the znode with a watch.
fn observed(client: Client, path: String, last: Option<Watch>) -> Observed {
    Box::pin(async move {
        if let Some(watch) = last {
            // However it ended, the znode is to be read again; a closed client says so itself.
            let _end = watch.await;
        }
        loop {
            // A znode that is not there can be watched by `exists` only, and it may come and go
            // between the two reads.
            let read = match client.get(&path).watch().await {
                Ok((node, watch)) => Ok((Some(node), watch)),
                Err(err) if err.kind() == ErrorKind::NoNode => {
                    match client.exists(&path).watch().await {
                        Ok((None, watch)) => Ok((None, watch)),
                        Ok((Some(_), _)) => continue,
                        Err(err) => Err(err),
                    }
                }
                Err(err) => Err(err),
            };
            match read {
                Err(err) if err.is_retryable() && client.epoch().is_none() => {
                    client.wait_connected(Duration::MAX).await?;
                }
                Err(err)
                    if err.kind() == ErrorKind::SessionExpired
                        && client.epoch().is_none()
                        && !client.state().borrow().is_closed() =>
                {
                    client.wait_connected(Duration::MAX).await?;
                }
                read => return read,
            }
        }
    })
}
