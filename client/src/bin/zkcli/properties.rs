use std::collections::BTreeMap;
use std::time::Duration;

use zk_client::{Builder, Tls};

/// A client configuration, as `zkCli.sh` takes it: Java's properties, with stores in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Properties(BTreeMap<String, String>);

impl Properties {
    /// Reads a file.
    ///
    /// # Errors
    /// One line that says why it cannot be.
    pub(crate) fn load(file: &str) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(file).map_err(|err| format!("cannot read {file}: {err}"))?;
        Ok(Self::parse(&text))
    }

    /// Reads the text of a file, by the grammar of `java.util.Properties#load`.
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = logical_lines(text).into_iter().map(|line| {
            let (key, value) = split(&line);
            let key = key.strip_prefix("zookeeper.").unwrap_or(&key).to_owned();
            (key, value.trim_end().to_owned())
        });
        Self(pairs.collect())
    }

    /// All of them, by key.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.0.iter();
        pairs.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn number<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        let value = self.get(key).map(|text| {
            let number = text.parse();
            number.map_err(|_| format!("{key} is {text:?}, which is no number"))
        });
        value.transpose()
    }

    /// Sets up a client as they say.
    ///
    /// # Errors
    /// One line that says which of them cannot be.
    pub(crate) fn apply(&self, mut builder: Builder) -> Result<Builder, String> {
        if let Some(bytes) = self.number("jute.maxbuffer")? {
            builder = builder.frame_max(bytes);
        }
        if let Some(ms) = self.number("request.timeout")?.filter(|ms| *ms > 0) {
            builder = builder.op_timeout(Duration::from_millis(ms));
        }
        if self.get("client.secure") == Some("true") {
            builder = builder.tls(self.tls()?);
        }
        Ok(builder)
    }

    fn tls(&self) -> Result<Tls, String> {
        let read = |key: &str| {
            let file = self.get(key).map(|file| {
                let bytes = std::fs::read(file);
                bytes.map_err(|err| format!("{key}: cannot read {file}: {err}"))
            });
            file.transpose()
        };
        if self.get("ssl.hostnameVerification") == Some("false") {
            return Err("ssl.hostnameVerification: names are always verified".to_owned());
        }
        let authorities = read("ssl.trustStore.location")?
            .ok_or("ssl.trustStore.location is needed: authorities in PEM")?;
        let own = read("ssl.keyStore.location")?;
        let own = own.as_deref().map(|pem| (pem, pem));
        Tls::from_pem(&authorities, own).map_err(|err| {
            use std::error::Error as _;
            let source = err
                .source()
                .map_or_else(String::new, |err| format!(": {err}"));
            format!("{err}{source} (stores are read in PEM)")
        })
    }
}

/// Lines with a setting, joined where a backslash at the end continues them; their escapes stay.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        let line = line.trim_start();
        let mut joined = match open.take() {
            Some(open) => open,
            None if line.is_empty() || line.starts_with(['#', '!']) => continue,
            None => String::new(),
        };
        joined.push_str(line);
        let slashes = joined.bytes().rev().take_while(|byte| *byte == b'\\');
        if slashes.count() % 2 == 1 {
            joined.pop();
            open = Some(joined);
        } else {
            lines.push(joined);
        }
    }
    lines.extend(open);
    lines
}

/// Key and value of a line: the first `=`, `:` or blank that is not escaped ends the key.
fn split(line: &str) -> (String, String) {
    let is_blank = |char: char| matches!(char, ' ' | '\t' | '\x0c');
    let mut is_escaped = false;
    let key_end = line.find(|char| {
        let ends = !is_escaped && (is_blank(char) || matches!(char, '=' | ':'));
        is_escaped = char == '\\' && !is_escaped;
        ends
    });
    let (key, rest) = line.split_at(key_end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (unescape(key), unescape(value.trim_start_matches(is_blank)))
}

/// Replaces `\t`, `\n`, `\r`, `\f`, `\uXXXX`; any other `\x` is `x`.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut chars = escape.chars();
        plain.extend(match chars.next() {
            Some('t') => Some('\t'),
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('f') => Some('\x0c'),
            Some('u') => {
                let code = chars.as_str().get(..4);
                let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                if code.is_some() {
                    chars = chars.as_str().get(4..).unwrap_or_default().chars();
                }
                Some(code.and_then(char::from_u32).unwrap_or('u'))
            }
            other => other,
        });
        rest = chars.as_str();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_keys_and_values() {
        let parsed = Properties::parse(
            "# comment\n! another\n zookeeper.client.secure = true\njute.maxbuffer:2000\n\nalone",
        );
        assert_eq!(parsed.get("client.secure"), Some("true"));
        assert_eq!(parsed.number::<usize>("jute.maxbuffer"), Ok(Some(2_000)));
        assert_eq!(parsed.get("alone"), Some(""));
        assert_eq!(parsed.number::<usize>("none"), Ok(None));
    }

    #[test]
    fn lines_go_on_and_characters_are_escaped() {
        let parsed = Properties::parse(
            "a\\ b \\\n  = c\\:d\\u0041\\\\ \n#no\\\ngroup.1 = 1:\\\n\t2\r\nlast=x\\",
        );
        let pairs: Vec<_> = parsed.pairs().collect();
        let expected = [("a b", "c:dA\\"), ("group.1", "1:2"), ("last", "x")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let refused = |text: &str| {
            let builder = zk_client::Client::builder("zk");
            Properties::parse(text).apply(builder).unwrap_err()
        };
        assert!(refused("jute.maxbuffer=x").contains("\"x\""));
        assert!(refused("client.secure=true").contains("ssl.trustStore.location"));
        let missing = "client.secure=true\nssl.trustStore.location=/does/not/exist";
        assert!(refused(missing).contains("/does/not/exist"));
        assert!(Properties::load("/does/not/exist").is_err());
    }
}
