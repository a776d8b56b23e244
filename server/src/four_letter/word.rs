//! The words themselves.

use super::ruok::ruok;

/// What a server answers that has no quorum, or has not loaded its tree yet.
pub const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";

/// A four-letter word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is named by its own letters")]
pub enum Word {
    Conf,
    Cons,
    Crst,
    Dirs,
    Dump,
    Envi,
    Gtmk,
    Hash,
    Isro,
    Mntr,
    Ruok,
    Srst,
    Srvr,
    Stat,
    Stmk,
    Wchc,
    Wchp,
    Wchs,
    /// The bytes a telnet client sends at a break; never executed.
    TelnetClose,
}

/// What to do with a word while the server serves nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutService {
    /// Send this text.
    Say(&'static str),
    /// Answer as ever: the word does not need the tree.
    Answer,
}

impl Word {
    /// All words, by name.
    pub const ALL: [Self; 18] = [
        Self::Conf,
        Self::Cons,
        Self::Crst,
        Self::Dirs,
        Self::Dump,
        Self::Envi,
        Self::Gtmk,
        Self::Hash,
        Self::Isro,
        Self::Mntr,
        Self::Ruok,
        Self::Srst,
        Self::Srvr,
        Self::Stat,
        Self::Stmk,
        Self::Wchc,
        Self::Wchp,
        Self::Wchs,
    ];

    /// The word that the first bytes of a connection are; `None` when they are the length of a
    /// packet. Lower case only.
    pub fn recognise(first: [u8; 4]) -> Option<Self> {
        if first == [0xff, 0xf4, 0xff, 0xfd] {
            return Some(Self::TelnetClose);
        }
        Self::ALL
            .into_iter()
            .find(|word| word.name().as_bytes() == first)
    }

    /// The word with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|word| word.name() == name)
    }

    /// Its letters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conf => "conf",
            Self::Cons => "cons",
            Self::Crst => "crst",
            Self::Dirs => "dirs",
            Self::Dump => "dump",
            Self::Envi => "envi",
            Self::Gtmk => "gtmk",
            Self::Hash => "hash",
            Self::Isro => "isro",
            Self::Mntr => "mntr",
            Self::Ruok => "ruok",
            Self::Srst => "srst",
            Self::Srvr => "srvr",
            Self::Stat => "stat",
            Self::Stmk => "stmk",
            Self::Wchc => "wchc",
            Self::Wchp => "wchp",
            Self::Wchs => "wchs",
            Self::TelnetClose => "telnet close",
        }
    }

    /// The answer to a word that is not on the whitelist.
    pub fn refusal(self) -> String {
        format!(
            "{} is not executed because it is not in the whitelist.\n",
            self.name()
        )
    }

    /// What to do while the server serves nobody.
    pub const fn without_service(self) -> WithoutService {
        match self {
            Self::Ruok => WithoutService::Say(ruok()),
            Self::Isro => WithoutService::Say("null"),
            Self::Envi | Self::Gtmk | Self::Stmk => WithoutService::Answer,
            // The reference forgets the line end here.
            Self::Hash => WithoutService::Say(NOT_SERVING),
            Self::Conf
            | Self::Cons
            | Self::Crst
            | Self::Dirs
            | Self::Dump
            | Self::Mntr
            | Self::Srst
            | Self::Srvr
            | Self::Stat
            | Self::Wchc
            | Self::Wchp
            | Self::Wchs
            | Self::TelnetClose => {
                WithoutService::Say("This ZooKeeper instance is not currently serving requests\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_recognised_by_their_bytes() {
        for word in Word::ALL {
            let bytes = word.name().as_bytes().try_into().expect("four letters");
            assert_eq!(Word::recognise(bytes), Some(word));
            assert_eq!(Word::from_name(word.name()), Some(word));
        }
        assert_eq!(Word::recognise(*b"RUOK"), None);
        assert_eq!(Word::recognise([0, 0, 0, 45]), None);
        assert_eq!(
            Word::recognise([0xff, 0xf4, 0xff, 0xfd]),
            Some(Word::TelnetClose)
        );
    }
}
