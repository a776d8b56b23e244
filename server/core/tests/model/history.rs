//! Random histories, as a leader would make them or as no leader would.

use proptest::prelude::*;
use zk_core::wire::txn::{
    CheckVersionTxn, CloseSessionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn,
    CreateTxn, DeleteTxn, ErrorTxn, Op, SetAclTxn, SetDataTxn, Txn, TxnHeader,
};
use zk_proto::{Acl, Bytes, Id, Perms, Version};

use super::{Model, header, open};

const PATHS: &[&str] = &[
    "/a",
    "/b",
    "/a/x",
    "/a/y",
    "/a/x/1",
    "/a/x/a-name-of-more-than-fifteen-bytes",
    "/a/x/1/deep",
    "/b/c",
    "/b/caf\u{e9}",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/x",
    "/zookeeper/quota/a/x/zookeeper_limits",
    "/zookeeper/quota/a/x/zookeeper_stats",
];

/// What a client asks for, before anyone looks at the tree.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Op(Ask),
    Multi(Vec<Ask>),
    OpenSession(i64),
    /// And whether all its paths are listed.
    CloseSession(i64, bool),
}

#[derive(Debug, Clone)]
pub(crate) struct Ask {
    kind: u8,
    path: usize,
    data: u8,
    acl: u8,
    session: i64,
}

fn ask() -> impl Strategy<Value = Ask> {
    (0u8..12, 0..PATHS.len(), any::<u8>(), 0u8..4, 1i64..4).prop_map(
        |(kind, path, data, acl, session)| Ask {
            kind,
            path,
            data,
            acl,
            session,
        },
    )
}

pub(crate) fn steps(max: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => ask().prop_map(Step::Op),
        2 => proptest::collection::vec(ask(), 1..5).prop_map(Step::Multi),
        1 => (1i64..4).prop_map(Step::OpenSession),
        1 => (1i64..4, any::<bool>()).prop_map(|(session, listed)| Step::CloseSession(session, listed)),
    ];
    proptest::collection::vec(step, 1..max)
}

fn acl(choice: u8) -> Option<Vec<Acl>> {
    match choice {
        0 => None,
        1 => Some(open()),
        2 => Some(vec![Acl::new(Perms::READ, Id::new("ip", "10.0.0.1"))]),
        _ => Some(vec![
            Acl::new(Perms::READ, Id::ANYONE),
            Acl::new(Perms::WRITE, Id::new("digest", "u:h")),
        ]),
    }
}

impl Ask {
    /// The change that the leader makes of it, whether it can be applied or not.
    fn op(&self, model: &Model) -> Op {
        let path = PATHS[self.path];
        let znode = model.znodes.get(path);
        let above = model.znodes.get(path.rsplit_once('/').unwrap().0);
        let next = |version: Option<Version>| Version::new(version.map_or(1, |v| v.get() + 1));
        let parent_cversion = next(above.map(|znode| znode.stat.cversion));
        let version = next(znode.map(|znode| znode.stat.version));
        let data = match self.data {
            0..30 => None,
            30..60 => Some(Bytes::new()),
            byte => Some(Bytes::from(vec![byte; usize::from(byte % 7)])),
        };
        let acl = acl(self.acl);
        let create = CreateTxn {
            path: path.into(),
            data: data.clone(),
            acl: acl.clone(),
            ephemeral: false,
            parent_cversion,
        };
        let path = path.into();
        match self.kind {
            0 | 1 => Op::Create(create),
            2 => Op::Create2(create),
            3 => Op::Create(CreateTxn {
                ephemeral: true,
                ..create
            }),
            4 => Op::CreateContainer(CreateContainerTxn {
                path,
                data,
                acl,
                parent_cversion,
            }),
            5 => Op::CreateTtl(CreateTtlTxn {
                path,
                data,
                acl,
                parent_cversion,
                ttl: 1 + i64::from(self.data),
            }),
            6 | 7 => Op::Delete(DeleteTxn { path }),
            8 => Op::DeleteContainer(DeleteTxn { path }),
            9 => Op::SetData(SetDataTxn {
                path,
                data,
                version,
            }),
            10 => Op::SetAcl(SetAclTxn {
                path,
                acl,
                version: next(znode.map(|znode| znode.stat.aversion)),
            }),
            _ => Op::Check(CheckVersionTxn { path, version }),
        }
    }

    /// Whether a leader would make it, or an error instead.
    fn is_legal(&self, model: &Model) -> bool {
        let path = PATHS[self.path];
        let exists = model.znodes.contains_key(path);
        match self.kind {
            0..6 => {
                let above = model.znodes.get(path.rsplit_once('/').unwrap().0);
                !exists && above.is_some_and(|above| !(1..4).contains(&above.stat.owner.get()))
            }
            6..9 => exists && model.children(path).is_empty(),
            _ => exists,
        }
    }
}

/// A leader's transactions for what clients ask: what cannot be done becomes an error.
pub(crate) fn lead(model: &mut Model, steps: &[Step]) -> Vec<(TxnHeader, Txn)> {
    let mut history = Vec::new();
    for (step, zxid) in steps.iter().zip(1..) {
        let error = || Op::Error(ErrorTxn { err: -101 });
        let legal = |ask: &Ask, model: &Model| {
            if ask.is_legal(model) {
                ask.op(model)
            } else {
                error()
            }
        };
        let (session, txn) = match step {
            Step::Op(ask) => (ask.session, Txn::Single(legal(ask, model))),
            Step::Multi(asks) => {
                let session = asks[0].session;
                let mut ahead = model.clone();
                let ops = asks.iter().map(|ask| {
                    let op = legal(ask, &ahead);
                    ahead
                        .apply_op(&header(session, zxid), &op, &mut Vec::new())
                        .ok();
                    op
                });
                (session, Txn::Multi(ops.collect()))
            }
            Step::OpenSession(session) => {
                let timeout_ms = i32::try_from(zxid).unwrap();
                (
                    *session,
                    Txn::CreateSession(CreateSessionTxn { timeout_ms }),
                )
            }
            Step::CloseSession(session, is_listed) => {
                let owned = model.owned(zk_proto::SessionId::new(*session));
                let paths = is_listed.then(|| owned.into_iter().map(Into::into).collect());
                (*session, Txn::CloseSession(CloseSessionTxn { paths }))
            }
        };
        let header = header(session, zxid);
        model.apply(&header, &txn);
        history.push((header, txn));
    }
    history
}

/// Transactions made without looking whether they can be applied.
pub(crate) fn scribble(model: &Model, steps: &[Step]) -> Vec<(TxnHeader, Txn)> {
    let txn = |(step, zxid): (&Step, i64)| match step {
        Step::Op(ask) => (header(ask.session, zxid), Txn::Single(ask.op(model))),
        Step::Multi(asks) => {
            let ops = asks.iter().map(|ask| ask.op(model));
            (header(asks[0].session, zxid), Txn::Multi(ops.collect()))
        }
        Step::OpenSession(session) => {
            let record = CreateSessionTxn { timeout_ms: 5 };
            (header(*session, zxid), Txn::CreateSession(record))
        }
        Step::CloseSession(session, _) => {
            let paths = Some(vec![PATHS[3].into(), PATHS[4].into()]);
            let record = CloseSessionTxn { paths };
            (header(*session, zxid), Txn::CloseSession(record))
        }
    };
    steps.iter().zip(1..).map(txn).collect()
}
