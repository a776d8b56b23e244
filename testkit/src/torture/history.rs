//! What clients did and what they were told, in the order in which it happened here.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::Stat;

/// A moment: one counter for all clients, so that of two moments one is earlier.
pub type Tick = u64;

/// The tick of what never ended.
pub const NEVER: Tick = Tick::MAX;

/// A session, by its number.
pub type Session = i64;

/// A znode of the registers, by its number.
pub type Key = u64;

/// A znode as a client was shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What it held: a number that was written once, by one request.
    pub value: u64,
    /// Transaction that last set it.
    pub zxid: i64,
    /// Transaction that created it.
    pub created: i64,
    /// Changes since it was created.
    pub version: i32,
}

impl Seen {
    /// What a stat says of a znode that holds `value`.
    pub fn of(value: u64, stat: &Stat) -> Self {
        Self {
            value,
            zxid: stat.mzxid.get(),
            created: stat.czxid.get(),
            version: stat.version.get(),
        }
    }
}

/// What a client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To set the data, whatever it is.
    Set(u64),
    /// To set the data, if its version is that of `old`.
    Swap {
        /// What was there when the client looked.
        old: Seen,
        /// What is to be there.
        new: u64,
    },
    /// To create the znode.
    Create(u64),
    /// To delete it.
    Delete,
    /// To read it where the client is.
    Read,
    /// To read it behind a sync.
    SyncedRead,
}

impl Action {
    /// The value that it writes.
    pub fn value(self) -> Option<u64> {
        match self {
            Self::Set(value) | Self::Swap { new: value, .. } | Self::Create(value) => Some(value),
            Self::Delete | Self::Read | Self::SyncedRead => None,
        }
    }
}

/// What a client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The znode holds what was written.
    Wrote(Seen),
    /// The znode is deleted.
    Deleted,
    /// The znode as it is, or that there is none.
    Saw(Option<Seen>),
    /// That it was not done.
    Rejected,
    /// Nothing, and no byte of the request left the client.
    NotSent,
    /// Nothing: it may have been done, or still be.
    Unknown,
}

/// A request about a register, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// The session in which it was asked.
    pub session: Session,
    /// Its place among the requests of the session.
    pub order: u64,
    /// The znode.
    pub key: Key,
    /// Before it was submitted.
    pub begin: Tick,
    /// After it was answered, or given up.
    pub end: Tick,
    /// What was asked.
    pub action: Action,
    /// What was told.
    pub answer: Answer,
}

/// A write of any kind that was acknowledged with its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// The session in which it was asked.
    pub session: Session,
    /// Before it was submitted.
    pub begin: Tick,
    /// After it was answered.
    pub end: Tick,
    /// Its transaction.
    pub zxid: i64,
}

/// The creation of a sequential znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// What it holds.
    pub value: u64,
    /// Before it was asked for.
    pub begin: Tick,
    /// After it was answered.
    pub end: Tick,
    /// What came of it.
    pub outcome: NumberedOutcome,
}

/// What came of the creation of a sequential znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberedOutcome {
    /// It has this number, by this transaction.
    Created {
        /// The number in its name.
        number: i32,
        /// Its transaction.
        zxid: i64,
    },
    /// It may have been created.
    Unknown,
    /// It was certainly not.
    Failed,
}

/// An ephemeral znode that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ephemeral {
    /// Its name, which nobody else uses ever.
    pub name: String,
    /// Whose it is.
    pub session: Session,
    /// After its creation was acknowledged.
    pub end: Tick,
    /// Before its owner asked to delete it or to end the session; never so far if [`NEVER`].
    pub released: Tick,
}

/// A look for ephemerals: at all of them behind a sync, or by an owner at its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Before it was submitted.
    pub begin: Tick,
    /// After it was answered.
    pub end: Tick,
    /// The only name that was looked for; all if none.
    pub only: Option<String>,
    /// What is there.
    pub names: BTreeSet<String>,
}

/// What a watch was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    /// A znode's data, as it was, or its absence.
    Data(Key, Option<Seen>),
    /// The names of children.
    Children(BTreeSet<String>),
}

/// A look, by the client that watches, at what it watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The session of the watch and of the look.
    pub session: Session,
    /// What was there when the watch was registered.
    pub before: Watched,
    /// What was there now.
    pub now: Watched,
    /// Whether an event had come when the answer did.
    pub has_fired: bool,
    /// Whether the look was behind a sync that began after the event had come.
    pub is_synced: bool,
    /// When the answer came.
    pub end: Tick,
}

/// An item of the stream of a recursive watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A znode changed: which, and by which transaction.
    Event {
        /// Its path.
        path: String,
        /// The transaction; 0 if the server did not tell.
        zxid: i64,
    },
    /// What is behind this zxid may be missing.
    Gap(i64),
    /// Nothing behind this zxid is missing.
    Armed(i64),
}

/// What a recursive watch told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// After the watch was there.
    pub begin: Tick,
    /// Before the sync was submitted that came before the last look at the stream.
    pub end: Tick,
    /// What it told, in order.
    pub items: Vec<Item>,
}

/// Two znodes that are written together, as they were read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// What the first held.
    pub first: Option<Seen>,
    /// What the second held.
    pub second: Option<Seen>,
    /// When the answer came.
    pub end: Tick,
}

/// The tree of one member: what each znode holds, and its stat.
pub type Tree = BTreeMap<String, (Vec<u8>, Stat)>;

/// What the members held when nobody wrote.
#[derive(Debug, Clone, Default)]
pub struct Quiet {
    /// Trees by member.
    pub trees: Vec<(usize, Tree)>,
    /// Members whose trees could not be read, and why.
    pub unread: Vec<(usize, String)>,
    /// Sessions of clients that are alive.
    pub alive: BTreeSet<Session>,
}

/// Everything of one slice of a run: what was asked between two moments when nobody did.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// The folder in the tree whose znodes are of this slice only.
    pub root: String,
    /// The highest transaction that was acknowledged before.
    pub floor: i64,
    /// The highest transaction that a session had been shown before.
    pub floors: BTreeMap<Session, i64>,
    /// Requests about registers.
    pub operations: Vec<Operation>,
    /// Acknowledged writes of other kinds.
    pub writes: Vec<Write>,
    /// Sequential znodes.
    pub numbered: Vec<Numbered>,
    /// Ephemeral znodes.
    pub ephemerals: Vec<Ephemeral>,
    /// Listings of ephemerals.
    pub listings: Vec<Listing>,
    /// Looks at what is watched.
    pub looks: Vec<Look>,
    /// What recursive watches on the folder told.
    pub streams: Vec<Stream>,
    /// Pairs as they were read.
    pub pairs: Vec<Pair>,
    /// What was there at the end; nothing if members were not asked.
    pub quiet: Quiet,
}

impl Slice {
    /// All acknowledged writes that told their transaction.
    pub fn acknowledged(&self) -> Vec<Write> {
        let registers = self.operations.iter().filter_map(|operation| {
            let Answer::Wrote(seen) = operation.answer else {
                return None;
            };
            let Operation {
                session,
                begin,
                end,
                ..
            } = *operation;
            Some(Write {
                session,
                begin,
                end,
                zxid: seen.zxid,
            })
        });
        registers.chain(self.writes.iter().copied()).collect()
    }

    /// Where a register is in the tree.
    pub fn path_of(&self, key: Key) -> String {
        register(&self.root, key)
    }
}

/// Where a register is, below the folder of a slice.
pub fn register(root: &str, key: Key) -> String {
    format!("{root}/r{key}")
}
