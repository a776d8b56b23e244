//! `crst`: counters of connections were reset.

/// The answer once they are.
pub const fn crst() -> &'static str {
    "Connection stats reset.\n"
}
