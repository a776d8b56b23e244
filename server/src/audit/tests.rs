use bytes::BytesMut;
use zk_core::conn::auth::{DigestScheme, Identity, IpScheme};
use zk_core::conn::pipeline::{Pipeline, PipelineLimits};
use zk_core::conn::request::{Class, Incoming};
use zk_proto::request::{
    CreateRequest, DeleteRequest, MultiRequest, ReconfigRequest, SetAclRequest,
};
use zk_proto::{ErrorCode, Id, Perms, Stat, Version, Xid, frame};

use super::*;

const SESSION: SessionId = SessionId::new(0x0100_002c_7043_0000);

/// An audit, and one connection of a client that is called bob.
struct World {
    audit: Audit,
    pipeline: Pipeline<()>,
}

impl World {
    fn new() -> Self {
        let schemes = Schemes::new(vec![Box::new(IpScheme), Box::new(DigestScheme::new(None))]);
        let limits = &PipelineLimits {
            waiting_max: 100,
            waiting_bytes_max: 100,
            outgoing_max: 1,
            outgoing_bytes_max: 1,
        };
        Self {
            audit: Audit {
                user: "zk".to_owned(),
                ..Audit::new(schemes)
            },
            pipeline: Pipeline::new(limits),
        }
    }

    /// What the connection submits for a request.
    fn submission(&mut self, request: &Request) -> Submission {
        let mut wire = BytesMut::new();
        frame::write_request(&mut wire, Xid::new(1), request);
        let payload = frame::take(&mut wire, 1 << 20).expect("a frame");
        let incoming = Incoming::decode(&payload.expect("whole")).expect("decoded");
        let Class::Write(write) = incoming.class else {
            panic!("{request:?} is no write");
        };
        let address = IpAddr::from([127, 0, 0, 1]);
        Submission {
            origin: Origin {
                conn: ConnId::new(1),
                ticket: self.pipeline.admit_write(0).expect("there is room"),
                xid: Xid::new(1),
            },
            session: SESSION,
            identities: Identities::of_peer(address)
                .with([Identity::SUPER, Identity::new("digest", "bob:hash")]),
            write,
        }
    }

    fn ask(&mut self, request: &Request) -> Origin {
        let submission = self.submission(request);
        let address = IpAddr::from([127, 0, 0, 1]);
        self.audit.asked([&submission].into_iter(), address);
        submission.origin
    }

    fn answer(&self, origin: Origin, result: &TxnResult) -> Vec<String> {
        let mut lines = Vec::new();
        self.audit.answered(origin, result, &mut lines);
        texts(lines)
    }

    /// The line of a request and its result, without the fields that all have.
    fn tell(&mut self, request: &Request, result: &TxnResult) -> Vec<String> {
        let origin = self.ask(request);
        let lines = self.answer(origin, result);
        let start = "session=0x100002c70430000\tuser=127.0.0.1,bob\tip=127.0.0.1\toperation=";
        let rest = |line: String| line.strip_prefix(start).map(str::to_owned);
        lines
            .into_iter()
            .map(|line| rest(line).expect("the fields that all have"))
            .collect()
    }
}

fn texts(lines: Vec<Line>) -> Vec<String> {
    lines.into_iter().map(|line| line.text).collect()
}

fn create(path: &str, flags: i32) -> CreateRequest {
    CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: None,
        flags,
    }
}

fn delete(path: &str) -> DeleteRequest {
    DeleteRequest {
        path: Some(path.into()),
        version: Version::ANY,
    }
}

fn created(path: &str) -> Done {
    Done::Created {
        path: path.into(),
        stat: Stat::default(),
    }
}

#[test]
fn lines_are_those_of_the_reference() {
    let mut world = World::new();
    let request = Request::Create(create("/a", 0));
    let done = TxnResult::Done(created("/a"));
    let failed = TxnResult::Failed(ErrorCode::NodeExists);
    assert_eq!(
        world.tell(&request, &done),
        ["create\tznode=/a\tznode_type=persistent\tresult=success"]
    );
    assert_eq!(
        world.tell(&request, &failed),
        ["create\tznode=/a\tznode_type=persistent\tresult=failure"]
    );
    assert_eq!(
        world.tell(&Request::Create(create("/a", 99)), &failed),
        ["create\tznode=/a\tresult=failure"]
    );
    let request = Request::Create2(create("/s-", 3));
    let done = TxnResult::Done(created("/s-0000000004"));
    assert_eq!(
        world.tell(&request, &done),
        ["create\tznode=/s-0000000004\tznode_type=ephemeral_sequential\tresult=success"]
    );
    let request = Request::SetAcl(SetAclRequest {
        path: Some("/a".into()),
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        version: Version::ANY,
    });
    assert_eq!(
        world.tell(&request, &TxnResult::Done(Done::AclSet(Stat::default()))),
        ["setAcl\tznode=/a\tacl=world:anyone:cdrwa\tresult=success"]
    );
    let request = Request::Reconfig(ReconfigRequest::default());
    assert_eq!(
        world.tell(&request, &TxnResult::Done(Done::DataSet(Stat::default()))),
        ["reconfig\tznode=/zookeeper/config\tresult=success"]
    );
    assert_eq!(
        world.tell(&request, &TxnResult::Failed(ErrorCode::NoAuth)),
        ["reconfig\tresult=failure"]
    );
    assert_eq!(world.audit.pending(), 0);
}

#[test]
fn a_multi_is_told_of_by_its_parts_and_as_one_if_it_failed() {
    let mut world = World::new();
    let request = Request::Multi(MultiRequest {
        ops: vec![
            MultiOp::Create(create("/a", 2)),
            MultiOp::Check(zk_proto::request::CheckVersionRequest {
                path: Some("/a".into()),
                version: Version::ANY,
            }),
            MultiOp::Delete(delete("/b")),
        ],
    });
    let parts = vec![
        Ok(created("/a0000000000")),
        Ok(Done::Checked),
        Ok(Done::Deleted),
    ];
    assert_eq!(
        world.tell(&request, &TxnResult::Multi(parts)),
        [
            "create\tznode=/a0000000000\tznode_type=persistent_sequential\tresult=success",
            "delete\tznode=/b\tresult=success",
        ]
    );
    let codes = vec![0, ErrorCode::BadVersion.code(), 0];
    for failed in [
        TxnResult::MultiFailed(codes),
        TxnResult::Failed(ErrorCode::SessionMoved),
    ] {
        let told = world.tell(&request, &failed);
        assert_eq!(told, ["multiOperation\tresult=failure"]);
    }
}

#[test]
fn nothing_is_kept_of_what_is_not_told_of() {
    let mut world = World::new();
    world.ask(&Request::CloseSession);
    assert_eq!(world.audit.pending(), 0);
}

#[test]
fn what_is_refused_is_forgotten_and_no_more() {
    let mut world = World::new();
    let request = Request::Delete(delete("/a"));
    let first = world.ask(&request);
    let refused = world.submission(&request);
    let submissions = [&refused].into_iter();
    let address = IpAddr::from([127, 0, 0, 1]);
    world.audit.asked(submissions.clone(), address);
    world.audit.refused(submissions);
    let failed = TxnResult::Failed(ErrorCode::NoNode);
    assert!(world.answer(refused.origin, &failed).is_empty());
    assert_eq!(world.answer(first, &failed).len(), 1);
}

#[test]
fn what_is_not_answered_is_forgotten_with_its_period() {
    let mut world = World::new();
    let request = Request::Delete(delete("/a"));
    let [given, lost] = [0; 2].map(|_| world.ask(&request));
    let over = world.audit.end_period();
    let next = world.ask(&request);
    // What was given to the tree before the end of the period comes in front of it.
    let done = TxnResult::Done(Done::Deleted);
    assert_eq!(world.answer(given, &done).len(), 1);
    world.audit.forget(over);
    assert_eq!(world.audit.pending(), 1);
    assert!(world.answer(lost, &done).is_empty());
    assert_eq!(world.answer(next, &done).len(), 1);
}

#[test]
fn a_name_cannot_begin_another_value_or_line() {
    let mut world = World::new();
    let request = Request::Delete(delete("/a\tresult=success\n\u{2028}\u{9b}"));
    let failed = TxnResult::Failed(ErrorCode::BadArguments);
    assert_eq!(
        world.tell(&request, &failed),
        ["delete\tznode=/a\\tresult=success\\n\\u{2028}\\u{9b}\tresult=failure"]
    );
}

#[test]
fn who_has_no_name_is_not_named() {
    let world = World::new();
    assert_eq!(world.audit.users(&Identities::none()), None);
    let no_one = Identities::none().with([Identity::SUPER]);
    assert_eq!(world.audit.users(&no_one), None);
}

#[test]
fn the_user_of_the_process_is_looked_up() {
    let names = "root:x:0:0:root:/root:/bin/sh\nbroken\nzk:x:105:106::/nonexistent:/bin/false\n";
    assert_eq!(name_of(0, names), Some("root"));
    assert_eq!(name_of(105, names), Some("zk"));
    assert_eq!(name_of(106, names), None);
}
