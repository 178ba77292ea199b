//! Lines `code(value*unit)` as meters send them (IEC 62056-21, DSMR).

use std::borrow::Cow;

use super::{bad, shown, too_many};
use crate::output::DeadLetterReason;
use crate::tree::{BadPart, NODES_MAX, Node, Quantity};

/// The tree: one object by code; one group is a scalar, several are a list. A line that begins with `(`
/// goes on with the one before. The line of the meter's identification has the key `/`.
pub(super) fn decode(text: &str) -> Result<Node<'_>, BadPart> {
    let mut entries: Vec<(Cow<'_, str>, Vec<Node<'_>>)> = Vec::new();
    let mut nodes = 0;
    for line in text.lines().map(str::trim_ascii).filter(|line| !line.is_empty()) {
        let (code, groups) = match line.find('(') {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let parsed = if let Some(name) = line.strip_prefix('/') {
            Ok(("/", vec![Node::Bare(Cow::Borrowed(name))]))
        } else {
            parse(groups).map(|groups| (code, groups)).ok_or(())
        };
        let (code, groups) = parsed.unwrap_or_else(|()| {
            let part = bad(DeadLetterReason::Syntax, format!("no code and values in parentheses: {}", shown(line)));
            ("", vec![Node::Bad(Box::new(part))])
        });
        nodes += 1 + groups.len();
        if nodes > NODES_MAX {
            return Err(too_many());
        }
        match entries.last_mut() {
            Some((_, before)) if code.is_empty() && line.starts_with('(') => before.extend(groups),
            Some(_) | None => entries.push((Cow::Borrowed(code), groups)),
        }
    }
    Ok(Node::Object(entries.into_iter().map(|(code, groups)| (code, one_or_list(groups))).collect()))
}

fn one_or_list(mut groups: Vec<Node<'_>>) -> Node<'_> {
    match groups.pop() {
        Some(only) if groups.is_empty() => only,
        Some(last) => {
            groups.push(last);
            Node::List(groups)
        }
        None => Node::List(groups),
    }
}

/// `(a)(b*unit)`, at least one group and nothing between.
fn parse(mut text: &str) -> Option<Vec<Node<'_>>> {
    let mut groups = Vec::new();
    while !text.is_empty() {
        let (group, rest) = text.strip_prefix('(')?.split_once(')')?;
        text = rest;
        groups.push(match group.rsplit_once('*') {
            Some((value, unit)) if !unit.is_empty() => {
                Node::Quantity(Box::new(Quantity { value: value.into(), unit: unit.into() }))
            }
            _ => Node::Bare(group.into()),
        });
    }
    (!groups.is_empty()).then_some(groups)
}
