//! Reads value rules and groups.

use lockgate_config::{Item, Raw, Table};
use lockgate_proto::reading::Value;

use super::reading::{Reading, scalar_text};
use crate::mapping::{Convert, Group, Makes, Place, Rules, Template, Type, Unmapped, ValueRule};
use crate::number::{Decimal, Notation, Scale};

/// LIMIT: how deeply groups nest.
const GROUP_DEPTH_MAX: usize = 8;

impl<'d> Reading<'d> {
    /// The rules of a table: its own keys `with`, `device`, `time`, `value` and `group`.
    pub(super) fn rules(&self, table: &Table<'d>, depth: usize) -> Rules {
        let with = table.optional("with", |item| self.with(item)).unwrap_or_default();
        let device = table.optional("device", |item| self.template(item));
        let time = table.optional("time", |item| self.time(item));
        let values = table.sections("value", |table| self.value(table));
        let groups = table.sections("group", |table| {
            if depth >= GROUP_DEPTH_MAX {
                table.problem("nests too deeply", format!("use at most {GROUP_DEPTH_MAX} groups in one another"));
                // Its keys are no fault of their own.
                table.items();
                return None;
            }
            self.group(table, depth + 1)
        });
        Rules { with, device, time, values, groups }
    }

    fn group(&self, table: &Table<'d>, depth: usize) -> Option<Group> {
        let place = self.place(table);
        let when = table.optional("when", |item| self.when(item)).unwrap_or_default();
        let rules = self.rules(table, depth);
        Some(Group { place: place?, when, rules })
    }

    fn value(&self, table: &Table<'d>) -> Option<ValueRule> {
        let place = self.place(table);
        let when = table.optional("when", |item| self.when(item)).unwrap_or_default();
        let devices = table.optional("devices", Reading::pattern);
        let device = table.optional("device", |item| self.template(item));
        let time = table.optional("time", |item| self.time(item));
        let ignore = table.or("ignore", false, Item::boolean);
        let presence = table.or("presence", false, Item::boolean);
        let makes = if ignore {
            Makes::Nothing
        } else if presence {
            Makes::Presence
        } else {
            let metric = table.optional("metric", |item| self.template(item));
            if matches!(place, Some(Place::Whole)) && !table.has("metric") {
                table.missing("metric", "add `metric = \"…\"`: there is no key that could name it");
            }
            let unit = table.optional("unit", |item| self.unit(item));
            Makes::Reading { metric: metric.unwrap_or_else(|| Template::name("key")), unit }
        };
        let convert = if ignore { Convert::default() } else { convert(table, presence) };
        Some(ValueRule { place: place?, when, devices, device, time, makes, convert })
    }
}

fn convert(table: &Table<'_>, presence: bool) -> Convert {
    let kinds = [("number", Type::Number), ("integer", Type::Integer), ("text", Type::Text), ("bool", Type::Flag)];
    let default = if presence { Type::Flag } else { Type::Auto };
    let kind = table.or("type", default, |item| item.word(&kinds));
    let notations = [("decimal", Notation::Decimal), ("decimal-comma", Notation::Comma), ("hex", Notation::Hex)];
    let notation = table.or("notation", Notation::Decimal, |item| item.word(&notations));
    let absent = table.or("none", Vec::new(), |item| item.one_or_many(scalar_text));
    let absent_numbers = absent.iter().filter_map(|text| text.parse().ok()).collect();
    let map = table.or("map", Vec::new(), |item| item.table(value_map));
    let choices = [("refuse", Unmapped::Refuse), ("keep", Unmapped::Keep), ("none", Unmapped::Absent)];
    let unmapped = table.or("unmapped", Unmapped::Refuse, |item| item.word(&choices));
    let range = table.optional("range", |item| {
        let bounds = item.list(decimal)?;
        if let [low, high] = bounds[..]
            && low <= high
        {
            return Some((low, high));
        }
        item.problem("is no range", "give two numbers, the lower one first: [0, 100]");
        None
    });
    Convert { kind, notation, absent, absent_numbers, map, unmapped, scale: scale(table), range }
}

/// `scale` (a number, or a fraction as text) and `offset`.
fn scale(table: &Table<'_>) -> Option<Scale> {
    let factor = table.optional("scale", |item| match item.raw()? {
        Raw::Text(text) => {
            let fraction = text.split_once('/').and_then(|(numerator, denominator)| {
                Some((numerator.parse::<Decimal>().ok()?, denominator.parse::<Decimal>().ok()?))
            });
            let fraction = fraction.filter(|(_, denominator)| *denominator != Decimal::ZERO);
            if fraction.is_none() {
                item.problem("is no fraction", "give a number, or a fraction such as \"1/60\"");
            }
            fraction
        }
        _ => Some((decimal(item)?, Decimal::ONE)),
    });
    let offset = table.optional("offset", decimal);
    if factor.is_none() && offset.is_none() {
        return None;
    }
    let (numerator, denominator) = factor.unwrap_or((Decimal::ONE, Decimal::ONE));
    Some(Scale { numerator, denominator, offset: offset.unwrap_or(Decimal::ZERO) })
}

fn decimal(item: &Item<'_>) -> Option<Decimal> {
    item.number(f64::MIN..=f64::MAX).and_then(Decimal::from_float)
}

pub(super) fn value_map(table: &Table<'_>) -> Option<Vec<(String, Value)>> {
    let pair = |(key, item): (&str, Item<'_>)| {
        let value = match item.raw()? {
            Raw::Text(text) => Value::Text(text.into()),
            Raw::Integer(number) => Value::Integer(number),
            Raw::Float(number) if number.is_finite() => Value::Number(number),
            Raw::Bool(flag) => Value::Flag(flag),
            Raw::Float(_) | Raw::Datetime(_) | Raw::Array(_) | Raw::Table(_) => {
                item.problem("can be no value", "give a text, a finite number, true or false");
                return None;
            }
        };
        Some((key.to_owned(), value))
    };
    let pairs: Vec<_> = table.items().into_iter().map(pair).collect();
    pairs.into_iter().collect()
}
