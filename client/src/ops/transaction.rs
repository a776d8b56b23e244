use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use zk_proto::request::{
    CheckVersionRequest, CreateRequest, CreateTtlRequest, DeleteRequest, GetChildrenRequest,
    GetDataRequest, MultiOp, MultiRequest, SetDataRequest,
};
use zk_proto::response::{ErrorResponse, MultiResponse, MultiResult};
use zk_proto::{ByteString, ErrorCode, OpCode, Stat, Version, ZPathBuf};

use super::call::{
    Answer, Call, Pending, full_path, full_sequential_path, incomplete, operation, relative,
    whole_frame,
};
use super::create::{CreateMode, Created};
use super::data::{Node, node};
use crate::acl::Acl;
use crate::client::Client;
use crate::error::{Error, ErrorKind, Outcome};

impl Client {
    /// Begins a transaction: several writes of which all take effect or none.
    ///
    /// ```no_run
    /// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let results = zk
    ///     .transaction()
    ///     .check("/config", 3)
    ///     .create("/config/next", "…")
    ///     .set("/config/current", "next", 7)
    ///     .await?;
    /// assert_eq!(results.len(), 3);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors, cancel safety
    /// As [`Transaction`].
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction {
            client: self,
            ops: Ok(Vec::new()),
            ephemeral: false,
            timeout: None,
        }
    }

    /// Begins several reads in one request, each with a result of its own. Servers before 3.6 are sent
    /// a request for each, all at once.
    ///
    /// # Errors, cancel safety
    /// As [`ReadMany`].
    pub fn read_many(&self) -> ReadMany<'_> {
        ReadMany {
            client: self,
            ops: Ok(Vec::new()),
            timeout: None,
        }
    }
}

/// See [`Client::transaction`].
///
/// # Errors
/// When an operation fails, none takes effect: the error is that of the operation, and
/// [`Error::transaction_index`] says which it was. An error without index concerns the request as a
/// whole.
///
/// # Cancel safety
/// Dropping the future withdraws the request if it was not sent yet; else all or none of it may take
/// effect.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct Transaction<'a> {
    client: &'a Client,
    ops: Result<Vec<MultiOp>, Error>,
    ephemeral: bool,
    timeout: Option<Duration>,
}

/// What one operation of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactionResult {
    /// A znode was created.
    Created(Created),
    /// A znode was deleted.
    Deleted,
    /// Data was set: the stat as of this operation.
    Set(Stat),
    /// The version was the one required.
    Checked,
}

impl Transaction<'_> {
    fn push(mut self, op: OpCode, path: &str, make: impl FnOnce(ByteString) -> MultiOp) -> Self {
        let full = full_path(self.client, op, path);
        self.ops = self.ops.and_then(|mut ops| {
            ops.push(make(full?.into_inner()));
            Ok(ops)
        });
        self
    }

    /// Creates a persistent znode with the client's default ACL.
    pub fn create(self, path: &str, data: impl Into<Bytes>) -> Self {
        self.create_with(path, data, CreateMode::Persistent, None)
    }

    /// Creates a znode of any kind, with an ACL or the client's default.
    pub fn create_with(
        mut self,
        path: &str,
        data: impl Into<Bytes>,
        mode: CreateMode,
        acl: Option<&Acl>,
    ) -> Self {
        let op = mode.op();
        let acl = acl
            .unwrap_or_else(|| self.client.default_acl())
            .entries()
            .to_vec();
        let path = if mode.is_sequential() {
            full_sequential_path(self.client, op, path)
        } else {
            full_path(self.client, op, path).map(ZPathBuf::into_inner)
        };
        let (data, acl, flags) = (Some(data.into()), Some(acl), mode.flags().code());
        self.ephemeral |= mode.is_ephemeral();
        self.ops = self.ops.and_then(|mut ops| {
            let path = Some(path?);
            ops.push(if let Some(ttl) = mode.ttl() {
                let ttl_ms = ttl.as_millis();
                MultiOp::CreateTtl(CreateTtlRequest {
                    path,
                    data,
                    acl,
                    flags,
                    ttl_ms,
                })
            } else if mode == CreateMode::Container {
                MultiOp::CreateContainer(CreateRequest {
                    path,
                    data,
                    acl,
                    flags,
                })
            } else {
                // Not create2, though that would tell the stat: Apache 3.8 drops a whole transaction
                // with one when it reads it from a log that 3.9 wrote.
                MultiOp::Create(CreateRequest {
                    path,
                    data,
                    acl,
                    flags,
                })
            });
            Ok(ops)
        });
        self
    }

    /// Sets data, if the version is the one expected; [`Version::ANY`] for any.
    pub fn set(self, path: &str, data: impl Into<Bytes>, version: impl Into<Version>) -> Self {
        let (data, version) = (Some(data.into()), version.into());
        self.push(OpCode::SetData, path, |path| {
            MultiOp::SetData(SetDataRequest {
                path: Some(path),
                data,
                version,
            })
        })
    }

    /// Deletes a znode, if the version is the one expected; [`Version::ANY`] for any.
    pub fn delete(self, path: &str, version: impl Into<Version>) -> Self {
        let version = version.into();
        self.push(OpCode::Delete, path, |path| {
            MultiOp::Delete(DeleteRequest {
                path: Some(path),
                version,
            })
        })
    }

    /// Requires the version to be the one expected; [`Version::ANY`] requires only that the znode
    /// exists.
    pub fn check(self, path: &str, version: impl Into<Version>) -> Self {
        let version = version.into();
        self.push(OpCode::Check, path, |path| {
            MultiOp::Check(CheckVersionRequest {
                path: Some(path),
                version,
            })
        })
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_call(self) -> Call<Vec<TransactionResult>> {
        let frame = self
            .ops
            .and_then(|ops| whole_frame(self.client, OpCode::Multi, &MultiRequest { ops }));
        let call = Call::new(self.client, OpCode::Multi, frame, transacted).within(self.timeout);
        if self.ephemeral { call.bound() } else { call }
    }
}

operation!(Transaction => Vec<TransactionResult>);

fn transacted(answer: Answer<'_>) -> Result<Vec<TransactionResult>, Error> {
    let (client, op) = (answer.client, answer.op);
    let MultiResponse { results } = answer.body()?;
    // When one operation fails, all results are errors; the first that is not 0 is its own.
    let failed = results.iter().enumerate().find_map(|(index, result)| {
        let MultiResult::Error(ErrorResponse { err }) = result else {
            return None;
        };
        Some((index, ErrorCode::from_code(*err)?))
    });
    if let Some((index, code)) = failed {
        let error = Error::new(ErrorKind::from_code(code), Outcome::Rejected).with_op(op);
        return Err(error.with_transaction_index(index));
    }
    let results = results.into_iter().map(|result| {
        Ok(match result {
            MultiResult::Create(created) => {
                let path = relative(client, &created.path);
                TransactionResult::Created(Created { path, stat: None })
            }
            MultiResult::Create2(created) => {
                let path = relative(client, &created.path);
                TransactionResult::Created(Created {
                    path,
                    stat: Some(created.stat),
                })
            }
            MultiResult::Delete => TransactionResult::Deleted,
            MultiResult::SetData(set) => TransactionResult::Set(set.stat),
            MultiResult::Check => TransactionResult::Checked,
            MultiResult::GetData(_) | MultiResult::GetChildren(_) | MultiResult::Error(_) => {
                return Err(incomplete(op, "result of a write"));
            }
        })
    });
    results.collect()
}

/// See [`Client::read_many`].
///
/// # Errors
/// Each read has a result of its own; what concerns the request as a whole is the error.
///
/// # Cancel safety
/// Dropping the future ignores the reply.
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct ReadMany<'a> {
    client: &'a Client,
    ops: Result<Vec<MultiOp>, Error>,
    timeout: Option<Duration>,
}

/// What one read found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadResult {
    /// A znode.
    Node(Node),
    /// The names of its children.
    Children(Vec<String>),
    /// There is no such znode.
    Absent,
    /// The read failed: [`ErrorKind::NoAuth`] without the permission.
    Failed(ErrorKind),
}

impl ReadResult {
    /// The znode, if it is one.
    pub fn into_node(self) -> Option<Node> {
        if let Self::Node(node) = self {
            Some(node)
        } else {
            None
        }
    }

    /// The names of children, if it is them.
    pub fn into_children(self) -> Option<Vec<String>> {
        if let Self::Children(names) = self {
            Some(names)
        } else {
            None
        }
    }
}

impl ReadMany<'_> {
    fn push(mut self, op: OpCode, path: &str, make: impl FnOnce(ByteString) -> MultiOp) -> Self {
        let full = full_path(self.client, op, path);
        self.ops = self.ops.and_then(|mut ops| {
            ops.push(make(full?.into_inner()));
            Ok(ops)
        });
        self
    }

    /// Reads a znode.
    pub fn get(self, path: &str) -> Self {
        self.push(OpCode::GetData, path, |path| {
            MultiOp::GetData(GetDataRequest {
                path: Some(path),
                watch: false,
            })
        })
    }

    /// Lists a znode's children.
    pub fn children(self, path: &str) -> Self {
        self.push(OpCode::GetChildren, path, |path| {
            MultiOp::GetChildren(GetChildrenRequest {
                path: Some(path),
                watch: false,
            })
        })
    }

    /// How long it may take, instead of the client's default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn into_call(self) -> Call<Vec<ReadResult>> {
        let frame = self
            .ops
            .and_then(|ops| whole_frame(self.client, OpCode::MultiRead, &MultiRequest { ops }));
        Call::new(self.client, OpCode::MultiRead, frame, |answer| {
            let op = answer.op;
            let MultiResponse { results } = answer.body()?;
            let results = results.into_iter().map(|result| {
                Ok(match result {
                    MultiResult::GetData(found) => ReadResult::Node(node(found)),
                    MultiResult::GetChildren(found) => {
                        let names = found.children.iter().map(ToString::to_string);
                        ReadResult::Children(names.collect())
                    }
                    MultiResult::Error(ErrorResponse { err }) => match ErrorCode::from_code(err) {
                        None => return Err(incomplete(op, "error code")),
                        Some(ErrorCode::NoNode) => ReadResult::Absent,
                        Some(code) => ReadResult::Failed(ErrorKind::from_code(code)),
                    },
                    MultiResult::Create(_)
                    | MultiResult::Create2(_)
                    | MultiResult::Delete
                    | MultiResult::SetData(_)
                    | MultiResult::Check => return Err(incomplete(op, "result of a read")),
                })
            });
            results.collect()
        })
        .resent(true)
        .within(self.timeout)
    }
}

impl ReadMany<'_> {
    /// Submits the request now: its place in the order is fixed when this returns. Unlike the awaited
    /// builder it is one request or none: [`ErrorKind::Unimplemented`] from servers before 3.6.
    pub fn send(self) -> Pending<Vec<ReadResult>> {
        self.into_call().submit_bounded()
    }
}

impl<'a> IntoFuture for ReadMany<'a> {
    type Output = Result<Vec<ReadResult>, Error>;
    type IntoFuture = BoxFuture<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let client = self.client;
            let (ops, timeout) = (self.ops.clone(), self.timeout);
            if client.shared().knows_multi_read() {
                match self.into_call().submit().await {
                    Err(error) if error.kind() == ErrorKind::Unimplemented => {
                        // It closes the connection too: the next one is not asked.
                        client.shared().forget_multi_read();
                    }
                    result => return result,
                }
            }
            one_by_one(client, ops?, timeout).await
        })
    }
}

/// Reads each for itself, all at once, as servers before 3.6 need it.
async fn one_by_one(
    client: &Client,
    ops: Vec<MultiOp>,
    timeout: Option<Duration>,
) -> Result<Vec<ReadResult>, Error> {
    // The paths have the chroot already.
    let root = match timeout {
        Some(timeout) => client.root().with_timeout(timeout),
        None => client.root(),
    };
    let root = &root;
    let reads = ops.iter().map(|op| async move {
        let (path, is_list) = if let MultiOp::GetChildren(read) = op {
            (&read.path, true)
        } else if let MultiOp::GetData(read) = op {
            (&read.path, false)
        } else {
            return Err(incomplete(OpCode::MultiRead, "read"));
        };
        let path = path.as_deref().unwrap_or_default();
        let result = if is_list {
            let names = root.children(path).await;
            names.map(|names| names.map_or(ReadResult::Absent, ReadResult::Children))
        } else {
            let node = root.get(path).await;
            node.map(|node| node.map_or(ReadResult::Absent, ReadResult::Node))
        };
        match result {
            Err(error) if error.outcome() == Outcome::Rejected => {
                Ok(ReadResult::Failed(error.kind()))
            }
            result => result,
        }
    });
    join_all(reads).await.into_iter().collect()
}
