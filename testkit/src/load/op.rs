//! What is asked, as frames built once in which only numbers change.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::BytesMut;
use zk_proto::request::{
    CreateFlags, CreateRequest, DeleteRequest, GetDataRequest, MultiOp, MultiRequest, Request,
    SetDataRequest,
};
use zk_proto::{Acl, Bytes, Id, Perms, Version, Xid, frame};

/// Below which everything happens.
pub(super) const ROOT: &str = "/load";
/// Below which the znodes stand that are read and set.
pub(super) const KEYS: &str = "/load/keys";
/// Below which znodes come and go.
pub(super) const NAMES: &str = "/load/names";
/// The znode that is watched.
pub(super) const WATCHED: &str = "/load/watched";
/// Number of znodes that are read and set: more than fit the first-level cache, with their data.
pub(super) const KEY_COUNT: u64 = 1000;
/// What znodes hold.
pub(super) const DATA: &[u8] = &[b'x'; 100];

/// Operations of a multi.
const MULTI: usize = 10;
/// Of so many requests of [`Op::Mixed`] one is a write.
const MIX: u64 = 10;
/// Digits of a key; the run, the connection and the number of a name.
const DIGITS: usize = 16;
/// Where the xid is in a frame: behind the length.
const XID_AT: usize = frame::LENGTH_LEN;

/// What a load asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op {
    /// Reads a znode of 100 bytes.
    GetData,
    /// Overwrites a znode with 100 bytes.
    SetData,
    /// Creates a znode of 100 bytes.
    Create,
    /// Creates a znode of 100 bytes, and deletes it with the next request.
    CreateDelete,
    /// Overwrites ten znodes in one transaction.
    Multi,
    /// Nine reads, then a write.
    Mixed,
}

impl Op {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::GetData,
        Self::SetData,
        Self::Create,
        Self::CreateDelete,
        Self::Multi,
        Self::Mixed,
    ];

    /// As it is named on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetData => "get",
            Self::SetData => "set",
            Self::Create => "create",
            Self::CreateDelete => "create-delete",
            Self::Multi => "multi",
            Self::Mixed => "mixed",
        }
    }
}

/// The next requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    op: Op,
    /// Taken in turn; of [`Op::Mixed`] the first most of the time.
    frames: Vec<Frame>,
    /// Makes names unique: the run and the connection.
    place: u64,
    count: u64,
}

/// A frame, and where its numbers stand.
#[derive(Debug)]
struct Frame {
    bytes: Vec<u8>,
    numbers: Vec<usize>,
}

/// Each run creates other names, and each process begins elsewhere, for servers that were used before.
static RUNS: LazyLock<AtomicU32> = LazyLock::new(|| {
    let seed = RandomState::new().hash_one(std::process::id());
    AtomicU32::new(u32::try_from(seed % 10_000).unwrap_or(0))
});

/// The number of a run, for [`Requests::new`].
pub(super) fn next_run() -> u32 {
    RUNS.fetch_add(1, Ordering::Relaxed)
}

impl Requests {
    pub(super) fn new(op: Op, run: u32, connection: u32) -> Self {
        let key = path_of(KEYS, 0);
        let name = path_of(NAMES, 0);
        let get = Request::GetData(GetDataRequest {
            path: Some(key.as_str().into()),
            watch: false,
        });
        let set = SetDataRequest {
            path: Some(key.as_str().into()),
            data: Some(Bytes::from_static(DATA)),
            version: Version::ANY,
        };
        let create = create(&name, DATA);
        let delete = Request::Delete(DeleteRequest {
            path: Some(name.as_str().into()),
            version: Version::ANY,
        });
        let requests = match op {
            Op::GetData => vec![get],
            Op::SetData => vec![Request::SetData(set)],
            Op::Create => vec![create],
            Op::CreateDelete => vec![create, delete],
            Op::Multi => vec![Request::Multi(MultiRequest {
                ops: vec![MultiOp::SetData(set); MULTI],
            })],
            Op::Mixed => vec![get, Request::SetData(set)],
        };
        let prefix = match op {
            Op::Create | Op::CreateDelete => NAMES,
            Op::GetData | Op::SetData | Op::Multi | Op::Mixed => KEYS,
        };
        Self {
            op,
            frames: requests.iter().map(|of| Frame::new(of, prefix)).collect(),
            place: (u64::from(run) % 10_000) * 10_000 + u64::from(connection) % 10_000,
            count: 0,
        }
    }

    /// Appends the frame of the next request.
    pub(super) fn write(&mut self, xid: i32, out: &mut Vec<u8>) {
        let count = self.count;
        self.count += 1;
        let spread = count
            .wrapping_mul(7)
            .wrapping_add(self.place.wrapping_mul(131));
        let (which, first) = match self.op {
            Op::GetData | Op::SetData => (0, spread % KEY_COUNT),
            Op::Multi => (0, spread.wrapping_mul(10) % KEY_COUNT),
            Op::Mixed => (usize::from(count % MIX == MIX - 1), spread % KEY_COUNT),
            Op::Create => (0, self.name(count)),
            Op::CreateDelete => (usize::from(count % 2 == 1), self.name(count / 2)),
        };
        if let Some(frame) = self.frames.get(which) {
            frame.write(xid, first, out);
        }
    }

    fn name(&self, count: u64) -> u64 {
        self.place * 100_000_000 + count
    }
}

impl Frame {
    fn new(request: &Request, prefix: &str) -> Self {
        let mut wire = BytesMut::new();
        frame::write_request(&mut wire, Xid::new(0), request);
        let start = format!("{prefix}/");
        let numbers = wire
            .windows(start.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == start.as_bytes())
            .map(|(at, _)| at + start.len())
            .collect();
        Self {
            bytes: wire.to_vec(),
            numbers,
        }
    }

    fn write(&self, xid: i32, first: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(frame) = out.get_mut(start..) else {
            return;
        };
        if let Some(place) = frame.get_mut(XID_AT..XID_AT + 4) {
            place.copy_from_slice(&xid.to_be_bytes());
        }
        for (number, &at) in (first..).zip(&self.numbers) {
            if let Some(place) = frame.get_mut(at..at + DIGITS) {
                write_number(number, place);
            }
        }
    }
}

/// Writes a number over zeros.
fn write_number(mut number: u64, place: &mut [u8]) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            break;
        }
    }
}

/// The path of a numbered znode.
pub(super) fn path_of(parent: &str, number: u64) -> String {
    format!("{parent}/{number:0DIGITS$}")
}

/// Creates a persistent znode that anybody may use.
pub(super) fn create(path: &str, data: &'static [u8]) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: Some(Bytes::from_static(data)),
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::Persistent.code(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_proto::header::RequestHeader;
    use zk_proto::jute::{Decode as _, Reader};

    fn decoded(wire: &[u8]) -> (i32, Request) {
        let mut wire = BytesMut::from(wire);
        let payload = frame::take(&mut wire, 1 << 20)
            .expect("legal")
            .expect("whole");
        assert!(wire.is_empty());
        let mut reader = Reader::shared(&payload);
        let header = RequestHeader::decode(&mut reader).expect("a header");
        let op = header.op().expect("known");
        (
            header.xid.get(),
            Request::decode(op, &mut reader).expect("a body"),
        )
    }

    #[test]
    fn requests_carry_their_xid_and_names_are_never_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for connection in 0..3 {
            let mut requests = Requests::new(Op::Create, 7, connection);
            for xid in 1..20 {
                let mut out = Vec::new();
                requests.write(xid, &mut out);
                let (of, request) = decoded(&out);
                assert_eq!(of, xid);
                let Request::Create(create) = request else {
                    panic!("{request:?}");
                };
                assert!(seen.insert(create.path.expect("a path")));
            }
        }
    }

    #[test]
    fn what_is_created_is_deleted_and_a_multi_sets_ten_znodes() {
        let mut requests = Requests::new(Op::CreateDelete, 1, 1);
        let mut next = || {
            let mut out = Vec::new();
            requests.write(1, &mut out);
            decoded(&out).1
        };
        let (Request::Create(create), Request::Delete(delete)) = (next(), next()) else {
            panic!("in turn");
        };
        assert_eq!(create.path, delete.path);
        let mut out = Vec::new();
        Requests::new(Op::Multi, 1, 1).write(1, &mut out);
        let Request::Multi(multi) = decoded(&out).1 else {
            panic!("a multi");
        };
        let paths: std::collections::BTreeSet<_> = multi
            .ops
            .iter()
            .filter_map(|op| {
                let MultiOp::SetData(set) = op else {
                    return None;
                };
                set.path.clone()
            })
            .collect();
        assert_eq!(paths.len(), MULTI);
    }
}
