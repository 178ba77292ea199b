//! One table of a document: which keys it has, which of them anybody knows.

use std::cell::RefCell;

use toml::de::DeTable;

use crate::item::Item;
use crate::nearest::nearest;
use crate::place::Place;

/// A table. It remembers which keys were asked for: [`Table::finish`] notes the others as unknown.
pub struct Table<'d> {
    place: Place<'d>,
    /// `None`: a section that is not written, read as if it were there and empty.
    keys: Option<&'d DeTable<'d>>,
    known: RefCell<Vec<String>>,
    /// Words that people may take for a key, with that key.
    aliases: RefCell<Vec<(&'static str, &'static str)>>,
}

impl<'d> Table<'d> {
    pub(crate) fn new(place: Place<'d>, keys: Option<&'d DeTable<'d>>) -> Table<'d> {
        Table { place, keys, known: RefCell::default(), aliases: RefCell::default() }
    }

    /// The path of the table; empty for the root.
    pub fn path(&self) -> &str {
        &self.place.path
    }

    /// Whether the file has this table. A [`Table::section`] that it has not is read as an empty one.
    pub fn is_written(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether the key is there. Makes it a known one.
    pub fn has(&self, key: &str) -> bool {
        self.item(key).is_some()
    }

    /// The value of a key, whatever it is. Makes it a known one.
    pub fn item(&self, key: &str) -> Option<Item<'d>> {
        self.know(key);
        let (key, value) = self.keys?.get_key_value(key)?;
        Some(Item::new(self.place.key(key.get_ref(), value.span()), key.span(), value.get_ref()))
    }

    /// All keys with their values, in the order of the text. Makes them known ones.
    pub fn items(&self) -> Vec<(&'d str, Item<'d>)> {
        let Some(keys) = self.keys else { return Vec::new() };
        let mut items: Vec<_> = keys
            .iter()
            .map(|(key, value)| {
                self.know(key.get_ref());
                let place = self.place.key(key.get_ref(), value.span());
                (&**key.get_ref(), Item::new(place, key.span(), value.get_ref()))
            })
            .collect();
        items.sort_by_key(|(_, item)| item.key_span().start);
        items
    }

    /// A key that must be there. `None`: it is missing or can't be used, which has been noted.
    pub fn required<T>(&self, key: &str, read: impl FnOnce(&Item<'d>) -> Option<T>) -> Option<T> {
        if let Some(item) = self.item(key) {
            return read(&item);
        }
        let fix = if self.is_written() {
            format!("add `{key} = …` here")
        } else {
            format!("add a table [{}] with `{key} = …`", self.path())
        };
        self.missing(key, fix);
        None
    }

    /// A key that may be there. `None`: it is absent, or can't be used, which has been noted.
    pub fn optional<T>(&self, key: &str, read: impl FnOnce(&Item<'d>) -> Option<T>) -> Option<T> {
        self.item(key).and_then(|item| read(&item))
    }

    /// A key with a default, which also stands in for a value that can't be used (that has been noted).
    pub fn or<T>(&self, key: &str, default: T, read: impl FnOnce(&Item<'d>) -> Option<T>) -> T {
        self.optional(key, read).unwrap_or(default)
    }

    /// The table `[key]`, read by `check`; one that is not there is read as an empty one, so that each of
    /// its keys gives its default or is noted as missing. Keys that `check` did not ask for are noted.
    pub fn section<T>(&self, key: &str, check: impl FnOnce(&Table<'d>) -> Option<T>) -> Option<T> {
        match self.item(key) {
            Some(item) => item.table(check),
            None => check(&Table::new(self.place.key(key, self.place.span.clone()), None)),
        }
    }

    /// The tables `[[key]]`, each read by `check`; none where there are none. Those that can't be used are
    /// left out and noted.
    pub fn sections<T>(&self, key: &str, check: impl FnMut(&Table<'d>) -> Option<T>) -> Vec<T> {
        self.optional(key, |item| item.tables(check)).unwrap_or_default()
    }

    /// Notes that `key` is missing, with what to do about it. For keys that only some configurations need.
    pub fn missing(&self, key: &str, fix: impl Into<String>) {
        let place = self.place.key(key, self.place.span.clone());
        self.place.problems.note_missing(place.source, place.span, &place.path, "is missing".to_owned(), fix.into());
    }

    /// Notes something that is wrong with the table as a whole.
    pub fn problem(&self, what: impl Into<String>, fix: impl Into<String>) {
        self.place.note(what, fix);
    }

    /// Words that people may take for a key, each with that key: who writes one is told the other.
    pub fn aliases(&self, aliases: &[(&'static str, &'static str)]) {
        self.aliases.borrow_mut().extend_from_slice(aliases);
    }

    /// The keys that nobody asked for so far. Does not make them known ones.
    pub fn unknown(&self) -> Vec<&'d str> {
        let known = self.known.borrow();
        let keys = self.keys.into_iter().flat_map(DeTable::keys).map(|key| &**key.get_ref());
        keys.filter(|key| known.iter().all(|known| known != key)).collect()
    }

    /// Notes every key that nobody asked for, with the known one that was perhaps meant.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for (key, value) in self.keys.into_iter().flat_map(DeTable::iter) {
            if known.iter().any(|known| known == key.get_ref()) {
                continue;
            }
            let place = self.place.key(key.get_ref(), if key.span().is_empty() { value.span() } else { key.span() });
            let alias = self.aliases.borrow().iter().find(|(alias, _)| alias == key.get_ref()).map(|(_, key)| *key);
            let fix = match alias.or_else(|| nearest(key.get_ref(), known.iter().map(String::as_str))) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "remove it; nothing can be set here".to_owned(),
                None => format!("remove it; known here: {}", known.join(", ")),
            };
            place.note("is no key that is known here", fix);
        }
    }

    fn know(&self, key: &str) {
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|known| known == key) {
            known.push(key.to_owned());
        }
    }
}
