use std::time::Duration;

use bytes::Bytes;
use zk_proto::jute::Encode as _;
use zk_proto::response::{ExistsResponse, GetDataResponse, SetDataResponse};
use zk_proto::{ErrorCode, OpCode, Stat, Version};

use super::call::{Answer, Call, operation, owned, path_frame};
use super::synced::Synced;
use crate::client::Client;
use crate::core::{Cause, Frame, WatchKind};
use crate::error::Error;
use crate::watch::Watch;

/// A znode's data and stat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Data; empty if the znode has none.
    pub data: Bytes,
    /// What else is known of it.
    pub stat: Stat,
}

impl Client {
    /// Reads a znode: `None` if there is none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoAuth`] without the permission to read it.
    ///
    /// # Ordering
    /// Sees every write of this client that was submitted before. What others wrote may be missing:
    /// see [`Client::sync`].
    ///
    /// # Cancel safety
    /// Dropping the future ignores the reply, and removes the watch if there is one.
    pub fn get<'a>(&'a self, path: &'a str) -> Get<'a> {
        Get {
            client: self,
            path,
            timeout: None,
        }
    }

    /// Reads a znode's stat: `None` if there is none.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoAuth`] without the permission to read it, on servers since 3.8.4 and
    /// 3.9.2; older ones tell everybody.
    ///
    /// # Ordering, cancel safety
    /// As [`Client::get`].
    pub fn exists<'a>(&'a self, path: &'a str) -> Exists<'a> {
        Exists {
            client: self,
            path,
            timeout: None,
        }
    }

    /// Sets a znode's data.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoNode`]; [`crate::ErrorKind::NoAuth`] without the permission to write;
    /// [`crate::ErrorKind::BadVersion`]; [`crate::ErrorKind::QuotaExceeded`];
    /// [`crate::ErrorKind::DataTooLarge`] before anything is sent.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the request if it was not sent yet; else it may take effect.
    pub fn set<'a>(&'a self, path: &'a str, data: impl Into<Bytes>) -> Set<'a> {
        let (data, version) = (data.into(), Version::ANY);
        Set {
            client: self,
            path,
            data,
            version,
            idempotent: false,
            timeout: None,
        }
    }

    /// Deletes a znode without children.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoNode`]; [`crate::ErrorKind::NoAuth`] without the permission to delete
    /// children of its parent; [`crate::ErrorKind::BadVersion`]; [`crate::ErrorKind::NotEmpty`].
    ///
    /// # Cancel safety
    /// As [`Client::set`].
    pub fn delete<'a>(&'a self, path: &'a str) -> Delete<'a> {
        Delete {
            client: self,
            path,
            version: Version::ANY,
            idempotent: false,
            timeout: None,
        }
    }
}

/// See [`Client::get`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Get<'a> {
    client: &'a Client,
    path: &'a str,
    timeout: Option<Duration>,
}

impl<'a> Get<'a> {
    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Leaves a watch that fires when the znode is changed or deleted after the state that this
    /// sees. A missing znode is [`crate::ErrorKind::NoNode`] then, because nothing would watch it:
    /// use [`Client::exists`] to wait for one.
    pub fn watch(self) -> GetWatched<'a> {
        GetWatched(self)
    }

    /// Takes a missing znode for an error: [`crate::ErrorKind::NoNode`].
    pub fn require(self) -> GetRequired<'a> {
        GetRequired(self)
    }

    /// Reads behind a sync.
    pub fn synced(self) -> Synced<Option<Node>> {
        Synced::new(self.client.sync(self.path).into_call(), self.into_call())
    }

    fn into_call(self) -> Call<Option<Node>> {
        self.call(|answer| Ok(answer.body_unless(ErrorCode::NoNode)?.map(node)))
    }

    fn call<T>(self, decode: fn(Answer<'_>) -> Result<T, Error>) -> Call<T> {
        let frame = flagged(self.client, OpCode::GetData, self.path);
        Call::new(self.client, OpCode::GetData, frame, decode)
            .resent(true)
            .within(self.timeout)
    }
}

operation!(Get => Option<Node>);

/// See [`Get::require`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct GetRequired<'a>(Get<'a>);

impl GetRequired<'_> {
    fn into_call(self) -> Call<Node> {
        self.0.call(|answer| Ok(node(answer.body()?)))
    }
}

operation!(GetRequired => Node);

/// See [`Get::watch`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct GetWatched<'a>(Get<'a>);

impl GetWatched<'_> {
    fn into_call(self) -> Call<(Node, Watch)> {
        let call = self.0.call(|mut answer| {
            let watch = answer.take_watch();
            let op = answer.op;
            let node = node(answer.body()?);
            Ok((
                node,
                watch.ok_or_else(|| super::call::incomplete(op, "watch"))?,
            ))
        });
        call.watching(WatchKind::Data, 1)
    }
}

operation!(GetWatched => (Node, Watch));

/// See [`Client::exists`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Exists<'a> {
    client: &'a Client,
    path: &'a str,
    timeout: Option<Duration>,
}

impl<'a> Exists<'a> {
    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Leaves a watch that fires when the znode is created, changed or deleted after the state that
    /// this sees.
    pub fn watch(self) -> ExistsWatched<'a> {
        ExistsWatched(self)
    }

    /// Reads behind a sync.
    pub fn synced(self) -> Synced<Option<Stat>> {
        Synced::new(self.client.sync(self.path).into_call(), self.into_call())
    }

    fn into_call(self) -> Call<Option<Stat>> {
        self.call(|answer| {
            let found = answer.body_unless::<ExistsResponse>(ErrorCode::NoNode)?;
            Ok(found.map(|found| found.stat))
        })
    }

    fn call<T>(self, decode: fn(Answer<'_>) -> Result<T, Error>) -> Call<T> {
        let frame = flagged(self.client, OpCode::Exists, self.path);
        Call::new(self.client, OpCode::Exists, frame, decode)
            .resent(true)
            .within(self.timeout)
    }
}

operation!(Exists => Option<Stat>);

/// See [`Exists::watch`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct ExistsWatched<'a>(Exists<'a>);

impl ExistsWatched<'_> {
    fn into_call(self) -> Call<(Option<Stat>, Watch)> {
        let call = self.0.call(|mut answer| {
            let absent = matches!(
                &answer.result,
                Err(failure) if failure.cause == Cause::Server(ErrorCode::NoNode)
            );
            let watch = answer.take_watch();
            let op = answer.op;
            let stat = if absent {
                None
            } else {
                Some(answer.body::<ExistsResponse>()?.stat)
            };
            Ok((
                stat,
                watch.ok_or_else(|| super::call::incomplete(op, "watch"))?,
            ))
        });
        call.watching(WatchKind::Exists, 1)
    }
}

operation!(ExistsWatched => (Option<Stat>, Watch));

/// See [`Client::set`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Set<'a> {
    client: &'a Client,
    path: &'a str,
    data: Bytes,
    version: Version,
    idempotent: bool,
    timeout: Option<Duration>,
}

impl Set<'_> {
    /// Only if the znode's data has this version: [`crate::ErrorKind::BadVersion`] otherwise.
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.version = version.into();
        self
    }

    /// Sends it again when its outcome is lost with a connection, until it is answered. To be chosen
    /// only when setting the same data twice does no harm: somebody else's change may come between.
    /// So may one of this client's own, sent behind it and not declared idempotent: if the connection is
    /// lost when the server has done both and answered neither, the repetition undoes the second, whose
    /// outcome is [`crate::Outcome::Unknown`].
    ///
    /// An error of a repetition, such as [`crate::ErrorKind::BadVersion`], has the outcome
    /// [`crate::Outcome::Unknown`]: the first attempt may have caused it.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_call(self) -> Call<Stat> {
        let rest = self.data.as_ref().encoded_len() + 4;
        let frame = path_frame(self.client, OpCode::SetData, self.path, rest).map(|mut frame| {
            self.data.as_ref().encode(frame.body());
            self.version.encode(frame.body());
            frame.sealed()
        });
        Call::new(self.client, OpCode::SetData, frame, |answer| {
            Ok(answer.body::<SetDataResponse>()?.stat)
        })
        .resent(self.idempotent)
        .within(self.timeout)
    }
}

operation!(Set => Stat);

/// See [`Client::delete`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Delete<'a> {
    client: &'a Client,
    path: &'a str,
    version: Version,
    idempotent: bool,
    timeout: Option<Duration>,
}

impl<'a> Delete<'a> {
    /// Only if the znode's data has this version: [`crate::ErrorKind::BadVersion`] otherwise.
    pub fn version(mut self, version: impl Into<Version>) -> Self {
        self.version = version.into();
        self
    }

    /// Sends it again when its outcome is lost with a connection, until it is answered. A second
    /// attempt finds no znode if the first had succeeded: [`crate::ErrorKind::NoNode`] has the outcome
    /// [`crate::Outcome::Unknown`] then, and [`Delete::if_exists`] says that there was none. It may also
    /// delete what was created since, by this client too, as [`Set::idempotent`] says.
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes a missing znode for success: tells whether there was one to delete.
    pub fn if_exists(self) -> DeleteIfExists<'a> {
        DeleteIfExists(self)
    }

    fn into_call(self) -> Call<()> {
        self.call(empty)
    }

    fn call<T>(self, decode: fn(Answer<'_>) -> Result<T, Error>) -> Call<T> {
        let frame = path_frame(self.client, OpCode::Delete, self.path, 4).map(|mut frame| {
            self.version.encode(frame.body());
            frame.sealed()
        });
        Call::new(self.client, OpCode::Delete, frame, decode)
            .resent(self.idempotent)
            .within(self.timeout)
    }
}

operation!(Delete => ());

/// See [`Delete::if_exists`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct DeleteIfExists<'a>(Delete<'a>);

impl DeleteIfExists<'_> {
    fn into_call(self) -> Call<bool> {
        self.0.call(|answer| match &answer.result {
            Err(failure) if failure.cause == Cause::Server(ErrorCode::NoNode) => Ok(false),
            _ => answer.empty().map(|()| true),
        })
    }
}

operation!(DeleteIfExists => bool);

/// A request that is a path and the watch flag, which is set when it is sent.
pub(super) fn flagged(client: &Client, op: OpCode, path: &str) -> Result<Frame, Error> {
    let mut frame = path_frame(client, op, path, 1)?;
    false.encode(frame.body());
    Ok(frame.sealed())
}

pub(super) fn node(response: GetDataResponse) -> Node {
    Node {
        data: owned(response.data),
        stat: response.stat,
    }
}

fn empty(answer: Answer<'_>) -> Result<(), Error> {
    answer.empty()
}
