/// Splits a line at blanks; quotes around a whole word are taken off. There are no escapes.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `ZooKeeperMain.MyCommandOptions#parseCommand`.
pub(crate) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let quoted = matches!(first, '"' | '\'')
            .then(|| rest.get(1..)?.split_once(first))
            .flatten()
            .filter(|(_, tail)| tail.is_empty() || tail.starts_with(char::is_whitespace));
        let (word, tail) = match quoted {
            Some(parts) => parts,
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = tail.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            split("create /a \"hello world\"  'x y' z"),
            ["create", "/a", "hello world", "x y", "z"]
        );
        assert_eq!(split("  "), [""; 0]);
        assert_eq!(split("set /a \"\""), ["set", "/a", ""]);
        // Not around a whole word, or not closed: they are what they are.
        assert_eq!(split("a'b c'd \"e"), ["a'b", "c'd", "\"e"]);
    }
}
