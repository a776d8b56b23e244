//! Four-letter words: text commands in the place of the first frame.

/// Declares the words.
macro_rules! words {
    ($( $(#[$meta:meta])* $name:ident = $text:literal; )*) => {
        /// A text command. Whether a server answers it is a matter of its whitelist.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FourLetterWord {
            $( $(#[$meta])* $name, )*
            /// The bytes by which telnet interrupts, which close the connection.
            TelnetClose,
        }

        impl FourLetterWord {
            /// Every word that is text, in the order of this list.
            pub const ALL: &[Self] = &[$( Self::$name, )*];

            /// The word that the first four bytes of a connection are, if they are one. No word is
            /// the length of a legal frame.
            pub const fn recognize(first: [u8; 4]) -> Option<Self> {
                match &first {
                    $( $text => Some(Self::$name), )*
                    [0xff, 0xf4, 0xff, 0xfd] => Some(Self::TelnetClose),
                    _ => None,
                }
            }

            /// The word as it is sent, or as messages call it.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$name => match str::from_utf8($text) {
                        Ok(text) => text,
                        Err(_) => unreachable!(),
                    }, )*
                    Self::TelnetClose => "telnet close",
                }
            }
        }
    };
}

words! {
    /// Configuration.
    Conf = b"conf";
    /// Connections, in full.
    Cons = b"cons";
    /// Resets the statistics of connections.
    Crst = b"crst";
    /// Sizes of the data directories.
    Dirs = b"dirs";
    /// Sessions and ephemeral znodes.
    Dump = b"dump";
    /// Environment.
    Envi = b"envi";
    /// Tells the trace mask.
    Gtmk = b"gtmk";
    /// Recent digests of the tree.
    Hash = b"hash";
    /// Whether the server is read-only.
    Isro = b"isro";
    /// Metrics.
    Mntr = b"mntr";
    /// Whether the server is alive.
    Ruok = b"ruok";
    /// Resets the statistics of the server.
    Srst = b"srst";
    /// Statistics of the server.
    Srvr = b"srvr";
    /// Statistics of the server and its connections.
    Stat = b"stat";
    /// Sets the trace mask.
    Stmk = b"stmk";
    /// Watches by session.
    Wchc = b"wchc";
    /// Watches by path.
    Wchp = b"wchp";
    /// Counts of watches.
    Wchs = b"wchs";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_recognized_by_their_bytes() {
        assert_eq!(FourLetterWord::ALL.len(), 18);
        for &word in FourLetterWord::ALL {
            let bytes = word.name().as_bytes().try_into().unwrap();
            assert_eq!(FourLetterWord::recognize(bytes), Some(word));
            assert!(
                i32::from_be_bytes(bytes) > 0x00ff_ffff,
                "no length of a frame"
            );
        }
        let telnet = FourLetterWord::recognize([0xff, 0xf4, 0xff, 0xfd]);
        assert_eq!(telnet, Some(FourLetterWord::TelnetClose));
        assert_eq!(FourLetterWord::recognize([0, 0, 0, 45]), None);
        assert_eq!(FourLetterWord::recognize(*b"RUOK"), None);
    }
}
