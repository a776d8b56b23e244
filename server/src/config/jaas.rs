//! The file that names users and passwords for SASL, as far as Java's JAAS files say just that.
//!
//! ```text
//! Server {
//!     org.apache.zookeeper.server.auth.DigestLoginModule required
//!     user_super="adminsecret"
//!     user_bob="bobsecret";
//! };
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

/// The one login module that is understood.
const MODULE: &str = "org.apache.zookeeper.server.auth.DigestLoginModule";

/// Options of [`MODULE`] that name a user begin with this.
const USER: &str = "user_";

/// A JAAS file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JaasError {
    /// There is none where the configuration says.
    #[error("cannot read java.security.auth.login.config={}", path.display())]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SASL is asked for, and there is no file with users.
    #[error(
        "SASL needs java.security.auth.login.config, a file with the users and their passwords"
    )]
    NotConfigured,
    /// It is not written as JAAS files are.
    #[error("{}:{line}: expected {expected}, found {found:?}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// It lacks the section for this use.
    #[error("{}: there is no section {section:?}", path.display())]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The section that is missing.
        section: String,
    },
    /// The section does not say who dials.
    #[error("{}: section {section:?} has no {option}", path.display())]
    NoOption {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// What is missing.
        option: &'static str,
    },
    /// The section is of another login module: Kerberos for one.
    #[error("{}: section {section:?} is of {module:?}, and only {MODULE} is supported", path.display())]
    Module {
        /// The file.
        path: PathBuf,
        /// The section.
        section: String,
        /// Its login module.
        module: String,
    },
}

/// Users and passwords of a section: of who is dialled.
///
/// # Errors
/// [`JaasError`].
pub fn users(path: &str, section: &str) -> Result<BTreeMap<String, String>, JaasError> {
    let user = |(key, value): (String, String)| Some((key.strip_prefix(USER)?.to_owned(), value));
    Ok(options(path, section)?
        .into_iter()
        .filter_map(user)
        .collect())
}

/// The user and the password of a section: of who dials.
///
/// # Errors
/// [`JaasError`].
pub fn login(path: &str, section: &str) -> Result<(String, String), JaasError> {
    let mut options: BTreeMap<_, _> = options(path, section)?.into_iter().collect();
    let mut take = |option: &'static str| {
        options.remove(option).ok_or_else(|| JaasError::NoOption {
            path: path.into(),
            section: section.to_owned(),
            option,
        })
    };
    Ok((take("username")?, take("password")?))
}

/// What a section says to its login module.
fn options(path: &str, section: &str) -> Result<Vec<(String, String)>, JaasError> {
    if path.is_empty() {
        return Err(JaasError::NotConfigured);
    }
    let path = PathBuf::from(path);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(JaasError::Read { path, source }),
    };
    let syntax = |Wrong {
                      line,
                      expected,
                      found,
                  }| JaasError::Syntax {
        path: path.clone(),
        line,
        expected,
        found,
    };
    let sections = sections(&text).map_err(syntax)?;
    let section = section.to_owned();
    let Some(entry) = sections.into_iter().find(|entry| entry.name == section) else {
        return Err(JaasError::NoSection { path, section });
    };
    if entry.module != MODULE {
        let module = entry.module;
        return Err(JaasError::Module {
            path,
            section,
            module,
        });
    }
    Ok(entry.options)
}

struct Section {
    name: String,
    module: String,
    options: Vec<(String, String)>,
}

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    line: usize,
    expected: &'static str,
    found: String,
}

/// Of a section with several login modules, the first counts.
fn sections(text: &str) -> Result<Vec<Section>, Wrong> {
    let mut tokens = Tokens {
        rest: text,
        line: 1,
    };
    let mut sections = Vec::new();
    while let Some(name) = tokens.next()? {
        tokens.expect("{")?;
        let mut first = None;
        loop {
            let module = tokens.word("a login module or }")?;
            if module == "}" {
                break;
            }
            tokens.word("a control flag")?;
            let mut options = Vec::new();
            loop {
                let key = tokens.word("an option or ;")?;
                if key == ";" {
                    break;
                }
                tokens.expect("=")?;
                options.push((key, tokens.word("a value")?));
            }
            first.get_or_insert((module, options));
        }
        tokens.expect(";")?;
        if let Some((module, options)) = first {
            sections.push(Section {
                name,
                module,
                options,
            });
        }
    }
    Ok(sections)
}

struct Tokens<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Tokens<'a> {
    fn take(&mut self, len: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(len);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// The next word, mark or text in quotes; none at the end.
    fn next(&mut self) -> Result<Option<String>, Wrong> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            let comment = if self.rest.starts_with("//") || self.rest.starts_with('#') {
                self.rest.find('\n').unwrap_or(self.rest.len())
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/");
                end.ok_or_else(|| self.wrong("*/", ""))? + 2
            } else {
                break;
            };
            self.take(comment);
        }
        let Some(first) = self.rest.chars().next() else {
            return Ok(None);
        };
        if let '{' | '}' | ';' | '=' = first {
            return Ok(Some(self.take(1).to_owned()));
        }
        if let '"' | '\'' = first {
            return self.quoted(first).map(Some);
        }
        let is_end = |c: char| c.is_whitespace() || "{};=\"'".contains(c);
        let end = self.rest.find(is_end).unwrap_or(self.rest.len());
        Ok(Some(self.take(end).to_owned()))
    }

    fn quoted(&mut self, quote: char) -> Result<String, Wrong> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' => break,
                '\\' => text.extend(chars.next().map(|(_, escaped)| match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                })),
                c if c == quote => {
                    self.take(at + 1);
                    return Ok(text);
                }
                c => text.push(c),
            }
        }
        Err(self.wrong("a closing quote", "the end of the line"))
    }

    fn word(&mut self, expected: &'static str) -> Result<String, Wrong> {
        let found = self.next()?;
        found.ok_or_else(|| self.wrong(expected, "the end"))
    }

    fn expect(&mut self, mark: &'static str) -> Result<(), Wrong> {
        let found = self.word(mark)?;
        if found == mark {
            Ok(())
        } else {
            Err(self.wrong(mark, &found))
        }
    }

    fn wrong(&self, expected: &'static str, found: &str) -> Wrong {
        Wrong {
            line: self.line,
            expected,
            found: found.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jaas.conf");
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        (dir, path)
    }

    #[test]
    fn users_are_found_among_sections_and_comments() {
        let (_dir, path) = written(
            "/* all\n of it */ # and\nClient { a.B required username=\"x\" password='y'; };\n\
             // ours\nServer{org.apache.zookeeper.server.auth.DigestLoginModule required\n \
             user_super=\"a;b\" user_bob=\"q\\\"\" debug=true;};",
        );
        let found = users(&path, "Server").unwrap();
        let named = |(name, password): (&str, &str)| (name.to_owned(), password.to_owned());
        assert_eq!(found, [("bob", "q\""), ("super", "a;b")].map(named).into());
        let client = users(&path, "Client").unwrap_err().to_string();
        assert!(
            client.contains("section \"Client\" is of \"a.B\""),
            "{client}"
        );
        let other = users(&path, "Other").unwrap_err().to_string();
        assert!(other.contains("there is no section \"Other\""), "{other}");
        let dials = login(&path, "Server").unwrap_err().to_string();
        assert!(dials.contains("\"Server\" has no username"), "{dials}");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let wrong = |text: &str| {
            let (_dir, path) = written(text);
            let error = users(&path, "Server").unwrap_err().to_string();
            error.replace(&path, "file")
        };
        assert_eq!(
            wrong("Server\n\n["),
            "file:3: expected \"{\", found \"[\"".replace("\"{\"", "{")
        );
        assert_eq!(
            wrong("Server {\na.B required x"),
            "file:2: expected =, found \"the end\""
        );
        let open = wrong("S {\na required\n x=\"y\n; };");
        assert_eq!(
            open,
            "file:3: expected a closing quote, found \"the end of the line\""
        );
        assert_eq!(
            wrong("S { a required; }"),
            "file:1: expected ;, found \"the end\""
        );
        assert!(wrong("/* x").contains("expected */"));
    }

    #[test]
    fn file_that_is_not_there_is_named() {
        let error = users("/no/such/file", "Server").unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        let error = users("", "Server").unwrap_err();
        assert!(matches!(error, JaasError::NotConfigured));
    }
}
