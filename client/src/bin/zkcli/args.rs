use std::time::Duration;

use super::properties::Properties;

/// What the program was called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invocation {
    /// Servers and chroot.
    pub(crate) server: String,
    /// Session timeout.
    pub(crate) timeout: Duration,
    /// Whether a read-only server will do.
    pub(crate) read_only: bool,
    /// Whether to wait for a server that is not there yet.
    pub(crate) is_patient: bool,
    /// What the file of `-client-configuration` says.
    pub(crate) properties: Properties,
    /// The command, if it is to do only one.
    pub(crate) command: Vec<String>,
}

impl Invocation {
    /// Parses the words behind the program's name.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut words = words.into_iter().peekable();
        let mut parsed = Self {
            server: "localhost:2181".to_owned(),
            timeout: Duration::from_secs(30),
            read_only: false,
            is_patient: false,
            properties: Properties::default(),
            command: Vec::new(),
        };
        while let Some(word) = words.next_if(|word| word.starts_with('-')) {
            let mut value = || {
                let value = words.next();
                value.ok_or_else(|| format!("no argument found for option {word}"))
            };
            match word.trim_start_matches('-') {
                "server" => parsed.server = value()?,
                "timeout" => {
                    let text = value()?;
                    let ms = text.parse().ok().filter(|ms| *ms > 0);
                    let ms = ms.ok_or_else(|| {
                        format!("-timeout is {text:?}, which is no number of milliseconds")
                    })?;
                    parsed.timeout = Duration::from_millis(ms);
                }
                "client-configuration" => parsed.properties = Properties::load(&value()?)?,
                "r" => parsed.read_only = true,
                "waitforconnection" => parsed.is_patient = true,
                _ => return Err(format!("unknown option {word}")),
            }
        }
        parsed.command = words.collect();
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Invocation, String> {
        Invocation::parse(text.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_come_before_the_command() {
        let parsed = parse("-server zk:1/app -timeout 5000 -r ls -s /").unwrap();
        assert_eq!(parsed.server, "zk:1/app");
        assert_eq!(parsed.timeout, Duration::from_secs(5));
        assert!(parsed.read_only && !parsed.is_patient);
        assert_eq!(parsed.command, ["ls", "-s", "/"]);
        assert_eq!(parse("").unwrap().server, "localhost:2181");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        assert_eq!(
            parse("-server").unwrap_err(),
            "no argument found for option -server"
        );
        assert!(parse("-timeout abc ls /").unwrap_err().contains("abc"));
        assert!(parse("-timeout 0 ls /").is_err());
        assert_eq!(parse("-foo ls /").unwrap_err(), "unknown option -foo");
    }
}
