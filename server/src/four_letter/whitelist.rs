//! Which words are answered: `4lw.commands.whitelist`.

use std::collections::BTreeSet;

use super::word::Word;

/// The words a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whitelist(BTreeSet<Word>);

impl Whitelist {
    /// Reads the value of the key: comma separated, `*` for all, unknown names ignored.
    ///
    /// `srvr` is always in; so is `isro` when read-only mode is on, because clients looking for
    /// a read-write server ask it.
    pub fn parse(value: &str, is_read_only_mode_on: bool) -> Self {
        let mut words = BTreeSet::from([Word::Srvr]);
        if is_read_only_mode_on {
            words.insert(Word::Isro);
        }
        for name in value.split(',').map(str::trim) {
            if name == "*" {
                words.extend(Word::ALL);
            }
            words.extend(Word::from_name(name));
        }
        Self(words)
    }

    /// Whether the word is answered.
    pub fn allows(&self, word: Word) -> bool {
        self.0.contains(&word)
    }

    /// The words answered.
    pub fn words(&self) -> impl Iterator<Item = Word> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str, read_only: bool) -> Vec<&'static str> {
        Whitelist::parse(value, read_only)
            .words()
            .map(Word::name)
            .collect()
    }

    #[test]
    fn srvr_is_always_answered() {
        assert_eq!(names("", false), ["srvr"]);
        assert_eq!(names("", true), ["isro", "srvr"]);
        assert_eq!(
            names(" ruok ,stat,bogus,RUOK", false),
            ["ruok", "srvr", "stat"]
        );
    }

    #[test]
    fn a_star_is_every_word_but_the_break() {
        assert_eq!(names("*", false).len(), 18);
        assert!(!Whitelist::parse("*,telnet close", false).allows(Word::TelnetClose));
    }
}
