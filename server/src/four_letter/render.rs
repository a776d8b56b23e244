//! Writing into a string, which cannot fail.

use std::fmt;

/// The text that `write` writes.
pub(super) fn render(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
    let mut out = String::new();
    write(&mut out).expect("writing to a string cannot fail");
    out
}
