//! A file's text, parsed as far as it can be.

use toml::Spanned;
use toml::de::DeTable;

use crate::place::Place;
use crate::problems::Problems;
use crate::table::Table;

/// A TOML text. What could not be parsed has been noted; the rest can be read.
pub struct Document<'d> {
    root: Spanned<DeTable<'d>>,
    problems: &'d Problems,
    source: usize,
}

impl<'d> Document<'d> {
    /// Parses the text and notes every syntax error. `file` is what people know the text as.
    pub fn parse(file: &str, text: &'d str, problems: &'d Problems) -> Document<'d> {
        let source = problems.add_source(file, text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let (what, expected) = match error.message().split_once(", expected ") {
                Some((what, expected)) => (what, Some(expected)),
                None => (error.message(), None),
            };
            let fix = hint(what).map(str::to_owned).or(expected.map(|expected| format!("expected {expected}")));
            problems.note_syntax(source, span, format!("not valid TOML: {what}"), fix.unwrap_or_default());
        }
        Document { root, problems, source }
    }

    /// The table of the keys that stand before any header, and of all other tables.
    pub fn root(&self) -> Table<'_> {
        let place = Place { problems: self.problems, source: self.source, path: "".into(), span: 0..0 };
        Table::new(place, Some(self.root.get_ref()))
    }

    /// Reads the root by `check`, then notes the keys that it did not ask for.
    pub fn check<T>(&self, check: impl FnOnce(&Table<'_>) -> Option<T>) -> Option<T> {
        let root = self.root();
        let checked = check(&root);
        root.finish();
        checked
    }
}

/// What to do, where the parser's words do not tell it by themselves.
fn hint(what: &str) -> Option<&'static str> {
    let hints = [
        ("duplicate key", "keep one of them"),
        ("string values must be quoted", "put the text between quotes: \"…\""),
        ("key with no value", "write `key = value`, or put # before it to make it a comment"),
        ("missing value", "write a value after the `=`"),
        ("invalid unquoted key", "put the key between quotes"),
        ("unclosed array", "close it with `]`"),
        ("unclosed inline table", "close it with `}`"),
        ("unexpected leading zero", "remove the leading zeros, or put quotes around it to make it text"),
        ("cannot recurse further", "nest less deeply"),
    ];
    hints.into_iter().find(|(start, _)| what.starts_with(start)).map(|(_, hint)| hint)
}
