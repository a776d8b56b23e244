//! Values of single keys: from text to number, switch, duration or word.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use super::keys::{Key, Kind, Twin, rows};
use super::zoo_cfg::{Origin, Setting};

/// Text that must not reach logs or screens.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A parsed value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Float(f64),
    Flag(bool),
    Text(String),
}

/// A value parsed, and the remark to make about it.
pub(super) struct Parsed {
    pub(super) value: Value,
    pub(super) remark: Option<String>,
}

impl Key {
    /// Reads a value of this key.
    ///
    /// Says what was expected when it is not one.
    pub(super) fn parse(&self, text: &str) -> Result<Parsed, String> {
        let mut remark = None;
        let value = match self.kind {
            Kind::Int { min, max, .. } => {
                let number = self
                    .number(text)
                    .map_err(|form| format!("{form}{}", range(min, max)))?;
                if number < min || number > max {
                    return Err(format!(
                        "out of range, expected a whole number{}",
                        range(min, max)
                    ));
                }
                Value::Int(number)
            }
            Kind::Raised { floor, instead, .. } => {
                let number = self.number(text)?;
                if number < floor {
                    remark = Some(format!("below {floor}, using {instead}"));
                    Value::Int(instead)
                } else {
                    Value::Int(number.min(i32::MAX.into()))
                }
            }
            Kind::Float { min, max, .. } => match text.parse::<f64>() {
                Ok(number) if (min..=max).contains(&number) => Value::Float(number),
                _ => return Err(format!("expected a number from {min} to {max}")),
            },
            Kind::Interval { unit_ms, .. } => Value::Int(interval(text, unit_ms)?),
            Kind::Flag(_) => match text.to_ascii_lowercase().as_str() {
                "true" => Value::Flag(true),
                "false" => Value::Flag(false),
                _ => return Err("expected true or false".to_owned()),
            },
            Kind::YesNo(_) => match text.to_ascii_lowercase().as_str() {
                "yes" => Value::Flag(true),
                "no" => Value::Flag(false),
                _ => return Err("expected yes or no".to_owned()),
            },
            Kind::Text(_) | Kind::Secret | Kind::Free => Value::Text(text.to_owned()),
            Kind::Choice { of, .. } => match of.iter().find(|word| word.eq_ignore_ascii_case(text))
            {
                Some(word) => Value::Text((*word).to_owned()),
                None => return Err(format!("expected one of {}", of.join(", "))),
            },
        };
        Ok(Parsed { value, remark })
    }

    /// The default.
    fn default(&self) -> Value {
        match self.kind {
            Kind::Int { default, .. } | Kind::Raised { default, .. } => Value::Int(default),
            Kind::Float { default, .. } => Value::Float(default),
            Kind::Interval { default_ms, .. } => Value::Int(default_ms),
            Kind::Flag(default) | Kind::YesNo(default) => Value::Flag(default),
            Kind::Text(default) | Kind::Choice { default, .. } => Value::Text(default.to_owned()),
            Kind::Secret | Kind::Free => Value::Text(String::new()),
        }
    }

    /// Whether a value is what it is when it is absent.
    pub(super) fn is_default(&self, value: &Value) -> bool {
        *value == self.default()
    }

    /// A whole number.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9: keys without a property are read with `Integer#parseInt`, the
    /// others with `Integer#getInteger`, to which `0x10` is 16 and `010` is 8. Hexadecimal is
    /// taken likewise; an octal number is more likely a slip, so it is refused.
    fn number(&self, text: &str) -> Result<i64, String> {
        let expected = || "expected a whole number".to_owned();
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (radix, digits) = match digits
            .strip_prefix("0x")
            .or_else(|| digits.strip_prefix("0X"))
        {
            Some(hex) if self.twin != Twin::None => (16, hex),
            _ => (10, digits),
        };
        if radix == 10 && digits.len() > 1 && digits.starts_with('0') && self.twin != Twin::None {
            return Err(
                "write the number without a leading zero, it could be read as octal".to_owned(),
            );
        }
        if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
            return Err(expected());
        }
        let number = i64::from_str_radix(digits, radix).map_err(|_| expected())?;
        Ok(if negative { -number } else { number })
    }
}

/// Bounds in words, to follow "a whole number".
fn range(min: i64, max: i64) -> String {
    match max {
        i64::MAX => format!(" from {min}"),
        max => format!(" from {min} to {max}"),
    }
}

/// A duration in ms.
fn interval(text: &str, unit_ms: i64) -> Result<i64, String> {
    let expected =
        || "expected a duration: a number, with ms, s, m, h or d behind it or bare".to_owned();
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit_ms = match unit {
        "" => unit_ms,
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    let number: i64 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(unit_ms).ok_or_else(expected)
}

/// Values of all honoured keys: what was written, else the default.
#[derive(Debug, Default)]
pub(super) struct Values {
    written: BTreeMap<&'static str, (Value, Origin)>,
    families: Vec<Setting>,
}

impl Values {
    /// Keeps a value for a row, in place of an earlier one.
    pub(super) fn set(&mut self, row: &Key, value: Value, origin: Origin) {
        self.written.insert(row.name, (value, origin));
    }

    /// Keeps a setting of a family.
    pub(super) fn add(&mut self, setting: Setting) {
        self.families.retain(|other| other.key != setting.key);
        self.families.push(setting);
    }

    /// Settings whose keys start with `start`, in file order.
    pub(super) fn family<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a Setting> {
        self.families
            .iter()
            .filter(move |setting| setting.key.starts_with(start))
    }

    /// Where a key was written.
    pub(super) fn origin(&self, name: &str) -> Option<&Origin> {
        self.written.get(name).map(|(_, origin)| origin)
    }

    /// The value of the row called `name`.
    pub(super) fn take<T: FromValue>(&self, name: &str) -> T {
        let value = match self.written.get(name) {
            Some((value, _)) => value.clone(),
            None => rows()
                .find(|row| row.name == name)
                .map(Key::default)
                .expect("settings are taken by the lists that declare their rows"),
        };
        T::from_value(value)
    }

    /// Every honoured single key with the value in effect, secrets masked, and its origin.
    pub(super) fn effective(&self) -> Vec<Setting> {
        let honoured = rows().filter(|row| row.field.is_some());
        let shown = honoured.map(|row| {
            let (value, origin) = match self.written.get(row.name) {
                Some((value, origin)) => (value.clone(), origin.clone()),
                None => (row.default(), Origin::Default),
            };
            let value = match value {
                Value::Text(text) if row.is_secret() && !text.is_empty() => "***".to_owned(),
                Value::Text(text) => text,
                Value::Int(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Flag(flag) => flag.to_string(),
            };
            Setting {
                key: row.name.to_owned(),
                value,
                origin,
            }
        });
        shown.chain(self.families.iter().cloned()).collect()
    }
}

/// What a field of a settings struct can be.
///
/// The bounds of the row make every conversion exact; should a row and a field disagree, the
/// value saturates.
pub(super) trait FromValue {
    fn from_value(value: Value) -> Self;
}

impl Value {
    fn int(self) -> i64 {
        match self {
            Self::Int(number) => number,
            Self::Float(_) | Self::Flag(_) | Self::Text(_) => {
                unreachable!("the row of a number parses numbers")
            }
        }
    }

    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Int(_) | Self::Float(_) | Self::Flag(_) => {
                unreachable!("the row of a text parses text")
            }
        }
    }
}

macro_rules! from_int {
    ($($type:ty),+) => {
        $(impl FromValue for $type {
            fn from_value(value: Value) -> Self {
                Self::try_from(value.int()).unwrap_or(Self::MAX)
            }
        })+
    };
}

from_int!(u16, u32, i32);

/// Negative is none.
macro_rules! from_optional_int {
    ($($type:ty),+) => {
        $(impl FromValue for Option<$type> {
            fn from_value(value: Value) -> Self {
                <$type>::try_from(value.int()).ok()
            }
        })+
    };
}

from_optional_int!(u16, u32);

/// Zero and negative are none.
macro_rules! from_optional_non_zero {
    ($($type:ident of $inner:ty),+) => {
        $(impl FromValue for Option<$type> {
            fn from_value(value: Value) -> Self {
                <$inner>::try_from(value.int()).ok().and_then($type::new)
            }
        })+
    };
}

from_optional_non_zero!(NonZeroU32 of u32, NonZeroU64 of u64);

impl FromValue for Duration {
    fn from_value(value: Value) -> Self {
        Self::from_millis(value.int().try_into().unwrap_or(0))
    }
}

impl FromValue for Option<Duration> {
    fn from_value(value: Value) -> Self {
        value.int().try_into().ok().map(Duration::from_millis)
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Float(number) => number,
            Value::Int(_) | Value::Flag(_) | Value::Text(_) => {
                unreachable!("the row of a fraction parses fractions")
            }
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Self {
        match value {
            Value::Flag(flag) => flag,
            Value::Int(_) | Value::Float(_) | Value::Text(_) => {
                unreachable!("the row of a switch parses switches")
            }
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Self {
        value.text()
    }
}

impl FromValue for Option<Secret> {
    fn from_value(value: Value) -> Self {
        Some(value.text())
            .filter(|text| !text.is_empty())
            .map(Secret)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::find;
    use super::*;

    fn parse(key: &str, text: &str) -> Result<Value, String> {
        find(key)
            .expect("a row")
            .parse(text)
            .map(|parsed| parsed.value)
    }

    #[test]
    fn numbers_of_properties_may_be_hexadecimal_and_never_octal() {
        assert_eq!(parse("snapCount", "0x10"), Ok(Value::Int(16)));
        assert_eq!(parse("tickTime", "010"), Ok(Value::Int(10)));
        assert_eq!(parse("tickTime", "+10"), Ok(Value::Int(10)));
        assert!(parse("tickTime", "0x10").is_err());
        assert!(
            parse("maxCnxns", "010")
                .expect_err("octal")
                .contains("leading zero")
        );
        for bad in [
            "",
            "abc",
            "1s",
            "2181 # x",
            "--1",
            "1.5",
            "99999999999999999999",
        ] {
            assert!(parse("tickTime", bad).is_err(), "{bad:?}");
            assert!(parse("snapCount", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn bounds_are_checked_and_named() {
        let error = parse("clientPort", "70000").expect_err("out of range");
        assert_eq!(
            error,
            "out of range, expected a whole number from 0 to 65535"
        );
        assert_eq!(parse("clientPort", "0"), Ok(Value::Int(0)));
        assert!(parse("clientPort", "-1").is_err());
        assert!(parse("tickTime", "0").is_err());
    }

    #[test]
    fn floors_raise_with_a_remark() {
        let parsed = find("snapCount")
            .expect("a row")
            .parse("1")
            .expect("raised");
        assert_eq!(parsed.value, Value::Int(2));
        assert_eq!(parsed.remark.as_deref(), Some("below 2, using 2"));
    }

    #[test]
    fn intervals_take_suffixes() {
        assert_eq!(
            parse("autopurge.purgeInterval", "1"),
            Ok(Value::Int(3_600_000))
        );
        assert_eq!(
            parse("autopurge.purgeInterval", "90s"),
            Ok(Value::Int(90_000))
        );
        assert_eq!(
            parse("autopurge.purgeInterval", "1d"),
            Ok(Value::Int(86_400_000))
        );
        for bad in ["", "h", "1w", "-1", "1 h", "9223372036854775807d"] {
            assert!(parse("autopurge.purgeInterval", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn switches_are_strict() {
        assert_eq!(parse("admin.enableServer", "TRUE"), Ok(Value::Flag(true)));
        assert!(parse("admin.enableServer", "yes").is_err());
        assert_eq!(parse("forceSync", "no"), Ok(Value::Flag(false)));
        assert!(parse("forceSync", "false").is_err());
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", Secret("hunter2".to_owned())), "***");
    }
}
