//! Writes `zoo.cfg`.

use std::fmt::{self, Display, Formatter};

/// A properties file: keys in the order in which they were first set, the last value of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Properties {
    entries: Vec<(String, String)>,
}

impl Properties {
    /// Sets a key, in the place of an earlier value if there is one.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Display) {
        let (key, value) = (key.into(), value.to_string());
        match self
            .entries
            .iter_mut()
            .find(|(existing, _)| *existing == key)
        {
            Some((_, existing)) => *existing = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Sets every key of `other`.
    pub(super) fn set_all(&mut self, other: &Self) {
        for (key, value) in &other.entries {
            self.set(key, value);
        }
    }
}

#[cfg(feature = "containers")]
impl Properties {
    /// Keys and values, in order.
    pub(super) fn entries(&self) -> &[(String, String)] {
        &self.entries
    }
}

impl Display for Properties {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (key, value) in &self.entries {
            writeln!(
                f,
                "{}={}",
                Escaped {
                    text: key,
                    is_key: true
                },
                Escaped {
                    text: value,
                    is_key: false
                }
            )?;
        }
        Ok(())
    }
}

/// Text as `java.util.Properties#load` reads it back.
struct Escaped<'a> {
    text: &'a str,
    is_key: bool,
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (position, c) in self.text.chars().enumerate() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                ' ' if self.is_key || position == 0 => f.write_str("\\ ")?,
                '=' | ':' | '#' | '!' if self.is_key => write!(f, "\\{c}")?,
                ' '..='~' => write!(f, "{c}")?,
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Properties;

    #[test]
    fn a_key_set_again_keeps_its_place_and_takes_the_new_value() {
        let mut properties = Properties::default();
        properties.set("tickTime", 200);
        properties.set("initLimit", 10);
        properties.set("tickTime", 500);
        assert_eq!(properties.to_string(), "tickTime=500\ninitLimit=10\n");
    }

    #[test]
    fn values_survive_the_syntax_of_properties_files() {
        let mut properties = Properties::default();
        properties.set("dataDir", "/tmp/a b\\c\u{e9}\nx=1");
        assert_eq!(
            properties.to_string(),
            "dataDir=/tmp/a b\\\\c\\u00e9\\nx=1\n"
        );
    }
}
