//! `ruok`: the process answers.

/// The answer, which says nothing about a quorum.
pub const fn ruok() -> &'static str {
    "imok"
}
