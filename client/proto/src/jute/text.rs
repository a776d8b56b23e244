//! Strings as Java writes them.

use bytes::Bytes;
use bytestring::ByteString;

/// Text of wire bytes, in `shared`'s allocation when they are UTF-8, as nearly all are.
///
/// A Java peer writes a supplementary character as two surrogates of three bytes each (CESU-8);
/// those pairs are read as the character they stand for. Whatever else is not UTF-8 becomes U+FFFD,
/// as in the reference.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `BinaryOutputArchive#stringToByteBuffer`, `BinaryInputArchive#readString`.
pub(super) fn from_wire(wire: &[u8], shared: Bytes) -> ByteString {
    match ByteString::try_from(shared) {
        Ok(text) => text,
        Err(_) => ByteString::from(lenient(wire)),
    }
}

/// Reads what is not UTF-8, into a string without room to spare: a broken byte takes three as U+FFFD,
/// and a string that had to grow would take twice that.
fn lenient(mut wire: &[u8]) -> String {
    let mut text = String::with_capacity(wire.len());
    while !wire.is_empty() {
        let valid = match std::str::from_utf8(wire) {
            Ok(valid) => valid,
            Err(err) => wire
                .get(..err.valid_up_to())
                .and_then(|head| std::str::from_utf8(head).ok())
                .unwrap_or_default(),
        };
        text.push_str(valid);
        wire = wire.get(valid.len()..).unwrap_or_default();
        if wire.is_empty() {
            break;
        }
        let (character, len) = match surrogate_pair(wire) {
            Some(character) => (character, 6),
            None => (char::REPLACEMENT_CHARACTER, invalid_len(wire)),
        };
        text.push(character);
        wire = wire.get(len..).unwrap_or_default();
    }
    text.shrink_to_fit();
    text
}

/// Length of the invalid sequence that `wire` starts with.
fn invalid_len(wire: &[u8]) -> usize {
    match std::str::from_utf8(wire) {
        Err(err) => err.error_len().unwrap_or(wire.len()).max(1),
        Ok(_) => 1,
    }
}

/// The character that six bytes of CESU-8 at the start of `wire` stand for.
fn surrogate_pair(wire: &[u8]) -> Option<char> {
    let unit = |bytes: &[u8]| match *bytes {
        [0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf] => {
            Some(0xd000 | (u16::from(second & 0x3f) << 6) | u16::from(third & 0x3f))
        }
        _ => None,
    };
    let (high, low) = (unit(wire.get(..3)?)?, unit(wire.get(3..6)?)?);
    char::decode_utf16([high, low]).next()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(wire: &'static [u8]) -> ByteString {
        from_wire(wire, Bytes::from_static(wire))
    }

    #[test]
    fn java_surrogates_become_one_character() {
        assert_eq!(text(b"a\xed\xa0\xbd\xed\xb8\x80b"), "a\u{1f600}b");
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        assert_eq!(text(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(text(b"\xed\xa0\xbd"), "\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(text(b"a\xe2\x82"), "a\u{fffd}");
    }

    #[test]
    fn utf8_shares_the_frame() {
        let wire = Bytes::from_static("/zoo/\u{e9}".as_bytes());
        let start = wire.as_ptr();
        assert_eq!(from_wire(&wire.clone(), wire).as_bytes().as_ptr(), start);
    }
}
