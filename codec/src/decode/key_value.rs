//! Pieces `key=value`, whatever parts the pieces and whatever joins key and value.

use std::borrow::Cow;

use super::{bad, shown, too_many};
use crate::output::DeadLetterReason;
use crate::tree::{BadPart, NODES_MAX, Node};

/// How pieces are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// Parts the pieces.
    pub(crate) between: String,
    /// Parts key and value.
    pub(crate) assign: String,
    /// What a piece without [`KeyValue::assign`] is.
    pub(crate) bare: Bare,
}

/// What a piece without a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bare {
    /// A bad part.
    Refuse,
    /// Nothing.
    Ignore,
    /// A value whose key is `#` and its position among all pieces, from 0.
    Position,
}

impl Bare {
    /// Names in a profile.
    pub(crate) const WORDS: [(&str, Bare); 3] =
        [("refuse", Bare::Refuse), ("ignore", Bare::Ignore), ("position", Bare::Position)];
}

/// The tree: one object, its values not typed.
pub(super) fn decode<'a>(text: &'a str, form: &KeyValue) -> Result<Node<'a>, BadPart> {
    let mut entries = Vec::new();
    for (position, piece) in text.split(form.between.as_str()).enumerate() {
        if entries.len() >= NODES_MAX {
            return Err(too_many());
        }
        let piece = piece.trim_ascii();
        if piece.is_empty() {
            continue;
        }
        match (piece.split_once(form.assign.as_str()), form.bare) {
            (Some((key, value)), _) if !key.trim_ascii().is_empty() => {
                entries.push((Cow::Borrowed(key.trim_ascii()), Node::Bare(Cow::Borrowed(value.trim_ascii()))));
            }
            (None, Bare::Position) => {
                entries.push((Cow::Owned(format!("#{position}")), Node::Bare(Cow::Borrowed(piece))));
            }
            (None, Bare::Ignore) => {}
            (Some(_), _) | (None, Bare::Refuse) => {
                let part = bad(DeadLetterReason::Syntax, format!("no key and value: {}", shown(piece)));
                entries.push((Cow::Borrowed(""), Node::Bad(Box::new(part))));
            }
        }
    }
    Ok(Node::Object(entries))
}
