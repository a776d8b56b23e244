//! What is sent to both servers, decided by a seed alone.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::jute::Encode as _;
use zk_proto::request::{
    AddWatchRequest, AuthPacket, CheckVersionRequest, CheckWatchesRequest, CreateRequest,
    CreateTtlRequest, DeleteRequest, ExistsRequest, GetAclRequest, GetAllChildrenNumberRequest,
    GetChildren2Request, GetChildrenRequest, GetDataRequest, GetEphemeralsRequest, GetSaslRequest,
    MultiOp, MultiRequest, ReconfigRequest, RemoveWatchesRequest, Request, SetAclRequest,
    SetDataRequest, SyncRequest,
};
use zk_proto::{Acl, Id, OpCode, Perms, Version, ZPath};

use super::ask::{Ask, Words};
use super::draw::Draw;

/// Connections of a script, each with a session.
const SEATS: usize = 3;

/// Steps of the longest script.
const STEPS_MAX: usize = 60;

/// Requests sent in one go.
const BATCH_MAX: usize = 6;

/// One step on one connection.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which connection.
    pub seat: usize,
    /// What it does.
    pub act: Act,
}

/// What a connection does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends requests in one go and waits for all answers; some have xids of their own.
    Send(Vec<(Option<i32>, Ask)>),
    /// Sends what ends the connection, and goes on with the session on another.
    Last(Ask),
    /// Sends bytes that are no frame, and goes on with the session on another connection.
    Bytes(Bytes),
    /// Goes on with the session on another connection.
    Resume {
        /// Whether the old one is left open, for the server to close.
        keeps_old: bool,
        /// Whether a wrong password is tried first.
        is_wrong_first: bool,
    },
    /// Ends the session and opens another.
    Close,
}

/// What a script is about. The reference is older than what we do in places; a flavour leaves out
/// what would only show that again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Watches of every kind, on znodes that all may read.
    Watches,
    /// Access control lists of every kind, and no watches.
    Acls,
    /// Quotas that are enforced, one request at a time.
    Quotas,
}

/// Which watches a connection sets on a path: servers before 3.9 keep but one mode for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    OneShot,
    Persistent,
    Recursive,
}

/// All steps.
#[derive(Debug, Clone)]
pub struct Script {
    /// What it is about.
    pub flavour: Flavour,
    /// In order.
    pub steps: Vec<Step>,
}

impl Script {
    /// How many connections it uses.
    pub const SEATS: usize = SEATS;

    /// The script of a seed.
    pub fn new(seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let flavour = draw.of(&[
            Flavour::Watches,
            Flavour::Watches,
            Flavour::Watches,
            Flavour::Acls,
            Flavour::Acls,
            Flavour::Quotas,
        ]);
        let kinds = (0..SEATS * PATHS.len())
            .map(|_| {
                draw.of(&[
                    Kind::OneShot,
                    Kind::OneShot,
                    Kind::Persistent,
                    Kind::Recursive,
                ])
            })
            .collect();
        let mut author = Author {
            draw,
            flavour,
            kinds,
            seat: 0,
        };
        let len = 8 + author.draw.below(STEPS_MAX - 8);
        let mut steps: Vec<_> = (0..len).map(|_| author.step()).collect();
        if flavour == Flavour::Quotas {
            steps.splice(0..0, quota_steps());
        }
        Self { flavour, steps }
    }

    /// How many requests it sends, those of handshakes and of the janitor not counted.
    pub fn len(&self) -> usize {
        let sent = |step: &Step| match &step.act {
            Act::Send(asks) => asks.len(),
            Act::Last(_) | Act::Bytes(_) | Act::Close => 1,
            Act::Resume { .. } => 0,
        };
        self.steps.iter().map(sent).sum()
    }

    /// Whether it sends nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Paths that znodes may have.
const PATHS: [&str; 14] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/d",
    "/e",
    "/e/f",
    "/e/f/g",
    "/caf\u{e9}",
    "/a/s0000000000",
    "/a/s0000000001",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
];

/// Text that is no path, or is one against expectation.
const ODD_PATHS: [&str; 17] = [
    "",
    "a",
    "//",
    "/a/",
    "/a//b",
    "/.",
    "/a/..",
    "/a/...",
    "/a/.x",
    "/\u{0}",
    "/\u{1}",
    "/a\u{7f}",
    "/\u{9f}",
    "/\u{a0}",
    "/\u{f8ff}",
    "/\u{f900}",
    "/\u{fff0}",
];

const QUOTA_PATHS: [&str; 6] = [
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/b",
    "/zookeeper/quota/a/b/zookeeper_limits",
    "/zookeeper/quota/a/b/zookeeper_stats",
];

/// Users with passwords, and their digests in lists.
const USERS: [(&str, &str); 2] = [("bob", "secret"), ("eve", "other")];

struct Author {
    draw: Draw,
    flavour: Flavour,
    kinds: Vec<Kind>,
    seat: usize,
}

/// A quota of a few znodes and bytes on `/a`.
fn quota_steps() -> Vec<Step> {
    let limits = "count=2,bytes=10=;byteHardLimit=12;countHardLimit=3";
    [
        ("/a", ""),
        ("/zookeeper/quota/a", ""),
        ("/zookeeper/quota/a/zookeeper_limits", limits),
        ("/zookeeper/quota/a/zookeeper_stats", ""),
    ]
    .into_iter()
    .map(|(path, data)| Step {
        seat: 0,
        act: Act::Send(vec![(
            None,
            Ask::Request(Request::Create(CreateRequest {
                path: Some(path.into()),
                data: Some(data.into()),
                acl: Some(vec![open()]),
                flags: 0,
            })),
        )]),
    })
    .collect()
}

fn open() -> Acl {
    Acl::new(Perms::ALL, Id::ANYONE)
}

impl Author {
    fn step(&mut self) -> Step {
        self.seat = self.draw.below(SEATS);
        let act = match self.draw.below(60) {
            0 => Act::Close,
            1 | 2 => Act::Resume {
                keeps_old: self.draw.once_in(2),
                is_wrong_first: self.draw.once_in(4),
            },
            3 => Act::Bytes(self.draw.of(&[
                Bytes::from_static(&[0xff, 0xff, 0xff, 0xff]),
                Bytes::from_static(&[0x80, 0, 0, 0]),
                // One more than is allowed.
                Bytes::from_static(&[0, 0x10, 0, 0]),
                Bytes::from_static(&[0, 0, 0, 0]),
                Bytes::from_static(&[0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0]),
            ])),
            4 => Act::Last(self.last()),
            5 => Act::Send(vec![(Some(-4), self.auth())]),
            6 => Act::Send(vec![(
                None,
                Ask::Request(Request::Sasl(GetSaslRequest {
                    token: Some(Bytes::from_static(b"token")),
                })),
            )]),
            _ => {
                let is_single = self.flavour == Flavour::Quotas || self.draw.once_in(2);
                let len = if is_single {
                    1
                } else {
                    2 + self.draw.below(BATCH_MAX - 1)
                };
                let mut asks = Vec::new();
                for _ in 0..len {
                    let ask = self.ask();
                    // What is behind it sees the old list on the reference, until it is applied.
                    let is_last = matches!(ask, Ask::Request(Request::SetAcl(_)));
                    asks.push((self.xid(&ask), ask));
                    if is_last {
                        break;
                    }
                }
                Act::Send(asks)
            }
        };
        Step {
            seat: self.seat,
            act,
        }
    }

    fn xid(&mut self, ask: &Ask) -> Option<i32> {
        match ask {
            Ask::Request(Request::Ping) => Some(self.draw.of(&[-2, -2, 5])),
            Ask::SetWatches(..) => self.draw.of(&[Some(-8), None]),
            // Never looked at.
            _ if self.draw.once_in(40) => Some(self.draw.of(&[0, 1, 77, -7, i32::MIN, i32::MAX])),
            Ask::Request(_) | Ask::Bytes(..) | Ask::Code(_) | Ask::DeleteContainer(_) => None,
        }
    }

    /// A request that ends the connection.
    fn last(&mut self) -> Ask {
        let auth = |scheme: &'static str, auth: Option<Bytes>| {
            Ask::Request(Request::Auth(AuthPacket {
                auth_type: 0,
                scheme: Some(scheme.into()),
                auth,
            }))
        };
        match self.draw.below(6) {
            0 => auth("nobody", Some(Bytes::from_static(b"x"))),
            1 => auth("world", Some(Bytes::from_static(b"anyone"))),
            2 => auth("digest", None),
            3 => Ask::Bytes(OpCode::Auth, Bytes::from_static(&[0, 0, 0])),
            _ => Ask::Code(
                self.draw
                    .of(&[0, -1, 10, 23, 99, 108, 999, i32::MAX, i32::MIN]),
            ),
        }
    }

    fn auth(&mut self) -> Ask {
        let (user, password) = self.draw.of(&USERS);
        let (scheme, auth) = self.draw.of(&[
            ("digest", format!("{user}:{password}")),
            ("digest", format!("{user}:{password}")),
            ("digest", format!("{user}:wrong")),
            ("digest", "nocolon".to_owned()),
            ("digest", String::new()),
            ("ip", String::new()),
        ]);
        Ask::Request(Request::Auth(AuthPacket {
            auth_type: self.draw.of(&[0, 100]),
            scheme: Some(scheme.into()),
            auth: Some(auth.into()),
        }))
    }

    // --- arguments ------------------------------------------------------------------------------

    /// A path, its number among [`PATHS`] if it is one of those.
    fn numbered(&mut self) -> (Option<usize>, Option<ByteString>) {
        if self.flavour == Flavour::Quotas && self.draw.once_in(3) {
            return (None, Some(self.draw.of(&QUOTA_PATHS).into()));
        }
        match self.draw.below(60) {
            0 => (None, None),
            1..5 => (None, Some(self.draw.of(&ODD_PATHS).into())),
            5..8 => (None, Some(self.draw.of(&QUOTA_PATHS).into())),
            _ => {
                // The first are asked for more often than the last.
                let end = if self.draw.once_in(4) { PATHS.len() } else { 9 };
                let number = self.draw.below(end);
                let path = PATHS.get(number).copied().unwrap_or("/");
                (Some(number), Some(path.into()))
            }
        }
    }

    fn path(&mut self) -> Option<ByteString> {
        self.numbered().1
    }

    /// A path and whether to watch it once.
    fn watchable(&mut self) -> (Option<ByteString>, bool) {
        let (number, path) = self.numbered();
        let watch = self.flavour == Flavour::Watches
            && self.kind(number) == Kind::OneShot
            && self.draw.once_in(2)
            // Reads take it for the root; watches on it never fire at the reference.
            && path.as_deref() != Some("");
        (path, watch)
    }

    fn kind(&self, number: Option<usize>) -> Kind {
        let at = number.map(|number| self.seat * PATHS.len() + number);
        at.and_then(|at| self.kinds.get(at).copied())
            .unwrap_or(Kind::OneShot)
    }

    fn data(&mut self) -> Option<Bytes> {
        match self.draw.below(12) {
            0 => None,
            1 => Some(Bytes::new()),
            2 => Some(vec![b'x'; 200].into()),
            _ => Some(vec![b'd'; 1 + self.draw.below(6)].into()),
        }
    }

    /// Data for a path. The reference dies of usage that it cannot read, so that none is written;
    /// limits that nobody can read are a usual error.
    fn data_for(&mut self, path: Option<&ByteString>) -> Option<Bytes> {
        let path = path.map_or("", |path| &path[..]);
        let texts = [
            "",
            "count=3,bytes=20",
            "count=-1,bytes=-1=;countHardLimit=2",
            "bytes=9=;byteHardLimit=9",
            "count=0,bytes=0",
            "count=1,bytes=1,extra=5",
            // From here on for limits only.
            "count=x",
            "bytes=1,count=9999999999999999999",
        ];
        if path.ends_with("/zookeeper_stats") {
            Some(self.draw.of(texts.get(..6).unwrap_or_default()).into())
        } else if path.ends_with("/zookeeper_limits") {
            Some(self.draw.of(&texts).into())
        } else {
            self.data()
        }
    }

    fn version(&mut self) -> Version {
        Version::new(self.draw.of(&[-1, -1, -1, 0, 0, 1, 2, -2, i32::MAX]))
    }

    fn acl(&mut self) -> Option<Vec<Acl>> {
        let (user, password) = self.draw.of(&USERS);
        let entry = |perms: i32, scheme: &str, id: &str| {
            Acl::new(Perms::from_bits(perms), Id::new(scheme, id))
        };
        if self.draw.once_in(12) {
            return self.draw.of(&[
                None,
                Some(Vec::new()),
                Some(vec![entry(31, "world", "somebody")]),
                Some(vec![entry(31, "nobody", "x")]),
                Some(vec![entry(31, "digest", "nocolon")]),
                Some(vec![entry(31, "digest", "a:b:c")]),
                Some(vec![entry(31, "digest", ":")]),
                Some(vec![entry(31, "ip", "300.1.1.1")]),
                Some(vec![entry(31, "ip", "127.0.0.1/33")]),
                Some(vec![entry(31, "ip", "")]),
                Some(vec![entry(31, "super", "x")]),
                Some(vec![entry(31, "", "")]),
                Some(vec![open(), entry(31, "nobody", "x")]),
            ]);
        }
        let readable = entry(1, "world", "anyone");
        let of_user = Acl::new(Perms::ALL, Id::digest(user, password));
        if self.flavour != Flavour::Acls {
            return Some(match self.draw.below(12) {
                0 => vec![readable, of_user],
                1 => vec![open(), open()],
                2 => vec![readable, entry(31, "ip", "127.0.0.1")],
                3 => vec![entry(0x7fff_ffff, "world", "anyone")],
                _ => vec![open()],
            });
        }
        let perms = self.draw.of(&[0, 1, 2, 4, 8, 16, 3, 31, 30, 0x60, -1]);
        Some(match self.draw.below(12) {
            0 => vec![readable],
            1 => vec![of_user],
            2 => vec![readable, of_user],
            3 => vec![entry(perms, "ip", "127.0.0.1")],
            4 => vec![
                entry(perms, "ip", "10.0.0.0/8"),
                entry(5, "ip", "127.0.0.0/8"),
            ],
            5 => vec![entry(perms, "auth", ""), entry(perms, "auth", "ignored")],
            6 => vec![entry(perms, "world", "anyone"), of_user],
            7 => vec![entry(perms, "digest", "a:b"), entry(perms, "digest", ":x")],
            8 => vec![open(), entry(perms, "world", "anyone"), open()],
            _ => vec![open()],
        })
    }

    /// An access control list that leaves the rest of the script something to do.
    fn usual_acl(&mut self) -> Option<Vec<Acl>> {
        if self.draw.once_in(2) {
            Some(vec![open()])
        } else {
            self.acl()
        }
    }

    // --- requests -------------------------------------------------------------------------------

    fn ask(&mut self) -> Ask {
        if self.draw.once_in(30) {
            return self.truncated();
        }
        match self.draw.below(40) {
            // Of what is not there: the reference looks at bytes that are no path.
            0 => Ask::DeleteContainer(
                self.draw
                    .of(&["/none", "/none/x", "/zookeeper", "none"])
                    .into(),
            ),
            1 | 2 if self.flavour == Flavour::Watches => self.set_watches(),
            _ => Ask::Request(self.request()),
        }
    }

    /// A request that ends too early, or has a vector of impossible length.
    fn truncated(&mut self) -> Ask {
        let request = self.request();
        let mut body = BytesMut::new();
        request.encode(&mut body);
        if body.is_empty() {
            return Ask::Request(request);
        }
        let len = self.draw.below(body.len());
        Ask::Bytes(request.op(), body.freeze().slice(..len))
    }

    fn request(&mut self) -> Request {
        match self.draw.below(40) {
            0..7 => self.create(),
            7..10 => Request::Delete(DeleteRequest {
                path: self.path(),
                version: self.version(),
            }),
            10..14 => self.set_data(),
            14..16 => Request::SetAcl(SetAclRequest {
                path: self.path(),
                acl: self.acl(),
                version: self.version(),
            }),
            16..19 => self.multi(),
            19 => self.multi_read(),
            20..22 => {
                let (path, watch) = self.watchable();
                Request::Exists(ExistsRequest { path, watch })
            }
            22..25 => {
                let (path, watch) = self.watchable();
                Request::GetData(GetDataRequest { path, watch })
            }
            25..27 => {
                let (path, watch) = self.watchable();
                Request::GetChildren2(GetChildren2Request { path, watch })
            }
            27 => {
                let (path, watch) = self.watchable();
                Request::GetChildren(GetChildrenRequest { path, watch })
            }
            28 | 29 => Request::GetAcl(GetAclRequest { path: self.path() }),
            30 => Request::GetAllChildrenNumber(GetAllChildrenNumberRequest { path: self.path() }),
            31 => Request::GetEphemerals(GetEphemeralsRequest {
                prefix_path: self.path(),
            }),
            32 => Request::WhoAmI,
            33 => Request::Sync(SyncRequest { path: self.path() }),
            34 => Request::Ping,
            35 => self.check_watches(),
            36 => self.remove_watches(),
            37 | 38 => self.add_watch(),
            _ => Request::Reconfig(ReconfigRequest {
                joining_servers: self.draw.of(&[None, Some("server.2=localhost:1:2".into())]),
                leaving_servers: self.draw.of(&[None, Some("1".into())]),
                new_members: None,
                cur_config_id: self.draw.of(&[-1, 0]),
            }),
        }
    }

    fn plain_create(&mut self) -> CreateRequest {
        let path = self.path();
        let mut flags = self.draw.of(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, -1]);
        // Whether a limit goes before or after what it counts is not told when a session ends.
        if path
            .as_ref()
            .is_some_and(|path| path.starts_with("/zookeeper/quota"))
            && flags & 1 == 1
        {
            flags = 0;
        }
        CreateRequest {
            data: self.data_for(path.as_ref()),
            acl: self.usual_acl(),
            flags,
            path,
        }
    }

    /// Of what can be applied: the reference fails on the flags of others with a negative time to
    /// live only after it has logged them, and cannot start again.
    fn ttl_create(&mut self) -> CreateTtlRequest {
        let CreateRequest {
            path, data, acl, ..
        } = self.plain_create();
        let (flags, ttl_ms) = self.draw.of(&[
            (5, 1_000_000),
            (5, 1 << 39),
            (6, 3_000_000),
            (5, 0),
            (6, -1),
            (5, (1 << 40) - 1),
            (5, 1 << 40),
            (5, i64::MIN),
            (0, 1_000_000),
            (4, 1_000_000),
        ]);
        CreateTtlRequest {
            path,
            data,
            acl,
            flags,
            ttl_ms,
        }
    }

    fn create(&mut self) -> Request {
        match self.draw.below(8) {
            0..3 => Request::Create(self.plain_create()),
            3..6 => Request::Create2(self.plain_create()),
            6 => Request::CreateContainer(CreateRequest {
                flags: self.draw.of(&[4, 4, 4, 0, 2]),
                ..self.plain_create()
            }),
            _ => Request::CreateTtl(self.ttl_create()),
        }
    }

    fn set_data(&mut self) -> Request {
        let path = self.path();
        Request::SetData(SetDataRequest {
            data: self.data_for(path.as_ref()),
            version: self.version(),
            path,
        })
    }

    fn multi(&mut self) -> Request {
        let len = if self.flavour == Flavour::Quotas {
            1
        } else {
            self.draw.below(6)
        };
        let ops = (0..len).map(|_| self.multi_op()).collect();
        Request::Multi(MultiRequest { ops })
    }

    fn multi_op(&mut self) -> MultiOp {
        // A bad flag spoils the whole request since 3.9, and one operation before.
        let mut create = self.plain_create();
        if !(0..5).contains(&create.flags) {
            create.flags = 0;
        }
        match self.draw.below(14) {
            0..3 => MultiOp::Create(create),
            3 | 4 => MultiOp::Create2(create),
            // With flags of an ephemeral znode it is one, on 3.8.
            5 => MultiOp::CreateContainer(CreateRequest {
                flags: self.draw.of(&[4, 4, 0, 2]),
                ..create
            }),
            6 => MultiOp::CreateTtl(self.ttl_create()),
            7 | 8 => MultiOp::Delete(DeleteRequest {
                path: self.path(),
                version: self.version(),
            }),
            9..11 => {
                let path = self.path();
                MultiOp::SetData(SetDataRequest {
                    data: self.data_for(path.as_ref()),
                    version: self.version(),
                    path,
                })
            }
            11 if self.draw.once_in(8) => MultiOp::GetData(GetDataRequest {
                path: Some("/a".into()),
                watch: false,
            }),
            _ => MultiOp::Check(CheckVersionRequest {
                path: self.path(),
                version: self.version(),
            }),
        }
    }

    fn multi_read(&mut self) -> Request {
        let len = self.draw.below(5);
        let ops = (0..len)
            .map(|_| {
                let (path, watch) = (self.path(), self.draw.once_in(3));
                match self.draw.below(12) {
                    0 => MultiOp::Check(CheckVersionRequest {
                        path,
                        version: Version::ANY,
                    }),
                    1..6 => MultiOp::GetChildren(GetChildrenRequest { path, watch }),
                    _ => MultiOp::GetData(GetDataRequest { path, watch }),
                }
            })
            .collect();
        Request::MultiRead(MultiRequest { ops })
    }

    // --- watches --------------------------------------------------------------------------------

    /// A path that watches may be on. The reference looks for the parents of what is none, in vain.
    fn watched(&mut self) -> (Option<usize>, Option<ByteString>) {
        let (number, path) = self.numbered();
        let is_path = path.as_ref().is_some_and(|path| ZPath::new(path).is_ok());
        (number, if is_path { path } else { Some("/none".into()) })
    }

    /// Which type of watcher to ask for on a path, so that modes do not meet.
    fn watcher_type(&mut self, number: Option<usize>) -> i32 {
        match self.kind(number) {
            Kind::OneShot => self.draw.of(&[1, 2, 3, 3, 0, 6, -1]),
            Kind::Persistent | Kind::Recursive => self.draw.of(&[3, 3, 3, 0, 6]),
        }
    }

    fn check_watches(&mut self) -> Request {
        let (number, path) = self.watched();
        let watcher_type = self.watcher_type(number);
        let typed = self.draw.of(&[4, 5]);
        let watcher_type = if self.draw.once_in(6) {
            typed
        } else {
            watcher_type
        };
        Request::CheckWatches(CheckWatchesRequest { path, watcher_type })
    }

    fn remove_watches(&mut self) -> Request {
        let (number, path) = self.watched();
        let watcher_type = self.watcher_type(number);
        Request::RemoveWatches(RemoveWatchesRequest { path, watcher_type })
    }

    fn add_watch(&mut self) -> Request {
        let (number, path) = self.numbered();
        let (path, mode) = match (self.flavour, self.kind(number)) {
            (Flavour::Watches, Kind::Persistent) => (path, 0),
            (Flavour::Watches, Kind::Recursive) => (path, 1),
            _ => (path, self.draw.of(&[2, -1, 7])),
        };
        Request::AddWatch(AddWatchRequest { path, mode })
    }

    fn set_watches(&mut self) -> Ask {
        let mut lists: [Vec<ByteString>; 5] = Default::default();
        for (number, path) in PATHS.iter().enumerate() {
            if !self.draw.once_in(3) {
                continue;
            }
            let list = match self.kind(Some(number)) {
                Kind::OneShot => self.draw.below(3),
                Kind::Persistent => 3,
                Kind::Recursive => 4,
            };
            if let Some(list) = lists.get_mut(list) {
                list.push((*path).into());
            }
        }
        let [data, exist, child, persistent, recursive] = lists.map(Some);
        let mut words = Words {
            one_shot: [data, exist, child],
            added: self.draw.once_in(2).then_some([persistent, recursive]),
        };
        if self.draw.once_in(8) {
            let at = self.draw.below(3);
            if let Some(list) = words.one_shot.get_mut(at) {
                *list = None;
            }
        }
        let after = i64::try_from(self.draw.below(60)).unwrap_or_default();
        Ask::SetWatches(after, words)
    }
}
