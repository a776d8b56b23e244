use std::time::Duration;

use zk_proto::jute::{Decode, DecodeError, Encode as _, Reader};
use zk_proto::request::GetEphemeralsRequest;
use zk_proto::response::GetAllChildrenNumberResponse;
use zk_proto::{ErrorCode, OpCode, Stat, strip_chroot};

use super::call::{Answer, Call, full_path, incomplete, operation, path_frame, strings};
use super::data::flagged;
use super::synced::Synced;
use crate::client::Client;
use crate::core::{Frame, WatchKind};
use crate::error::Error;
use crate::watch::Watch;

impl Client {
    /// Lists the names of a znode's children, in no order: `None` if there is no such znode.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoAuth`] without the permission to read it.
    ///
    /// # Ordering, cancel safety
    /// As [`Client::get`].
    pub fn children<'a>(&'a self, path: &'a str) -> Children<'a> {
        Children {
            client: self,
            path,
            timeout: None,
        }
    }

    /// Counts all descendants of a znode, itself not included. Since 3.6.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoNode`]; [`crate::ErrorKind::NoAuth`].
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub fn count_descendants<'a>(&'a self, path: &'a str) -> CountDescendants<'a> {
        CountDescendants {
            client: self,
            path,
            timeout: None,
        }
    }

    /// Lists the paths of this session's ephemeral znodes that start with `prefix`, in no order.
    /// Since 3.6.
    ///
    /// # Cancel safety
    /// As [`Client::get`].
    pub fn ephemerals<'a>(&'a self, prefix: &'a str) -> Ephemerals<'a> {
        Ephemerals {
            client: self,
            prefix,
            timeout: None,
        }
    }
}

/// Names that hold nothing but themselves.
struct Names(Vec<String>);

impl Decode for Names {
    const LEN_MIN: usize = 4;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        strings(reader).map(Self)
    }
}

/// Names and the stat behind them.
struct NamesAndStat(Vec<String>, Stat);

impl Decode for NamesAndStat {
    const LEN_MIN: usize = 4 + Stat::LEN;

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(strings(reader)?, Stat::decode(reader)?))
    }
}

/// See [`Client::children`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Children<'a> {
    client: &'a Client,
    path: &'a str,
    timeout: Option<Duration>,
}

impl<'a> Children<'a> {
    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Reads the znode's stat with its children.
    pub fn with_stat(self) -> StatChildren<'a> {
        StatChildren(self)
    }

    /// Leaves a watch that fires when a child is created or deleted, or the znode deleted, after the
    /// state that this sees. A missing znode is [`crate::ErrorKind::NoNode`] then.
    pub fn watch(self) -> ChildrenWatched<'a> {
        ChildrenWatched(self)
    }

    /// Lists behind a sync.
    pub fn synced(self) -> Synced<Option<Vec<String>>> {
        Synced::new(self.client.sync(self.path).into_call(), self.into_call())
    }

    fn into_call(self) -> Call<Option<Vec<String>>> {
        self.call(OpCode::GetChildren, |answer| {
            Ok(answer
                .body_unless::<Names>(ErrorCode::NoNode)?
                .map(|names| names.0))
        })
    }

    fn call<T>(self, op: OpCode, decode: fn(Answer<'_>) -> Result<T, Error>) -> Call<T> {
        let frame = flagged(self.client, op, self.path);
        Call::new(self.client, op, frame, decode)
            .resent(true)
            .within(self.timeout)
    }
}

operation!(Children => Option<Vec<String>>);

/// See [`Children::watch`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct ChildrenWatched<'a>(Children<'a>);

impl ChildrenWatched<'_> {
    fn into_call(self) -> Call<(Vec<String>, Watch)> {
        let call = self.0.call(OpCode::GetChildren, |mut answer| {
            let (watch, op) = (answer.take_watch(), answer.op);
            let names = answer.body::<Names>()?.0;
            Ok((names, watch.ok_or_else(|| incomplete(op, "watch"))?))
        });
        call.watching(WatchKind::Children, 1)
    }
}

operation!(ChildrenWatched => (Vec<String>, Watch));

/// See [`Children::with_stat`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct StatChildren<'a>(Children<'a>);

impl<'a> StatChildren<'a> {
    /// As [`Children::watch`].
    pub fn watch(self) -> StatChildrenWatched<'a> {
        StatChildrenWatched(self.0)
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    fn into_call(self) -> Call<Option<(Vec<String>, Stat)>> {
        self.0.call(OpCode::GetChildren2, |answer| {
            let found = answer.body_unless::<NamesAndStat>(ErrorCode::NoNode)?;
            Ok(found.map(|NamesAndStat(names, stat)| (names, stat)))
        })
    }
}

operation!(StatChildren => Option<(Vec<String>, Stat)>);

/// See [`StatChildren::watch`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct StatChildrenWatched<'a>(Children<'a>);

impl StatChildrenWatched<'_> {
    fn into_call(self) -> Call<(Vec<String>, Stat, Watch)> {
        let call = self.0.call(OpCode::GetChildren2, |mut answer| {
            let (watch, op) = (answer.take_watch(), answer.op);
            let NamesAndStat(names, stat) = answer.body()?;
            Ok((names, stat, watch.ok_or_else(|| incomplete(op, "watch"))?))
        });
        call.watching(WatchKind::Children, 1)
    }
}

operation!(StatChildrenWatched => (Vec<String>, Stat, Watch));

/// See [`Client::count_descendants`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct CountDescendants<'a> {
    client: &'a Client,
    path: &'a str,
    timeout: Option<Duration>,
}

impl CountDescendants<'_> {
    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_call(self) -> Call<usize> {
        let op = OpCode::GetAllChildrenNumber;
        let frame = path_frame(self.client, op, self.path, 0).map(Frame::sealed);
        Call::new(self.client, op, frame, |answer| {
            let count = answer.body::<GetAllChildrenNumberResponse>()?.total_number;
            Ok(usize::try_from(count).unwrap_or_default())
        })
        .resent(true)
        .within(self.timeout)
    }
}

operation!(CountDescendants => usize);

/// See [`Client::ephemerals`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Ephemerals<'a> {
    client: &'a Client,
    prefix: &'a str,
    timeout: Option<Duration>,
}

impl Ephemerals<'_> {
    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_call(self) -> Call<Vec<String>> {
        let op = OpCode::GetEphemerals;
        // A prefix is any text, not a path: only what is legal as one can be the start of one, and
        // the root stands for everything below the chroot.
        let prefix = match self.prefix.strip_suffix('/') {
            Some(parent) if !parent.is_empty() => {
                full_path(self.client, op, parent).map(|path| format!("{path}/"))
            }
            _ => full_path(self.client, op, self.prefix).map(|path| path.to_string()),
        };
        let frame = prefix.map(|prefix| {
            let request = GetEphemeralsRequest {
                prefix_path: Some(prefix.into()),
            };
            let mut frame = Frame::with_body_len(op, request.encoded_len());
            request.encode(frame.body());
            frame.sealed()
        });
        Call::new(self.client, op, frame, |answer| {
            let client = answer.client;
            let paths = answer.body::<Names>()?.0;
            // The server compares text: a sibling of the chroot may start with the chroot's name.
            let chroot = client.config().chroot.as_path();
            let own = paths.iter().filter_map(|path| strip_chroot(chroot, path));
            Ok(own.map(str::to_owned).collect())
        })
        .resent(true)
        .within(self.timeout)
    }
}

operation!(Ephemerals => Vec<String>);
