//! `srst`: counters of the server were reset.

/// The answer once they are.
pub const fn srst() -> &'static str {
    "Server stats reset.\n"
}
