//! `zoo.cfg` as text: the Java Properties grammar, keys and values with their line numbers.
//!
//! Nothing is interpreted here. The grammar is that of `java.util.Properties.load`: the first
//! unescaped `=`, `:` or blank ends the key; a backslash escapes or continues the line; `#` and
//! `!` start a comment only as the first non-blank character; bytes are ISO-8859-1. Operators
//! edit this file by hand, so three things the grammar punishes are forgiven with a notice:
//! a byte order mark, trailing blanks, and (unless [`Strictness::Strict`]) a comment behind a
//! value.

use std::fmt;
use std::sync::Arc;

use super::error::{ConfigError, Problem};

/// How forgiving the reading of configuration files is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// Cuts comments behind values; refuses server ids outside 0-255.
    #[default]
    Normal,
    /// Takes every value as written, comments included.
    Strict,
    /// Like `Normal`, and accepts every server id the reference accepts.
    Off,
}

/// Where a setting was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file.
    File {
        /// Name of the file as the operator gave it.
        file: Arc<str>,
        /// Line of the key, counted from 1.
        line: u32,
    },
    /// An environment variable.
    Environment(Arc<str>),
    /// Nowhere: the built-in default.
    Default,
}

/// One key and its value, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, unescaped.
    pub key: String,
    /// The value, unescaped and trimmed.
    pub value: String,
    /// Where it stands.
    pub origin: Origin,
}

/// Something an operator should know that does not stop the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How loudly to say it.
    pub level: Level,
    /// Where it stands.
    pub origin: Origin,
    /// What to say, without the origin.
    pub text: String,
}

/// Log level of a [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Accepted and without effect.
    Info,
    /// Probably a mistake.
    Warn,
}

/// The settings of one file, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    settings: Vec<Setting>,
    notices: Vec<Notice>,
}

impl Properties {
    /// Reads the bytes of the file called `file`.
    ///
    /// # Errors
    ///
    /// A `\u` escape without four hexadecimal digits. Everything else is a legal file.
    pub fn parse(file: &str, bytes: &[u8], strictness: Strictness) -> Result<Self, ConfigError> {
        let file: Arc<str> = Arc::from(file);
        let mut properties = Self::default();
        let mut problems = Vec::new();
        let mut bytes = bytes;
        if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
            bytes = rest;
            properties.warn(&file, 1, "ignoring the byte order mark".to_owned());
        }
        for line in logical_lines(bytes) {
            let origin = Origin::File {
                file: Arc::clone(&file),
                line: line.first,
            };
            match split(&line.text) {
                Ok((key, value)) => properties.push(key, &value, origin, strictness),
                Err(escape) => problems.push(Problem::new(
                    Some(origin),
                    "",
                    format!("malformed escape {escape:?}, expected \\u and four hex digits"),
                )),
            }
        }
        if problems.is_empty() {
            Ok(properties)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// Every setting in effect: of several with one key, the last.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings
            .iter()
            .enumerate()
            .filter_map(|(at, setting)| {
                let later = self.settings.iter().skip(at + 1);
                later
                    .into_iter()
                    .all(|other| other.key != setting.key)
                    .then_some(setting)
            })
    }

    /// The setting in effect for `key`.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings
            .iter()
            .rev()
            .find(|setting| setting.key == key)
    }

    /// The same with some keys only.
    pub(super) fn retaining(&self, is_kept: impl Fn(&str) -> bool) -> Self {
        let mut kept = self.clone();
        kept.settings.retain(|setting| is_kept(&setting.key));
        kept
    }

    /// What was forgiven while reading.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    fn push(&mut self, key: String, raw: &str, origin: Origin, strictness: Strictness) {
        let mut value = raw.trim();
        if strictness != Strictness::Strict
            && !keeps_hash(&key)
            && let Some(cut) = comment_start(raw)
        {
            value = raw.get(..cut).unwrap_or_default().trim();
            self.notice(&origin, format!("{key}: ignoring text after '#'"));
        }
        if !value.is_ascii() {
            self.notice(
                &origin,
                format!("{key}: not plain ASCII; bytes are read as ISO-8859-1, use \\uXXXX"),
            );
        }
        if let Some(Origin::File { line, .. }) = self.get(&key).map(|first| &first.origin) {
            self.notice(&origin, format!("{key}: replaces the value of line {line}"));
        }
        self.settings.push(Setting {
            key,
            value: value.to_owned(),
            origin,
        });
    }

    fn notice(&mut self, origin: &Origin, text: String) {
        self.notices.push(Notice {
            level: Level::Warn,
            origin: origin.clone(),
            text,
        });
    }

    fn warn(&mut self, file: &Arc<str>, line: u32, text: String) {
        self.notice(
            &Origin::File {
                file: Arc::clone(file),
                line,
            },
            text,
        );
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.text)
    }
}

/// Whether values of `key` may hold a `#` of their own: secrets and paths of secrets.
fn keeps_hash(key: &str) -> bool {
    let lower = key.to_ascii_lowercase();
    ["password", "superdigest", "superpassword"]
        .iter()
        .any(|end| lower.ends_with(end))
        || lower.contains("superuser")
        || (lower.contains("ssl.") && lower.ends_with(".location"))
}

/// Byte index of a `#` that stands behind a blank.
fn comment_start(value: &str) -> Option<usize> {
    let mut blank = false;
    for (at, char) in value.char_indices() {
        if char == '#' && blank {
            return Some(at);
        }
        blank = char.is_whitespace();
    }
    None
}

/// A setting in the lines of a file, joined over continuations, its escapes in place.
pub(super) struct LogicalLine {
    /// Number of its first line, from 1.
    pub(super) first: u32,
    /// Number of its last line.
    pub(super) last: u32,
    pub(super) text: Vec<u8>,
}

/// Lines that hold a setting.
pub(super) fn logical_lines(bytes: &[u8]) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut pending: Option<LogicalLine> = None;
    for (number, line) in (1..).zip(natural_lines(bytes)) {
        let line = line.trim_ascii_start_blank();
        let mut joined = match pending.take() {
            Some(open) => open,
            None if matches!(line.first(), None | Some(b'#' | b'!')) => continue,
            None => LogicalLine {
                first: number,
                last: number,
                text: Vec::new(),
            },
        };
        joined.last = number;
        joined.text.extend_from_slice(line);
        let slashes = joined
            .text
            .iter()
            .rev()
            .take_while(|&&byte| byte == b'\\')
            .count();
        if slashes % 2 == 1 {
            joined.text.pop();
            pending = Some(joined);
        } else {
            lines.push(joined);
        }
    }
    lines.extend(pending);
    lines
}

/// Splits at `\n`, `\r` and `\r\n`.
pub(super) fn natural_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
        let (line, tail) = rest.split_at(end);
        lines.push(line);
        rest = tail
            .strip_prefix(b"\r\n")
            .or_else(|| tail.get(1..))
            .unwrap_or_default();
    }
    lines.push(rest);
    lines
}

/// Key and value of a logical line, unescaped; or the escape that is malformed.
pub(super) fn split(line: &[u8]) -> Result<(String, String), String> {
    let mut key_end = line.len();
    let mut escaped = false;
    for (at, &byte) in line.iter().enumerate() {
        if !escaped && (is_blank(byte) || byte == b'=' || byte == b':') {
            key_end = at;
            break;
        }
        escaped = byte == b'\\' && !escaped;
    }
    let (key, rest) = line.split_at(key_end);
    let rest = rest.trim_ascii_start_blank();
    let value = match rest.split_first() {
        Some((b'=' | b':', value)) => value.trim_ascii_start_blank(),
        _ => rest,
    };
    Ok((unescape(key)?, unescape(value)?))
}

/// Replaces `\t`, `\n`, `\r`, `\f`, `\uXXXX`; any other `\x` is `x`.
fn unescape(bytes: &[u8]) -> Result<String, String> {
    let mut units: Vec<u16> = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            units.push(byte.into());
            continue;
        }
        match rest.next() {
            Some(b't') => units.push(0x09),
            Some(b'n') => units.push(0x0a),
            Some(b'r') => units.push(0x0d),
            Some(b'f') => units.push(0x0c),
            Some(b'u') => {
                let digits: String = rest.by_ref().take(4).map(char::from).collect();
                let legal =
                    digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                match u16::from_str_radix(&digits, 16) {
                    Ok(unit) if legal => units.push(unit),
                    _ => return Err(format!("\\u{digits}")),
                }
            }
            Some(other) => units.push(other.into()),
            None => {}
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

/// The blanks of the grammar; line ends are none.
const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

/// Trimming by the blanks of the grammar.
trait TrimBlank {
    fn trim_ascii_start_blank(&self) -> &[u8];
}

impl TrimBlank for [u8] {
    fn trim_ascii_start_blank(&self) -> &[u8] {
        let blanks = self.iter().take_while(|&&byte| is_blank(byte)).count();
        self.get(blanks..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let properties =
            Properties::parse("zoo.cfg", text.as_bytes(), Strictness::Normal).expect("legal");
        properties
            .settings()
            .map(|s| (s.key.clone(), s.value.clone()))
            .collect()
    }

    fn one(text: &str) -> (String, String) {
        let all = read(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().expect("one")
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn any_of_the_three_separators_ends_the_key() {
        for text in [
            "a=1",
            "a = 1",
            "a: 1",
            "a 1",
            "a\t1",
            " a   =   1  ",
            "a\x0c:\x0c1",
        ] {
            assert_eq!(one(text), pair("a", "1"), "{text:?}");
        }
        assert_eq!(one("a==1"), pair("a", "=1"));
        assert_eq!(one("a : = 1"), pair("a", "= 1"));
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one(r"a\=b\:c\ d=1"), pair("a=b:c d", "1"));
    }

    #[test]
    fn comments_start_a_line_and_nothing_else() {
        assert_eq!(read("# x=1\n! y=2\n\n   # z=3\n\t\n"), []);
        assert_eq!(one("a=1#2"), pair("a", "1#2"));
        assert_eq!(one("# comment \\\na=1"), pair("a", "1"));
    }

    #[test]
    fn a_comment_behind_a_value_is_cut_with_a_notice() {
        let text = b"x=1\nclientPort=2181 # client\nssl.keyStore.password=a #b\n";
        let read = Properties::parse("zoo.cfg", text, Strictness::Normal).expect("legal");
        assert_eq!(read.get("clientPort").expect("set").value, "2181");
        assert_eq!(
            read.get("ssl.keyStore.password").expect("set").value,
            "a #b"
        );
        let notices: Vec<_> = read.notices().iter().map(ToString::to_string).collect();
        assert_eq!(notices, ["zoo.cfg:2: clientPort: ignoring text after '#'"]);
        let strict = Properties::parse("zoo.cfg", text, Strictness::Strict).expect("legal");
        assert_eq!(
            strict.get("clientPort").expect("set").value,
            "2181 # client"
        );
    }

    #[test]
    fn a_value_that_is_only_a_comment_is_empty() {
        assert_eq!(one("a= # nothing"), pair("a", "# nothing"));
        assert_eq!(one("a=\t\t"), pair("a", ""));
    }

    #[test]
    fn backslashes_escape_and_join_lines() {
        assert_eq!(one(r"dataDir=C:\zk\data"), pair("dataDir", "C:zkdata"));
        assert_eq!(
            one(r"dataDir=C\:\\zk\\data"),
            pair("dataDir", r"C:\zk\data")
        );
        assert_eq!(one("a=/x\\\n   /data"), pair("a", "/x/data"));
        assert_eq!(one("a=/x\\\r\n/data\r\n"), pair("a", "/x/data"));
        assert_eq!(one("a=x\\\n#y"), pair("a", "x#y"));
        assert_eq!(read("a=x\\\\\nb=1"), [pair("a", "x\\"), pair("b", "1")]);
        assert_eq!(read("a=x\\\n\nb=1"), [pair("a", "x"), pair("b", "1")]);
        assert_eq!(one("a=x\\"), pair("a", "x"));
        assert_eq!(one(r"a=\u4e2d\ud83d\ude00"), pair("a", "中😀"));
        assert_eq!(one(r"a=1\t2\n"), pair("a", "1\t2"));
    }

    #[test]
    fn a_broken_unicode_escape_is_an_error_with_its_line() {
        let error = Properties::parse("zoo.cfg", b"a=1\nb=\\u12g4", Strictness::Normal);
        let text = error.expect_err("malformed").to_string();
        assert!(text.starts_with("zoo.cfg:2: malformed escape"), "{text}");
    }

    #[test]
    fn the_last_of_two_values_wins_and_is_noticed() {
        let read = Properties::parse("c", b"a=1\nb=2\na=3", Strictness::Normal).expect("legal");
        let settings: Vec<_> = read.settings().map(|s| (&*s.key, &*s.value)).collect();
        assert_eq!(settings, [("b", "2"), ("a", "3")]);
        assert_eq!(
            read.notices()[0].to_string(),
            "c:3: a: replaces the value of line 1"
        );
    }

    #[test]
    fn a_byte_order_mark_is_stripped_with_a_notice() {
        let read = Properties::parse("c", b"\xef\xbb\xbfa=1", Strictness::Normal).expect("legal");
        assert_eq!(read.get("a").expect("set").value, "1");
        assert_eq!(read.notices().len(), 1);
    }

    #[test]
    fn bytes_are_latin_1() {
        let read = Properties::parse("c", b"a=\xe4", Strictness::Normal).expect("legal");
        assert_eq!(read.get("a").expect("set").value, "ä");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_parse_or_fail_and_never_panic(bytes: Vec<u8>) {
            drop(Properties::parse("c", &bytes, Strictness::Normal));
        }
    }
}
