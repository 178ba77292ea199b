//! From a tree to readings: places say where something stands, rules say what to make of it.
//!
//! One idea composes all of it. A *scope* is a node of the tree with names in sight (captures of the topic
//! and of key patterns, fields bound by `with`). In a scope a rule's *place* finds nodes; a value rule makes
//! a reading of each, a group rule opens a new scope at each. Whatever needs a text (device, metric, unit,
//! time) is a template over the names in sight, or a place of its own.

mod condition;
mod convert;
mod names;
mod place;
mod rules;
mod run;
mod source;

pub(crate) use condition::{Condition, Subject};
pub(crate) use convert::{Convert, Type, Unmapped};
pub(crate) use names::{Names, Pattern, Template};
pub(crate) use place::{Path, Place, Tree};
pub(crate) use rules::{Group, Makes, Rules, TimeRule, Unit, ValueRule, ZoneRule};
pub(crate) use run::{Around, Run};
pub(crate) use source::{Origin, Source};

#[cfg(test)]
mod tests;
