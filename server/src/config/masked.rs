//! `zoo.cfg` to be shown, without its secrets.

use super::keys::{Key, find};
use super::zoo_cfg::{logical_lines, natural_lines, split};

/// What stands in the place of a secret.
const MASK: &str = "***";
/// Parts of the names of secrets, in lower case: a name that was mistyped, or is no longer known, may
/// stand before a secret, too.
const MARKS: [&str; 3] = ["password", "superdigest", "superuser"];

/// The text of a file as it was written, but for the settings that are secret, and for comments and
/// values that mention one.
pub(crate) fn masked(text: &str) -> String {
    let text = text.trim_end_matches(['\r', '\n']);
    let bytes = text.strip_prefix('\u{feff}').unwrap_or(text).as_bytes();
    let mut settings = logical_lines(bytes).into_iter().peekable();
    let mut out = String::new();
    let (mut last, mut is_hidden) = (0, false);
    for (number, line) in (1..).zip(natural_lines(bytes)) {
        if let Some(setting) = settings.next_if(|setting| setting.first == number) {
            let key = key_of_secret(&setting.text);
            (last, is_hidden) = (setting.last, key.is_some());
            if let Some(key) = key {
                out.extend([&*key, "=", MASK, "\n"]);
            }
        } else if number > last {
            is_hidden = mentions_secret(&String::from_utf8_lossy(line));
            if is_hidden {
                out.extend(["# ", MASK, "\n"]);
            }
        }
        if !is_hidden {
            out.extend([&*String::from_utf8_lossy(line), "\n"]);
        }
    }
    out
}

/// The key of a setting that must not be shown; it is itself masked unless it is known.
fn key_of_secret(setting: &[u8]) -> Option<String> {
    let Ok((key, value)) = split(setting) else {
        return Some(MASK.to_owned());
    };
    let row = find(&key);
    let is_secret =
        row.is_some_and(Key::is_secret) || mentions_secret(&key) || mentions_secret(&value);
    is_secret.then(|| row.map_or_else(|| MASK.to_owned(), |_| key))
}

fn mentions_secret(text: &str) -> bool {
    let lower = text.to_lowercase();
    MARKS.iter().any(|mark| lower.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_however_they_are_written() {
        for secret in [
            "ssl.keyStore.password=canary",
            "ssl.keyStore.password: canary",
            "ssl.keyStore.password canary",
            "  ssl.keyStore.password\tcanary",
            "ssl.keyStore.password=\\\n  canary",
            "ssl.keyStore.password=\\\r\n#can\\\r\n  canary\\\r\n",
            "ssl.keyStore.\\\n  password=canary",
            r"ssl.keyStore.pass\u0077ord=canary",
            r"ssl.keyStore.password\=canary",
            "ssl.keystore.password=canary",
            "DigestAuthenticationProvider.superDigest super:canary=",
            "DigestAuthenticationProvider.superDigest super:\\\ncanary=",
            "SASLAuthenticationProvider.superPassword:canary",
            "# ssl.keyStore.password canary",
            "!ssl.keyStore.password=canary",
            "someUrl=http://h/?password=canary",
            r"ssl.keyStore.password=\ucanary",
            "a=1\rssl.keyStore.password:canary\rb=2",
        ] {
            let text = masked(&format!("dataDir=/d\n{secret}\ntickTime: 2000\n"));
            assert!(!text.contains("canary"), "{secret:?}: {text}");
            assert!(text.contains("***\n"), "{secret:?}: {text}");
            assert!(
                text.starts_with("dataDir=/d\n") && text.ends_with("\ntickTime: 2000\n"),
                "{secret:?}: {text}"
            );
        }
        let text = masked("ssl.keyStore.password canary");
        assert_eq!(text, "ssl.keyStore.password=***\n");
    }

    #[test]
    fn what_is_no_secret_is_shown_as_written() {
        let text = "# Our ensemble\n\n tickTime : 2000 # ms\nserver.1=a:1:2\\\n  ;3\n\
                    # joined \\\ninitLimit 5\nunknown=x\\u0041\n";
        assert_eq!(masked(text), text);
    }
}
