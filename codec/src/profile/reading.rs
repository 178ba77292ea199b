//! Reads places, templates, conditions, times and units; remembers which names are defined and used.

use std::cell::RefCell;
use std::sync::Arc;

use lockgate_config::{Item, Raw, Table, nearest};
use lockgate_proto::ids::is_printable;
use lockgate_proto::limits::SYMBOL_BYTES_MAX;

use crate::decode::{Bare, Decoder, KeyValue};
use crate::mapping::{Condition, Origin, Path, Pattern, Place, Source, Subject, Template, TimeRule, Unit, ZoneRule};
use crate::time::{Form, Zone};

/// Names that are always in sight; nothing else may take them.
const BUILT_IN: [&str; 3] = ["key", "index", "topic"];

/// What other languages call the questions of a condition.
const CONDITION_ALIASES: [(&str, &str); 12] = [
    ("equals", "is"),
    ("equal", "is"),
    ("eq", "is"),
    ("value", "is"),
    ("not", "is_not"),
    ("not_equals", "is_not"),
    ("ne", "is_not"),
    ("matches", "like"),
    ("match", "like"),
    ("pattern", "like"),
    ("regex", "like"),
    ("exists", "present"),
];

/// One document being read.
#[derive(Default)]
pub(super) struct Reading<'d> {
    defined: RefCell<Vec<String>>,
    used: RefCell<Vec<(Item<'d>, String)>>,
    /// Paths of tables in which something that may define names can't be used.
    unsure: RefCell<Vec<String>>,
}

impl<'d> Reading<'d> {
    pub(super) fn define<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        self.defined.borrow_mut().extend(names.into_iter().map(str::to_owned));
    }

    fn uses<'n>(&self, item: &Item<'d>, names: impl IntoIterator<Item = &'n str>) {
        self.used.borrow_mut().extend(names.into_iter().map(|name| (item.clone(), name.to_owned())));
    }

    /// Names used in the table with this path can't be judged: what would define them has a fault of its own.
    pub(super) fn unsure(&self, path: &str) {
        self.unsure.borrow_mut().push(path.to_owned());
    }

    fn is_unsure(&self, item: &Item<'d>) -> bool {
        let below = |table: &String| item.path().strip_prefix(table.as_str()).is_some_and(|rest| rest.starts_with('.'));
        self.unsure.borrow().iter().any(below)
    }

    pub(super) fn defined(&self) -> Vec<String> {
        self.defined.borrow().clone()
    }

    /// Notes each use of a name that nothing defines.
    pub(super) fn check_names(&self, also: &[String]) {
        let defined = self.defined.borrow();
        let all = || defined.iter().chain(also).map(String::as_str).chain(BUILT_IN);
        for (item, name) in self.used.borrow().iter() {
            if all().any(|defined| defined == name) || self.is_unsure(item) {
                continue;
            }
            let fix = match nearest(name, all()) {
                Some(near) => format!("did you mean `${near}`?"),
                None => "define it by a topic's {capture}, a group of a pattern, `with` or `names`".to_owned(),
            };
            item.problem(format!("uses `${name}`, which nothing defines"), fix);
        }
    }

    pub(super) fn template(&self, item: &Item<'d>) -> Option<Template> {
        let template = noted(item, Template::parse(item.text()?))?;
        self.uses(item, template.names());
        Some(template)
    }

    pub(super) fn pattern(item: &Item<'d>) -> Option<Pattern> {
        let pattern = noted(item, Pattern::parse(item.text()?))?;
        free_names(item, pattern.names()).then_some(pattern)
    }

    /// The place of a table that has at most one of `key`, `keys` and `path`.
    pub(super) fn place(&self, table: &Table<'d>) -> Option<Place> {
        let key = table.optional("key", |item| item.any_text().map(|key| Place::Key(key.to_owned())));
        let keys = table.optional("keys", |item| Reading::pattern(item).map(Place::Keys));
        let path = table.optional("path", |item| noted(item, Path::parse(item.text()?)).map(Place::Path));
        self.define(keys.iter().flat_map(Place::names));
        if keys.is_none() && table.has("keys") {
            self.unsure(table.path());
        }
        let written = ["key", "keys", "path"].into_iter().filter(|key| table.has(key)).count();
        if written > 1 {
            table.problem("has several places", "keep one of `key`, `keys` and `path`");
            return None;
        }
        let place = key.or(keys).or(path);
        // A place that is written and can't be used has been noted.
        if written == 0 { Some(Place::Whole) } else { place }
    }

    /// Where a text comes from: a place, or `text`, a template; and `map`, what texts stand for.
    fn source(&self, table: &Table<'d>) -> Option<Source> {
        let template = table.item("text");
        let map = table.or("map", Vec::new(), |item| item.table(text_map));
        let origin = match (template, self.place(table)?) {
            (None, place) => Some(Origin::Place(place)),
            (Some(item), Place::Whole) => self.template(&item).map(Origin::Template),
            (Some(item), _) => {
                item.problem("stands beside a place", "keep one of `text`, `key`, `keys` and `path`");
                None
            }
        };
        Some(Source { origin: origin?, map })
    }

    /// Where a text comes from: a text is a key, a table says more.
    pub(super) fn field(&self, item: &Item<'d>) -> Option<Source> {
        match item.raw()? {
            Raw::Table(_) => item.table(|table| self.source(table)),
            _ => item.text().map(|key| Source { origin: Origin::Place(Place::Key(key.to_owned())), map: Vec::new() }),
        }
    }

    /// Names bound to fields: `with = { id = "ID", kind = { path = "$.a.b" } }`; a text is a key.
    pub(super) fn with(&self, item: &Item<'d>) -> Option<Vec<(String, Source)>> {
        item.table(|table| {
            let bind = |(name, item): (&'d str, Item<'d>)| {
                self.define([name]);
                let source = self.field(&item);
                free_names(&item, [name]);
                Some((name.to_owned(), source?))
            };
            let bound: Vec<_> = table.items().into_iter().map(bind).collect();
            bound.into_iter().collect()
        })
    }

    /// Conditions: one table, or a list of tables that must all hold.
    pub(super) fn when(&self, item: &Item<'d>) -> Option<Vec<Condition>> {
        item.one_or_many(|item| item.table(|table| self.condition(table)))
    }

    fn condition(&self, table: &Table<'d>) -> Option<Condition> {
        let name = table.optional("name", |item| {
            let name = item.text()?;
            self.uses(item, [name]);
            Some(name.to_owned())
        });
        let place = self.place(table);
        let texts = |item: &Item<'d>| item.one_or_many(scalar_text);
        let is = table.or("is", Vec::new(), texts);
        let is_not = table.or("is_not", Vec::new(), texts);
        let like = table.optional("like", Reading::pattern);
        self.define(like.iter().flat_map(Pattern::names));
        if let (None, true, Some((around, _))) = (&like, table.has("like"), table.path().rsplit_once(".when")) {
            self.unsure(around);
        }
        let present = table.optional("present", Item::boolean);
        table.aliases(&CONDITION_ALIASES);
        let asks_nothing = ["is", "is_not", "like", "present"].iter().all(|key| !table.has(key));
        // A key that is not known may be the question, misspelt; it is told already.
        if asks_nothing && table.unknown().is_empty() {
            table.problem("asks nothing", "add `is`, `is_not`, `like` or `present`");
        }
        let subject = match (name, place?) {
            (None, place) => Subject::Place(place),
            (Some(name), Place::Whole) => Subject::Name(name),
            (Some(_), _) => {
                table.problem("has a name and a place", "keep one of `name`, `key`, `keys` and `path`");
                return None;
            }
        };
        Some(Condition { subject, is, is_not, like, present })
    }

    pub(super) fn time(&self, item: &Item<'d>) -> Option<TimeRule> {
        item.table(|table| {
            let from = self.source(table);
            let forms = table.or("form", vec![Form::Iso], |item| item.one_or_many(form));
            let zone = table.or("zone", ZoneRule::Site, |item| match item.text()? {
                "site" => Some(ZoneRule::Site),
                _ => item.parse(str::parse::<Zone>).map(ZoneRule::Fixed),
            });
            Some(TimeRule { from: from?, forms, zone })
        })
    }

    /// A unit: text, or a table that says where it stands.
    pub(super) fn unit(&self, item: &Item<'d>) -> Option<Unit> {
        let Raw::Table(_) = item.raw()? else { return symbol(item).map(Unit::Fixed) };
        item.table(|table| self.source(table).map(Unit::From))
    }
}

/// A unit's symbol; an empty text stands for none.
pub(super) fn symbol(item: &Item<'_>) -> Option<Arc<str>> {
    let text = item.any_text()?;
    if text.len() > SYMBOL_BYTES_MAX || !is_printable(text) {
        item.problem("is no unit", format!("give a symbol of at most {SYMBOL_BYTES_MAX} bytes, such as \"kWh\""));
        return None;
    }
    Some(text.into())
}

fn text_map(table: &Table<'_>) -> Option<Vec<(String, String)>> {
    let pairs: Vec<_> =
        table.items().into_iter().map(|(key, item)| Some((key.to_owned(), item.any_text()?.to_owned()))).collect();
    pairs.into_iter().collect()
}

/// A scalar as a decoder would show its text.
pub(super) fn scalar_text(item: &Item<'_>) -> Option<String> {
    match item.raw()? {
        Raw::Text(text) => Some(text.to_owned()),
        Raw::Integer(number) => Some(number.to_string()),
        Raw::Float(number) => Some(number.to_string()),
        Raw::Bool(flag) => Some(flag.to_string()),
        Raw::Datetime(_) | Raw::Array(_) | Raw::Table(_) => {
            item.problem("must be a single value", "give a text, a number, true or false");
            None
        }
    }
}

/// Whether none of the names is a built-in one; each that is has been noted.
pub(super) fn free_names<'n>(item: &Item<'_>, names: impl IntoIterator<Item = &'n str>) -> bool {
    let taken: Vec<&str> = names.into_iter().filter(|name| BUILT_IN.contains(name)).collect();
    for name in &taken {
        item.problem(format!("gives `{name}` a meaning, which has one of its own"), "take another name");
    }
    taken.is_empty()
}

/// Notes an error, whose text may have a fix behind `; `.
pub(super) fn noted<T>(item: &Item<'_>, result: Result<T, String>) -> Option<T> {
    result
        .map_err(|error| {
            let (what, fix) = error.split_once("; ").unwrap_or((&error, ""));
            item.problem(what, fix);
        })
        .ok()
}

fn form(item: &Item<'_>) -> Option<Form> {
    let text = item.text()?;
    if text.contains('%') {
        return Some(Form::Pattern(text.to_owned()));
    }
    item.word(&[
        ("iso", Form::Iso),
        ("epoch-s", Form::EpochSeconds),
        ("epoch-ms", Form::EpochMillis),
        ("epoch-us", Form::EpochMicros),
        ("yymmddhhmmss-sw", Form::SummerWinter),
    ])
}

#[derive(Clone, Copy)]
enum Word {
    Json,
    Text,
    KeyValue,
    Obis,
}

const WORDS: [(&str, Word); 4] =
    [("json", Word::Json), ("text", Word::Text), ("key-value", Word::KeyValue), ("obis", Word::Obis)];

/// A decoder: its name, or a table with `kind` and what that kind needs.
pub(super) fn decoder(item: &Item<'_>) -> Option<Decoder> {
    let plain = |word| match word {
        Word::Json => Decoder::Json,
        Word::Text => Decoder::Text,
        Word::Obis => Decoder::Obis,
        Word::KeyValue => {
            Decoder::KeyValue(KeyValue { between: ",".to_owned(), assign: "=".to_owned(), bare: Bare::Refuse })
        }
    };
    let Raw::Table(_) = item.raw()? else { return item.word(&WORDS).map(plain) };
    item.table(|table| {
        let word = table.required("kind", |item| item.word(&WORDS));
        if let Some(word @ (Word::Json | Word::Text | Word::Obis)) = word {
            return Some(plain(word));
        }
        let between = table.or("between", ",", Item::text).to_owned();
        let assign = table.or("assign", "=", Item::text).to_owned();
        let bare = table.or("bare", Bare::Refuse, |item| item.word(&Bare::WORDS));
        word?;
        Some(Decoder::KeyValue(KeyValue { between, assign, bare }))
    })
}
