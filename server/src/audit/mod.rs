//! Who changed what, for those who must be able to tell: `audit.enable`.
//!
//! One event for each request that changes something, and for each part of a multi, when it is applied,
//! under the target [`TARGET`]: at INFO if it was done, at ERROR if not. Its message is the reference's,
//! keys and values with tabs between them. Only the server that a client is connected to tells of its
//! requests; of ephemeral znodes that die with their session every server tells.
//!
//! ```text
//!  connection ──asked──► pending ──answered──► line, told when nobody has to wait for the tree
//!                           │
//!                           └──forget──► what no answer of this server comes to any more
//! ```
//!
//! What was asked for is kept until it is applied, even if the client is gone by then. When the server
//! loses its leader, or stops to lead, nobody tells of what is on its way then: some of it may be
//! applied under the next leader, for nobody's sake.
//!
//! # Source
//!
//! Apache `ZooKeeper` 3.9, `AuditHelper`, `AuditEvent`, `Slf4jAuditLogger`, `DataTree#killSession`.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs;
use std::net::IpAddr;

use parking_lot::Mutex;
use zk_core::conn::ConnId;
use zk_core::conn::auth::{Identities, Schemes, address};
use zk_core::conn::pipeline::Ticket;
use zk_core::peer::{Origin, Submission};
use zk_core::tree::{CONFIG_PATH, Done, Effect, EffectKind, TxnResult};
use zk_proto::request::{CreateFlags, MultiOp, Request};
use zk_proto::{Acl, SessionId};

/// Target of the events, for whoever filters them.
pub const TARGET: &str = "zk_server::audit";

/// Tells of the requests of one server.
#[derive(Debug)]
pub(crate) struct Audit {
    schemes: Schemes,
    /// On whose behalf the server acts by itself.
    user: String,
    pending: Mutex<Pending>,
}

/// Requests that are not answered.
///
/// Bounded by the requests that are let in: each is answered, or forgotten with its period.
#[derive(Debug, Default)]
struct Pending {
    period: Period,
    asked: BTreeMap<(ConnId, Ticket), (Period, Asked)>,
}

/// A time in which the server has one leader, or is one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Period(u64);

/// A request, as far as it is told of. All text is a copy: a slice would hold on to the whole frame.
#[derive(Debug)]
struct Asked {
    session: SessionId,
    user: Option<String>,
    ip: String,
    what: What,
}

#[derive(Debug)]
enum What {
    One(Change),
    /// Parts that only check are none.
    Multi(Vec<Option<Change>>),
}

/// What a request, or a part of a multi, asks for.
#[derive(Debug, Default)]
struct Change {
    operation: &'static str,
    znode: Option<String>,
    znode_type: Option<&'static str>,
    acl: Option<String>,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    outcome: Outcome,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    /// Begun, and not known how it ends.
    Invoked,
}

impl Audit {
    /// Begins, on behalf of the user who runs the process.
    pub(crate) fn new(schemes: Schemes) -> Self {
        Self {
            schemes,
            user: user(),
            pending: Mutex::default(),
        }
    }

    /// The server serves.
    pub(crate) fn started(&self) {
        Line::of_server(&self.user, "serverStart", Outcome::Success).tell();
    }

    /// The server does not start.
    pub(crate) fn not_started() {
        Line::of_server(&user(), "serverStart", Outcome::Failure).tell();
    }

    /// The server was told to stop.
    pub(crate) fn stopping(&self) {
        Line::of_server(&self.user, "serverStop", Outcome::Invoked).tell();
    }

    /// A client asks for this, which may be applied from now on.
    pub(crate) fn asked<'a>(
        &self,
        submissions: impl Iterator<Item = &'a Submission>,
        remote: IpAddr,
    ) {
        for submission in submissions {
            let Some(what) = What::of(submission.write.request()) else {
                continue;
            };
            let asked = Asked {
                session: submission.session,
                user: self.users(&submission.identities),
                ip: address(remote),
                what,
            };
            let pending = &mut *self.pending.lock();
            let period = pending.period;
            pending
                .asked
                .insert(place(submission.origin), (period, asked));
        }
    }

    /// The server has no room for it: it will not be applied.
    pub(crate) fn refused<'a>(&self, submissions: impl Iterator<Item = &'a Submission>) {
        let pending = &mut *self.pending.lock();
        for submission in submissions {
            pending.asked.remove(&place(submission.origin));
        }
    }

    /// A request is applied, or refused in its place among those that are.
    pub(crate) fn answered(&self, origin: Origin, result: &TxnResult, lines: &mut Vec<Line>) {
        let asked = self.pending.lock().asked.remove(&place(origin));
        if let Some((_, asked)) = asked {
            asked.answered(result, lines);
        }
    }

    /// A session is over, and its ephemeral znodes are gone.
    pub(crate) fn session_ended(
        &self,
        session: SessionId,
        effects: &[Effect],
        lines: &mut Vec<Line>,
    ) {
        let deleted = effects
            .iter()
            .filter(|effect| effect.kind == EffectKind::Deleted);
        lines.extend(deleted.map(|effect| {
            let fields = Fields {
                session: Some(session),
                user: Some(&self.user),
                operation: "ephemeralZNodeDeletionOnSessionCloseOrExpire",
                znode: Some(&effect.path),
                ..Fields::default()
            };
            fields.line(Outcome::Success)
        }));
    }

    /// A period is over: what was asked in it, and was not given to the tree yet, is answered by nobody.
    pub(crate) fn end_period(&self) -> Period {
        let period = &mut self.pending.lock().period;
        let over = *period;
        period.0 += 1;
        over
    }

    /// Forgets what was asked up to then.
    pub(crate) fn forget(&self, over: Period) {
        let asked = &mut self.pending.lock().asked;
        asked.retain(|_, (period, _)| *period > over);
    }

    /// How many requests are neither answered nor forgotten.
    #[cfg(test)]
    pub(crate) fn pending(&self) -> usize {
        self.pending.lock().asked.len()
    }

    /// Names of a client, if it has any.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `AuthUtil#getUsers`.
    fn users(&self, identities: &Identities) -> Option<String> {
        let infos = identities.client_info(&self.schemes).into_iter();
        let names: Vec<_> = infos
            .filter_map(|info| info.user)
            .filter(|name| !name.trim().is_empty())
            .collect();
        (!names.is_empty()).then(|| names.join(","))
    }
}

fn place(origin: Origin) -> (ConnId, Ticket) {
    (origin.conn, origin.ticket)
}

/// Name of the user who runs the process; the number of one without a name.
fn user() -> String {
    let id = rustix::process::geteuid().as_raw();
    let names = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(id, &names).map_or_else(|| id.to_string(), str::to_owned)
}

/// Looks for a user in lines of `name:password:id:…`.
fn name_of(id: u32, names: &str) -> Option<&str> {
    names.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

impl Asked {
    fn answered(&self, result: &TxnResult, lines: &mut Vec<Line>) {
        match (&self.what, result) {
            (What::One(change), TxnResult::Done(done)) => lines.push(self.line(change, Some(done))),
            (What::One(change), _) => lines.push(self.line(change, None)),
            (What::Multi(changes), TxnResult::Multi(results)) => {
                for (change, result) in changes.iter().zip(results) {
                    if let Some(change) = change {
                        lines.push(self.line(change, result.as_ref().ok()));
                    }
                }
            }
            // Nothing of it was done, and no znode is named.
            (What::Multi(_), _) => {
                let change = Change::new("multiOperation", None);
                lines.push(self.line(&change, None));
            }
        }
    }

    /// Of what was done, or was not.
    fn line(&self, change: &Change, done: Option<&Done>) -> Line {
        let outcome = done.map_or(Outcome::Failure, |_| Outcome::Success);
        let znode = match done {
            // With the number that a sequential one has got.
            Some(Done::Created { path, .. }) => Some(&**path),
            Some(Done::DataSet(_)) if change.operation == RECONFIG => Some(CONFIG_PATH),
            Some(Done::Deleted | Done::DataSet(_) | Done::AclSet(_) | Done::Checked) | None => {
                change.znode.as_deref()
            }
        };
        let fields = Fields {
            session: Some(self.session),
            user: self.user.as_deref(),
            ip: Some(&self.ip),
            operation: change.operation,
            znode,
            znode_type: change.znode_type,
            acl: change.acl.as_deref(),
        };
        fields.line(outcome)
    }
}

/// The one operation whose znode goes without saying.
const RECONFIG: &str = "reconfig";

impl What {
    /// What a request is told of as, if it is.
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others change no znode")]
    fn of(request: &Request) -> Option<Self> {
        Some(Self::One(match request {
            Request::Create(r) | Request::Create2(r) | Request::CreateContainer(r) => {
                Change::create(r.path.as_deref(), r.flags)
            }
            Request::CreateTtl(r) => Change::create(r.path.as_deref(), r.flags),
            Request::Delete(r) => Change::delete(r.path.as_deref()),
            Request::DeleteContainer(r) => {
                let path = r.path.as_deref().map(String::from_utf8_lossy);
                Change::delete(path.as_deref())
            }
            Request::SetData(r) => Change::set_data(r.path.as_deref()),
            Request::SetAcl(r) => Change {
                acl: r.acl.as_deref().map(list),
                ..Change::new("setAcl", r.path.as_deref())
            },
            Request::Reconfig(_) => Change::new(RECONFIG, None),
            Request::Multi(r) => return Some(Self::Multi(r.ops.iter().map(part).collect())),
            _ => return None,
        }))
    }
}

fn part(op: &MultiOp) -> Option<Change> {
    match op {
        MultiOp::Create(r) | MultiOp::Create2(r) | MultiOp::CreateContainer(r) => {
            Some(Change::create(r.path.as_deref(), r.flags))
        }
        MultiOp::CreateTtl(r) => Some(Change::create(r.path.as_deref(), r.flags)),
        MultiOp::Delete(r) => Some(Change::delete(r.path.as_deref())),
        MultiOp::SetData(r) => Some(Change::set_data(r.path.as_deref())),
        MultiOp::Check(_) | MultiOp::GetData(_) | MultiOp::GetChildren(_) => None,
    }
}

impl Change {
    fn new(operation: &'static str, path: Option<&str>) -> Self {
        Self {
            operation,
            znode: path.map(str::to_owned),
            ..Self::default()
        }
    }

    fn create(path: Option<&str>, flags: i32) -> Self {
        let znode_type = CreateFlags::from_code(flags).map(|flags| match flags {
            CreateFlags::Persistent => "persistent",
            CreateFlags::Ephemeral => "ephemeral",
            CreateFlags::PersistentSequential => "persistent_sequential",
            CreateFlags::EphemeralSequential => "ephemeral_sequential",
            CreateFlags::Container => "container",
            CreateFlags::PersistentWithTtl => "persistent_with_ttl",
            CreateFlags::PersistentSequentialWithTtl => "persistent_sequential_with_ttl",
        });
        Self {
            znode_type,
            ..Self::new("create", path)
        }
    }

    fn delete(path: Option<&str>) -> Self {
        Self::new("delete", path)
    }

    fn set_data(path: Option<&str>) -> Self {
        Self::new("setData", path)
    }
}

/// # Source
///
/// Apache `ZooKeeper` 3.9, `ZKUtil#aclToString`.
fn list(acl: &[Acl]) -> String {
    acl.iter().map(ToString::to_string).collect()
}

impl Line {
    fn of_server(user: &str, operation: &'static str, outcome: Outcome) -> Self {
        let fields = Fields {
            user: Some(user),
            operation,
            ..Fields::default()
        };
        fields.line(outcome)
    }

    pub(crate) fn tell(&self) {
        let text = &self.text;
        match self.outcome {
            Outcome::Success | Outcome::Invoked => tracing::info!(target: TARGET, "{text}"),
            Outcome::Failure => tracing::error!(target: TARGET, "{text}"),
        }
    }
}

/// Values of a line, in their order.
#[derive(Debug, Default, Clone, Copy)]
struct Fields<'a> {
    session: Option<SessionId>,
    user: Option<&'a str>,
    ip: Option<&'a str>,
    operation: &'a str,
    znode: Option<&'a str>,
    znode_type: Option<&'a str>,
    acl: Option<&'a str>,
}

impl Fields<'_> {
    fn line(&self, outcome: Outcome) -> Line {
        let session = self.session.map(|session| session.to_string());
        let result = match outcome {
            Outcome::Success => "success",
            Outcome::Failure => "failure",
            Outcome::Invoked => "invoked",
        };
        let fields = [
            ("session", session.as_deref()),
            ("user", self.user),
            ("ip", self.ip),
            ("operation", Some(self.operation)),
            ("znode", self.znode),
            ("znode_type", self.znode_type),
            ("acl", self.acl),
            ("result", Some(result)),
        ];
        let mut text = String::new();
        for (key, value) in fields {
            if let Some(value) = value {
                let tab = if text.is_empty() { "" } else { "\t" };
                // Text takes whatever is written.
                write!(text, "{tab}{key}={}", OneLine(value)).ok();
            }
        }
        Line { outcome, text }
    }
}

/// A value without what would end it, or the line: a client chooses names.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| {
            if char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') {
                write!(f, "{}", char.escape_default())
            } else {
                f.write_char(char)
            }
        })
    }
}

#[cfg(test)]
mod tests;
