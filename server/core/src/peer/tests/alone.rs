//! The machine fed by hand, with a log and a tree that do what they are told when they are told.

use std::time::Duration;

use zk_proto::header::RequestHeader;
use zk_proto::jute::Encode as _;
use zk_proto::request::{CreateFlags, CreateRequest, CreateTtlRequest, Request, SyncRequest};
use zk_proto::{Acl, ErrorCode, Id, OpCode, Perms, ServerId, SessionId, Xid, Zxid};

use crate::conn::ConnId;
use crate::conn::auth::{Access, Identities, Schemes};
use crate::conn::pipeline::{Pipeline, PipelineLimits};
use crate::conn::request::{Class, Incoming};
use crate::peer::*;
use crate::prep::PrepOptions;
use crate::session::SessionTimeout;
use crate::time::WallTime;
use crate::tree::{OwnerRules, TreeOptions, TxnResult};

const CONN: ConnId = ConnId::new(7);

/// A server whose log and tree lag as far as a test wants.
struct World {
    now: u64,
    peer: Peer,
    tree: Tree,
    out: Actions,
    /// Last transaction given to the log.
    logged: Zxid,
    /// What the tree told those who asked.
    answers: Vec<(Asker, TxnResult)>,
    synced: Vec<Barrier>,
    tickets: Pipeline<()>,
}

fn options() -> PeerOptions {
    PeerOptions {
        server: ServerId::new(1),
        tick: Duration::from_secs(1),
        session_salt: 3,
        prep: PrepOptions {
            is_standalone: true,
            ..PrepOptions::new(Access::new(Schemes::standard()))
        },
        reap_interval: Duration::from_mins(1),
        reap_max: 10,
    }
}

fn now(millis: u64) -> Now {
    Now {
        time: Time::from_millis(millis),
        wall: WallTime::from_millis(1_700_000_000_000 + millis.cast_signed()),
    }
}

impl World {
    fn new() -> Self {
        let owners = OwnerRules {
            extended_types: true,
            emulate_353_ttl: false,
        };
        Self::with(Tree::new(TreeOptions {
            owners,
            ..TreeOptions::default()
        }))
    }

    fn with(tree: Tree) -> Self {
        Self {
            now: 0,
            peer: Peer::new(options(), now(0), &tree).unwrap(),
            logged: tree.applied(),
            tree,
            out: Actions::default(),
            answers: Vec::new(),
            synced: Vec::new(),
            tickets: Pipeline::new(&PipelineLimits {
                waiting_max: 1000,
                waiting_bytes_max: 1000,
                outgoing_max: 1000,
                outgoing_bytes_max: 1000,
            }),
        }
    }

    fn feed(&mut self, event: Event) -> Result<(), Fatal> {
        let now = now(self.now);
        let done = self.peer.handle(now, event, &self.tree, &mut self.out);
        for action in self.out.log.drain(..) {
            let LogAction::Append { zxid, bytes } = action else {
                panic!("{action:?} alone");
            };
            assert!(zxid > self.logged && !bytes.is_empty());
            self.logged = zxid;
        }
        done
    }

    /// Lets the log finish all that it was given, and the tree too.
    fn settle(&mut self) {
        self.feed(Event::LogDurable(self.logged)).unwrap();
        self.apply();
        let applied = self.tree.applied();
        self.feed(Event::Applied(applied)).unwrap();
    }

    fn apply(&mut self) {
        for action in self.out.apply.drain(..) {
            match action {
                ApplyAction::Apply(proposal) => {
                    let Proposal { entry, asker, .. } = &*proposal;
                    let applied = self.tree.apply(&entry.header, &entry.txn);
                    self.answers.push((*asker, applied.result));
                }
                ApplyAction::Barrier(barrier) => self.synced.push(barrier),
                ApplyAction::Capture { .. }
                | ApplyAction::Install { .. }
                | ApplyAction::SaveSnapshot => panic!("{action:?} alone"),
            }
        }
    }

    fn sleep(&mut self, millis: u64) {
        self.now += millis;
        let now = now(self.now);
        let done = self.peer.handle_deadlines(now, &self.tree, &mut self.out);
        done.unwrap();
        self.feed(Event::LogDurable(self.peer.status().durable))
            .unwrap();
    }

    fn open(&mut self) -> SessionId {
        let timeout = SessionTimeout::from_millis(4000);
        self.feed(Event::SessionRequested {
            conn: CONN,
            timeout,
        })
        .unwrap();
        self.settle();
        assert_eq!(
            self.answers.pop(),
            Some((Asker::Handshake(CONN), TxnResult::SessionCreated))
        );
        self.tree.sessions().map(|(id, _)| id).max().unwrap()
    }

    fn ask(&mut self, session: SessionId, request: &Request) {
        let mut wire = bytes::BytesMut::new();
        RequestHeader::new(Xid::new(5), request.op()).encode(&mut wire);
        request.encode(&mut wire);
        let Class::Write(write) = Incoming::decode(&wire.freeze()).unwrap().class else {
            panic!("{request:?} is no write");
        };
        let submission = Submission {
            origin: Origin {
                conn: CONN,
                ticket: self.tickets.admit_write(0).unwrap(),
                xid: Xid::new(5),
            },
            session,
            identities: Identities::none(),
            write,
        };
        self.feed(Event::Submitted(Box::new(submission))).unwrap();
    }

    fn results(&mut self) -> Vec<TxnResult> {
        self.answers.drain(..).map(|(_, result)| result).collect()
    }
}

fn create(path: &'static str, flags: CreateFlags) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: flags.code(),
    })
}

fn sync() -> Request {
    Request::Sync(SyncRequest {
        path: Some("/s".into()),
    })
}

#[test]
fn l3_nothing_is_applied_before_it_is_durable() {
    let mut world = World::new();
    let session = world.open();
    world.ask(session, &create("/a", CreateFlags::Persistent));
    world.ask(session, &create("/b", CreateFlags::Persistent));
    assert!(world.out.apply.is_empty());
    world.feed(Event::LogDurable(Zxid::new(2))).unwrap();
    assert_eq!(world.out.apply.len(), 1);
    let status = world.peer.status();
    assert_eq!(status.committed, Zxid::new(2));
    assert_eq!(status.proposed, Zxid::new(3));
    assert_eq!(status.outstanding, 1);
    world.settle();
    assert!(world.tree.get("/a").is_some() && world.tree.get("/b").is_some());
    assert_eq!(world.peer.status().applied, Zxid::new(3));
}

#[test]
fn sync_waits_for_all_before_it_and_for_nothing_after() {
    let mut world = World::new();
    let session = world.open();
    world.ask(session, &sync());
    assert_eq!(world.out.apply.len(), 1, "there is nothing to wait for");
    world.apply();
    world.ask(session, &create("/a", CreateFlags::Persistent));
    world.ask(session, &sync());
    world.ask(session, &create("/b", CreateFlags::Persistent));
    assert!(world.out.apply.is_empty());
    world.feed(Event::LogDurable(Zxid::new(2))).unwrap();
    let lane: Vec<bool> = world
        .out
        .apply
        .iter()
        .map(|action| matches!(action, ApplyAction::Barrier(_)))
        .collect();
    assert_eq!(lane, [false, true]);
    world.apply();
    assert_eq!(world.synced.len(), 2);
    assert_eq!(world.synced[1].outcome, Ok(Some("/s".into())));
}

#[test]
fn reports_out_of_order_are_fatal() {
    let mut world = World::new();
    let session = world.open();
    world.ask(session, &create("/a", CreateFlags::Persistent));
    assert!(matches!(
        world.feed(Event::LogDurable(Zxid::new(3))),
        Err(Fatal::Durable { .. })
    ));
    assert!(matches!(
        world.feed(Event::LogDurable(Zxid::ZERO)),
        Err(Fatal::Durable { .. })
    ));
    assert!(matches!(
        world.feed(Event::Applied(Zxid::new(2))),
        Err(Fatal::Applied { .. })
    ));
    world.settle();
}

#[test]
fn session_that_is_not_heard_of_is_ended_with_its_ephemerals() {
    let mut world = World::new();
    let (quiet, lively) = (world.open(), world.open());
    assert_ne!(quiet, lively);
    world.ask(quiet, &create("/quiet", CreateFlags::Ephemeral));
    world.ask(lively, &create("/lively", CreateFlags::Ephemeral));
    world.settle();
    world.answers.clear();
    let timeout = SessionTimeout::from_millis(4000);
    world.now = 3000;
    let heard = Event::SessionHeard {
        session: lively,
        timeout,
        at: Time::from_millis(2500),
    };
    world.feed(heard).unwrap();
    assert_eq!(
        world.peer.next_deadline(),
        Some((Time::from_millis(5000), TimerKind::SessionExpiry))
    );
    world.sleep(2000);
    assert_eq!(world.out.notes, [Note::SessionExpired(quiet)]);
    world.settle();
    assert_eq!(world.results(), [TxnResult::SessionClosed]);
    assert!(world.tree.get("/quiet").is_none() && world.tree.get("/lively").is_some());
    assert_eq!(world.peer.status().sessions, 1);
    world.sleep(2000);
    world.settle();
    assert_eq!(
        world.tree.sessions().len(),
        0,
        "heard of at 2.5 s, due at 7 s"
    );
}

#[test]
fn claim_is_granted_while_the_session_lives() {
    let mut world = World::new();
    let session = world.open();
    let claim = Event::SessionClaimed {
        conn: CONN,
        session,
        timeout: SessionTimeout::from_millis(2000),
    };
    let answer = |is_alive| ControlAction::SessionAnswered {
        conn: CONN,
        session,
        is_alive,
    };
    world.feed(claim.clone()).unwrap();
    assert_eq!(world.out.control, [answer(true)]);
    world.out.control.clear();
    world.ask(session, &Request::CloseSession);
    world.ask(session, &create("/a", CreateFlags::Persistent));
    world.feed(claim.clone()).unwrap();
    assert_eq!(world.out.control, [answer(false)]);
    world.settle();
    assert_eq!(
        world.results(),
        [
            TxnResult::SessionClosed,
            TxnResult::Failed(ErrorCode::SessionExpired)
        ]
    );
    world.ask(session, &sync());
    world.apply();
    assert_eq!(
        world.synced[0].outcome,
        Err(ErrorCode::UnknownSession),
        "as a server on its own says it"
    );
}

#[test]
fn sessions_outlive_a_restart_with_their_full_timeout() {
    let mut world = World::new();
    let session = world.open();
    let mut world = World::with(world.tree);
    world.sleep(4999);
    assert_eq!(world.peer.status().sessions, 1);
    let next = world.open();
    assert!(next > session);
    world.sleep(1);
    assert_eq!(world.out.notes, [Note::SessionExpired(session)]);
}

#[test]
fn znodes_whose_time_is_over_are_deleted() {
    let mut world = World::new();
    let session = world.open();
    let request = Request::CreateTtl(CreateTtlRequest {
        path: Some("/ttl".into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::PersistentWithTtl.code(),
        ttl_ms: 5000,
    });
    world.ask(session, &request);
    world.settle();
    assert!(world.tree.get("/ttl").is_some());
    world.sleep(60_000);
    world.settle();
    assert!(world.tree.get("/ttl").is_none());
    assert!(
        world
            .answers
            .iter()
            .any(|(asker, _)| *asker == Asker::Server)
    );
    assert_eq!(OpCode::DeleteContainer.code(), 20);
}
