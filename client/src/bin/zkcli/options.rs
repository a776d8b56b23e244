use super::failure::Failure;

/// Options and other words of a command, in any order.
#[derive(Debug)]
pub(crate) struct Options<'a> {
    usage: &'static str,
    given: Vec<(&'static str, Option<&'a str>)>,
    /// The words that are neither options nor their values.
    words: Vec<&'a str>,
}

/// Reads the words behind a command: `flags` have no value, `values` have one. Flags of one letter may
/// stand together behind one dash.
///
/// # Errors
/// An option that the command does not have, or one without its value.
pub(crate) fn parse<'a>(
    words: &'a [String],
    usage: &'static str,
    flags: &[&'static str],
    values: &[&'static str],
) -> Result<Options<'a>, Failure> {
    let mut options = Options {
        usage,
        given: Vec::new(),
        words: Vec::new(),
    };
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else {
            options.words.push(word);
            continue;
        };
        if let Some(name) = values.iter().find(|known| **known == name) {
            let value = words
                .next()
                .ok_or_else(|| Failure::said(format!("Missing argument for option: {name}")))?;
            options.given.push((name, Some(value)));
            continue;
        }
        let one = flags.iter().find(|known| **known == name);
        let many = || -> Option<Vec<&'static str>> {
            let letter = |letter: char| {
                let mut known = flags.iter();
                known.find(|known| known.chars().eq([letter])).copied()
            };
            name.chars().map(letter).collect()
        };
        let found = one.map(|name| vec![*name]).or_else(many);
        let found = found.ok_or_else(|| Failure::said(format!("Unrecognized option: {word}")))?;
        options
            .given
            .extend(found.into_iter().map(|name| (name, None)));
    }
    Ok(options)
}

impl<'a> Options<'a> {
    /// Whether a flag was given.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.given.iter().any(|(name, _)| *name == flag)
    }

    /// The last value of an option.
    pub(crate) fn value(&self, name: &str) -> Option<&'a str> {
        self.values(name).last()
    }

    /// All values of an option.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let of_name = self.given.iter().filter(move |(known, _)| *known == name);
        of_name.filter_map(|(_, value)| *value)
    }

    /// A value that is a number.
    ///
    /// # Errors
    /// `message` if it is none.
    pub(crate) fn number<T: std::str::FromStr>(
        &self,
        name: &str,
        message: &str,
    ) -> Result<Option<T>, Failure> {
        let value = self.value(name).map(str::parse);
        value.transpose().map_err(|_| Failure::said(message))
    }

    /// The word at this place.
    pub(crate) fn get(&self, index: usize) -> Option<&'a str> {
        self.words.get(index).copied()
    }

    /// The word at this place, which the command cannot do without.
    ///
    /// # Errors
    /// The usage of the command.
    pub(crate) fn word(&self, index: usize) -> Result<&'a str, Failure> {
        self.get(index).ok_or_else(|| self.usage())
    }

    /// The path at this place.
    ///
    /// # Errors
    /// The usage of the command if there is none; what is wrong with it.
    pub(crate) fn path(&self, index: usize) -> Result<&'a str, Failure> {
        let path = self.word(index)?;
        Failure::check_path(path, false)?;
        Ok(path)
    }

    /// The command was not used as it is to be.
    pub(crate) fn usage(&self) -> Failure {
        Failure::said(self.usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_stand_anywhere_and_together() {
        let words = words("/a data -v -5 -sw");
        let options = parse(&words, "usage", &["s", "w"], &["v"]).unwrap();
        assert!(options.has("s") && options.has("w"));
        assert_eq!(options.number::<i32>("v", "no number").unwrap(), Some(-5));
        assert_eq!((options.get(0), options.get(1)), (Some("/a"), Some("data")));
        assert_eq!(options.word(2).unwrap_err().to_string(), "usage");
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let refused = |text: &str| {
            let words = words(text);
            let result = parse(&words, "usage", &["s"], &["v"]);
            result.unwrap_err().to_string()
        };
        assert_eq!(refused("-q /a"), "Unrecognized option: -q");
        assert_eq!(refused("-sq /a"), "Unrecognized option: -sq");
        assert_eq!(refused("/a -v"), "Missing argument for option: v");
    }
}
