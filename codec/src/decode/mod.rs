//! What the bytes of a frame or message say: each decoder gives the same kind of tree.

mod json;
mod key_value;
mod obis;

use std::borrow::Cow;

use crate::output::DeadLetterReason;
use crate::tree::{BadPart, Node};

pub(crate) use key_value::{Bare, KeyValue};

/// How bytes become a tree. Adding one is one file and one arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decoder {
    /// JSON.
    Json,
    /// The whole text is one value.
    Text,
    /// Pieces `key=value`.
    KeyValue(KeyValue),
    /// Lines `code(value*unit)`.
    Obis,
}

impl Decoder {
    /// The tree, or why there is none.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8]) -> Result<Node<'a>, BadPart> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| bad(DeadLetterReason::Encoding, format!("not UTF-8 from byte {}", error.valid_up_to())))?;
        match self {
            Decoder::Json => json::decode(text),
            Decoder::Text => Ok(Node::Bare(Cow::Borrowed(text))),
            Decoder::KeyValue(form) => key_value::decode(text, form),
            Decoder::Obis => obis::decode(text),
        }
    }
}

fn bad(reason: DeadLetterReason, detail: impl Into<String>) -> BadPart {
    BadPart { reason, detail: detail.into() }
}

fn too_many() -> BadPart {
    bad(DeadLetterReason::TooComplex, format!("more than {} parts", crate::tree::NODES_MAX))
}

/// The beginning of a text, to be shown in a dead letter.
fn shown(text: &str) -> String {
    const CHARACTERS: usize = 40;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;
