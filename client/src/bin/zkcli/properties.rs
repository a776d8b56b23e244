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

    fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim_start);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
        let pairs = lines.map(|line| {
            let (key, value) = line.split_once(['=', ':']).unwrap_or((line, ""));
            let key = key.trim();
            let key = key.strip_prefix("zookeeper.").unwrap_or(key);
            (key.to_owned(), value.trim().to_owned())
        });
        Self(pairs.collect())
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
