//! `isro`: whether only reads are served.

/// The answer of a server that serves.
pub const fn isro(is_read_only: bool) -> &'static str {
    if is_read_only { "ro" } else { "rw" }
}
