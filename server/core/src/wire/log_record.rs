//! How entries are framed in a transaction log.
//!
//! ```text
//! file   = magic "ZKLG"  version 2 (i32)  dbid 0 (i64)  record*  zero padding
//! record = Adler-32 of the entry (i64)  length (i32)  entry  0x42
//! ```
//!
//! A crash leaves a torn record behind the last whole one. [`read`] tells a torn tail, which may be
//! dropped because nothing of it was ever acknowledged, from damage in the middle, which may not.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `FileTxnLog`, `FilePadding`.

use bytes::{Buf as _, BufMut as _, BytesMut};
use simd_adler32::adler32;

/// Bytes of a file before its first record.
pub const HEADER_LEN: usize = 16;
/// Bytes of a record beside its entry.
pub const FRAME_LEN: usize = 13;
/// Longest entry read by default: twice the default `jute.maxbuffer`.
pub const ENTRY_MAX: usize = 2 * 1_048_575;

const MAGIC: u32 = 0x5a4b_4c47;
const VERSION: i32 = 2;
const DBID: i64 = 0;
/// Last byte of every record.
const END_MARK: u8 = b'B';
/// How close to the end of the file a record may begin before the file is made longer.
const PADDING_MARGIN: u64 = 4096;

/// Why a file is no log, or cannot be read from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// It ends inside the header, so that it can hold no record. A crash right after the file was
    /// created leaves such a file.
    #[error("log file of {len} bytes ends inside its header")]
    Short {
        /// Length of the file.
        len: usize,
    },
    /// It begins with something else.
    #[error("log file begins with {found:#010x} instead of {MAGIC:#010x}")]
    Magic {
        /// First four bytes.
        found: u32,
    },
}

/// The first bytes of every file.
pub fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    let mut rest = header.as_mut_slice();
    rest.put_u32(MAGIC);
    rest.put_i32(VERSION);
    rest.put_i64(DBID);
    header
}

/// Checks the first bytes of a file. Version and dbid mean nothing to any reader.
///
/// # Errors
/// [`BadHeader`], in the order of its variants.
pub fn check_header(mut file: &[u8]) -> Result<(), BadHeader> {
    if file.len() < HEADER_LEN {
        return Err(BadHeader::Short { len: file.len() });
    }
    match file.get_u32() {
        MAGIC => Ok(()),
        found => Err(BadHeader::Magic { found }),
    }
}

/// Appends the record of an entry.
///
/// # Panics
/// If the entry is longer than `i32::MAX`, which no request can make it.
pub fn write(entry: &[u8], out: &mut BytesMut) {
    let len = i32::try_from(entry.len()).expect("an entry is made of one request");
    out.reserve(FRAME_LEN + entry.len());
    out.put_i64(i64::from(adler32(&entry)));
    out.put_i32(len);
    out.put_slice(entry);
    out.put_u8(END_MARK);
}

/// Length that a file should have before a record is written at `position`: some zeros ahead, so
/// that most appends do not change the file's length.
///
/// `len` is its length now and `step` how much to preallocate at once; 0 is never. All in bytes.
pub const fn padded_len(position: u64, len: u64, step: u64) -> u64 {
    if step == 0 || position + PADDING_MARGIN < len {
        len
    } else if position > len {
        (position + step) / step * step
    } else {
        len + step
    }
}

/// What stands at some offset of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// A whole record.
    Record {
        /// What was logged.
        entry: &'a [u8],
        /// Offset of what follows.
        next: usize,
    },
    /// None.
    Ending(Ending),
}

/// How the records of a log come to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing, or padding, up to the end of the file.
    Clean,
    /// A record that was not written completely, and behind it nothing that was. It may be dropped
    /// if this is the last file; what it held was never acknowledged.
    Torn(Damage),
    /// A damaged record with whole ones behind it, which would be lost with it.
    Corrupt(Damage),
    /// A whole record with an entry of so many bytes, which is longer than any that is read. It was
    /// written under a higher limit, and may have been acknowledged, whatever is behind it.
    TooLong(usize),
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file ends inside the record.
    #[error("the file ends inside the record")]
    Short,
    /// The byte behind the entry is not the end mark.
    #[error("the end mark is missing")]
    NoEndMark,
    /// The entry does not have the checksum that stands before it.
    #[error("the checksum is wrong")]
    Checksum,
    /// The length is negative, or longer than any entry.
    #[error("the length {0} is impossible")]
    Length(i32),
    /// Zeros where a record should be, and something else behind them.
    #[error("there are zeros before the end")]
    Zeros,
}

/// Looks at what stands at `offset` of a whole log file. `entry_max` bounds the length of an entry.
pub fn read(file: &[u8], offset: usize, entry_max: usize) -> Found<'_> {
    match whole(file, offset, entry_max) {
        Ok((entry, next)) => Found::Record { entry, next },
        Err(none) => Found::Ending(none.judge(file, offset, entry_max)),
    }
}

/// The whole record at `offset`: its entry, and the offset of what follows.
///
/// # Errors
/// [`NoRecord`] if there is none, as far as these bytes go.
pub fn whole(bytes: &[u8], offset: usize, entry_max: usize) -> Result<(&[u8], usize), NoRecord> {
    let rest = bytes.get(offset..).unwrap_or_default();
    let (entry, len) = frame(rest, entry_max).map_err(NoRecord)?;
    Ok((entry, offset + len))
}

/// That no whole record stands at some offset. Whether one ever did can be told by all that follows
/// only: see [`Self::judge`].
#[derive(Debug)]
pub struct NoRecord(Broken);

impl NoRecord {
    /// Tells what stands at the offset that this comes from, of a file that is there to its end.
    ///
    /// A record is torn rather than corrupt if no whole record is found behind it: directly behind it
    /// where its length is known, anywhere where it is not. One that is whole but for the limit is
    /// neither: no write that a crash cut off ends with an end mark and has the checksum.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `FileTxnLog.FileTxnIterator#next`, takes a missing end mark for the end
    /// wherever it is, and a wrong checksum for corruption wherever it is.
    pub fn judge(self, file: &[u8], offset: usize, entry_max: usize) -> Ending {
        let rest = file.get(offset..).unwrap_or_default();
        let damage = match self.0 {
            Broken::Damage(damage) => damage,
            Broken::Zero if rest.iter().all(|&byte| byte == 0) => return Ending::Clean,
            Broken::Zero => Damage::Zeros,
        };
        if let Damage::Length(_) = damage
            && let Ok((entry, _)) = frame(rest, usize::MAX)
        {
            return Ending::TooLong(entry.len());
        }
        let follows = match damage {
            Damage::Short => false,
            Damage::NoEndMark | Damage::Checksum => {
                let behind = claimed_len(rest).and_then(|len| rest.get(FRAME_LEN + len..));
                behind.is_some_and(|behind| frame(behind, usize::MAX).is_ok())
            }
            Damage::Length(_) | Damage::Zeros => {
                // Every offset may be one: with no bound at all the search would take minutes.
                let entry_max = entry_max.max(ENTRY_MAX);
                (1..rest.len())
                    .any(|at| frame(rest.get(at..).unwrap_or_default(), entry_max).is_ok())
            }
        };
        if follows {
            Ending::Corrupt(damage)
        } else {
            Ending::Torn(damage)
        }
    }
}

/// Why bytes do not begin with a whole record.
#[derive(Debug)]
enum Broken {
    /// The length is zero, or nothing is left: the end, if only zeros follow.
    Zero,
    Damage(Damage),
}

/// Length of the entry that the record at the start of `bytes` claims.
fn claimed_len(bytes: &[u8]) -> Option<usize> {
    let len = bytes.get(8..12)?.try_into().ok()?;
    usize::try_from(i32::from_be_bytes(len)).ok()
}

/// The entry of a whole record at the start of `bytes`, and the length of the record.
fn frame(mut bytes: &[u8], entry_max: usize) -> Result<(&[u8], usize), Broken> {
    if bytes.is_empty() {
        return Err(Broken::Zero);
    }
    if bytes.len() < 12 {
        let zero = bytes.iter().all(|&byte| byte == 0);
        return Err(if zero {
            Broken::Zero
        } else {
            Broken::Damage(Damage::Short)
        });
    }
    let checksum = bytes.get_i64();
    let claimed = bytes.get_i32();
    if claimed == 0 {
        return Err(Broken::Zero);
    }
    let len = usize::try_from(claimed)
        .ok()
        .filter(|&len| len <= entry_max)
        .ok_or(Broken::Damage(Damage::Length(claimed)))?;
    let (entry, behind) = bytes
        .split_at_checked(len)
        .ok_or(Broken::Damage(Damage::Short))?;
    match behind.first() {
        None => return Err(Broken::Damage(Damage::Short)),
        Some(&END_MARK) => {}
        Some(_) => return Err(Broken::Damage(Damage::NoEndMark)),
    }
    // Dearest last: a search for records behind damage comes here at every offset.
    if i64::from(adler32(&entry)) == checksum {
        Ok((entry, FRAME_LEN + len))
    } else {
        Err(Broken::Damage(Damage::Checksum))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A log with these entries, and the offset of each record.
    fn log(entries: &[&[u8]], padding: usize) -> (Vec<u8>, Vec<usize>) {
        let mut out = BytesMut::from(header().as_slice());
        let mut offsets = Vec::new();
        for entry in entries {
            offsets.push(out.len());
            write(entry, &mut out);
        }
        out.put_bytes(0, padding);
        (out.to_vec(), offsets)
    }

    fn read_all(file: &[u8]) -> (Vec<Vec<u8>>, Ending) {
        let (mut offset, mut entries) = (HEADER_LEN, Vec::new());
        loop {
            match read(file, offset, ENTRY_MAX) {
                Found::Record { entry, next } => {
                    entries.push(entry.to_vec());
                    offset = next;
                }
                Found::Ending(end) => return (entries, end),
            }
        }
    }

    #[test]
    fn padding_and_the_end_of_the_file_are_the_end() {
        for padding in [0, 1, 11, 12, 13, 5000] {
            let (file, _) = log(&[b"one", b"two"], padding);
            let (entries, end) = read_all(&file);
            assert_eq!((entries.len(), end), (2, Ending::Clean));
        }
    }

    #[test]
    fn damage_of_the_last_record_is_a_torn_tail() {
        let (file, offsets) = log(&[b"one", b"twelve bytes"], 100);
        let (last, end) = (offsets[1], offsets[1] + FRAME_LEN + 12);
        let damaged = |at: usize, byte: u8| {
            let mut file = file.clone();
            file[at] ^= byte;
            let (entries, found) = read_all(&file);
            assert_eq!(entries.len(), 1);
            let Ending::Torn(damage) = found else {
                panic!("{found:?}");
            };
            damage
        };
        assert_eq!(damaged(end - 1, 1), Damage::NoEndMark);
        assert_eq!(damaged(last + 14, 1), Damage::Checksum);
        assert_eq!(damaged(last + 3, 1), Damage::Checksum);
        assert!(matches!(damaged(last + 8, 0x80), Damage::Length(_)));
        assert_eq!(damaged(last + 11, 12), Damage::Zeros);
        let (_, found) = read_all(&file[..last + 20]);
        assert_eq!(found, Ending::Torn(Damage::Short));
        let (_, found) = read_all(&file[..last + 5]);
        assert_eq!(found, Ending::Torn(Damage::Short));
    }

    #[test]
    fn damage_before_a_whole_record_is_corruption() {
        let (file, offsets) = log(&[b"one", b"twelve bytes", b"three"], 100);
        for (at, byte) in [(12, 1), (8, 0x80), (11, 12), (24, 1)] {
            let mut file = file.clone();
            file[offsets[1] + at] ^= byte;
            let (entries, found) = read_all(&file);
            assert_eq!(entries.len(), 1);
            assert!(matches!(found, Ending::Corrupt(_)), "{at}: {found:?}");
        }
    }

    #[test]
    fn a_whole_record_beyond_the_limit_is_no_torn_tail() {
        let (file, offsets) = log(&[b"one", b"twelve bytes"], 100);
        let (last, end) = (offsets[1], offsets[1] + FRAME_LEN + 12);
        let found = |file: &[u8], offset| {
            let Found::Ending(ending) = read(file, offset, 11) else {
                panic!("a record");
            };
            ending
        };
        assert_eq!(found(&file, last), Ending::TooLong(12));
        assert_eq!(found(&file[..end], last), Ending::TooLong(12));
        // What is not whole may have been cut off by a crash, whatever the limit.
        let torn = Ending::Torn(Damage::Length(12));
        assert_eq!(found(&file[..end - 1], last), torn);
        for at in [last + 3, last + 14, end - 1] {
            let mut file = file.clone();
            file[at] ^= 1;
            assert_eq!(found(&file, last), torn, "{at}");
        }
        // It is lost with a damaged one before it.
        let mut file = file;
        file[offsets[0] + 12] ^= 1;
        let corrupt = Ending::Corrupt(Damage::Checksum);
        assert_eq!(found(&file, offsets[0]), corrupt);
        // Nor where not even the length of the damaged one is known.
        file[offsets[0] + 8] ^= 0x80;
        let ending = found(&file, offsets[0]);
        assert!(matches!(ending, Ending::Corrupt(Damage::Length(_))));
    }

    #[test]
    fn header_is_checked_before_records() {
        assert_eq!(check_header(&header()), Ok(()));
        assert_eq!(check_header(b"ZKLG"), Err(BadHeader::Short { len: 4 }));
        let wrong = [b'X'; 16];
        let found = 0x5858_5858;
        assert_eq!(check_header(&wrong), Err(BadHeader::Magic { found }));
    }

    #[test]
    fn files_grow_as_the_reference_grows_them() {
        assert_eq!(padded_len(16, 16, 16384), 16400);
        assert_eq!(padded_len(12_000, 16_400, 16_384), 16_400);
        assert_eq!(padded_len(12_304, 16_400, 16_384), 32_784);
        assert_eq!(padded_len(50_000, 32_784, 16_384), 65_536);
        assert_eq!(padded_len(50_000, 32_784, 0), 32_784);
    }

    proptest! {
        #[test]
        fn a_cut_anywhere_loses_only_records_behind_it(
            entries in proptest::collection::vec(proptest::collection::vec(1u8.., 1..40), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let slices: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
            let (file, offsets) = log(&slices, 0);
            let cut = HEADER_LEN + cut.index(file.len() - HEADER_LEN + 1);
            let (read, end) = read_all(&file[..cut]);
            let ends = offsets.iter().zip(&entries).map(|(at, entry)| at + entry.len() + FRAME_LEN);
            let whole = ends.clone().filter(|&end| end <= cut).count();
            prop_assert_eq!(&read[..], &entries[..whole]);
            let clean = cut == HEADER_LEN || ends.clone().any(|end| end == cut);
            // Up to four bytes of a checksum are zeros, which cannot be told from padding.
            let as_expected = if clean { end == Ending::Clean } else { !matches!(end, Ending::Corrupt(_)) };
            prop_assert!(as_expected);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _end = read_all(&bytes);
            let _header = check_header(&bytes);
        }
    }
}
