use std::collections::BTreeMap;

use zk_proto::EventType;
use zk_proto::request::WatcherType;

use super::tree::{Change, parent};

/// What one server holds for one connection.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `DataTree#dataWatches`, `DataTree#childWatches`; 3.8, `WatcherModeManager`
/// with one mode for each path.
#[derive(Debug, Default)]
pub(in super::super) struct ServerWatches {
    pub(in super::super) data: Table,
    pub(in super::super) child: Table,
}

pub(in super::super) type Table = BTreeMap<String, Modes>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in super::super) struct Modes {
    pub(in super::super) standard: bool,
    pub(in super::super) persistent: bool,
    pub(in super::super) recursive: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Mode {
    Standard,
    Persistent,
    Recursive,
}

impl Modes {
    fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// Adds a mode; servers before 3.9 keep the last one only.
pub(super) fn add(table: &mut Table, path: &str, mode: Mode, is_old: bool) {
    let modes = table.entry(path.to_owned()).or_default();
    if is_old {
        *modes = Modes::default();
    }
    match mode {
        Mode::Standard => modes.standard = true,
        Mode::Persistent => modes.persistent = true,
        Mode::Recursive => modes.recursive = true,
    }
}

fn remove(table: &mut Table, path: &str, which: impl Fn(&mut Modes) -> &mut bool) -> bool {
    let Some(modes) = table.get_mut(path) else {
        return false;
    };
    let had = std::mem::take(which(modes));
    if modes.is_empty() {
        table.remove(path);
    }
    had
}

/// Whether the connection is told, and what it had for this once is gone. Recursive watches tell no
/// changes of lists.
fn trigger(table: &mut Table, kind: EventType, path: &str) -> bool {
    let is_list = kind == EventType::NodeChildrenChanged;
    let mut told = false;
    if let Some(modes) = table.get_mut(path) {
        told = modes.standard || modes.persistent || !is_list;
        modes.standard = false;
        if modes.is_empty() {
            table.remove(path);
        }
    }
    let mut at = path;
    while at != "/" && !is_list {
        at = parent(at);
        told |= table.get(at).is_some_and(|modes| modes.recursive);
    }
    told
}

impl ServerWatches {
    /// Adds a recursive watch: before 3.9 to both tables.
    pub(super) fn add_recursive(&mut self, path: &str, is_old: bool) {
        add(&mut self.data, path, Mode::Recursive, is_old);
        if is_old {
            add(&mut self.child, path, Mode::Recursive, is_old);
        }
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.child.is_empty()
    }

    /// A change was applied: the events that the connection is sent, in order.
    pub(super) fn applied(&mut self, change: &Change, tell: &mut dyn FnMut(EventType, &str)) {
        let path = change.path();
        let mut told = trigger(&mut self.data, change.kind(), path);
        if matches!(change, Change::Delete { .. }) {
            told |= trigger(&mut self.child, change.kind(), path);
        }
        if told {
            tell(change.kind(), path);
        }
        let list = EventType::NodeChildrenChanged;
        if !matches!(change, Change::Set { .. }) && trigger(&mut self.child, list, parent(path)) {
            tell(list, parent(path));
        }
    }

    /// Removes watches; `None` if the server does not know the kind, else whether there was one.
    pub(super) fn remove(&mut self, path: &str, kind: i32, is_old: bool) -> Option<bool> {
        let kind = WatcherType::from_code(kind)?;
        let (data, child) = (&mut self.data, &mut self.child);
        Some(match kind {
            // One mode for each path: whatever it is goes.
            WatcherType::Children if is_old => child.remove(path).is_some(),
            WatcherType::Data if is_old => data.remove(path).is_some(),
            WatcherType::Persistent | WatcherType::PersistentRecursive if is_old => return None,
            WatcherType::Children => remove(child, path, |modes| &mut modes.standard),
            WatcherType::Data => remove(data, path, |modes| &mut modes.standard),
            WatcherType::Any => data.remove(path).is_some() | child.remove(path).is_some(),
            WatcherType::Persistent => {
                remove(data, path, |modes| &mut modes.persistent)
                    | remove(child, path, |modes| &mut modes.persistent)
            }
            WatcherType::PersistentRecursive => remove(data, path, |modes| &mut modes.recursive),
        })
    }
}
