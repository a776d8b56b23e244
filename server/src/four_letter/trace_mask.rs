//! `gtmk` and `stmk`: the trace mask, a number whose bits choose what is traced.

/// Client requests, leader packets, sessions and warnings.
pub const TRACE_MASK_DEFAULT: i64 = 2 + 16 + 32 + 256;

/// The mask in use.
pub fn gtmk(mask: i64) -> String {
    mask.to_string()
}

/// The mask as it was set.
pub fn stmk(mask: i64) -> String {
    mask.to_string()
}

/// The new mask: the 8 bytes behind the word `stmk`; `None` when they are not all there.
pub fn trace_mask_argument(behind_word: &[u8]) -> Option<i64> {
    behind_word
        .first_chunk()
        .map(|bytes| i64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_is_a_big_endian_long() {
        assert_eq!(trace_mask_argument(&[0, 0, 0, 0, 0, 0, 0, 250]), Some(250));
        assert_eq!(
            trace_mask_argument(&[0, 0, 0, 0, 0, 0, 0, 1, b'\n']),
            Some(1)
        );
        assert_eq!(trace_mask_argument(b"\n"), None);
    }
}
