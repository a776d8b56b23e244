use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use zk_proto::Xid;

use super::super::super::Time;

/// One connection, as the network sees it.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) server: usize,
    pub(super) up: Direction,
    pub(super) down: Direction,
    /// Received by the server and not complete.
    pub(super) server_input: BytesMut,
    /// What each frame on its way to the client is about, in order.
    pub(super) tags: VecDeque<Option<i64>>,
    /// Which request each xid stands for.
    pub(super) xids: BTreeMap<i32, u32>,
    /// Last xid seen on it.
    pub(super) last_xid: i32,
}

/// One way of a connection.
#[derive(Debug, Default)]
pub(super) struct Direction {
    /// Bytes that still pass before the connection breaks.
    pub(super) budget: Option<usize>,
    /// Whether bytes vanish.
    pub(super) is_stalled: bool,
    /// Whether bytes are not even taken.
    pub(super) is_blocked: bool,
    /// When the last bytes on their way arrive: later ones do not overtake.
    pub(super) free_at: Time,
    /// Bytes on their way.
    pub(super) under_way: usize,
}

impl Pipe {
    pub(super) fn new(server: usize) -> Self {
        Self {
            server,
            ..Self::default()
        }
    }

    pub(super) fn id_of(&self, xid: Xid) -> Option<u32> {
        self.xids.get(&xid.get()).copied()
    }

    /// Whether bytes arrive.
    pub(super) fn is_reliable(&self) -> bool {
        !self.up.is_stalled && !self.down.is_stalled && !self.up.is_blocked
    }

    /// Whether nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.up.under_way == 0 && self.down.under_way == 0 && self.server_input.is_empty()
    }
}
