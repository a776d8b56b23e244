//! Text of the files `acceptedEpoch` and `currentEpoch`.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumPeer#readLongFromFile`, `#writeLongToFile`.

use zk_proto::Epoch;

/// Why a file does not hold an epoch. The server must not start with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("epoch file of {len} bytes holds no epoch number")]
pub struct BadEpochFile {
    /// Length of the file.
    pub len: usize,
}

/// What to write: decimal digits, no newline.
pub fn render(epoch: Epoch) -> String {
    epoch.get().to_string()
}

/// Reads what [`render`] wrote. One line ending is accepted behind the number, as people leave it
/// when they repair the file by hand.
///
/// # Errors
/// If the file is empty, or holds anything but a number that an epoch can be.
pub fn parse(file: &[u8]) -> Result<Epoch, BadEpochFile> {
    let bad = BadEpochFile { len: file.len() };
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let number = std::str::from_utf8(line)
        .ok()
        .and_then(|text| text.parse().ok());
    number.map(Epoch::new).ok_or(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_go_there_and_back() {
        for number in [0, 1, 300, i32::MAX] {
            let epoch = Epoch::new(number);
            assert_eq!(parse(render(epoch).as_bytes()), Ok(epoch));
        }
    }

    #[test]
    fn only_a_line_ending_may_follow_the_number() {
        assert_eq!(parse(b"5\n"), Ok(Epoch::new(5)));
        assert_eq!(parse(b"5\r\n"), Ok(Epoch::new(5)));
        for bad in [
            &b""[..],
            b"\n",
            b"5 ",
            b" 5",
            b"5\n\n",
            b"five",
            b"99999999999",
            b"\xff",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
