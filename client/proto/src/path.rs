//! Paths of znodes.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use bytestring::ByteString;

/// A legal path, borrowed: absolute, `/`-separated, without empty, `.` or `..` components.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `PathUtils#validatePath`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZPath<'a>(&'a str);

/// A legal path, owned; cloning it shares the text. See [`ZPath`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZPathBuf(ByteString);

/// Why text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal path {path:?}: {reason}")]
pub struct PathError {
    /// The text, cut to 256 characters.
    pub path: String,
    /// What is wrong with it.
    pub reason: PathReason,
}

/// What makes text illegal as a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathReason {
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It does not start with `/`.
    #[error("it does not start with /")]
    NotAbsolute,
    /// It ends with `/` and is not the root.
    #[error("it ends with /")]
    TrailingSlash,
    /// It has an empty component.
    #[error("it has an empty component at byte {0}")]
    EmptyComponent(usize),
    /// It has a component `.` or `..`.
    #[error("it has a relative component at byte {0}")]
    RelativeComponent(usize),
    /// It has a character that cannot be printed or sent, or a `/` within a component.
    #[error("the character {character:?} at byte {at} is not allowed")]
    Character {
        /// The character.
        character: char,
        /// Its offset in bytes.
        at: usize,
    },
}

/// Whether a path may not hold the character: controls, surrogates, private use, specials, and
/// everything beyond the basic plane.
const fn is_illegal(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..
    )
}

/// Whether text is a path for certain, seen byte by byte: printable ASCII without odd components, as
/// nearly all paths are.
fn is_plain(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else {
        return false;
    };
    // Of the component.
    let (mut len, mut dots) = (0_usize, 0);
    let is_odd = |len, dots| len == 0 || (len == dots && len <= 2);
    for byte in rest {
        match byte {
            b'/' if is_odd(len, dots) => return false,
            b'/' => (len, dots) = (0, 0),
            b'.' => (len, dots) = (len + 1, dots + 1),
            b' '..=b'~' => len += 1,
            _ => return false,
        }
    }
    !is_odd(len, dots)
}

/// Checks text that may have been appended to: the rules of [`ZPath`].
fn check(path: &str) -> Result<(), PathReason> {
    if is_plain(path.as_bytes()) {
        return Ok(());
    }
    check_each(path)
}

/// The same, with the reason.
fn check_each(path: &str) -> Result<(), PathReason> {
    match path.as_bytes() {
        [] => return Err(PathReason::Empty),
        [b'/'] => return Ok(()),
        [b'/', ..] => {}
        _ => return Err(PathReason::NotAbsolute),
    }
    if path.ends_with('/') {
        return Err(PathReason::TrailingSlash);
    }
    let mut at = 1;
    for component in path.split('/').skip(1) {
        match component {
            "" => return Err(PathReason::EmptyComponent(at)),
            "." | ".." => return Err(PathReason::RelativeComponent(at)),
            _ => {}
        }
        if let Some((offset, character)) = component.char_indices().find(|(_, c)| is_illegal(*c)) {
            return Err(PathReason::Character {
                character,
                at: at + offset,
            });
        }
        at += component.len() + 1;
    }
    Ok(())
}

fn error(path: &str, reason: PathReason) -> PathError {
    PathError {
        path: path.chars().take(256).collect(),
        reason,
    }
}

impl<'a> ZPath<'a> {
    /// The root.
    pub const ROOT: ZPath<'static> = ZPath("/");

    /// Checks a path.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong and where.
    pub fn new(path: &'a str) -> Result<Self, PathError> {
        check(path)
            .map(|()| Self(path))
            .map_err(|reason| error(path, reason))
    }

    /// Checks a path whose last component a server will complete with a sequence number: it may
    /// end with `/`.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong and where.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `PathUtils#validatePath(String, boolean)`.
    pub fn check_sequential(path: &str) -> Result<(), PathError> {
        let checked = if path.is_empty() {
            Err(PathReason::Empty)
        } else {
            check(&format!("{path}1"))
        };
        checked.map_err(|reason| error(path, reason))
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether this is the root.
    pub fn is_root(self) -> bool {
        self.0 == "/"
    }

    /// The path without its last component; `None` for the root.
    pub fn parent(self) -> Option<Self> {
        let (parent, _) = self.split()?;
        Some(parent)
    }

    /// The last component; `None` for the root.
    pub fn name(self) -> Option<&'a str> {
        let (_, name) = self.split()?;
        Some(name)
    }

    /// The path without its last component, and that component; `None` for the root.
    pub fn split(self) -> Option<(Self, &'a str)> {
        if self.is_root() {
            return None;
        }
        let (parent, name) = self.0.rsplit_once('/')?;
        Some((
            if parent.is_empty() {
                ZPath::ROOT
            } else {
                ZPath(parent)
            },
            name,
        ))
    }

    /// The components, from the root down; none for the root.
    pub fn components(self) -> impl DoubleEndedIterator<Item = &'a str> {
        let text = if self.is_root() {
            None
        } else {
            self.0.strip_prefix('/')
        };
        text.into_iter().flat_map(|text| text.split('/'))
    }

    /// Whether this is `ancestor` or stands below it.
    pub fn is_within(self, ancestor: ZPath<'_>) -> bool {
        strip_chroot(ancestor, self.0).is_some()
    }

    /// The path in a buffer of its own.
    pub fn to_buf(self) -> ZPathBuf {
        ZPathBuf(ByteString::from(self.0))
    }
}

impl ZPathBuf {
    /// Checks a path.
    ///
    /// # Errors
    /// [`PathError`] says what is wrong and where.
    pub fn new(path: impl Into<ByteString>) -> Result<Self, PathError> {
        let path = path.into();
        match check(&path) {
            Ok(()) => Ok(Self(path)),
            Err(reason) => Err(error(&path, reason)),
        }
    }

    /// The root.
    pub const fn root() -> Self {
        Self(ByteString::from_static("/"))
    }

    /// The path, borrowed.
    pub fn as_path(&self) -> ZPath<'_> {
        ZPath(&self.0)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub fn into_inner(self) -> ByteString {
        self.0
    }

    /// The path of a child.
    ///
    /// # Errors
    /// [`PathError`] if `name` cannot be a component.
    pub fn child(&self, name: &str) -> Result<Self, PathError> {
        let slash = if self.as_path().is_root() { "" } else { "/" };
        let path = format!("{}{slash}{name}", self.0);
        let start = path.len() - name.len();
        let reason = match name.find('/') {
            _ if name.is_empty() => PathReason::EmptyComponent(start),
            Some(offset) => PathReason::Character {
                character: '/',
                at: start + offset,
            },
            None => return Self::new(path),
        };
        Err(error(&path, reason))
    }
}

impl Deref for ZPathBuf {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ZPath<'_> {
    fn as_ref(&self) -> &str {
        self.0
    }
}

impl AsRef<str> for ZPathBuf {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for ZPathBuf {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for ZPathBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ZPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl fmt::Debug for ZPathBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// `path` as the server knows it when the client sees only what is below `chroot`.
pub fn join_chroot(chroot: ZPath<'_>, path: &str) -> String {
    match (chroot.as_str(), path) {
        ("/", path) => path.to_owned(),
        (chroot, "/") => chroot.to_owned(),
        (chroot, path) => format!("{chroot}{path}"),
    }
}

/// `path` as a client sees it that sees only what is below `chroot`; `None` if it stands outside.
pub fn strip_chroot<'a>(chroot: ZPath<'_>, path: &'a str) -> Option<&'a str> {
    if chroot.is_root() {
        return Some(path);
    }
    match path.strip_prefix(chroot.as_str())? {
        "" => Some("/"),
        rest if rest.starts_with('/') => Some(rest),
        _ => None,
    }
}

/// The number that a server put behind `prefix` to make the sequential znode `path`.
///
/// Ten digits with leading zeros, or a minus sign and at least nine once the counter has wrapped:
/// which of the two can be told only from the prefix, since that may end with `-`.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2TxnCreate`: `%010d` of an `int`.
pub fn sequence_number(prefix: &str, path: &str) -> Option<i32> {
    let text = path.strip_prefix(prefix)?;
    let number: i32 = text.parse().ok()?;
    (text == format!("{number:010}")).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(path: &str) -> PathReason {
        ZPath::new(path).unwrap_err().reason
    }

    #[test]
    fn legal_paths_are_accepted() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/a.b",
            "/...",
            "/\u{e9}/\u{d7ff}",
            "/a b",
            "/.a",
            "/zookeeper",
        ] {
            assert_eq!(ZPath::new(path).unwrap().as_str(), path);
        }
    }

    /// All texts of up to six of these.
    #[test]
    fn what_is_seen_byte_by_byte_is_what_the_rules_say() {
        let mut texts = vec![String::new()];
        let mut plain = 0;
        for _ in 0..6 {
            let longer =
                |text: &String| ["/", ".", "a", "\u{e9}", "\0"].map(|c| format!("{text}{c}"));
            texts = texts.iter().flat_map(longer).collect();
            for text in &texts {
                if is_plain(text.as_bytes()) {
                    plain += 1;
                    assert!(check_each(text).is_ok(), "{text}");
                } else {
                    let is_odd = text.contains('\u{e9}') || text == "/";
                    assert!(is_odd || check_each(text).is_err(), "{text}");
                }
            }
        }
        assert!(plain > 50, "{plain}");
        for character in '\0'..='\u{ff}' {
            let text = format!("/a{character}b");
            let is_ascii_path = character.is_ascii() && check_each(&text).is_ok();
            assert_eq!(is_plain(text.as_bytes()), is_ascii_path, "{text:?}");
        }
    }

    #[test]
    fn illegal_paths_say_why() {
        assert_eq!(reason(""), PathReason::Empty);
        assert_eq!(reason("a"), PathReason::NotAbsolute);
        assert_eq!(reason("/a/"), PathReason::TrailingSlash);
        assert_eq!(reason("//"), PathReason::TrailingSlash);
        assert_eq!(reason("/a//b"), PathReason::EmptyComponent(3));
        assert_eq!(reason("/a/./b"), PathReason::RelativeComponent(3));
        assert_eq!(reason("/.."), PathReason::RelativeComponent(1));
        for character in [
            '\0',
            '\u{1}',
            '\u{1f}',
            '\u{7f}',
            '\u{9f}',
            '\u{e000}',
            '\u{fffd}',
            '\u{1f600}',
        ] {
            let path = format!("/ab{character}");
            assert_eq!(reason(&path), PathReason::Character { character, at: 3 });
        }
    }

    #[test]
    fn sequential_paths_may_end_with_what_a_number_completes() {
        for path in ["/", "/a/", "/a/.", "/..", "/a-"] {
            assert_eq!(ZPath::check_sequential(path), Ok(()));
        }
        for path in ["", "a", "//", "/a//", "/./a"] {
            assert!(ZPath::check_sequential(path).is_err());
        }
        assert_eq!(
            ZPath::check_sequential("").unwrap_err().reason,
            PathReason::Empty
        );
    }

    #[test]
    fn paths_split_into_parent_and_name() {
        let path = ZPath::new("/a/b").unwrap();
        assert_eq!(
            (path.parent().unwrap().as_str(), path.name()),
            ("/a", Some("b"))
        );
        assert!(path.parent().unwrap().parent().unwrap().is_root());
        assert_eq!(ZPath::ROOT.parent(), None);
        assert_eq!(ZPath::ROOT.components().count(), 0);
        assert_eq!(path.components().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn chroot_is_put_on_and_taken_off() {
        let chroot = ZPath::new("/app").unwrap();
        assert_eq!(join_chroot(chroot, "/"), "/app");
        assert_eq!(join_chroot(chroot, "/a"), "/app/a");
        assert_eq!(join_chroot(ZPath::ROOT, "/a"), "/a");
        assert_eq!(strip_chroot(chroot, "/app"), Some("/"));
        assert_eq!(strip_chroot(chroot, "/app/a"), Some("/a"));
        assert_eq!(strip_chroot(chroot, "/apple"), None);
        assert_eq!(strip_chroot(ZPath::ROOT, "/a"), Some("/a"));
    }

    #[test]
    fn sequence_numbers_are_read_as_they_are_written() {
        assert_eq!(sequence_number("/l-", "/l-0000000007"), Some(7));
        assert_eq!(sequence_number("/l-", "/l-2147483647"), Some(i32::MAX));
        assert_eq!(sequence_number("/l-", "/l--000000005"), Some(-5));
        assert_eq!(sequence_number("/l-", "/l--2147483648"), Some(i32::MIN));
        for other in [
            "/l-7",
            "/l-00000000007",
            "/l-+000000007",
            "/l--0000000005",
            "/l--000000000",
            "/l-2147483648",
            "/m-0000000007",
        ] {
            assert_eq!(sequence_number("/l-", other), None, "{other}");
        }
    }

    #[test]
    fn children_are_one_component() {
        let root = ZPathBuf::root();
        assert_eq!(
            root.child("a").unwrap().child("b").unwrap().as_str(),
            "/a/b"
        );
        for name in ["", ".", "..", "a/b", "\0"] {
            assert!(root.child(name).is_err(), "{name:?}");
        }
        let parent = root.child("a").unwrap();
        assert_eq!(
            parent.child("").unwrap_err().reason,
            PathReason::EmptyComponent(3)
        );
        assert_eq!(
            parent.child("b/c").unwrap_err().reason,
            PathReason::Character {
                character: '/',
                at: 4
            }
        );
    }
}
