//! What a value rule makes of one scalar.

use lockgate_proto::reading::Value;

use crate::number::{Decimal, Notation, NumberError, Scale};
use crate::output::DeadLetterReason;
use crate::tree::Node;

/// LIMIT: bytes of a text value. Larger things are files, not readings.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// What a value is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Type {
    /// What the format says; where it has no types, a number, whole if it is written so.
    #[default]
    Auto,
    /// A double.
    Number,
    /// A whole number, exactly.
    Integer,
    /// Text, whatever it looks like.
    Text,
    /// `true` or `false`; also 1 and 0.
    Flag,
}

/// What a text is that the value map does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unmapped {
    /// A dead letter.
    #[default]
    Refuse,
    /// Itself.
    Keep,
    /// No value.
    Absent,
}

/// From a scalar to a value: "no value" first, then the map, the type, the scale, the range.
#[derive(Clone, Debug, Default)]
pub(crate) struct Convert {
    pub(crate) kind: Type,
    pub(crate) notation: Notation,
    /// Texts that mean "no value", beside the empty one.
    pub(crate) absent: Vec<String>,
    /// Numbers that mean "no value", as they are before scaling.
    pub(crate) absent_numbers: Vec<Decimal>,
    pub(crate) map: Vec<(String, Value)>,
    pub(crate) unmapped: Unmapped,
    pub(crate) scale: Option<Scale>,
    /// Bounds after scaling, both included.
    pub(crate) range: Option<(Decimal, Decimal)>,
}

/// Why there is no value although there should be one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) reason: DeadLetterReason,
    pub(crate) what: &'static str,
}

fn refuse(reason: DeadLetterReason, what: &'static str) -> Refusal {
    Refusal { reason, what }
}

impl Convert {
    /// The value. `None`: the device says that it has none.
    pub(crate) fn apply(&self, node: &Node<'_>) -> Result<Option<Value>, Refusal> {
        let text = match (node, node.scalar()) {
            (_, Some(text)) => text,
            (Node::Null, None) => return Ok(None),
            (Node::List(nodes), None) if nodes.is_empty() => return Ok(None),
            (_, None) => return Err(refuse(DeadLetterReason::BadType, "is no single value")),
        };
        let word = text.trim_ascii();
        if word.is_empty() || self.absent.iter().any(|absent| absent == word) {
            return Ok(None);
        }
        if let Some((_, value)) = self.map.iter().find(|(key, _)| key == word) {
            return Ok(Some(value.clone()));
        }
        if !self.map.is_empty() {
            match self.unmapped {
                Unmapped::Refuse => {
                    return Err(refuse(DeadLetterReason::Unmapped, "is not in the value map"));
                }
                Unmapped::Absent => return Ok(None),
                Unmapped::Keep => {}
            }
        }
        match self.kind_of(node) {
            Type::Text => plain_text(text).map(Some),
            Type::Flag => flag(word).map(Some),
            kind @ (Type::Auto | Type::Number | Type::Integer) => self.number(node, word, kind),
        }
    }

    fn kind_of(&self, node: &Node<'_>) -> Type {
        match (self.kind, node) {
            (Type::Auto, Node::Flag(_)) => Type::Flag,
            (Type::Auto, Node::Text(_)) => Type::Text,
            (Type::Auto, Node::Bare(_) | Node::Quantity(_)) if !self.map.is_empty() => Type::Text,
            (kind, _) => kind,
        }
    }

    fn number(&self, node: &Node<'_>, word: &str, kind: Type) -> Result<Option<Value>, Refusal> {
        if let Node::Flag(_) = node {
            return Err(refuse(DeadLetterReason::BadType, "is no number but true or false"));
        }
        if word.trim_start_matches(['-', '+']).eq_ignore_ascii_case("nan") {
            return Ok(None);
        }
        let number = Decimal::parse(word, self.notation).map_err(|error| match error {
            NumberError::Malformed => refuse(DeadLetterReason::BadNumber, "is no number"),
            NumberError::Infinite => refuse(DeadLetterReason::NotFinite, "is not finite"),
        })?;
        let is = |absent: &Decimal| absent.partial_cmp(&number).is_some_and(std::cmp::Ordering::is_eq);
        if self.absent_numbers.iter().any(is) {
            return Ok(None);
        }
        let infinite = refuse(DeadLetterReason::NotFinite, "is not finite after scaling");
        let number = match &self.scale {
            Some(scale) => scale.apply(number).ok_or(infinite.clone())?,
            None => number,
        };
        if self.range.is_some_and(|(low, high)| number < low || high < number) {
            return Err(refuse(DeadLetterReason::OutOfRange, "is out of the range that the mapping allows"));
        }
        let integer =
            if kind == Type::Integer || kind == Type::Auto && number.is_whole() { number.integer() } else { None };
        match (integer, kind) {
            (Some(integer), _) => Ok(Some(Value::Integer(integer))),
            (None, Type::Integer) => Err(refuse(DeadLetterReason::BadType, "is no whole number of 64 bits")),
            (None, _) => Ok(Some(Value::Number(number.float().ok_or(infinite)?))),
        }
    }
}

fn plain_text(text: &str) -> Result<Value, Refusal> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(refuse(DeadLetterReason::BadType, "is a longer text than a reading may have"));
    }
    Ok(Value::Text(text.into()))
}

fn flag(word: &str) -> Result<Value, Refusal> {
    match word {
        "1" => Ok(Value::Flag(true)),
        "0" => Ok(Value::Flag(false)),
        _ if word.eq_ignore_ascii_case("true") => Ok(Value::Flag(true)),
        _ if word.eq_ignore_ascii_case("false") => Ok(Value::Flag(false)),
        _ => Err(refuse(DeadLetterReason::BadType, "is neither true nor false")),
    }
}
