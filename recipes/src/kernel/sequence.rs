use std::fmt;

/// The number that a server put behind the name of a sequential znode.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `PrepRequestProcessor#pRequest2TxnCreate`: the parent's counter of creations
/// as `%010d`, a signed 32-bit number that becomes negative after 2³¹ creations. Numbers of 64 bits are
/// read too (ZOOKEEPER-4706).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sequence(i64);

impl Sequence {
    /// Shortest text of a number, the sign included.
    const WIDTH: usize = 10;

    /// A number as it is.
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Reads the text that a server makes of a number: at least ten characters, ASCII digits behind an
    /// optional minus. Anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || text.len() < Self::WIDTH {
            return None;
        }
        text.parse().ok().map(Self)
    }

    /// Whether this one was given out before the other.
    ///
    /// Numbers of 32 bits are compared around their overflow, so that the one after 2³¹ − 1, which is
    /// negative, comes later. This holds for numbers less than 2³¹ apart.
    pub fn is_before(self, other: Self) -> bool {
        match (i32::try_from(self.0), i32::try_from(other.0)) {
            (Ok(this), Ok(other)) => this.wrapping_sub(other) < 0,
            _ => self.0 < other.0,
        }
    }

    /// How many numbers lie between this one and a later one.
    pub(crate) fn distance_to(self, later: Self) -> u64 {
        match (i32::try_from(self.0), i32::try_from(later.0)) {
            (Ok(this), Ok(later)) => u64::from(later.wrapping_sub(this).cast_unsigned()),
            _ => later.0.wrapping_sub(self.0).cast_unsigned(),
        }
    }

    /// Whether the counter is past half of what it can count before it overflows: other programs sort
    /// the text of numbers, and no order is safe among them beyond the overflow.
    pub fn is_high(self) -> bool {
        self.0 >= 1 << 30
    }
}

/// As a server writes it.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seq(number: i64) -> Sequence {
        Sequence::new(number)
    }

    #[test]
    fn texts_of_servers_are_read_and_others_are_not() {
        let read = |text| Sequence::parse(text).map(Sequence::get);
        assert_eq!(read("0000000000"), Some(0));
        assert_eq!(read("2147483647"), Some(2_147_483_647));
        assert_eq!(read("-2147483648"), Some(-2_147_483_648));
        // `%010d` counts the sign: nine digits are left.
        assert_eq!(read("-000000001"), Some(-1));
        assert_eq!(read("2147483648"), Some(2_147_483_648));
        assert_eq!(read("9223372036854775807"), Some(i64::MAX));
        for text in [
            "",
            "-",
            "000000000",
            "+000000001",
            "-00000000",
            "00000000x0",
            "٠٠٠٠٠٠٠٠٠٠",
            "9223372036854775808",
            "--00000001",
            " 0000000001",
            "0000000001 ",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn order_goes_on_over_the_overflow() {
        assert!(seq(i64::from(i32::MAX)).is_before(seq(i64::from(i32::MIN))));
        assert!(!seq(i64::from(i32::MIN)).is_before(seq(i64::from(i32::MAX))));
        assert!(seq(-1).is_before(seq(0)));
        assert_eq!(
            seq(i64::from(i32::MAX)).distance_to(seq(i64::from(i32::MIN))),
            1
        );
        // Servers that count on with 64 bits.
        assert!(seq(2_147_483_647).is_before(seq(2_147_483_648)));
    }

    proptest! {
        #[test]
        fn what_a_server_writes_is_read(number: i32) {
            let number = seq(i64::from(number));
            prop_assert_eq!(Sequence::parse(&number.to_string()), Some(number));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            if let Some(number) = Sequence::parse(&text) {
                prop_assert!(text.len() >= 10 && text.parse() == Ok(number.get()));
            }
        }

        #[test]
        fn a_number_is_before_what_follows_it(number: i32, step in 1..i32::MAX) {
            let (this, later) = (seq(number.into()), seq(number.wrapping_add(step).into()));
            prop_assert!(this.is_before(later) && !later.is_before(this));
            prop_assert_eq!(this.distance_to(later), u64::from(step.cast_unsigned()));
        }
    }
}
