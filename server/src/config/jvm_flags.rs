//! Settings out of JVM flags: unit files and images of the reference set properties with `-D`
//! in environment variables.

use std::sync::Arc;

use super::keys::find_property;
use super::zoo_cfg::{Level, Notice, Origin, Setting};

/// Variables read, weakest first; where both set a property the later one wins.
pub const VARIABLES: [&str; 2] = ["JVMFLAGS", "SERVER_JVMFLAGS"];

/// Settings and notices of the flags in one variable.
pub(super) fn parse(variable: &str, flags: &str, notices: &mut Vec<Notice>) -> Vec<Setting> {
    let origin = Origin::Environment(Arc::from(variable));
    let mut settings = Vec::new();
    let mut ignored = Vec::new();
    for word in words(flags) {
        let Some(definition) = word.strip_prefix("-D") else {
            ignored.push(word);
            continue;
        };
        let (property, value) = definition.split_once('=').unwrap_or((definition, ""));
        match find_property(property) {
            Some((_, key)) => settings.push(Setting {
                key: key.to_owned(),
                value: value.trim().to_owned(),
                origin: origin.clone(),
            }),
            None if property.starts_with("zookeeper.") => notices.push(Notice {
                level: Level::Warn,
                origin: origin.clone(),
                text: format!(
                    "-D{property} sets nothing; keys without a property belong in zoo.cfg"
                ),
            }),
            None => ignored.push(format!("-D{property}")),
        }
    }
    if !ignored.is_empty() {
        notices.push(Notice {
            level: Level::Info,
            origin,
            text: format!("ignoring JVM flags {}", ignored.join(" ")),
        });
    }
    settings
}

/// Words as a shell splits them, with quotes and without expansion.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for char in text.chars() {
        match (quote, char) {
            (Some(open), _) if open == char => quote = None,
            (None, '"' | '\'') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, _) if char.is_whitespace() => words.extend(word.take()),
            (_, _) => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_become_settings_and_the_rest_is_named() {
        let mut notices = Vec::new();
        let flags = "-Xmx1g -Dzookeeper.snapCount=5 '-Djute.maxbuffer=1 ' -Dzookeeper.tickTime=1 \
                     -Dfoo=bar -Dzookeeper.4lw.commands.whitelist=*";
        let settings = parse("SERVER_JVMFLAGS", flags, &mut notices);
        let pairs: Vec<_> = settings.iter().map(|s| (&*s.key, &*s.value)).collect();
        assert_eq!(
            pairs,
            [
                ("snapCount", "5"),
                ("jute.maxbuffer", "1"),
                ("4lw.commands.whitelist", "*")
            ]
        );
        let texts: Vec<_> = notices.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "environment SERVER_JVMFLAGS: -Dzookeeper.tickTime sets nothing; keys without a \
                 property belong in zoo.cfg",
                "environment SERVER_JVMFLAGS: ignoring JVM flags -Xmx1g -Dfoo",
            ]
        );
    }
}
