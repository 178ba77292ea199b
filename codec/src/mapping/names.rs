//! Names in sight, the patterns that capture them and the templates that use them.

use std::borrow::Cow;
use std::fmt;

use regex_lite::Regex;

/// LIMIT: captures of one pattern.
const CAPTURES_MAX: usize = 10;

const NUMBERS: [&str; CAPTURES_MAX] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Names with their texts; a later one hides an earlier one of the same name.
#[derive(Debug, Default)]
pub(crate) struct Names<'n> {
    stack: Vec<(&'n str, Cow<'n, str>)>,
}

impl<'n> Names<'n> {
    pub(crate) fn push(&mut self, name: &'n str, text: impl Into<Cow<'n, str>>) {
        self.stack.push((name, text.into()));
    }

    pub(crate) fn extend(&mut self, names: impl IntoIterator<Item = (&'n str, Cow<'n, str>)>) {
        self.stack.extend(names);
    }

    pub(crate) fn get(&self, wanted: &str) -> Option<&str> {
        self.stack.iter().rev().find(|(name, _)| *name == wanted).map(|(_, text)| text.as_ref())
    }

    pub(crate) fn len(&self) -> usize {
        self.stack.len()
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.stack.truncate(len);
    }
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        let whole =
            Regex::new(&format!("^(?:{text})$")).map_err(|error| format!("is no regular expression: {error}"))?;
        if whole.captures_len() > CAPTURES_MAX {
            return Err(format!("has too many groups; at most {} can be named by number", CAPTURES_MAX - 1));
        }
        Ok(Pattern(whole))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The names that a match binds: the numbers of its groups, and their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        NUMBERS.into_iter().take(self.0.captures_len()).skip(1).chain(self.0.capture_names().flatten())
    }

    /// Whether the text matches; if so, the captures become names.
    pub(crate) fn bind<'n>(&'n self, text: &str, names: &mut Names<'n>) -> bool {
        let captures = self.captures(text);
        let is_match = captures.is_some();
        let owned = captures.into_iter().flatten().map(|(name, text)| (name, Cow::Owned(text.into_owned())));
        names.extend(owned);
        is_match
    }

    /// The captures of a match; a group that took no part is empty.
    pub(crate) fn captures<'n, 't>(&'n self, text: &'t str) -> Option<Vec<(&'n str, Cow<'t, str>)>> {
        if self.0.captures_len() == 1 {
            return self.0.is_match(text).then(Vec::new);
        }
        let captures = self.0.captures(text)?;
        let mut found = Vec::new();
        for (at, name) in self.0.capture_names().enumerate().skip(1) {
            let text = captures.get(at).map_or("", |group| group.as_str());
            found.push((NUMBERS[at], Cow::Borrowed(text)));
            found.extend(name.map(|name| (name, Cow::Borrowed(text))));
        }
        Some(found)
    }
}

/// A text with `$name`, `${name}` or `$1` in it; `$$` is a dollar sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name(String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('$') {
            parts.push(Part::Literal(literal.to_owned()));
            if let Some(tail) = tail.strip_prefix('$') {
                parts.push(Part::Literal("$".to_owned()));
                rest = tail;
                continue;
            }
            let (name, tail) = match tail.strip_prefix('{') {
                Some(tail) => tail.split_once('}').ok_or("has `${` without `}`; close it")?,
                None => tail.split_at(name_length(tail)),
            };
            if name.is_empty() || name_length(name) != name.len() {
                return Err(
                    "has a `$` without a name; write `$name`, `${name}` or `$1`, or `$$` for a dollar sign".into()
                );
            }
            parts.push(Part::Name(name.to_owned()));
            rest = tail;
        }
        parts.push(Part::Literal(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Literal(text) if text.is_empty()));
        Ok(Template(parts))
    }

    /// The template that is one name.
    pub(crate) fn name(name: &str) -> Template {
        Template(vec![Part::Name(name.to_owned())])
    }

    /// The name, where it is one and nothing else.
    pub(crate) fn only_name(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Name(name)] => Some(name),
            _ => None,
        }
    }

    /// The names that it uses.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The text; an error names what is not in sight.
    pub(crate) fn fill(&self, names: &Names<'_>) -> Result<String, String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Name(name) => text.push_str(names.get(name).ok_or_else(|| name.clone())?),
            }
        }
        Ok(text)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Literal(text) => f.write_str(&text.replace('$', "$$")),
            Part::Name(name) => write!(f, "${{{name}}}"),
        })
    }
}

/// A number, or a word that begins with a letter.
fn name_length(text: &str) -> usize {
    let is_number = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
    let belongs =
        |byte: u8| if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphanumeric() || byte == b'_' };
    text.bytes().take_while(|byte| belongs(*byte)).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Names, Pattern, Template};

    fn fill(template: &str) -> Result<String, String> {
        let mut names = Names::default();
        names.push("1", "7");
        names.push("id", "old");
        names.push("id", "door");
        Template::parse(template)?.fill(&names)
    }

    #[test]
    fn names_are_filled_in() {
        assert_eq!(fill("power_$1").as_deref(), Ok("power_7"));
        assert_eq!(fill("${id}_state $id$$").as_deref(), Ok("door_state door$"));
        assert_eq!(fill("$1st").as_deref(), Ok("7st"));
        assert_eq!(fill("$other"), Err("other".to_owned()));
        assert!(fill("a$").is_err() && fill("${a").is_err() && fill("$-").is_err() && fill("${a b}").is_err());
    }

    #[test]
    fn a_pattern_matches_the_whole_text() {
        let pattern = Pattern::parse("P(?<n>\\d+)|Q").unwrap();
        assert!(pattern.matches("P12") && pattern.matches("Q") && !pattern.matches("P12x") && !pattern.matches("xQ"));
        assert_eq!(pattern.names().collect::<Vec<_>>(), ["1", "n"]);
        assert_eq!(pattern.captures("P12").unwrap(), [("1", "12".into()), ("n", "12".into())]);
        assert!(Pattern::parse("(").is_err() && Pattern::parse(&"(a)".repeat(10)).is_err());
    }

    proptest! {
        #[test]
        fn no_template_breaks_it(text in "[a$ {}1_é]{0,20}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
            }
        }
    }
}
