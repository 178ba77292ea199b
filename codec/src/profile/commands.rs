//! Reads `[[command]]`, `[[reply]]` and `[writing]`.

use std::sync::Arc;
use std::time::Duration;

use lockgate_config::{Item, Raw, Table};
use lockgate_proto::command::Fields;
use lockgate_proto::description::{ArgumentDescription, ArgumentKind, CommandDescription, Description};
use lockgate_proto::ids::{CommandName, DeviceName, FieldName};
use lockgate_proto::limits::{COMMAND_TTL_MAX, FIELDS_BYTES_MAX};
use lockgate_proto::reading::Value;
use serde_json::Value as JsonValue;

use super::framing::{checksum, mark};
use super::reading::{Reading, decoder, noted, symbol};
use super::rules::value_map;
use crate::checksum::Checksum;
use crate::command::{Body, CommandRule, Frame, IN_SIGHT, Json, ReplyRule, SaysRule, Writing};
use crate::decode::Decoder;
use crate::framing::{Framing, Kind};
use crate::mapping::{Place, Template};

/// How long a device may take to reply, unless its command says otherwise.
const TIMEOUT: Duration = Duration::from_secs(5);

/// LIMIT: commands that one device carries out at once.
const AT_ONCE_MAX: u32 = 64;

/// Longest text of an argument, unless it says otherwise.
const TEXT_BYTES: u32 = 256;

/// What guards a frame that goes out.
#[derive(Clone, Debug)]
enum Guard {
    /// Nothing, on purpose.
    None,
    Sum(Checksum),
}

/// What a layer says of how commands are written.
#[derive(Clone, Debug, Default)]
pub(super) struct WritingLayer {
    frame: Option<Frame>,
    checksum: Option<Guard>,
    at_once: Option<u32>,
}

/// A reply, before the document's decoder is filled in.
pub(super) struct ReplyLayer {
    rule: ReplyRule,
    decode: Option<Decoder>,
}

impl WritingLayer {
    pub(super) fn read(table: &Table<'_>) -> WritingLayer {
        let written = |item: &Item<'_>| {
            item.table(|table| {
                Some(WritingLayer {
                    frame: table.optional("frame", frame),
                    checksum: table.optional("checksum", |item| match item.raw()? {
                        Raw::Bool(false) => Some(Guard::None),
                        _ => checksum(item).map(Guard::Sum),
                    }),
                    at_once: table.optional("at_once", |item| item.integer(1..=AT_ONCE_MAX)),
                })
            })
        };
        table.optional("writing", written).unwrap_or_default()
    }

    pub(super) fn over(self, below: WritingLayer) -> WritingLayer {
        WritingLayer {
            frame: self.frame.or(below.frame),
            checksum: self.checksum.or(below.checksum),
            at_once: self.at_once.or(below.at_once),
        }
    }

    /// What is not said is as for what comes in.
    pub(super) fn complete(self, framing: Option<&Framing>, guard: Option<&Checksum>) -> Writing {
        let as_read = match framing.map(|framing| &framing.kind) {
            Some(Kind::Lines { end, .. }) => Frame::End(end.clone()),
            Some(Kind::Cobs { delimiter }) => Frame::Cobs { delimiter: *delimiter },
            Some(Kind::Telegram { .. }) | None => Frame::Bare,
        };
        Writing {
            frame: self.frame.unwrap_or(as_read),
            checksum: match self.checksum {
                Some(Guard::Sum(checksum)) => Some(checksum),
                Some(Guard::None) => None,
                None => guard.cloned(),
            },
            at_once: self.at_once.unwrap_or(1),
        }
    }
}

impl ReplyLayer {
    pub(super) fn has_topics(&self) -> bool {
        !self.rule.topics.is_empty()
    }

    pub(super) fn complete(self, decode: Option<&Decoder>) -> ReplyRule {
        let decode = self.decode.or_else(|| decode.cloned()).unwrap_or(Decoder::Text);
        ReplyRule { decode, ..self.rule }
    }
}

#[derive(Clone, Copy)]
enum FrameWord {
    Lines,
    Cobs,
    None,
}

fn frame(item: &Item<'_>) -> Option<Frame> {
    const WORDS: [(&str, FrameWord); 3] =
        [("lines", FrameWord::Lines), ("cobs", FrameWord::Cobs), ("none", FrameWord::None)];
    let Raw::Table(_) = item.raw()? else {
        return item.word(&WORDS).map(|word| match word {
            FrameWord::Lines => Frame::End(b"\n".to_vec()),
            FrameWord::Cobs => Frame::Cobs { delimiter: 0 },
            FrameWord::None => Frame::Bare,
        });
    };
    item.table(|table| {
        Some(match table.required("kind", |item| item.word(&WORDS))? {
            FrameWord::Lines => Frame::End(table.or("end", b"\n".to_vec(), mark)),
            FrameWord::Cobs => Frame::Cobs { delimiter: table.or("delimiter", 0, |item| item.integer(0..=u8::MAX)) },
            FrameWord::None => Frame::Bare,
        })
    })
}

/// An argument, and texts that its values are written as.
type Argument = (ArgumentDescription, Vec<(String, Value)>);

pub(super) fn command(table: &Table<'_>, constants: &[(String, String)]) -> Option<CommandRule> {
    let name = table.required("name", |item| item.parse(str::parse::<CommandName>));
    let label = table.optional("label", label);
    let devices = table.optional("devices", Reading::pattern);
    let confirm = table.or("confirm", false, Item::boolean);
    let idempotent = table.or("idempotent", false, Item::boolean);
    let timeout = table.or("timeout", TIMEOUT, |item| item.duration(Duration::from_millis(10)..=COMMAND_TTL_MAX));
    let expects_reply = table.or("reply", true, Item::boolean);
    let arguments: Vec<Argument> = table.sections("argument", argument);
    let topic = table.optional("topic", |item| noted(item, Template::parse(item.text()?)));
    let write = table.required("write", body);
    if let (Some(item), Some(topic)) = (table.item("topic"), &topic) {
        let known = |name: &str| IN_SIGHT.contains(&name) || constants.iter().any(|(known, _)| known == name);
        if let Some(name) = topic.names().find(|name| !known(name)) {
            let fix = "use `$device`, `$id`, `$command_id` or one of `names`: where it goes no sender decides";
            item.problem(format!("uses `${name}`"), fix);
        }
    }
    let write = write?;
    if let Some(item) = table.item("write") {
        for (name, may_miss) in write.names() {
            let of_argument = arguments.iter().find(|(argument, _)| argument.name.as_str() == name);
            let is_constant = IN_SIGHT.contains(&name.as_str()) || constants.iter().any(|(known, _)| *known == name);
            match of_argument {
                None if !is_constant => item.problem(
                    format!("uses `${name}`, which nothing defines"),
                    "add an [[argument]] of this name, or use `$id`, `$command_id` or `$device`",
                ),
                Some((argument, _)) if !may_miss && !argument.required && argument.default.is_none() => item.problem(
                    format!("uses `${name}`, which need not be given"),
                    "give that argument a `default`, or `required = true`",
                ),
                Some(_) | None => {}
            }
        }
    }
    let written = arguments.iter().map(|(argument, map)| (argument.name.clone(), map.clone())).collect();
    let description = CommandDescription {
        name: name?,
        label,
        arguments: arguments.into_iter().map(|(argument, _)| argument).collect(),
        confirm,
        idempotent,
        at_once: 1,
        timeout: expects_reply.then_some(timeout),
    };
    // The bounds of a description are its own to check.
    let device = DeviceName::new("any").ok()?;
    if let Err(error) = Description::new(device, Vec::new(), vec![description.clone()], Vec::new()) {
        table.problem(format!("can't be described: {error}"), "change what it names");
        return None;
    }
    Some(CommandRule { description, devices, topic, write, written, timeout, expects_reply })
}

fn label(item: &Item<'_>) -> Option<Arc<str>> {
    item.text().map(Into::into)
}

#[derive(Clone, Copy)]
enum ArgumentType {
    Number,
    Integer,
    Text,
    Flag,
}

fn argument(table: &Table<'_>) -> Option<Argument> {
    let name = table.required("name", |item| item.parse(str::parse::<FieldName>));
    if let (Some(item), Some(name)) = (table.item("name"), &name)
        && IN_SIGHT.contains(&name.as_str())
    {
        item.problem(format!("gives `{name}` a meaning, which has one of its own"), "take another name");
    }
    let types = [
        ("number", ArgumentType::Number),
        ("integer", ArgumentType::Integer),
        ("text", ArgumentType::Text),
        ("bool", ArgumentType::Flag),
    ];
    let of = table.optional("of", |item| item.list(|item| item.text().map(Arc::from)));
    let kind = if table.has("of") { None } else { table.required("type", |item| item.word(&types)) };
    let kind = match (of, kind) {
        (Some(of), _) => Some(ArgumentKind::Choice { of }),
        (None, Some(ArgumentType::Number)) => {
            let range = table.optional("range", |item| {
                let bounds = item.list(|item| item.number(f64::MIN..=f64::MAX))?;
                range(item, &bounds)
            });
            let step = table.optional("step", |item| item.number(f64::MIN_POSITIVE..=f64::MAX));
            Some(ArgumentKind::Number { min: range.map(|(low, _)| low), max: range.map(|(_, high)| high), step })
        }
        (None, Some(ArgumentType::Integer)) => {
            let range = table.optional("range", |item| {
                let bounds = item.list(|item| item.integer(i64::MIN..=i64::MAX))?;
                range(item, &bounds)
            });
            Some(ArgumentKind::Integer { min: range.map(|(low, _)| low), max: range.map(|(_, high)| high) })
        }
        (None, Some(ArgumentType::Text)) => {
            let bytes = |item: &Item<'_>| item.integer(1..=u32::try_from(FIELDS_BYTES_MAX).ok()?);
            Some(ArgumentKind::Text { bytes_max: table.or("bytes_max", TEXT_BYTES, bytes) })
        }
        (None, Some(ArgumentType::Flag)) => Some(ArgumentKind::Flag),
        (None, None) => None,
    };
    let default = table.optional("default", value);
    let required = table.or("required", default.is_none(), Item::boolean);
    let label = table.optional("label", label);
    let unit = table.optional("unit", symbol).filter(|unit| !unit.is_empty());
    let written = table.or("written", Vec::new(), |item| item.table(value_map));
    Some((ArgumentDescription { name: name?, label, unit, required, default, kind: kind? }, written))
}

fn range<T: Copy + PartialOrd>(item: &Item<'_>, bounds: &[T]) -> Option<(T, T)> {
    if let [low, high] = *bounds
        && low <= high
    {
        return Some((low, high));
    }
    item.problem("is no range", "give two numbers, the lower one first: [0, 100]");
    None
}

fn value(item: &Item<'_>) -> Option<Value> {
    match item.raw()? {
        Raw::Text(text) => Some(Value::Text(text.into())),
        Raw::Integer(number) => Some(Value::Integer(number)),
        Raw::Float(number) if number.is_finite() => Some(Value::Number(number)),
        Raw::Bool(flag) => Some(Value::Flag(flag)),
        Raw::Float(_) | Raw::Datetime(_) | Raw::Array(_) | Raw::Table(_) => {
            item.problem("can be no value", "give a text, a finite number, true or false");
            None
        }
    }
}

/// A text with names in it, or a table that becomes JSON.
fn body(item: &Item<'_>) -> Option<Body> {
    match item.raw()? {
        Raw::Table(_) => json(item).map(Body::Json),
        _ => noted(item, Template::parse(item.any_text()?)).map(Body::Text),
    }
}

fn json(item: &Item<'_>) -> Option<Json> {
    Some(match item.raw()? {
        Raw::Text(text) => {
            let template = noted(item, Template::parse(text))?;
            match template.only_name() {
                Some(name) => Json::Name(name.to_owned()),
                None => Json::Text(template),
            }
        }
        Raw::Integer(number) => Json::Fixed(JsonValue::from(number)),
        Raw::Float(number) => Json::Fixed(JsonValue::from(number)),
        Raw::Bool(flag) => Json::Fixed(JsonValue::from(flag)),
        Raw::Datetime(text) => Json::Fixed(JsonValue::from(text)),
        Raw::Array(_) => Json::List(item.list(json)?),
        Raw::Table(_) => Json::Object(item.table(|table| {
            let part = |(key, item): (&str, Item<'_>)| Some((key.to_owned(), json(&item)?));
            table.items().into_iter().map(part).collect()
        })?),
    })
}

#[derive(Clone, Copy)]
enum Word {
    Success,
    Refused,
    Busy,
    Progress,
}

pub(super) fn reply<'d>(
    table: &Table<'d>,
    reading: &Reading<'d>,
    constants: &[(String, String)],
) -> Option<ReplyLayer> {
    let topics = table.optional("topic", |item| item.one_or_many(|item| super::layer::topic(item, reading, constants)));
    let starts = table.or("starts", Vec::new(), |item| item.one_or_many(|item| item.text().map(Into::into)));
    let when = table.optional("when", |item| reading.when(item)).unwrap_or_default();
    let decode = table.optional("decode", decoder);
    let device = table.optional("device", |item| reading.template(item));
    let id = table.optional("id", |item| reading.field(item));
    let read = table.or("read", false, Item::boolean);
    let words =
        [("success", Word::Success), ("refused", Word::Refused), ("busy", Word::Busy), ("progress", Word::Progress)];
    let says = match table.required("says", |item| item.word(&words))? {
        Word::Success => {
            SaysRule::Success(table.or("result", Vec::new(), |item| item.table(|table| result(table, reading))))
        }
        Word::Refused => SaysRule::Refused(table.optional("reason", |item| reading.field(item))),
        Word::Busy => SaysRule::Busy(table.optional("retry_after", |item| reading.field(item))),
        Word::Progress => SaysRule::Progress {
            percent: table.optional("percent", |item| reading.field(item)),
            text: table.optional("text", |item| reading.field(item)),
        },
    };
    if table.has("id") && id.is_none() {
        return None;
    }
    let rule =
        ReplyRule { topics: topics.unwrap_or_default(), starts, when, decode: Decoder::Text, device, id, says, read };
    Some(ReplyLayer { rule, decode })
}

/// `{ setpoint = "SP", at = { path = "$.t" } }`: a text is a key.
fn result<'d>(table: &Table<'d>, reading: &Reading<'d>) -> Option<Vec<(FieldName, Place)>> {
    let part = |(name, item): (&str, Item<'d>)| {
        let named = noted(&item, FieldName::new(name).map_err(|error| error.to_string()))?;
        let place = match item.raw()? {
            Raw::Table(_) => item.table(|table| reading.place(table)),
            _ => item.text().map(|key| Place::Key(key.to_owned())),
        };
        Some((named, place?))
    };
    let parts: Vec<_> = table.items().into_iter().map(part).collect();
    let parts: Vec<(FieldName, Place)> = parts.into_iter().collect::<Option<_>>()?;
    let fields =
        parts.iter().map(|(name, _)| lockgate_proto::command::Field { name: name.clone(), value: Value::Flag(true) });
    if let Err(error) = Fields::new(fields) {
        table.problem(format!("can't be a result: {error}"), "name less");
        return None;
    }
    Some(parts)
}
