use std::collections::BTreeMap;

use zk_proto::request::AddWatchMode;

use super::super::super::{Time, WatchKind};
use super::super::ensemble::{Modes, ServerWatches};
use super::super::world::{Fact, Held};
use super::Check;

/// N5: once the client is connected and nothing is on its way, the server tells of everything that
/// somebody holds a watch for, and holds no watch for which nobody does.
///
/// What a one-shot watch would tell may come from an added watch of the same path instead: the client
/// never has both registered on servers that keep one mode for each path.
///
/// # Source
/// `client-api.md` §7; §14 N5. `server-semantics.md` §5.1, §5.6.
#[derive(Debug, Default)]
pub(super) struct WatchSets {
    is_old: bool,
}

/// What is wanted of one path.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are four kinds of watches"
)]
#[derive(Debug, Default)]
struct Wanted {
    data: bool,
    children: bool,
    persistent: bool,
    recursive: bool,
}

impl Check for WatchSets {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        match fact {
            Fact::Planned(plan) => {
                self.is_old = plan.is_old;
                Ok(())
            }
            Fact::Idle { held, server } => compare(held, server, self.is_old),
            _ => Ok(()),
        }
    }
}

fn compare(held: &BTreeMap<u32, Held>, server: &ServerWatches, is_old: bool) -> Result<(), String> {
    let mut wanted = BTreeMap::<&str, Wanted>::new();
    for watch in held.values().filter(|watch| watch.is_live) {
        let wanted = wanted.entry(&watch.path).or_default();
        match watch.kind {
            WatchKind::Data | WatchKind::Exists => wanted.data = true,
            WatchKind::Children => wanted.children = true,
            WatchKind::Added(AddWatchMode::Persistent) => wanted.persistent = true,
            WatchKind::Added(AddWatchMode::PersistentRecursive) => wanted.recursive = true,
        }
    }
    let modes =
        |table: &BTreeMap<String, Modes>, path: &str| table.get(path).copied().unwrap_or_default();
    for (path, wanted) in &wanted {
        let (data, child) = (modes(&server.data, path), modes(&server.child, path));
        let tells_data = data.persistent || data.recursive;
        // Old servers cannot have both on one path: the recursive watch wins, and changes of the list
        // are concluded from what it tells.
        let tells_lists = child.persistent || (is_old && data.recursive);
        let is_short = (wanted.data && !data.standard && !tells_data)
            || (wanted.children && !child.standard && !tells_lists)
            || (wanted.persistent && !(tells_data && tells_lists))
            || (wanted.recursive && !data.recursive);
        if is_short {
            return Err(format!(
                "{path}: {wanted:?}, the server has {data:?}, {child:?}"
            ));
        }
    }
    let none = Wanted::default();
    let paths = server.data.keys().chain(server.child.keys());
    for path in paths {
        let wanted = wanted.get(path.as_str()).unwrap_or(&none);
        let (data, child) = (modes(&server.data, path), modes(&server.child, path));
        // A one-shot watch cannot be removed beside an added one without risk for that one.
        let is_shielded = wanted.persistent || wanted.recursive;
        let is_over = (data.standard && !wanted.data && !is_shielded)
            || (child.standard && !wanted.children && !wanted.persistent)
            || ((data.persistent || child.persistent) && !wanted.persistent)
            || ((data.recursive || child.recursive) && !wanted.recursive);
        if is_over {
            return Err(format!(
                "{path}: {wanted:?}, the server has {data:?}, {child:?}"
            ));
        }
    }
    Ok(())
}
