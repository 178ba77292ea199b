//! What every decoder gives: one tree of objects, lists and scalars, in the order of the input.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::output::DeadLetterReason;

/// LIMIT: parts of one tree. A payload may be 256 KiB of `[0,0,…`; its tree must stay small beside it.
pub(crate) const NODES_MAX: usize = 16_384;

/// LIMIT: how deeply a tree nests.
pub(crate) const DEPTH_MAX: usize = 32;

/// A part of a decoded frame or message. Texts are borrowed from the input where they can be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node<'a> {
    /// Nothing.
    Null,
    /// Yes or no.
    Flag(bool),
    /// A number, as it was written.
    Number(Cow<'a, str>),
    /// What the format says is text.
    Text(Cow<'a, str>),
    /// A scalar of a format that has no types: the mapping says what it is.
    Bare(Cow<'a, str>),
    /// A scalar with its unit beside it.
    Quantity(Box<Quantity<'a>>),
    /// A list.
    List(Vec<Node<'a>>),
    /// Keys with values, in the order of the input. A key may stand twice.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
    /// A part that its decoder could not read. The others stand.
    Bad(Box<BadPart>),
}

/// A scalar with its unit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantity<'a> {
    pub(crate) value: Cow<'a, str>,
    pub(crate) unit: Cow<'a, str>,
}

/// What is wrong with a part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BadPart {
    pub(crate) reason: DeadLetterReason,
    pub(crate) detail: String,
}

impl<'a> Node<'a> {
    /// The value of the first such key.
    pub(crate) fn get(&self, wanted: &str) -> Option<&Node<'a>> {
        self.entries().iter().find(|(key, _)| key == wanted).map(|(_, node)| node)
    }

    /// The keys and values; none where this is no object.
    pub(crate) fn entries(&self) -> &[(Cow<'a, str>, Node<'a>)] {
        match self {
            Node::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The element of a list.
    pub(crate) fn element(&self, index: usize) -> Option<&Node<'a>> {
        match self {
            Node::List(nodes) => nodes.get(index),
            _ => None,
        }
    }

    /// The text of a scalar. `None`: it is no scalar, or null.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match self {
            Node::Flag(true) => Some("true"),
            Node::Flag(false) => Some("false"),
            Node::Number(text) | Node::Text(text) | Node::Bare(text) => Some(text),
            Node::Quantity(quantity) => Some(&quantity.value),
            Node::Null | Node::List(_) | Node::Object(_) | Node::Bad(_) => None,
        }
    }

    /// As JSON, for paths that only a JSONPath engine can follow.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Node::Null | Node::Bad(_) => Value::Null,
            Node::Flag(flag) => Value::Bool(*flag),
            Node::Number(text) => number(text),
            Node::Text(text) | Node::Bare(text) => Value::String(text.as_ref().to_owned()),
            Node::Quantity(quantity) => Value::String(quantity.value.as_ref().to_owned()),
            Node::List(nodes) => Value::Array(nodes.iter().map(Node::to_json).collect()),
            Node::Object(entries) => {
                let entry = |(key, node): &(Cow<'_, str>, Node<'_>)| (key.as_ref().to_owned(), node.to_json());
                // Of a key that stands twice the first counts, as in `get`.
                Value::Object(entries.iter().rev().map(entry).collect::<Map<_, _>>())
            }
        }
    }
}

fn number(text: &str) -> Value {
    if let Ok(integer) = text.parse::<i64>() {
        return Value::from(integer);
    }
    text.parse::<f64>().map_or(Value::Null, Value::from)
}
