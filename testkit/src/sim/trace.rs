//! What happened in a run: a number that two equal runs share, and, if it was asked for, the text.

use std::fmt::Write as _;

use super::schedule::Micros;

/// Takes everything that happens.
///
/// The number is always kept: it costs a few instructions per event, and two runs of one seed must
/// come to the same. The text is kept only for whoever replays a run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    text: Option<String>,
}

impl Trace {
    /// Begins; with text if somebody is to read it.
    pub fn new(with_text: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            text: with_text.then(String::new),
        }
    }

    /// Whether text is kept: what is said only for it need not be made up otherwise.
    pub fn has_text(&self) -> bool {
        self.text.is_some()
    }

    /// Takes numbers that tell what happened.
    pub fn mix(&mut self, numbers: &[u64]) {
        for &number in numbers {
            self.hash = (self.hash.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// Takes a line of text.
    pub fn line(&mut self, at: Micros, line: std::fmt::Arguments<'_>) {
        if let Some(text) = &mut self.text {
            // Writing to a string cannot fail.
            let _written = writeln!(text, "{:>10}.{:03} ms  {line}", at / 1000, at % 1000);
        }
    }

    /// The number.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The text so far.
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text.unwrap_or_default()
    }
}

/// Adds a line to a trace, if it keeps text; what the line says is made up only then.
macro_rules! say {
    ($world:expr, $($line:tt)*) => {
        if $world.trace.has_text() {
            let at = $world.schedule.now();
            $world.trace.line(at, format_args!($($line)*));
        }
    };
}
pub(crate) use say;
