//! What clients here ask the leader for.

use std::collections::{BTreeMap, VecDeque};

use bytestring::ByteString;
use zk_proto::jute::Encode as _;
use zk_proto::request::{CreateSessionRequest, MultiOp, Request};
use zk_proto::{Id, OpCode, SessionId, Xid, Zxid};

use crate::conn::ConnId;
use crate::conn::handshake::ServingMode;
use crate::peer::shared::{Shared, Turn};
use crate::peer::{ApplyAction, Asker, Barrier, ControlAction, Origin, Proposal, Submission};
use crate::session::{SessionTimeout, Touches};
use crate::wire::quorum::{ForwardedRequest, LearnerPacket};
use crate::wire::txn::{Op, Txn};

use super::{Learner, LearnerPhase};

/// Requests on their way to the leader and back, and signs of life for it.
///
/// Bounded by what the driver lets in, and by the number of connections.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Per session, in the order in which they were sent: the leader's transactions come in it.
    forwarded: BTreeMap<SessionId, VecDeque<Forwarded>>,
    /// Connections whose session is being created.
    opening: BTreeMap<SessionId, ConnId>,
    /// Connections that claim a session, in the order in which the leader was asked.
    claiming: BTreeMap<SessionId, VecDeque<ConnId>>,
    /// Syncs, in the order in which the leader was asked: its answers carry no name.
    syncs: VecDeque<(Origin, Option<ByteString>)>,
    touches: Touches,
}

/// A request whose transaction is awaited.
#[derive(Debug, Clone)]
struct Forwarded {
    origin: Origin,
    op: OpCode,
    /// The last transaction that was received when it was sent: its own comes behind.
    behind: Zxid,
    /// Parts of a multi that are create2: its transaction does not tell them from create, its answer
    /// does.
    create2s: Vec<usize>,
}

impl Learner {
    /// A client asks for something that the leader decides.
    pub(crate) fn submit(&mut self, submission: Submission, shared: &Shared, turn: &mut Turn<'_>) {
        if !self.is_serving(shared) {
            // The connection is closed when this server stops to serve, or was before.
            return;
        }
        let Submission {
            origin,
            session,
            identities,
            write,
        } = submission;
        let op = write.op();
        if let Request::Sync(sync) = write.request() {
            self.requests.syncs.push_back((origin, sync.path.clone()));
        } else {
            let queue = self.requests.forwarded.entry(session).or_default();
            queue.push_back(Forwarded {
                origin,
                op,
                behind: self.last,
                create2s: create2s(write.request()),
            });
        }
        let identities = identities.iter().map(|identity| Id {
            scheme: Some(identity.scheme.clone()),
            id: Some(identity.id.clone()),
        });
        let request = ForwardedRequest {
            session,
            cxid: origin.xid,
            op: op.code(),
            body: write.body().clone(),
            identities: Some(identities.collect()),
        };
        self.send(LearnerPacket::Request(request), turn);
    }

    /// A connection wants a new session.
    pub(crate) fn open_session(
        &mut self,
        conn: ConnId,
        timeout: SessionTimeout,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        if !self.is_serving(shared) {
            return;
        }
        let session = shared.ids.allocate();
        self.requests.opening.insert(session, conn);
        self.create_session(session, timeout, turn);
    }

    /// Makes a session that only this server knows one that all know.
    pub(crate) fn upgrade_session(
        &mut self,
        session: SessionId,
        timeout: SessionTimeout,
        turn: &mut Turn<'_>,
    ) {
        if self.phase == LearnerPhase::Following {
            self.create_session(session, timeout, turn);
        }
    }

    fn create_session(&self, session: SessionId, timeout: SessionTimeout, turn: &mut Turn<'_>) {
        let create = CreateSessionRequest {
            timeout_ms: timeout.as_millis(),
        };
        let request = ForwardedRequest {
            session,
            cxid: Xid::new(0),
            op: OpCode::CreateSession.code(),
            body: create.to_bytes(),
            identities: None,
        };
        self.send(LearnerPacket::Request(request), turn);
    }

    /// A connection wants a session that it says is its own.
    pub(crate) fn claim_session(
        &mut self,
        conn: ConnId,
        session: SessionId,
        timeout: SessionTimeout,
        shared: &Shared,
        turn: &mut Turn<'_>,
    ) {
        if !self.is_serving(shared) {
            return;
        }
        let queue = self.requests.claiming.entry(session).or_default();
        queue.push_back(conn);
        self.send(LearnerPacket::Revalidate { session, timeout }, turn);
    }

    /// A client was heard of: the leader hears of it with the next ping.
    pub(crate) fn touch(&mut self, session: SessionId, timeout: SessionTimeout) {
        self.requests.touches.note(session, timeout);
    }

    fn is_serving(&self, shared: &Shared) -> bool {
        self.phase == LearnerPhase::Following && shared.mode == ServingMode::Full
    }
}

impl Requests {
    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        let forwarded: usize = self.forwarded.values().map(VecDeque::len).sum();
        forwarded + self.opening.len() + self.syncs.len()
    }

    /// Whom the answer to a ping tells of; the leader reads buffers of `bytes_max` as this server does.
    pub(super) fn take_touches(&mut self, bytes_max: usize) -> Vec<(SessionId, SessionTimeout)> {
        self.touches.take(bytes_max)
    }

    /// Who waits here for a transaction: the client whose oldest request it answers. Parts that it
    /// asked for as create2 become that again.
    pub(super) fn asker(&mut self, proposal: &mut Proposal) -> Asker {
        let header = proposal.entry.header;
        if matches!(proposal.entry.txn, Txn::CreateSession(_))
            && let Some(conn) = self.opening.remove(&header.session)
        {
            return Asker::Handshake(conn);
        }
        if matches!(proposal.entry.txn, Txn::CloseSession(_)) {
            self.touches.forget(header.session);
        }
        let Some(queue) = self.forwarded.get_mut(&header.session) else {
            return Asker::Server;
        };
        // Clients that number their requests anew on each connection have asked for something else
        // with this number, at another server: that was proposed before this was sent.
        let is_it = |first: &mut Forwarded| {
            first.origin.xid == header.cxid
                && first.behind < header.zxid
                && may_answer(&proposal.entry.txn, first.op)
        };
        let Some(Forwarded {
            origin,
            op,
            create2s,
            ..
        }) = queue.pop_front_if(is_it)
        else {
            return Asker::Server;
        };
        if queue.is_empty() {
            self.forwarded.remove(&header.session);
        }
        if let Txn::Multi(ops) = &mut proposal.entry.txn {
            for index in create2s {
                if let Some(op) = ops.get_mut(index)
                    && let Op::Create(record) = op
                {
                    *op = Op::Create2(record.clone());
                }
            }
        }
        Asker::Client { origin, op }
    }

    /// The leader answers the oldest sync: everything before it was given to the tree.
    pub(super) fn handle_synced(&mut self, turn: &mut Turn<'_>) {
        if let Some((origin, path)) = self.syncs.pop_front() {
            let outcome = Ok(path);
            let barrier = Barrier { origin, outcome };
            turn.out.apply.push(ApplyAction::Barrier(barrier));
        }
    }

    /// The leader tells whether a session lives.
    pub(super) fn handle_revalidated(
        &mut self,
        session: SessionId,
        is_valid: bool,
        turn: &mut Turn<'_>,
    ) {
        let Some(queue) = self.claiming.get_mut(&session) else {
            return;
        };
        let conn = queue.pop_front();
        if queue.is_empty() {
            self.claiming.remove(&session);
        }
        if let Some(conn) = conn {
            turn.control(ControlAction::SessionAnswered {
                conn,
                session,
                is_alive: is_valid,
            });
        }
    }
}

/// Servers begin and end sessions too, on behalf of a client that may have numbered its request alike.
fn may_answer(txn: &Txn, op: OpCode) -> bool {
    match txn {
        Txn::CreateSession(_) => false,
        Txn::CloseSession(_) => op == OpCode::CloseSession,
        Txn::Single(_) | Txn::Multi(_) => true,
    }
}

/// The parts of a multi that are create2.
fn create2s(request: &Request) -> Vec<usize> {
    let Request::Multi(multi) = request else {
        return Vec::new();
    };
    let parts = multi.ops.iter().enumerate();
    let create2s = parts.filter(|(_, part)| matches!(part, MultiOp::Create2(_)));
    create2s.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use zk_proto::Bytes;

    use super::*;
    use crate::conn::pipeline::{Pipeline, PipelineLimits};
    use crate::peer::Mismatch;
    use crate::time::WallTime;
    use crate::wire::txn::{CloseSessionTxn, TxnEntry, TxnHeader};

    const SESSION: SessionId = SessionId::new(7);

    fn proposal(zxid: i64, cxid: i32) -> Proposal {
        proposal_of(zxid, cxid, Txn::Multi(Vec::new()))
    }

    fn proposal_of(zxid: i64, cxid: i32, txn: Txn) -> Proposal {
        Proposal {
            entry: TxnEntry {
                header: TxnHeader {
                    session: SESSION,
                    cxid: Xid::new(cxid),
                    zxid: Zxid::new(zxid),
                    time: WallTime::from_millis(0),
                },
                txn,
                digest: None,
            },
            bytes: Bytes::new(),
            asker: Asker::Server,
            mismatch: Mismatch::Divergence,
        }
    }

    #[test]
    fn what_was_proposed_before_a_request_does_not_answer_it() {
        let mut pipeline = Pipeline::<()>::new(&PipelineLimits {
            waiting_max: 1,
            waiting_bytes_max: 1,
            outgoing_max: 1,
            outgoing_bytes_max: 1,
        });
        let origin = Origin {
            conn: ConnId::new(1),
            ticket: pipeline.admit_write(0).expect("there is room"),
            xid: Xid::new(2),
        };
        let mut requests = Requests::default();
        let op = OpCode::Delete;
        let queue = requests.forwarded.entry(SESSION).or_default();
        queue.push_back(Forwarded {
            origin,
            op,
            behind: Zxid::new(0x20),
            create2s: Vec::new(),
        });
        // Of the session's former connection, to another server, under the same number.
        assert_eq!(requests.asker(&mut proposal(0x20, 2)), Asker::Server);
        assert_eq!(requests.asker(&mut proposal(0x21, 1)), Asker::Server);
        // Of a server that ends the session, under no number of a client's.
        let close = Txn::CloseSession(CloseSessionTxn { paths: None });
        let expiry = &mut proposal_of(0x21, 2, close);
        assert_eq!(requests.asker(expiry), Asker::Server);
        let own = Asker::Client { origin, op };
        assert_eq!(requests.asker(&mut proposal(0x22, 2)), own);
    }
}
