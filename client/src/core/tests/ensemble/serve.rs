//! What a server does with a request that has come through its pipeline.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "no test asks for the other operations"
)]

use bytes::Bytes;
use bytestring::ByteString;
use zk_proto::header::RequestHeader;
use zk_proto::jute::{Encode as _, Reader};
use zk_proto::request::{
    AddWatchMode, AddWatchRequest, CreateFlags, CreateRequest, MultiOp, MultiRequest,
    Request as Record, SetWatches2,
};
use zk_proto::response::{
    CreateResponse, ErrorResponse, ExistsResponse, GetChildren2Response, GetDataResponse,
    MultiResponse, MultiResult, Response, SetDataResponse, SyncResponse,
};
use zk_proto::{ErrorCode, EventType, OpCode, SessionId, Xid};

use super::watches::{Mode, add};
use super::{Change, ConnId, Ensemble, Executed};
use crate::core::Time;

type Answer = Result<Response, ErrorCode>;

impl Ensemble {
    /// Executes the oldest request in a connection's pipeline. Returns whether there are more.
    pub(in super::super) fn process(&mut self, now: Time, conn: ConnId) -> bool {
        let Some(known) = self.conns.get_mut(&conn) else {
            return false;
        };
        let (Some((header, payload)), Some(session)) = (known.pipeline.pop_front(), known.session)
        else {
            return false;
        };
        let index = known.server;
        let Some(op) = header.op() else {
            self.reply(conn, header.xid, -1, ErrorCode::Unimplemented.code(), &[]);
            self.close(conn);
            return false;
        };
        let mut reader = Reader::shared(&payload);
        let _header = reader.slice(RequestHeader::LEN);
        let is_throttled = self.throttles > 0 && !matches!(op, OpCode::Ping | OpCode::CloseSession);
        self.throttles -= u32::from(is_throttled);
        let answer = match Record::decode(op, &mut reader) {
            _ if is_throttled => Err(ErrorCode::ThrottledOp),
            Err(_) => Err(ErrorCode::MarshallingError),
            Ok(record) => {
                if is_write(op) && !self.servers[index].is_read_only {
                    let session = self.sessions.get(&session);
                    if session.is_none_or(|session| session.owner != conn) {
                        // The session has moved: the stale connection is told nothing.
                        self.close(conn);
                        return false;
                    }
                }
                self.execute(now, conn, index, session, &record)
            }
        };
        let (err, body) = match answer {
            Ok(response) => (0, response.to_bytes()),
            Err(code) => (code.code(), Bytes::new()),
        };
        // The session may be gone with the connection, and the reply still comes.
        let zxid = self.servers[index].tree.zxid;
        self.executed.push(Executed {
            conn,
            session,
            xid: header.xid,
            op,
            err,
            body: body.clone(),
        });
        let xid = if op == OpCode::Ping {
            Xid::PING
        } else {
            header.xid
        };
        self.reply(conn, xid, zxid, err, &body);
        if op == OpCode::CloseSession {
            self.end_session(now, session, true);
            self.close(conn);
        }
        self.conns
            .get(&conn)
            .is_some_and(|conn| !conn.pipeline.is_empty())
    }

    fn execute(
        &mut self,
        _now: Time,
        conn: ConnId,
        index: usize,
        session: SessionId,
        record: &Record,
    ) -> Answer {
        let server = &mut self.servers[index];
        let is_old = self.is_old;
        let watches = server.watches.entry(conn).or_default();
        let path_of = |path: &Option<ByteString>| path.as_deref().unwrap_or_default().to_owned();
        match record {
            Record::Ping | Record::CloseSession => Ok(Response::Empty),
            Record::Exists(read) => {
                let path = path_of(&read.path);
                if read.watch {
                    add(&mut watches.data, &path, Mode::Standard, is_old);
                }
                let stat = server.tree.stat(&path).ok_or(ErrorCode::NoNode)?;
                Ok(Response::Exists(ExistsResponse { stat }))
            }
            Record::GetData(read) => {
                let path = path_of(&read.path);
                let (data, stat) = server.tree.data(&path).ok_or(ErrorCode::NoNode)?;
                if read.watch {
                    add(&mut watches.data, &path, Mode::Standard, is_old);
                }
                let data = Some(data);
                Ok(Response::GetData(GetDataResponse { data, stat }))
            }
            Record::GetChildren2(read) => {
                let path = path_of(&read.path);
                let (names, stat) = server.tree.children(&path).ok_or(ErrorCode::NoNode)?;
                if read.watch {
                    add(&mut watches.child, &path, Mode::Standard, is_old);
                }
                let children = names.into_iter().map(ByteString::from).collect();
                Ok(Response::GetChildren2(GetChildren2Response {
                    children,
                    stat,
                }))
            }
            Record::AddWatch(AddWatchRequest { path, mode }) => {
                let path = path_of(path);
                match AddWatchMode::from_code(*mode) {
                    None => return Err(ErrorCode::MarshallingError),
                    Some(AddWatchMode::Persistent) => {
                        add(&mut watches.data, &path, Mode::Persistent, is_old);
                        add(&mut watches.child, &path, Mode::Persistent, is_old);
                    }
                    Some(AddWatchMode::PersistentRecursive) => {
                        watches.add_recursive(&path, is_old);
                    }
                }
                Ok(Response::AddWatch(ErrorResponse { err: 0 }))
            }
            Record::RemoveWatches(removal) => {
                let path = path_of(&removal.path);
                match watches.remove(&path, removal.watcher_type, is_old) {
                    None => Err(ErrorCode::MarshallingError),
                    Some(false) => Err(ErrorCode::NoWatcher),
                    Some(true) => Ok(Response::Empty),
                }
            }
            Record::SetWatches(set) => {
                let set = SetWatches2 {
                    relative_zxid: set.relative_zxid,
                    data_watches: set.data_watches.clone(),
                    exist_watches: set.exist_watches.clone(),
                    child_watches: set.child_watches.clone(),
                    persistent_watches: Some(Vec::new()),
                    persistent_recursive_watches: Some(Vec::new()),
                };
                self.set_watches(conn, index, &set)
            }
            Record::SetWatches2(set) => self.set_watches(conn, index, set),
            Record::Sync(sync) => {
                if server.is_read_only {
                    return Err(ErrorCode::NotReadOnly);
                }
                self.catch_up(index);
                let path = sync.path.clone();
                Ok(Response::Sync(SyncResponse { path }))
            }
            Record::Create(create) => {
                let path = path_of(&create.path);
                self.write(index, vec![creation(create, session)])?;
                Ok(Response::Create(CreateResponse { path: path.into() }))
            }
            Record::SetData(set) => {
                let path = path_of(&set.path);
                let data = set.data.clone().unwrap_or_default();
                self.write(
                    index,
                    vec![Change::Set {
                        path: path.clone(),
                        data,
                    }],
                )?;
                let stat = self.leader.stat(&path).unwrap_or_default();
                Ok(Response::SetData(SetDataResponse { stat }))
            }
            Record::Delete(delete) => {
                let path = path_of(&delete.path);
                self.write(index, vec![Change::Delete { path }])?;
                Ok(Response::Empty)
            }
            Record::Multi(multi) => self.multi(index, session, multi),
            other => panic!("the client sent {other:?}, which no test asks for"),
        }
    }

    /// Commits changes if all of them are legal. A write that fails takes a zxid too.
    fn write(&mut self, index: usize, changes: Vec<Change>) -> Result<(), ErrorCode> {
        if self.servers[index].is_read_only {
            return Err(ErrorCode::NotReadOnly);
        }
        let mut tree = self.leader.clone();
        let checked = changes.iter().try_for_each(|change| {
            tree.check(change)?;
            tree.change(tree.zxid + 1, change);
            Ok(())
        });
        self.commit(if checked.is_ok() { changes } else { Vec::new() });
        self.catch_up(index);
        checked
    }

    fn multi(&mut self, index: usize, session: SessionId, multi: &MultiRequest) -> Answer {
        let path_of = |path: &Option<ByteString>| path.as_deref().unwrap_or_default().to_owned();
        let mut changes = Vec::new();
        let mut results = Vec::new();
        for op in &multi.ops {
            match op {
                MultiOp::Create(create) => {
                    let path = path_of(&create.path).into();
                    changes.push(creation(create, session));
                    results.push(MultiResult::Create(CreateResponse { path }));
                }
                MultiOp::SetData(set) => {
                    let (path, data) = (path_of(&set.path), set.data.clone().unwrap_or_default());
                    changes.push(Change::Set { path, data });
                    results.push(MultiResult::SetData(SetDataResponse::default()));
                }
                other => panic!("the client sent {other:?}, which no test asks for"),
            }
        }
        match self.write(index, changes) {
            Ok(()) => {}
            Err(ErrorCode::NotReadOnly) => return Err(ErrorCode::NotReadOnly),
            Err(code) => {
                let err = code.code();
                let failed = results
                    .iter()
                    .map(|_| MultiResult::Error(ErrorResponse { err }));
                results = failed.collect();
            }
        }
        Ok(Response::Multi(MultiResponse { results }))
    }

    fn set_watches(&mut self, conn: ConnId, index: usize, set: &SetWatches2) -> Answer {
        let is_old = self.is_old;
        let since = set.relative_zxid;
        let server = &mut self.servers[index];
        let watches = server.watches.entry(conn).or_default();
        let mut events = Vec::new();
        let list = |list: &Option<Vec<ByteString>>| list.clone().ok_or(ErrorCode::MarshallingError);
        for path in list(&set.data_watches)? {
            match server.tree.stat(&path) {
                None => events.push((EventType::NodeDeleted, path)),
                Some(stat) if stat.mzxid > since => {
                    events.push((EventType::NodeDataChanged, path));
                }
                Some(_) => add(&mut watches.data, &path, Mode::Standard, is_old),
            }
        }
        for path in list(&set.exist_watches)? {
            match server.tree.stat(&path) {
                None => add(&mut watches.data, &path, Mode::Standard, is_old),
                Some(_) => events.push((EventType::NodeCreated, path)),
            }
        }
        for path in list(&set.child_watches)? {
            match server.tree.stat(&path) {
                None => events.push((EventType::NodeDeleted, path)),
                Some(stat) if stat.pzxid > since => {
                    events.push((EventType::NodeChildrenChanged, path));
                }
                Some(_) => add(&mut watches.child, &path, Mode::Standard, is_old),
            }
        }
        for path in list(&set.persistent_watches)? {
            add(&mut watches.data, &path, Mode::Persistent, is_old);
            add(&mut watches.child, &path, Mode::Persistent, is_old);
        }
        for path in list(&set.persistent_recursive_watches)? {
            watches.add_recursive(&path, is_old);
        }
        for (kind, path) in events {
            self.event(conn, kind, &path, None);
        }
        Ok(Response::Empty)
    }
}

fn creation(create: &CreateRequest, session: SessionId) -> Change {
    let is_ephemeral = CreateFlags::from_code(create.flags).is_some_and(CreateFlags::is_ephemeral);
    Change::Create {
        path: create.path.as_deref().unwrap_or_default().to_owned(),
        data: create.data.clone().unwrap_or_default(),
        owner: if is_ephemeral {
            session
        } else {
            SessionId::NONE
        },
    }
}

fn is_write(op: OpCode) -> bool {
    matches!(
        op,
        OpCode::Create | OpCode::SetData | OpCode::Delete | OpCode::Multi | OpCode::CloseSession
    )
}
