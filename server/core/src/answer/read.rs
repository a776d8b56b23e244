//! Reads, answered from the tree.

use bytes::{BufMut as _, BytesMut};
use bytestring::ByteString;
use zk_proto::acl::Perms;
use zk_proto::header::MultiHeader;
use zk_proto::jute::Encode;
use zk_proto::request::{MultiOp, WatcherType};
use zk_proto::response::{
    ErrorResponse, GetAclResponse, GetAllChildrenNumberResponse, GetEphemeralsResponse,
    WhoAmIResponse,
};
use zk_proto::{ErrorCode, SessionId, Xid};

use crate::conn::auth::{Access, Identities};
use crate::conn::pipeline::Then;
use crate::conn::request::Read;
use crate::tree::{Tree, Znode};
use crate::watch::{ChangeZxids, WatchKind, WatchLists, catch_up};

use super::frame;

/// Bytes of the answer to one multi-read, behind which no further part is read: a short request may ask for the
/// same large znode thousands of times. Clients of the reference take 1 MiB unless told otherwise.
const MULTI_READ_BYTES_MAX: usize = 16 << 20;

/// Who reads.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'a> {
    /// The session, for getEphemerals.
    pub session: SessionId,
    /// Identities that the connection had when it sent the request.
    pub identities: &'a Identities,
    /// The server's rules.
    pub access: &'a Access,
}

/// The watches of the connection that reads.
pub trait ConnWatches {
    /// Adds a watch.
    fn register(&mut self, path: &str, kind: WatchKind);

    /// Whether there is one.
    fn has(&self, path: &str, watcher_type: WatcherType) -> bool;

    /// Removes what there is; whether there was any.
    fn remove(&mut self, path: &str, watcher_type: WatcherType) -> bool;
}

/// Answers a read: appends the reply, and before it the events that a setWatches finds missed.
///
/// The caller keeps the tree as it is until this returns, so that a watch tells of every change after
/// the state that was read, and of none before.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `FinalRequestProcessor#processRequest`.
pub fn answer_read(
    read: Read,
    xid: Xid,
    viewer: &Viewer<'_>,
    tree: &Tree,
    watches: &mut dyn ConnWatches,
    out: &mut BytesMut,
) -> Then {
    let zxid = tree.applied();
    let answered = match read {
        Read::Fault(fault) => {
            let answer = fault.answer(xid, zxid);
            out.put_slice(&answer.bytes);
            return answer.then;
        }
        Read::Ping => {
            frame::empty(out, Xid::PING, zxid);
            Ok(())
        }
        Read::WhoAmI => {
            let client_info = viewer.identities.client_info(&viewer.access.schemes);
            let body = WhoAmIResponse { client_info };
            frame::reply(out, xid, zxid, |out| body.encode(out));
            Ok(())
        }
        Read::Exists { path, watch } => {
            let found = viewer.readable(tree, &path);
            match &found {
                Ok(_) => set(watches, watch, &path, WatchKind::Data),
                Err(ErrorCode::NoNode) => set(watches, watch, &path, WatchKind::Exist),
                // It may not even know that there is a znode.
                Err(_) => {}
            }
            found.map(|znode| frame::reply(out, xid, zxid, |out| znode.stat().encode(out)))
        }
        Read::GetData { path, watch } => viewer.readable(tree, &path).map(|znode| {
            frame::reply(out, xid, zxid, |out| data_and_stat(&znode, out));
            set(watches, watch, &path, WatchKind::Data);
        }),
        Read::GetChildren { path, watch } => viewer.readable(tree, &path).map(|znode| {
            frame::reply(out, xid, zxid, |out| children(&znode, out));
            set(watches, watch, &path, WatchKind::Child);
        }),
        Read::GetChildren2 { path, watch } => viewer.readable(tree, &path).map(|znode| {
            frame::reply(out, xid, zxid, |out| {
                children(&znode, out);
                znode.stat().encode(out);
            });
            set(watches, watch, &path, WatchKind::Child);
        }),
        Read::GetAcl { path } => viewer.visible_acl(tree, &path).map(|body| {
            frame::reply(out, xid, zxid, |out| body.encode(out));
        }),
        Read::GetAllChildrenNumber { path } => viewer.readable(tree, &path).map(|znode| {
            let total_number = wire_len(znode.descendant_count());
            let body = GetAllChildrenNumberResponse { total_number };
            frame::reply(out, xid, zxid, |out| body.encode(out));
        }),
        Read::GetEphemerals { prefix } => {
            let body = viewer.ephemerals(tree, prefix.as_deref());
            frame::reply(out, xid, zxid, |out| body.encode(out));
            Ok(())
        }
        Read::MultiRead(ops) => {
            let start = out.len();
            let mut fits = true;
            frame::reply(out, xid, zxid, |out| {
                fits = viewer.multi_read(tree, &ops, out);
            });
            if fits {
                Ok(())
            } else {
                out.truncate(start);
                Err(ErrorCode::MarshallingError)
            }
        }
        Read::CheckWatches { path, watcher_type } => {
            found(watches.has(&path, watcher_type)).map(|()| frame::empty(out, xid, zxid))
        }
        Read::RemoveWatches { path, watcher_type } => {
            found(watches.remove(&path, watcher_type)).map(|()| frame::empty(out, xid, zxid))
        }
        Read::AddWatch { path, kind } => {
            watches.register(&path, kind);
            frame::reply(out, xid, zxid, |out| ErrorResponse { err: 0 }.encode(out));
            Ok(())
        }
        Read::SetWatches(lists) => {
            set_watches(tree, lists, watches, out).map(|()| frame::empty(out, xid, zxid))
        }
    };
    if let Err(code) = answered {
        frame::error(out, xid, zxid, code);
    }
    Then::Continue
}

impl Viewer<'_> {
    /// # Errors
    /// [`ErrorCode::NoNode`], then [`ErrorCode::NoAuth`]: also of exists, since what is not there has
    /// no list to look at.
    fn readable<'t>(&self, tree: &'t Tree, path: &str) -> Result<Znode<'t>, ErrorCode> {
        let znode = tree.get(path).ok_or(ErrorCode::NoNode)?;
        self.access
            .check(self.identities, znode.acl(), Perms::READ)?;
        Ok(znode)
    }

    /// # Errors
    /// [`ErrorCode::NoNode`], then [`ErrorCode::NoAuth`].
    fn visible_acl(&self, tree: &Tree, path: &str) -> Result<GetAclResponse, ErrorCode> {
        let znode = tree.get(path).ok_or(ErrorCode::NoNode)?;
        let acl = self.access.visible_acl(self.identities, znode.acl())?;
        Ok(GetAclResponse {
            acl: Some(acl),
            stat: znode.stat(),
        })
    }

    /// Needs no permission: the session made them.
    fn ephemerals(&self, tree: &Tree, prefix: Option<&str>) -> GetEphemeralsResponse {
        // The reference strips what Java takes for white space, to see whether all are wanted.
        let asked = prefix.unwrap_or_default();
        let stripped = asked.trim_matches(|char| char <= ' ');
        let prefix = if matches!(stripped, "" | "/") {
            ""
        } else {
            asked
        };
        let paths = tree.ephemerals(self.session);
        let wanted = paths.filter(|path| path.starts_with(prefix));
        GetEphemeralsResponse {
            ephemerals: wanted.map(ByteString::from).collect(),
        }
    }

    /// Each part has its result or its error; none stops those behind it. False if they are more than one
    /// answer takes.
    fn multi_read(&self, tree: &Tree, ops: &[MultiOp], out: &mut BytesMut) -> bool {
        let start = out.len();
        for op in ops {
            if out.len() - start > MULTI_READ_BYTES_MAX {
                return false;
            }
            let result = match op {
                MultiOp::GetData(r) => self.part(tree, r.path.as_ref(), op, out, data_and_stat),
                MultiOp::GetChildren(r) => self.part(tree, r.path.as_ref(), op, out, children),
                // No request that was taken in has others.
                MultiOp::Create(_)
                | MultiOp::Create2(_)
                | MultiOp::CreateContainer(_)
                | MultiOp::CreateTtl(_)
                | MultiOp::Delete(_)
                | MultiOp::SetData(_)
                | MultiOp::Check(_) => Err(ErrorCode::MarshallingError),
            };
            if let Err(code) = result {
                let err = code.code();
                result_header(-1, err).encode(out);
                ErrorResponse { err }.encode(out);
            }
        }
        MultiHeader::END.encode(out);
        true
    }

    fn part(
        &self,
        tree: &Tree,
        path: Option<&ByteString>,
        op: &MultiOp,
        out: &mut BytesMut,
        body: fn(&Znode<'_>, &mut BytesMut),
    ) -> Result<(), ErrorCode> {
        let path = path.ok_or(ErrorCode::MarshallingError)?;
        let znode = self.readable(tree, path)?;
        result_header(op.op().code(), 0).encode(out);
        body(&znode, out);
        Ok(())
    }
}

const fn result_header(op_code: i32, err: i32) -> MultiHeader {
    MultiHeader {
        op_code,
        done: false,
        err,
    }
}

fn set(watches: &mut dyn ConnWatches, is_wanted: bool, path: &str, kind: WatchKind) {
    if is_wanted {
        watches.register(path, kind);
    }
}

fn found(is_found: bool) -> Result<(), ErrorCode> {
    if is_found {
        Ok(())
    } else {
        Err(ErrorCode::NoWatcher)
    }
}

fn set_watches(
    tree: &Tree,
    lists: WatchLists,
    watches: &mut dyn ConnWatches,
    out: &mut BytesMut,
) -> Result<(), ErrorCode> {
    let found = catch_up(lists, &mut |path| {
        let stat = tree.get(path)?.stored_stat();
        Some(ChangeZxids {
            mzxid: stat.mzxid,
            pzxid: stat.pzxid,
        })
    });
    for frame in found.frames() {
        out.put_slice(&frame);
    }
    for (path, kind) in &found.register {
        watches.register(path, *kind);
    }
    found.error.map_or(Ok(()), Err)
}

/// Body of getData.
pub(super) fn data_and_stat(znode: &Znode<'_>, out: &mut BytesMut) {
    match znode.data() {
        Some(data) => data.encode(out),
        None => out.put_i32(-1),
    }
    znode.stat().encode(out);
}

/// Body of getChildren.
fn children(znode: &Znode<'_>, out: &mut BytesMut) {
    let children = znode.children();
    out.put_i32(wire_len(children.len()));
    for child in children {
        child.name().encode(out);
    }
}

/// A number as it goes on the wire.
fn wire_len(len: usize) -> i32 {
    i32::try_from(len).unwrap_or(i32::MAX)
}
