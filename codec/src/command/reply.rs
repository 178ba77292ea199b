//! What a device says to a command.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::command::{Field, Fields};
use lockgate_proto::ids::{DeviceName, FieldName};
use lockgate_proto::limits::TEXT_BYTES_MAX;
use lockgate_proto::reading::Value;

use crate::decode::Decoder;
use crate::mapping::{Condition, Names, Place, Source, Template, Tree};
use crate::message::Message;
use crate::topic::Topic;
use crate::tree::Node;

/// How long to wait where a device is busy and does not say for how long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// The longest wait that a device is believed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// A device's word about a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// Whose word it is; `None`: nothing names it.
    pub device: Option<DeviceName>,
    /// The attempt that it is about: the short number, or the command's own id. `None`: what the device was told last.
    pub id: Option<String>,
    /// What it says.
    pub says: Says,
}

/// What a device says to a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Says {
    /// Done.
    Success(Fields),
    /// No, and why.
    Refused(Arc<str>),
    /// Not now, and nothing was done.
    Busy {
        /// Ask again after so long.
        retry_after: Duration,
    },
    /// Under way.
    Progress {
        /// From 0 to 100, where it says.
        percent: Option<u8>,
        /// In its words; may be empty.
        text: Arc<str>,
    },
}

impl Says {
    /// The word in profiles and output.
    pub fn as_str(&self) -> &'static str {
        match self {
            Says::Success(_) => "success",
            Says::Refused(_) => "refused",
            Says::Busy { .. } => "busy",
            Says::Progress { .. } => "progress",
        }
    }
}

/// How a reply is known, and what it says.
#[derive(Debug)]
pub(crate) struct ReplyRule {
    /// Takes messages of these topics; frames have none.
    pub(crate) topics: Vec<Topic>,
    /// Takes what begins with one of these; empty: anything.
    pub(crate) starts: Vec<Vec<u8>>,
    /// Takes what, decoded, fulfils all of these.
    pub(crate) when: Vec<Condition>,
    pub(crate) decode: Decoder,
    pub(crate) device: Option<Template>,
    /// Where the attempt's number stands; what has none is no reply.
    pub(crate) id: Option<Source>,
    pub(crate) says: SaysRule,
    /// Whether the routes get it as well.
    pub(crate) read: bool,
}

/// What a reply says, and where that stands.
#[derive(Debug)]
pub(crate) enum SaysRule {
    Success(Vec<(FieldName, Place)>),
    Refused(Option<Source>),
    Busy(Option<Source>),
    Progress { percent: Option<Source>, text: Option<Source> },
}

impl ReplyRule {
    /// The reply, if what was decoded is one.
    pub(crate) fn look<'n>(&'n self, tree: &Tree<'n>, names: &mut Names<'n>) -> Option<Reply> {
        if !self.when.iter().all(|condition| condition.holds(tree, names)) {
            return None;
        }
        let id = match &self.id {
            Some(source) => Some(source.text(tree, names)?.into_owned()),
            None => None,
        };
        let device = match &self.device {
            Some(template) => template.fill(names).ok(),
            None => names.get("device").map(str::to_owned),
        };
        let text = |source: &'n Option<Source>| source.as_ref().and_then(|source| source.text(tree, names));
        let words = |source: &'n Option<Source>| -> Arc<str> { shortened(&text(source).unwrap_or_default()).into() };
        let says = match &self.says {
            SaysRule::Success(result) => Says::Success(fields(result, tree)),
            SaysRule::Refused(reason) => Says::Refused(words(reason)),
            SaysRule::Busy(after) => Says::Busy { retry_after: text(after).map_or(RETRY_AFTER, |text| wait(&text)) },
            SaysRule::Progress { percent, text: told } => {
                let percent = text(percent).and_then(|text| text.parse::<f64>().ok());
                Says::Progress { percent: percent.and_then(percent_of), text: words(told) }
            }
        };
        Some(Reply { device: device.and_then(|name| DeviceName::new(name).ok()), id, says })
    }

    /// Whether it may be one, by what can be seen without decoding. Captures become names.
    pub(crate) fn takes<'n>(&'n self, message: &Message<'n>, names: &mut Names<'n>) -> bool {
        crate::reader::takes((&self.topics, &self.starts), message, names)
    }
}

/// What of the result can be told; the rest is left out.
fn fields<'n>(result: &'n [(FieldName, Place)], tree: &Tree<'n>) -> Fields {
    let field =
        |(name, place): &'n (FieldName, Place)| Some(Field { name: name.clone(), value: value(place.first(tree)?)? });
    let mut fields: Vec<Field> = result.iter().filter_map(field).collect();
    loop {
        match Fields::new(fields.clone()) {
            Ok(checked) => return checked,
            // Names are unique by the profile's check, so that it is too large; the last ones go.
            Err(_) if fields.pop().is_some() => {}
            Err(_) => return Fields::default(),
        }
    }
}

fn value(node: &Node<'_>) -> Option<Value> {
    let number = |text: &str| {
        let float = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::Number);
        text.parse().ok().map(Value::Integer).or_else(float)
    };
    match node {
        Node::Flag(flag) => Some(Value::Flag(*flag)),
        Node::Number(text) => number(text),
        Node::Bare(text) => Some(number(text).unwrap_or_else(|| Value::Text(text.as_ref().into()))),
        Node::Quantity(quantity) => number(&quantity.value),
        Node::Text(text) => Some(Value::Text(text.as_ref().into())),
        Node::Null | Node::List(_) | Node::Object(_) | Node::Bad(_) => None,
    }
}

/// Seconds, as a number.
fn wait(text: &str) -> Duration {
    let seconds = text.trim().parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.unwrap_or(RETRY_AFTER).min(RETRY_AFTER_MAX)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was cut to 0 to 100")]
fn percent_of(number: f64) -> Option<u8> {
    number.is_finite().then(|| number.clamp(0.0, 100.0).round() as u8)
}

fn shortened(text: &str) -> String {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}
