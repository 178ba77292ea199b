//! One value of a document, and its typed readers.

use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use crate::nearest::nearest;
use crate::place::Place;
use crate::table::Table;
use crate::units::{parse_bytes, parse_duration, show_bytes, show_duration};

/// A value, whatever it is.
pub enum Raw<'d> {
    /// Text.
    Text(&'d str),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; `inf` and `nan` are possible.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A date, a time or both, as TOML has them without quotes.
    Datetime(String),
    /// `[…]` or `[[…]]`.
    Array(Vec<Item<'d>>),
    /// `{…}` or `[…]`. Call [`Table::finish`] when its keys are read.
    Table(Table<'d>),
}

/// A value with its place. A reader that returns `None` has noted why.
#[derive(Clone)]
pub struct Item<'d> {
    place: Place<'d>,
    key_span: Range<usize>,
    value: &'d DeValue<'d>,
}

impl<'d> Item<'d> {
    pub(crate) fn new(place: Place<'d>, key_span: Range<usize>, value: &'d DeValue<'d>) -> Item<'d> {
        Item { place, key_span, value }
    }

    pub(crate) fn key_span(&self) -> &Range<usize> {
        &self.key_span
    }

    /// The path of the key, such as `serial[0].baud`.
    pub fn path(&self) -> &str {
        &self.place.path
    }

    /// Notes something that is wrong with the value.
    pub fn problem(&self, what: impl Into<String>, fix: impl Into<String>) {
        self.place.note(what, fix);
    }

    /// The value as it stands. `None`: a number beyond what 64 bits hold.
    pub fn raw(&self) -> Option<Raw<'d>> {
        Some(match self.value {
            DeValue::String(text) => Raw::Text(text),
            DeValue::Integer(number) => {
                let number = i64::try_from(whole(number));
                if number.is_err() {
                    self.problem("is too large a number", "numbers have at most 64 bits");
                }
                Raw::Integer(number.ok()?)
            }
            DeValue::Float(number) => Raw::Float(self.float(number.as_str())?),
            DeValue::Boolean(flag) => Raw::Bool(*flag),
            DeValue::Datetime(datetime) => Raw::Datetime(datetime.to_string()),
            DeValue::Array(_) => Raw::Array(self.array()?),
            DeValue::Table(_) => Raw::Table(self.open()?),
        })
    }

    /// Text of at least one character.
    pub fn text(&self) -> Option<&'d str> {
        let text = self.any_text()?;
        if text.is_empty() {
            self.problem("is empty", "give a text, or remove the key");
            return None;
        }
        Some(text)
    }

    /// Text, which may be empty.
    pub fn any_text(&self) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) => Some(text),
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
                self.problem(format!("must be text, and is {}", self.kind()), "put it between quotes: \"…\"");
                None
            }
            DeValue::Array(_) | DeValue::Table(_) => self.wrong_kind("text"),
        }
    }

    /// A whole number in a range.
    pub fn integer<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + Into<i128> + TryFrom<i128>,
    {
        let DeValue::Integer(number) = self.value else { return self.wrong_kind("a whole number") };
        let number = whole(number);
        let (low, high) = ((*range.start()).into(), (*range.end()).into());
        if number < low || high < number {
            self.problem("is out of range", format!("give a whole number from {low} to {high}"));
            return None;
        }
        T::try_from(number).ok()
    }

    /// A finite number, with or without a fraction, in a range.
    pub fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(number) => self.float(&whole(number).to_string())?,
            DeValue::Float(number) => self.float(number.as_str())?,
            _ => return self.wrong_kind("a number"),
        };
        if !number.is_finite() {
            self.problem("is no finite number", "give a number in digits");
            return None;
        }
        if !range.contains(&number) {
            let (low, high) = (range.start(), range.end());
            self.problem("is out of range", format!("give a number from {low} to {high}"));
            return None;
        }
        Some(number)
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(flag) => Some(*flag),
            _ => self.wrong_kind("true or false"),
        }
    }

    /// A duration with its unit, such as "500ms" or "2h", in a range.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let bounds = format!(
            "give a duration from {} to {}, such as \"{}\"",
            show_duration(*range.start()),
            show_duration(*range.end()),
            show_duration(*range.start())
        );
        self.measure(range, parse_duration, &bounds)
    }

    /// A size with its unit, such as "64KiB", in a range of bytes.
    pub fn bytes(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let bounds = format!(
            "give a size from {} to {}, such as \"{}\"",
            show_bytes(*range.start()),
            show_bytes(*range.end()),
            show_bytes(example_bytes(&range))
        );
        self.measure(range, parse_bytes, &bounds)
    }

    fn measure<T: PartialOrd, E: fmt::Display>(
        &self,
        range: RangeInclusive<T>,
        parse: impl FnOnce(&str) -> Result<T, E>,
        fix: &str,
    ) -> Option<T> {
        let DeValue::String(text) = self.value else {
            self.problem(format!("must be text with a unit, and is {}", self.kind()), fix);
            return None;
        };
        match parse(text) {
            Ok(value) if range.contains(&value) => Some(value),
            Ok(_) => {
                self.problem("is out of range", fix);
                None
            }
            Err(error) => {
                self.problem(error.to_string(), fix);
                None
            }
        }
    }

    /// One word of a closed set.
    pub fn word<T: Clone>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.any_text()?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Some(meaning.clone());
        }
        let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let fix = match nearest(text, words.iter().map(|(word, _)| *word)) {
            Some(near) => format!("did you mean \"{near}\"? Possible: {}", all.join(", ")),
            None => format!("possible: {}", all.join(", ")),
        };
        self.problem(format!("{text:?} is not one of the words that are possible here"), fix);
        None
    }

    /// A file's or folder's path.
    pub fn file(&self) -> Option<PathBuf> {
        self.text().map(PathBuf::from)
    }

    /// A text that `parse` understands; its error is read after the key's name ("is empty; give …").
    pub fn parse<T, E: fmt::Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(self.any_text()?) {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.to_string();
                let (what, fix) = error.split_once("; ").unwrap_or((&error, ""));
                self.problem(what, fix);
                None
            }
        }
    }

    /// The items of an array, whatever they are.
    pub fn array(&self) -> Option<Vec<Item<'d>>> {
        let DeValue::Array(array) = self.value else { return self.wrong_kind("a list: [ …, … ]") };
        let item = |(index, value): (usize, &'d toml::Spanned<DeValue<'d>>)| {
            Item::new(self.place.index(index, value.span()), value.span(), value.get_ref())
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// An array, each item read by `read`; `None` where the value is no array or any item can't be used.
    pub fn list<T>(&self, mut read: impl FnMut(&Item<'d>) -> Option<T>) -> Option<Vec<T>> {
        // All items are read before the first fault counts: each has its own to note.
        let items: Vec<Option<T>> = self.array()?.iter().map(&mut read).collect();
        items.into_iter().collect()
    }

    /// One value, or a list of such: `"a"` is read as `["a"]`.
    pub fn one_or_many<T>(&self, mut read: impl FnMut(&Item<'d>) -> Option<T>) -> Option<Vec<T>> {
        match self.value {
            DeValue::Array(_) => self.list(read),
            _ => read(self).map(|one| vec![one]),
        }
    }

    /// A table, read by `check`; keys that it did not ask for are noted.
    pub fn table<T>(&self, check: impl FnOnce(&Table<'d>) -> Option<T>) -> Option<T> {
        let table = self.open()?;
        let checked = check(&table);
        table.finish();
        checked
    }

    /// An array of tables, each read by `check`. Those that can't be used are left out and noted.
    pub fn tables<T>(&self, mut check: impl FnMut(&Table<'d>) -> Option<T>) -> Option<Vec<T>> {
        let DeValue::Array(_) = self.value else {
            let key = self.place.path.as_ref();
            self.problem(
                format!("must be a list of tables, and is {}", self.kind()),
                format!("write its header with double brackets: [[{key}]]"),
            );
            return None;
        };
        Some(self.array()?.iter().filter_map(|item| item.table(&mut check)).collect())
    }

    /// The table, to read its keys by hand. Call [`Table::finish`] in the end.
    pub fn open(&self) -> Option<Table<'d>> {
        match self.value {
            DeValue::Table(keys) => Some(Table::new(self.place.clone(), Some(keys))),
            _ => self.wrong_kind("a table: { key = value }"),
        }
    }

    fn float(&self, text: &str) -> Option<f64> {
        let number = text.parse().ok().filter(|number: &f64| number.is_finite() || text.ends_with(['f', 'n']));
        if number.is_none() {
            self.problem("is too large a number", "give a number that fits 64 bits");
        }
        number
    }

    fn kind(&self) -> &'static str {
        match self.value {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        }
    }

    fn wrong_kind<T>(&self, wanted: &str) -> Option<T> {
        let (short, _) = wanted.split_once(':').unwrap_or((wanted, ""));
        self.problem(format!("must be {short}, and is {}", self.kind()), format!("give {wanted}"));
        None
    }
}

/// A size for people to copy: round, and midway between the bounds in magnitude, as an end is rarely what is wanted.
fn example_bytes(range: &RangeInclusive<u64>) -> u64 {
    let power = |bytes: u64| bytes.max(1).ilog2();
    let middle = 1 << power(*range.start()).midpoint(power(*range.end()));
    if range.contains(&middle) && middle != *range.end() { middle } else { *range.start() }
}

/// The number; where even 128 bits do not hold it, the end of the range at its side.
fn whole(number: &DeInteger<'_>) -> i128 {
    let text = number.as_str();
    i128::from_str_radix(text, number.radix()).unwrap_or(if text.starts_with('-') { i128::MIN } else { i128::MAX })
}
