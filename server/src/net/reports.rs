//! Telling operators of something once, not every time that it happens.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Things told that are remembered. When as many were told, nothing new is until the server starts
/// anew: whoever makes up things to tell must not fill the log, nor the memory.
const TOLD_MAX: usize = 256;

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct Reports(Mutex<BTreeSet<String>>);

impl Reports {
    /// Whether this is to be told now: it was not before.
    pub(crate) fn is_new(&self, what: &str) -> bool {
        let mut told = self.0.lock();
        told.len() < TOLD_MAX && told.insert(what.to_owned())
    }

    /// Forgets that something was told: it is over.
    pub(crate) fn clear(&self, what: &str) {
        self.0.lock().remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told_once_and_not_without_end() {
        let reports = Reports::default();
        assert!(reports.is_new("a"));
        assert!(!reports.is_new("a"));
        reports.clear("a");
        assert!(reports.is_new("a"));
        let told = (0..1000).filter(|n| reports.is_new(&n.to_string())).count();
        assert_eq!(told, TOLD_MAX - 1);
    }
}
