//! A server that a test tells what to do.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use zk_client::{
    Builder, Client, ConnectError, ConnectErrorKind, Connector, EventType, Io, Server, SessionId,
    Stat, Zxid,
};
use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::request::Request;
use zk_proto::response::{
    CreateResponse, ErrorResponse, ExistsResponse, GetChildrenResponse, GetDataResponse,
    MultiResponse, Response, SetDataResponse, SyncResponse,
};
use zk_proto::{ErrorCode, OpCode, Xid, frame};

/// Longer than anything takes here but what is to time out.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// What servers do from now on, on every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    #[default]
    Serve,
    /// Reads, and says nothing.
    Silent,
    /// Answers whatever comes with what nobody understands.
    Garbage,
    /// Closes the connection at the first byte.
    HangUp,
    /// There is no connection.
    Unreachable(ConnectErrorKind),
}

/// One server, told by the test what to do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    mode: Mode,
    /// Connections made before this was raised are cut.
    generation: u64,
    /// Whether it knows nothing that came with 3.6.
    pub(crate) is_old: bool,
    /// Whether the session is gone at the next look.
    pub(crate) is_expired: bool,
    /// Whether it is cut off from its ensemble.
    pub(crate) is_read_only: bool,
    /// What it grants, if not what is asked for.
    pub(crate) timeout_ms: Option<i32>,
    /// Sessions begun, and closed by their clients.
    pub(crate) begun: i64,
    pub(crate) closed: i64,
    pub(crate) data: Bytes,
    /// Children of the znode whose children are asked for next; others have none.
    pub(crate) children: Vec<&'static str>,
    /// Events to be sent before the next answer.
    pub(crate) events: usize,
    /// Watches of the connection: path, kind.
    pub(crate) watches: BTreeSet<(String, i32)>,
    pub(crate) seen: Vec<OpCode>,
    /// What it does not do: each the next time that it is asked for.
    pub(crate) refusals: Vec<(OpCode, ErrorCode)>,
}

impl Script {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.lock().mode = mode;
    }

    pub(crate) fn cut(&self) {
        self.lock().generation += 1;
    }

    pub(crate) fn builder(&self) -> Builder {
        Client::builder("server").connector(self.clone()).seed(7)
    }

    /// Serves at an address of this machine too, for as long as the test runs.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = self.clone();
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                tokio::spawn(script.clone().serve(io));
            }
        });
        address
    }

    async fn serve(self, mut io: impl Io) -> Option<()> {
        let generation = self.lock().generation;
        let mut input = BytesMut::new();
        let mut is_granted = false;
        loop {
            if input.starts_with(b"isro") {
                let answer = if self.lock().is_read_only {
                    b"ro"
                } else {
                    b"rw"
                };
                return io.write_all(answer).await.ok();
            }
            let Ok(Some(payload)) = frame::take(&mut input, 1 << 20) else {
                tokio::select! {
                    read = io.read_buf(&mut input) => {
                        if read.ok()? == 0 {
                            return None;
                        }
                    }
                    () = sleep(Duration::from_millis(1)) => {}
                }
                if self.lock().generation != generation {
                    return None;
                }
                continue;
            };
            sleep(Duration::from_micros(700)).await;
            let mut output = BytesMut::new();
            let mode = self.lock().mode;
            match mode {
                Mode::Silent => continue,
                Mode::HangUp | Mode::Unreachable(_) => return None,
                Mode::Garbage => output.extend_from_slice(&[0, 0, 0, 3, 1, 2, 3]),
                Mode::Serve if is_granted => self.answer(&payload, &mut output),
                Mode::Serve => {
                    is_granted = true;
                    self.grant(&payload, &mut output);
                }
            }
            // Two writes: frames come in pieces.
            let (head, tail) = output.split_at(output.len() / 2);
            io.write_all(head).await.ok()?;
            io.write_all(tail).await.ok()?;
        }
    }

    fn grant(&self, payload: &Bytes, output: &mut BytesMut) {
        let request = ConnectRequest::decode(&mut Reader::shared(payload)).unwrap();
        let mut state = self.lock();
        state.watches.clear();
        if request.session_id != SessionId::NONE && std::mem::take(&mut state.is_expired) {
            frame::write(output, &[&ConnectResponse::refused(true)]);
            return;
        }
        let session_id = if request.session_id == SessionId::NONE {
            state.begun += 1;
            SessionId::new(state.begun)
        } else {
            request.session_id
        };
        let granted = ConnectResponse {
            protocol_version: 0,
            timeout_ms: state.timeout_ms.unwrap_or(request.timeout_ms),
            session_id,
            password: Some(Bytes::from_static(&[1; PASSWORD_LEN])),
            read_only: Some(state.is_read_only),
        };
        frame::write(output, &[&granted]);
    }

    fn answer(&self, payload: &Bytes, output: &mut BytesMut) {
        let mut reader = Reader::shared(payload);
        let header = RequestHeader::decode(&mut reader).unwrap();
        let request = Request::decode(header.op().unwrap(), &mut reader).unwrap();
        let mut state = self.lock();
        state.seen.push(request.op());
        if state.is_old && request.op() == OpCode::MultiRead {
            let err = ErrorCode::Unimplemented.code();
            let (xid, zxid) = (header.xid, Zxid::new(-1));
            frame::write(output, &[&ReplyHeader { xid, zxid, err }]);
            state.generation += 1;
            return;
        }
        let refused = state
            .refusals
            .iter()
            .position(|(op, _)| *op == request.op());
        if let Some(index) = refused {
            let (_, code) = state.refusals.remove(index);
            let (xid, zxid, err) = (header.xid, Zxid::new(2), code.code());
            frame::write(output, &[&ReplyHeader { xid, zxid, err }]);
            return;
        }
        for _ in 0..std::mem::take(&mut state.events) {
            let event = zk_proto::WatcherEvent {
                event_type: EventType::NodeDataChanged.code(),
                state: 3,
                path: Some("/a".into()),
            };
            let header = ReplyHeader {
                xid: Xid::NOTIFICATION,
                zxid: Zxid::new(2),
                err: 0,
            };
            frame::write(output, &[&header, &event]);
        }
        let stat = Stat::default();
        let mut watch = |path: &Option<_>, kind| {
            let path: &zk_proto::ByteString = path.as_ref().unwrap();
            state.watches.insert((path.to_string(), kind))
        };
        let response = match &request {
            Request::GetData(read) => {
                if read.watch {
                    watch(&read.path, 2);
                }
                let data = Some(state.data.clone());
                Response::GetData(GetDataResponse { data, stat })
            }
            Request::Exists(read) => {
                if read.watch {
                    watch(&read.path, 2);
                }
                Response::Exists(ExistsResponse { stat })
            }
            Request::GetChildren(read) => {
                if read.watch {
                    watch(&read.path, 1);
                }
                let children = std::mem::take(&mut state.children);
                let children = children.into_iter().map(Into::into).collect();
                Response::GetChildren(GetChildrenResponse { children })
            }
            Request::AddWatch(add) => {
                watch(&add.path, 4 + add.mode);
                Response::AddWatch(ErrorResponse { err: 0 })
            }
            Request::RemoveWatches(removal) => {
                let path = removal.path.as_ref().unwrap().to_string();
                state.watches.remove(&(path, removal.watcher_type));
                Response::Empty
            }
            Request::SetData(_) => Response::SetData(SetDataResponse { stat }),
            Request::Create(create) => {
                let path = create.path.clone().unwrap();
                Response::Create(CreateResponse { path })
            }
            Request::Create2(create) => {
                let path = create.path.clone().unwrap();
                Response::Create2(zk_proto::response::Create2Response { path, stat })
            }
            Request::Sync(sync) => {
                let path = sync.path.clone();
                Response::Sync(SyncResponse { path })
            }
            Request::Multi(_) => Response::Multi(MultiResponse::default()),
            Request::CloseSession => {
                state.closed += 1;
                Response::Empty
            }
            _ => Response::Empty,
        };
        let header = ReplyHeader {
            xid: header.xid,
            zxid: Zxid::new(2),
            err: 0,
        };
        let body = response.to_bytes();
        if body.is_empty() {
            frame::write(output, &[&header]);
        } else {
            frame::write(output, &[&header, &response]);
        }
    }
}

#[async_trait]
impl Connector for Script {
    async fn connect(&self, _: &Server, within: Duration) -> Result<Box<dyn Io>, ConnectError> {
        let mode = self.lock().mode;
        if let Mode::Unreachable(kind) = mode {
            let wait = match kind {
                ConnectErrorKind::Timeout => within,
                _ => Duration::from_millis(1),
            };
            sleep(wait).await;
            return Err(ConnectError::new(kind, "not today"));
        }
        sleep(Duration::from_micros(300)).await;
        let (client, server) = duplex(4 * 1024);
        tokio::spawn(self.clone().serve(server));
        Ok(Box::new(client))
    }
}

pub(crate) async fn connected() -> (Script, Client) {
    let script = Script::default();
    let client = script.builder().connect().await.unwrap();
    (script, client)
}

/// Waits until something holds.
pub(crate) async fn until(holds: impl Fn() -> bool, explain: impl Fn() -> String) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "{}", explain());
        sleep(Duration::from_millis(1)).await;
    }
}
