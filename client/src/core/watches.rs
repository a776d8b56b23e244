use std::collections::{BTreeMap, HashMap, VecDeque};

use bytestring::ByteString;
use zk_proto::jute::Encode as _;
use zk_proto::request::{AddWatchMode, SetWatches, SetWatches2};
use zk_proto::{EventType, OpCode, Zxid};

use super::request::{Frame, WatchId, WatchKind, WatchRequest};

/// Bytes of paths in one request that registers watches anew. The reference keeps to the same, far
/// below any server's limit on a frame.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `ClientCnxn.SendThread#primeConnection`, `SET_WATCHES_MAX_LENGTH`.
const CHUNK_MAX: usize = if cfg!(test) {
    // So that the tests meet many requests with few watches.
    16
} else {
    128 * 1024
};

/// Every watch that somebody holds, and what the server is known to hold for us.
///
/// A server keeps one watch per connection, path and group; any number of local holders share it.
/// When the last holder leaves, the server is told. What a connection of ours has registered is
/// lost with the connection and registered anew on the next: `armed` is about this connection only.
#[derive(Debug)]
pub(super) struct Watches<S> {
    paths: BTreeMap<ByteString, [Slot; 4]>,
    holders: HashMap<WatchId, Holder<S>>,
    /// Number of recursive holders: ancestors are looked at only if there is one.
    recursive: usize,
    /// Requests sent that register anew what is wanted on one path, numbered, and the last number.
    doubts: VecDeque<u64>,
    doubted: u64,
    /// Path whose list of children was concluded to have changed from the last event.
    concluded: Option<ByteString>,
}

/// Watches that a server cannot tell apart when it removes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// Data and exist watches.
    Data,
    Children,
    Persistent,
    Recursive,
}

/// One group of one path.
#[derive(Debug, Default)]
struct Slot {
    /// Who is told, in the order of arrival.
    holders: Vec<WatchId>,
    /// Registrations submitted and not answered.
    pending: u32,
    /// Those of them that were sent on this connection.
    in_flight: u32,
    /// Whether the server has the watch, on this connection.
    armed: bool,
    /// One-shot registrations in flight that are none, because an added watch tells in their place.
    covered: u32,
    /// Whether the server is being told that nobody wants it, and may still act on it.
    is_leaving: bool,
    /// The last request that registers it anew beside what the server may have, until that is
    /// answered: what the server tells until then need not have ended the watch there.
    doubt: Option<u64>,
}

#[derive(Debug)]
struct Holder<S> {
    path: ByteString,
    group: Group,
    /// Whether a holder of [`Group::Data`] waits for the znode to appear.
    is_exist: bool,
    /// Whether the registration is not answered yet.
    is_pending: bool,
    epoch: Option<u64>,
    sink: S,
}

/// What the server is to be told after a holder has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) path: ByteString,
    pub(super) group: Group,
}

impl Group {
    const ALL: [Self; 4] = [
        Self::Data,
        Self::Children,
        Self::Persistent,
        Self::Recursive,
    ];
    /// Those that stay.
    pub(super) const ADDED: [Self; 2] = [Self::Persistent, Self::Recursive];

    pub(super) fn of(kind: WatchKind) -> Self {
        match kind {
            WatchKind::Data | WatchKind::Exists => Self::Data,
            WatchKind::Children => Self::Children,
            WatchKind::Added(AddWatchMode::Persistent) => Self::Persistent,
            WatchKind::Added(AddWatchMode::PersistentRecursive) => Self::Recursive,
        }
    }

    fn is_one_shot(self) -> bool {
        matches!(self, Self::Data | Self::Children)
    }
}

fn slot(slots: &[Slot; 4], group: Group) -> &Slot {
    let [data, children, persistent, recursive] = slots;
    match group {
        Group::Data => data,
        Group::Children => children,
        Group::Persistent => persistent,
        Group::Recursive => recursive,
    }
}

fn slot_mut(slots: &mut [Slot; 4], group: Group) -> &mut Slot {
    let [data, children, persistent, recursive] = slots;
    match group {
        Group::Data => data,
        Group::Children => children,
        Group::Persistent => persistent,
        Group::Recursive => recursive,
    }
}

/// The path without its last component; `None` for the root.
fn parent(path: &str) -> Option<&str> {
    let (parent, name) = path.rsplit_once('/')?;
    match (parent, name) {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

impl Slot {
    fn is_wanted(&self) -> bool {
        !self.holders.is_empty() || self.pending > 0
    }

    /// A registration that was in flight was answered.
    fn answered(&mut self, is_covered: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.covered = self.covered.saturating_sub(u32::from(is_covered));
    }

    fn is_of_use(&self) -> bool {
        self.is_wanted() || self.armed || self.doubt.is_some()
    }

    /// Whether the server has the watch, or will have it before whatever is sent from now on.
    fn is_there(&self) -> bool {
        self.armed || self.in_flight > 0 || (mutated!(CoveredByQueued) && self.is_wanted())
    }
}

impl<S: Clone> Watches<S> {
    pub(super) fn new() -> Self {
        Self {
            paths: BTreeMap::new(),
            holders: HashMap::new(),
            recursive: 0,
            doubts: VecDeque::new(),
            doubted: 0,
            concluded: None,
        }
    }

    /// Number of watches held.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }

    /// A request that registers a watch was submitted.
    pub(super) fn submitted(&mut self, request: &WatchRequest<S>) {
        let group = Group::of(request.kind);
        let slots = self.paths.entry(request.path.clone()).or_default();
        slot_mut(slots, group).pending += 1;
        self.holders.insert(
            request.id,
            Holder {
                path: request.path.clone(),
                group,
                is_exist: false,
                is_pending: true,
                epoch: request.epoch,
                sink: request.sink.clone(),
            },
        );
    }

    /// A request that registers a watch is being sent.
    pub(super) fn sent(&mut self, request: &WatchRequest<S>, is_covered: bool) {
        if let Some(slots) = self.paths.get_mut(&request.path) {
            let slot = slot_mut(slots, Group::of(request.kind));
            slot.in_flight += 1;
            slot.covered += u32::from(is_covered);
        }
    }

    /// Whether the child watch of this path may be replaced by a recursive one on the server.
    pub(super) fn is_list_replaced(&self, path: &ByteString) -> bool {
        self.paths.get(path).is_some_and(is_list_replaced)
    }

    /// Whether an added watch of this path was asked for and not answered.
    pub(super) fn is_adding(&self, path: &ByteString) -> bool {
        let in_flight = |slots: &[Slot; 4]| {
            let adding = Group::ADDED.iter();
            adding
                .map(|group| slot(slots, *group).in_flight)
                .sum::<u32>()
        };
        self.paths
            .get(path)
            .is_some_and(|slots| in_flight(slots) > 0)
    }

    /// Whether a one-shot watch needs no registration, because an added watch on the same path, which
    /// the server has or was asked for before, tells the same. Servers before 3.9 keep one mode per
    /// path, and a one-shot watch would end the added one (ZOOKEEPER-4466).
    pub(super) fn is_covered(&self, request: &WatchRequest<S>) -> bool {
        let Some(slots) = self.paths.get(&request.path) else {
            return false;
        };
        let is_there = |group| slot(slots, group).is_there();
        match Group::of(request.kind) {
            Group::Data => is_there(Group::Persistent) || is_there(Group::Recursive),
            // Where a recursive watch is too, a server before 3.9 may have that one only.
            Group::Children => is_there(Group::Persistent) && !is_there(Group::Recursive),
            Group::Persistent | Group::Recursive => false,
        }
    }

    /// Whether watches of this path were asked for behind one that was just answered: what was asked
    /// depends on what that one would do.
    pub(super) fn is_counted_on(&self, path: &ByteString) -> bool {
        let slots = self.paths.get(path);
        slots.is_some_and(|slots| slots.iter().any(|slot| slot.in_flight > 0))
    }

    /// The request was answered and the watch is there: with the server, or covered by another.
    pub(super) fn registered(
        &mut self,
        request: &WatchRequest<S>,
        is_exist: bool,
        armed: bool,
    ) -> Vec<Removal> {
        let group = Group::of(request.kind);
        let Some(slots) = self.paths.get_mut(&request.path) else {
            return Vec::new();
        };
        let slot = slot_mut(slots, group);
        slot.pending = slot.pending.saturating_sub(1);
        slot.answered(!armed);
        slot.armed |= armed;
        if let Some(holder) = self.holders.get_mut(&request.id) {
            holder.is_pending = false;
            holder.is_exist = is_exist;
            slot.holders.push(request.id);
            self.recursive += usize::from(group == Group::Recursive);
        }
        // Whoever wanted it may have gone meanwhile, and what told in its place.
        self.tidy(&request.path)
    }

    /// A server answered that it did not register the watch.
    pub(super) fn refused(&mut self, request: &WatchRequest<S>, is_covered: bool) -> Vec<Removal> {
        if let Some(slots) = self.paths.get_mut(&request.path) {
            slot_mut(slots, Group::of(request.kind)).answered(is_covered);
        }
        self.failed(request)
    }

    /// The request came to nothing: it was withdrawn, refused, or lost with its connection.
    pub(super) fn failed(&mut self, request: &WatchRequest<S>) -> Vec<Removal> {
        self.holders.remove(&request.id);
        if let Some(slots) = self.paths.get_mut(&request.path) {
            let slot = slot_mut(slots, Group::of(request.kind));
            slot.pending = slot
                .pending
                .saturating_sub(1 - u32::from(mutated!(PendingNotCounted)));
        }
        self.tidy(&request.path)
    }

    /// A holder has left. Unknown ids are those whose watch has fired.
    pub(super) fn unsubscribe(&mut self, id: WatchId) -> Vec<Removal> {
        let Some(holder) = self.holders.remove(&id) else {
            return Vec::new();
        };
        if holder.is_pending || mutated!(UnsubscribeNotTold) {
            // The answer finds nobody and tidies up.
            return Vec::new();
        }
        if let Some(slots) = self.paths.get_mut(&holder.path) {
            slot_mut(slots, holder.group)
                .holders
                .retain(|held| *held != id);
        }
        self.recursive -= usize::from(holder.group == Group::Recursive);
        self.tidy(&holder.path)
    }

    /// Forgets what nobody wants of a path, and says what the server is to forget.
    ///
    /// A one-shot watch stays where an added watch is wanted: servers before 3.9 know three kinds of
    /// removal, each of which takes the added watches of the path along. It goes with the last of
    /// those.
    fn tidy(&mut self, path: &ByteString) -> Vec<Removal> {
        let Some(slots) = self.paths.get_mut(path) else {
            return Vec::new();
        };
        let mut removals = Vec::new();
        for group in [
            Group::Persistent,
            Group::Recursive,
            Group::Data,
            Group::Children,
        ] {
            let is_wanted = |group| slot(slots, group).is_wanted();
            let covers = |group| slot(slots, group).covered > 0;
            let is_shielded = match group {
                Group::Data => is_wanted(Group::Persistent) || is_wanted(Group::Recursive),
                Group::Children => is_wanted(Group::Persistent),
                // Until it is known what it told in the place of.
                Group::Persistent => covers(Group::Data) || covers(Group::Children),
                Group::Recursive => covers(Group::Data),
            };
            let slot = slot_mut(slots, group);
            if mutated!(ShieldedNeverRemoved) && is_shielded {
                slot.armed &= slot.is_wanted();
            }
            if slot.armed && !slot.is_wanted() && !is_shielded {
                slot.armed = false;
                slot.is_leaving = true;
                let path = path.clone();
                removals.push(Removal { path, group });
            }
        }
        if !slots.iter().any(Slot::is_of_use) {
            self.paths.remove(path);
        }
        removals
    }

    /// Routes an event: whom to tell what, in the order of registration within each group. One-shot
    /// watches that it ends are forgotten.
    ///
    /// A child of a path that is watched recursively comes or goes: that is a change of the list of
    /// children there, too. Servers before 3.9 do not say so to a persistent watch on the same path,
    /// nor, at times, to a child watch, because they keep one mode per path (ZOOKEEPER-4466). So it
    /// is concluded here, and when the server says it next, as newer ones do, it is not told twice.
    pub(super) fn event(
        &mut self,
        kind: EventType,
        path: &str,
        tell: &mut dyn FnMut(&S, EventType, &str),
    ) {
        let concluded = self.concluded.take();
        let is_repeated =
            kind == EventType::NodeChildrenChanged && concluded.as_deref() == Some(path);
        self.tell_path(kind, path, is_repeated, tell);
        let mut at = Some(path);
        while let Some(ancestor) = at
            && self.recursive > 0
            && kind != EventType::NodeChildrenChanged
        {
            self.each_of(ancestor, &[Group::Recursive], &mut |sink| {
                tell(sink, kind, path);
            });
            at = parent(ancestor);
        }
        let comes_or_goes = matches!(kind, EventType::NodeCreated | EventType::NodeDeleted);
        if let Some(parent) = parent(path)
            && comes_or_goes
            && self.is_recursive(parent)
        {
            self.tell_path(EventType::NodeChildrenChanged, parent, false, tell);
            self.concluded = Some(ByteString::from(parent));
        }
    }

    /// A reply came: what a server tells of one transaction it tells without a reply between.
    pub(super) fn replied(&mut self) {
        self.concluded = None;
    }

    /// Tells those who hold a watch of the path itself; of persistent ones only what is new to them.
    fn tell_path(
        &mut self,
        kind: EventType,
        path: &str,
        is_repeated: bool,
        tell: &mut dyn FnMut(&S, EventType, &str),
    ) {
        let one_shot: &[Group] = match kind {
            EventType::NodeCreated | EventType::NodeDataChanged => &[Group::Data],
            EventType::NodeChildrenChanged => &[Group::Children],
            EventType::NodeDeleted => &[Group::Data, Group::Children],
            _ => &[],
        };
        let Some(slots) = self.paths.get_mut(path) else {
            return;
        };
        for group in one_shot {
            let slot = slot_mut(slots, *group);
            slot.armed = false;
            for id in std::mem::take(&mut slot.holders) {
                if let Some(holder) = self.holders.remove(&id) {
                    tell(&holder.sink, kind, path);
                }
            }
        }
        if !is_repeated {
            for id in &slot(slots, Group::Persistent).holders {
                if let Some(holder) = self.holders.get(id) {
                    tell(&holder.sink, kind, path);
                }
            }
        }
        if !slots.iter().any(Slot::is_of_use) {
            self.paths.remove(path);
        }
    }

    /// The server has removed what it was told to.
    pub(super) fn left(&mut self, path: &str) {
        for slot in self.paths.get_mut(path).into_iter().flatten() {
            slot.is_leaving = false;
        }
    }

    /// Whether the server may act on a recursive watch of this very path.
    fn is_recursive(&self, path: &str) -> bool {
        self.paths.get(path).is_some_and(|slots| {
            let slot = slot(slots, Group::Recursive);
            slot.armed || slot.is_leaving || !slot.holders.is_empty()
        })
    }

    /// The connection is gone, and with it everything that the server had registered for it.
    pub(super) fn disconnected(&mut self) {
        self.concluded = None;
        self.doubts.clear();
        self.paths.retain(|_, slots| {
            for slot in slots.iter_mut() {
                slot.armed = false;
                slot.in_flight = 0;
                slot.covered = 0;
                slot.doubt = None;
                slot.is_leaving = false;
            }
            slots.iter().any(Slot::is_wanted)
        });
    }

    /// The session with this number is over. Ends the one-shot watches and those bound to it.
    pub(super) fn session_ended(&mut self, epoch: u64, end: &mut dyn FnMut(S)) {
        // In the order of registration, so that the outcome does not depend on hashing.
        let mut ended: Vec<_> = (self.holders.iter())
            .filter(|(_, holder)| !holder.is_pending)
            .filter(|(_, holder)| holder.group.is_one_shot() || holder.epoch == Some(epoch))
            .map(|(id, _)| *id)
            .collect();
        ended.sort_unstable();
        for id in ended {
            if let Some(holder) = self.holders.remove(&id) {
                if let Some(slots) = self.paths.get_mut(&holder.path) {
                    slot_mut(slots, holder.group)
                        .holders
                        .retain(|held| *held != id);
                    self.recursive -= usize::from(holder.group == Group::Recursive);
                }
                end(holder.sink);
            }
        }
        self.disconnected();
    }

    /// Ends everything: the client is closed.
    pub(super) fn close(&mut self, end: &mut dyn FnMut(S)) {
        let mut ids: Vec<_> = self.holders.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            if let Some(holder) = self.holders.remove(&id) {
                end(holder.sink);
            }
        }
        self.paths.clear();
        self.recursive = 0;
    }

    /// The sinks of all added watches that are registered.
    pub(super) fn each_stream(&self, tell: &mut dyn FnMut(&S)) {
        for slots in self.paths.values() {
            for group in [Group::Persistent, Group::Recursive] {
                for id in &slot(slots, group).holders {
                    if let Some(holder) = self.holders.get(id) {
                        tell(&holder.sink);
                    }
                }
            }
        }
    }

    /// The sinks of the added watches of one path, in these groups, that are registered.
    pub(super) fn each_of(&self, path: &str, groups: &[Group], tell: &mut dyn FnMut(&S)) {
        let Some(slots) = self.paths.get(path) else {
            return;
        };
        for group in groups {
            for id in &slot(slots, *group).holders {
                if let Some(holder) = self.holders.get(id) {
                    tell(&holder.sink);
                }
            }
        }
    }

    /// The requests that register everything anew on a fresh connection, each within the limit. The
    /// server tells what changed behind the zxid.
    pub(super) fn rearm(&mut self, since: Zxid) -> Vec<Frame> {
        let mut chunks = Chunks::new(since, CHUNK_MAX);
        for (path, slots) in &mut self.paths {
            Self::rearm_path(&self.holders, path, slots, &mut chunks);
        }
        let mut frames = chunks.finish();
        let mut chunks = Chunks::new(since, CHUNK_MAX);
        for (path, slots) in &mut self.paths {
            Self::rearm_list(path, slots, &mut chunks);
        }
        frames.extend(chunks.finish());
        frames
    }

    /// The request that registers the child watch of one path anew behind its recursive watch;
    /// `None` if there are not both.
    pub(super) fn rearm_list_of(&mut self, path: &ByteString, since: Zxid) -> Option<Frame> {
        let mut chunks = Chunks::new(since, usize::MAX);
        let slots = self.paths.get_mut(path)?;
        Self::rearm_list(path, slots, &mut chunks);
        let frame = chunks.finish().pop()?;
        self.doubted += 1;
        let slot = slot_mut(slots, Group::Children);
        if !slot.holders.is_empty() {
            slot.doubt = Some(self.doubted);
        }
        self.doubts.push_back(self.doubted);
        Some(frame)
    }

    fn rearm_list(path: &ByteString, slots: &mut [Slot; 4], chunks: &mut Chunks) {
        if is_list_replaced(slots) {
            slot_mut(slots, Group::Children).armed = true;
            chunks.push(path, |chunk| &mut chunk.child_watches);
        }
    }

    /// The request that registers anew what is left on one path after a removal that may have taken
    /// it along; `None` if nothing is.
    pub(super) fn rearm_one(&mut self, path: &ByteString, since: Zxid) -> Option<Frame> {
        let mut chunks = Chunks::new(since, usize::MAX);
        let slots = self.paths.get_mut(path)?;
        Self::rearm_path(&self.holders, path, slots, &mut chunks);
        let frame = chunks.finish().pop()?;
        self.doubted += 1;
        for group in [Group::Data, Group::Children] {
            let slot = slot_mut(slots, group);
            if !slot.holders.is_empty() {
                slot.doubt = Some(self.doubted);
            }
        }
        self.doubts.push_back(self.doubted);
        Some(frame)
    }

    /// The request that registered a path anew was answered: what the server is to forget of what has
    /// fired meanwhile.
    pub(super) fn rearmed_one(&mut self, path: &ByteString) -> Vec<Removal> {
        // They are answered in the order in which they were sent.
        let answered = self.doubts.pop_front();
        if let Some(slots) = self.paths.get_mut(path) {
            for slot in slots {
                // A later request that is on its way doubts on.
                if slot.doubt.is_some() && slot.doubt <= answered {
                    slot.doubt = None;
                    slot.armed |= !slot.is_wanted();
                }
            }
        }
        self.tidy(path)
    }

    fn rearm_path(
        holders: &HashMap<WatchId, Holder<S>>,
        path: &ByteString,
        slots: &mut [Slot; 4],
        chunks: &mut Chunks,
    ) {
        let is_list_replaced = is_list_replaced(slots);
        for group in Group::ALL {
            let slot = slot_mut(slots, group);
            if slot.holders.is_empty() || (group == Group::Children && is_list_replaced) {
                continue;
            }
            slot.armed = true;
            let exists = |id: &WatchId| holders.get(id).is_some_and(|holder| holder.is_exist);
            match group {
                Group::Data => {
                    if slot.holders.iter().any(|id| !exists(id)) {
                        chunks.push(path, |chunk| &mut chunk.data_watches);
                    }
                    if slot.holders.iter().any(exists) {
                        chunks.push(path, |chunk| &mut chunk.exist_watches);
                    }
                }
                Group::Children => chunks.push(path, |chunk| &mut chunk.child_watches),
                Group::Persistent => chunks.push(path, |chunk| &mut chunk.persistent_watches),
                Group::Recursive => {
                    chunks.push(path, |chunk| &mut chunk.persistent_recursive_watches);
                }
            }
        }
    }
}

/// Whether a child watch has to be registered behind the recursive watch of its path: servers before
/// 3.9 keep one mode per path, also for lists of children, of which a recursive watch tells nothing.
/// A persistent watch beside it is replaced as well.
fn is_list_replaced(slots: &[Slot; 4]) -> bool {
    let held = |group| !slot(slots, group).holders.is_empty();
    held(Group::Children) && held(Group::Recursive)
}

/// Collects paths into requests of limited size.
#[derive(Debug)]
struct Chunks {
    since: Zxid,
    /// Longest list of paths, in bytes.
    len_max: usize,
    open: SetWatches2,
    /// Bytes of paths in `open`.
    len: usize,
    frames: Vec<Frame>,
}

impl Chunks {
    fn new(since: Zxid, len_max: usize) -> Self {
        Self {
            since,
            len_max,
            open: empty(since),
            len: 0,
            frames: Vec::new(),
        }
    }

    fn push(
        &mut self,
        path: &ByteString,
        list: impl Fn(&mut SetWatches2) -> &mut Option<Vec<ByteString>>,
    ) {
        let len = path.encoded_len();
        if self.len > 0 && self.len.saturating_add(len) > self.len_max {
            self.flush();
        }
        self.len += len;
        list(&mut self.open)
            .get_or_insert_default()
            .push(path.clone());
    }

    fn flush(&mut self) {
        let chunk = std::mem::replace(&mut self.open, empty(self.since));
        self.len = 0;
        self.frames.push(frame(chunk));
    }

    fn finish(mut self) -> Vec<Frame> {
        if self.len > 0 {
            self.flush();
        }
        self.frames
    }
}

/// No list is null: servers answer that with an error.
fn empty(relative_zxid: Zxid) -> SetWatches2 {
    SetWatches2 {
        relative_zxid,
        data_watches: Some(Vec::new()),
        exist_watches: Some(Vec::new()),
        child_watches: Some(Vec::new()),
        persistent_watches: Some(Vec::new()),
        persistent_recursive_watches: Some(Vec::new()),
    }
}

/// The form that every server knows unless there is an added watch in it.
fn frame(chunk: SetWatches2) -> Frame {
    let is_empty = |list: &Option<Vec<ByteString>>| list.as_ref().is_none_or(Vec::is_empty);
    if is_empty(&chunk.persistent_watches) && is_empty(&chunk.persistent_recursive_watches) {
        let chunk = SetWatches {
            relative_zxid: chunk.relative_zxid,
            data_watches: chunk.data_watches,
            exist_watches: chunk.exist_watches,
            child_watches: chunk.child_watches,
        };
        Frame::of(OpCode::SetWatches, &chunk)
    } else {
        Frame::of(OpCode::SetWatches2, &chunk)
    }
}
