//! Which sort of a request a decoded one is, and whether it says what its kind may say.

use bytestring::ByteString;
use zk_proto::request::{AddWatchMode, CreateFlags, MultiOp, MultiRequest, Request, WatcherType};
use zk_proto::{Bytes, ErrorCode};

use super::{Class, Fault, Read, Write};

pub(super) fn fault(fault: Fault) -> Class {
    Class::Read(Read::Fault(fault))
}

/// A read that needs its path.
fn read(path: Option<ByteString>, read: impl FnOnce(ByteString) -> Read) -> Class {
    Class::Read(path.map_or(Read::Fault(Fault::UNDECODABLE), read))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "all others are writes, and judged as such"
)]
pub(super) fn classify(request: Request, body: Bytes) -> Class {
    match request {
        Request::Ping => Class::Read(Read::Ping),
        Request::WhoAmI => Class::Read(Read::WhoAmI),
        Request::Exists(r) => read(r.path, |path| {
            // Other reads find no znode under such text; exists says that it is none.
            if path.contains('\0') {
                Read::Fault(Fault::of(ErrorCode::BadArguments))
            } else {
                let watch = r.watch;
                Read::Exists { path, watch }
            }
        }),
        Request::GetData(r) => read(r.path, |path| {
            let watch = r.watch;
            Read::GetData { path, watch }
        }),
        Request::GetChildren(r) => read(r.path, |path| {
            let watch = r.watch;
            Read::GetChildren { path, watch }
        }),
        Request::GetChildren2(r) => read(r.path, |path| {
            let watch = r.watch;
            Read::GetChildren2 { path, watch }
        }),
        Request::GetAcl(r) => read(r.path, |path| Read::GetAcl { path }),
        Request::GetAllChildrenNumber(r) => {
            read(r.path, |path| Read::GetAllChildrenNumber { path })
        }
        Request::GetEphemerals(r) => {
            let prefix = r.prefix_path;
            Class::Read(Read::GetEphemerals { prefix })
        }
        Request::CheckWatches(r) => watches(r.path, r.watcher_type, |path, watcher_type| {
            Read::CheckWatches { path, watcher_type }
        }),
        Request::RemoveWatches(r) => watches(r.path, r.watcher_type, |path, watcher_type| {
            Read::RemoveWatches { path, watcher_type }
        }),
        Request::AddWatch(r) => match AddWatchMode::from_code(r.mode) {
            Some(mode) => read(r.path, |path| {
                let kind = mode.into();
                Read::AddWatch { path, kind }
            }),
            None => fault(Fault::UNDECODABLE),
        },
        Request::SetWatches(r) => Class::Read(Read::SetWatches(r.into())),
        Request::SetWatches2(r) => Class::Read(Read::SetWatches(r.into())),
        Request::MultiRead(r) => {
            let has_path = |op: &MultiOp| op.is_read() && path_of(op).is_some();
            if r.ops.iter().all(has_path) {
                Class::Read(Read::MultiRead(r.ops))
            } else {
                fault(Fault::UNDECODABLE)
            }
        }
        Request::Auth(packet) => Class::Auth(packet),
        Request::Sasl(token) => Class::Sasl(token),
        write => {
            if is_legal_write(&write) {
                Class::Write(Box::new(Write {
                    request: write,
                    body,
                }))
            } else {
                fault(Fault::UNDECODABLE)
            }
        }
    }
}

fn watches(
    path: Option<ByteString>,
    watcher_type: i32,
    make: impl FnOnce(ByteString, WatcherType) -> Read,
) -> Class {
    match WatcherType::from_code(watcher_type) {
        Some(watcher_type) => read(path, |path| make(path, watcher_type)),
        None => fault(Fault::UNDECODABLE),
    }
}

/// Whether it is a write, and a multi has only what a multi may have. Paths that are null, and what
/// is odd otherwise, get their answers in their order from whoever prepares the transaction.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others are no writes")]
pub(crate) fn is_legal_write(request: &Request) -> bool {
    match request {
        Request::Multi(multi) => is_legal_multi(multi),
        Request::Create(_)
        | Request::Create2(_)
        | Request::CreateContainer(_)
        | Request::CreateTtl(_)
        | Request::Delete(_)
        | Request::DeleteContainer(_)
        | Request::SetData(_)
        | Request::SetAcl(_)
        | Request::Sync(_)
        | Request::Reconfig(_)
        | Request::CloseSession => true,
        _ => false,
    }
}

/// The reference finds out about flags while it decodes a multi, so that one bad operation spoils
/// the whole request. Those of createTTL it looks at later, one by one. A path that is null spoils
/// the request too, wherever it stands.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `MultiOperationRecord#deserialize`, `Op$Create`,
/// `PrepRequestProcessor#getPendingChanges`.
fn is_legal_multi(multi: &MultiRequest) -> bool {
    multi.ops.iter().all(|op| {
        let has_legal_flags = match op {
            MultiOp::Create(r) | MultiOp::Create2(r) | MultiOp::CreateContainer(r) => {
                CreateFlags::from_code(r.flags).is_some_and(|flags| !flags.has_ttl())
            }
            MultiOp::CreateTtl(_)
            | MultiOp::Delete(_)
            | MultiOp::SetData(_)
            | MultiOp::Check(_)
            | MultiOp::GetData(_)
            | MultiOp::GetChildren(_) => true,
        };
        has_legal_flags && !op.is_read() && path_of(op).is_some()
    })
}

fn path_of(op: &MultiOp) -> Option<&ByteString> {
    match op {
        MultiOp::Create(r) | MultiOp::Create2(r) | MultiOp::CreateContainer(r) => r.path.as_ref(),
        MultiOp::CreateTtl(r) => r.path.as_ref(),
        MultiOp::Delete(r) => r.path.as_ref(),
        MultiOp::SetData(r) => r.path.as_ref(),
        MultiOp::Check(r) => r.path.as_ref(),
        MultiOp::GetData(r) => r.path.as_ref(),
        MultiOp::GetChildren(r) => r.path.as_ref(),
    }
}
