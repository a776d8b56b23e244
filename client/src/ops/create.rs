use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use zk_proto::jute::Encode as _;
use zk_proto::request::CreateFlags;
use zk_proto::response::{Create2Response, CreateResponse};
use zk_proto::{ErrorCode, OpCode, Stat, sequence_number};

use super::call::{Answer, Call, Pending, operation, path_frame, relative, sequential_path_frame};
use crate::acl::Acl;
use crate::client::Client;
use crate::core::{Cause, Frame};
use crate::error::{Error, ErrorKind, Outcome};

/// How long a znode stays without a change: 1 ms to 2⁴⁰ − 1 ms, about 34 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ttl(i64);

/// Why a duration cannot be a [`Ttl`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("time to live of {0:?} is not within 1 ms and 2^40 - 1 ms")]
pub struct TtlError(Duration);

impl Ttl {
    /// Longest time to live, in milliseconds.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `EphemeralType.TTL`: five bytes.
    pub const MAX_MS: i64 = (1 << 40) - 1;

    /// Checks a duration; parts of a millisecond are cut off.
    ///
    /// # Errors
    /// [`TtlError`] below a millisecond and above [`Ttl::MAX_MS`].
    pub fn new(ttl: Duration) -> Result<Self, TtlError> {
        match i64::try_from(ttl.as_millis()) {
            Ok(ms @ 1..=Self::MAX_MS) => Ok(Self(ms)),
            _ => Err(TtlError(ttl)),
        }
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

/// What kind of znode to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CreateMode {
    /// Stays until it is deleted.
    #[default]
    Persistent,
    /// Dies with the session.
    Ephemeral,
    /// Stays; the server puts a number behind its name.
    PersistentSequential,
    /// Dies with the session; the server puts a number behind its name.
    EphemeralSequential,
    /// Is deleted some time after its last child was.
    Container,
    /// Is deleted when it had no change for that long and has no children. Servers have it switched
    /// off unless `zookeeper.extendedTypesEnabled` is set.
    PersistentWithTtl(Ttl),
    /// As before; the server puts a number behind its name.
    PersistentSequentialWithTtl(Ttl),
}

impl CreateMode {
    pub(super) fn flags(self) -> CreateFlags {
        match self {
            Self::Persistent => CreateFlags::Persistent,
            Self::Ephemeral => CreateFlags::Ephemeral,
            Self::PersistentSequential => CreateFlags::PersistentSequential,
            Self::EphemeralSequential => CreateFlags::EphemeralSequential,
            Self::Container => CreateFlags::Container,
            Self::PersistentWithTtl(_) => CreateFlags::PersistentWithTtl,
            Self::PersistentSequentialWithTtl(_) => CreateFlags::PersistentSequentialWithTtl,
        }
    }

    pub(super) fn ttl(self) -> Option<Ttl> {
        match self {
            Self::PersistentWithTtl(ttl) | Self::PersistentSequentialWithTtl(ttl) => Some(ttl),
            Self::Persistent
            | Self::Ephemeral
            | Self::PersistentSequential
            | Self::EphemeralSequential
            | Self::Container => None,
        }
    }

    /// The opcode that answers the stat too.
    pub(super) fn op(self) -> OpCode {
        match self {
            Self::Container => OpCode::CreateContainer,
            Self::PersistentWithTtl(_) | Self::PersistentSequentialWithTtl(_) => OpCode::CreateTtl,
            Self::Persistent
            | Self::Ephemeral
            | Self::PersistentSequential
            | Self::EphemeralSequential => OpCode::Create2,
        }
    }

    /// Whether the znode dies with the session.
    pub fn is_ephemeral(self) -> bool {
        self.flags().is_ephemeral()
    }

    /// Whether the server puts a number behind the name.
    pub fn is_sequential(self) -> bool {
        self.flags().is_sequential()
    }
}

/// A znode that was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Its path, with the number if it is sequential.
    pub path: String,
    /// Its stat; `None` from servers before 3.5, see [`Create::without_stat`].
    pub stat: Option<Stat>,
}

impl Created {
    /// The number that the server put behind `prefix`, the path asked for.
    pub fn sequence(&self, prefix: &str) -> Option<i32> {
        sequence_number(prefix, &self.path)
    }
}

impl Client {
    /// Creates a znode: persistent unless the builder says otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::NodeExists`]; [`ErrorKind::NoNode`] without a parent, see [`Create::parents`];
    /// [`ErrorKind::NoChildrenForEphemerals`]; [`ErrorKind::NoAuth`] without the permission to create
    /// children of the parent; [`ErrorKind::InvalidAcl`]; [`ErrorKind::QuotaExceeded`];
    /// [`ErrorKind::Unimplemented`] for a time to live where servers have it switched off;
    /// [`ErrorKind::DataTooLarge`] before anything is sent; [`ErrorKind::SessionExpired`] for an
    /// ephemeral znode if the session in which it was submitted ends before it is sent: it never
    /// appears under another.
    ///
    /// # Cancel safety
    /// Dropping the future withdraws the request if it was not sent yet; else the znode may appear.
    pub fn create<'a>(&'a self, path: &'a str, data: impl Into<Bytes>) -> Create<'a> {
        Create {
            client: self,
            path,
            data: data.into(),
            mode: CreateMode::Persistent,
            acl: None,
            stat: true,
            timeout: None,
            epoch: None,
        }
    }
}

/// See [`Client::create`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Create<'a> {
    client: &'a Client,
    path: &'a str,
    data: Bytes,
    mode: CreateMode,
    acl: Option<Acl>,
    stat: bool,
    timeout: Option<Duration>,
    /// Session in which an ephemeral znode appears or not at all, if not that of each attempt.
    epoch: Option<u64>,
}

impl<'a> Create<'a> {
    /// What kind of znode.
    pub fn mode(mut self, mode: CreateMode) -> Self {
        self.mode = mode;
        self
    }

    /// A znode that dies with the session; sequential if that was chosen before.
    pub fn ephemeral(self) -> Self {
        let mode = if self.mode.is_sequential() {
            CreateMode::EphemeralSequential
        } else {
            CreateMode::Ephemeral
        };
        self.mode(mode)
    }

    /// A znode whose name the server completes with a number; containers have none.
    pub fn sequential(self) -> Self {
        let mode = match self.mode {
            CreateMode::Ephemeral | CreateMode::EphemeralSequential => {
                CreateMode::EphemeralSequential
            }
            CreateMode::PersistentWithTtl(ttl) | CreateMode::PersistentSequentialWithTtl(ttl) => {
                CreateMode::PersistentSequentialWithTtl(ttl)
            }
            CreateMode::Persistent | CreateMode::PersistentSequential | CreateMode::Container => {
                CreateMode::PersistentSequential
            }
        };
        self.mode(mode)
    }

    /// A znode that is deleted some time after its last child was.
    pub fn container(self) -> Self {
        self.mode(CreateMode::Container)
    }

    /// A persistent znode that is deleted when it had no change for that long; sequential if that
    /// was chosen before.
    pub fn ttl(self, ttl: Ttl) -> Self {
        let mode = if self.mode.is_sequential() {
            CreateMode::PersistentSequentialWithTtl(ttl)
        } else {
            CreateMode::PersistentWithTtl(ttl)
        };
        self.mode(mode)
    }

    /// Who may do what with it, instead of the client's default.
    pub fn acl(mut self, acl: Acl) -> Self {
        self.acl = Some(acl);
        self
    }

    /// Asks for the path only: the one form that servers before 3.5 know, and a shorter reply.
    /// Containers and times to live have no such form.
    pub fn without_stat(mut self) -> Self {
        self.stat = false;
        self
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes a znode that exists already for success: `None` then.
    pub fn if_absent(self) -> CreateIfAbsent<'a> {
        CreateIfAbsent(self)
    }

    /// Creates missing ancestors first, persistent and empty, with the same ACL.
    pub fn parents(self) -> CreateWithParents<'a> {
        CreateWithParents(self)
    }

    /// Sets the data if the znode exists already. Answers its stat. The ACL and the kind of a znode
    /// that exists stay as they are.
    pub fn or_set(self) -> CreateOrSet<'a> {
        CreateOrSet(self)
    }

    fn op(&self) -> OpCode {
        let op = self.mode.op();
        if op == OpCode::Create2 && !self.stat {
            OpCode::Create
        } else {
            op
        }
    }

    fn into_call(self) -> Call<Created> {
        self.call(created)
    }

    fn call<T>(self, decode: fn(Answer<'_>) -> Result<T, Error>) -> Call<T> {
        let op = self.op();
        let call = Call::new(self.client, op, self.frame(op), decode).within(self.timeout);
        match self.epoch {
            _ if !self.mode.is_ephemeral() => call,
            Some(epoch) => call.bound_to(epoch),
            None => call.bound(),
        }
    }

    /// Holds what takes several attempts to the session that is, or will be next.
    fn in_one_session(&mut self) {
        self.epoch = Some(self.client.shared().epoch());
    }

    fn frame(&self, op: OpCode) -> Result<Frame, Error> {
        let acl = self
            .acl
            .as_ref()
            .unwrap_or_else(|| self.client.default_acl())
            .entries();
        let rest = self.data.as_ref().encoded_len() + acl.encoded_len() + 12;
        let mut frame = if self.mode.is_sequential() {
            sequential_path_frame(self.client, op, self.path, rest)?
        } else {
            path_frame(self.client, op, self.path, rest)?
        };
        let body = frame.body();
        self.data.as_ref().encode(body);
        acl.encode(body);
        self.mode.flags().code().encode(body);
        if let Some(ttl) = self.mode.ttl() {
            ttl.as_millis().encode(body);
        }
        Ok(frame.sealed())
    }
}

fn created(answer: Answer<'_>) -> Result<Created, Error> {
    let client = answer.client;
    if answer.op == OpCode::Create {
        let path = answer.body::<CreateResponse>()?.path;
        return Ok(Created {
            path: relative(client, &path),
            stat: None,
        });
    }
    let Create2Response { path, stat } = answer.body()?;
    Ok(Created {
        path: relative(client, &path),
        stat: Some(stat),
    })
}

operation!(Create => Created);

/// See [`Create::if_absent`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct CreateIfAbsent<'a>(Create<'a>);

impl CreateIfAbsent<'_> {
    fn into_call(self) -> Call<Option<Created>> {
        self.0.call(|answer| match &answer.result {
            Err(failure) if failure.cause == Cause::Server(ErrorCode::NodeExists) => Ok(None),
            _ => created(answer).map(Some),
        })
    }
}

operation!(CreateIfAbsent => Option<Created>);

/// See [`Create::parents`].
///
/// # Cancel safety
/// Dropping the future may leave some of the ancestors, and as [`Client::create`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before it is awaited"]
pub struct CreateWithParents<'a>(Create<'a>);

impl<'a> IntoFuture for CreateWithParents<'a> {
    type Output = Result<Created, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        self.0.in_one_session();
        Box::pin(async move {
            loop {
                let attempt: Pending<Created> = self.0.clone().into_call().submit();
                match attempt.await {
                    Err(err) if err.kind() == ErrorKind::NoNode => {
                        let Some((parent, _)) = self.0.path.rsplit_once('/') else {
                            return Err(err);
                        };
                        if parent.is_empty() && self.0.client.chroot_path() == "/" {
                            return Err(err);
                        }
                        let parent = if parent.is_empty() { "/" } else { parent };
                        let acl = self.0.acl.clone();
                        self.0.client.ensure_path_with(parent, acl).await?;
                    }
                    result => return result,
                }
            }
        })
    }
}

/// See [`Create::or_set`].
///
/// # Cancel safety
/// As [`Client::create`].
#[derive(Debug, Clone)]
#[must_use = "nothing is sent before it is awaited"]
pub struct CreateOrSet<'a>(Create<'a>);

impl<'a> IntoFuture for CreateOrSet<'a> {
    type Output = Result<Stat, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(mut self) -> Self::IntoFuture {
        self.0.stat = true;
        self.0.in_one_session();
        Box::pin(async move {
            if self.0.mode.is_sequential() {
                let error = Error::new(ErrorKind::BadArguments, Outcome::NotSent);
                let error = error
                    .with_op(self.0.op())
                    .with_path(Some(self.0.path.into()));
                return Err(error.with_detail("a sequential znode is always a new one"));
            }
            loop {
                let created = self.0.clone().into_call().submit().await;
                match created {
                    Ok(Created { stat, .. }) => return Ok(stat.unwrap_or_default()),
                    Err(err) if err.kind() == ErrorKind::NodeExists => {}
                    Err(err) => return Err(err),
                }
                let set = self.0.client.set(self.0.path, self.0.data.clone());
                let set = match self.0.timeout {
                    Some(timeout) => set.timeout(timeout),
                    None => set,
                };
                match set.await {
                    // Somebody deleted it between.
                    Err(err) if err.kind() == ErrorKind::NoNode => {}
                    result => return result,
                }
            }
        })
    }
}
