//! Commands: written as a device wants them, and what it says to them.
//!
//! The other direction of the same language: arguments are names in sight, templates put them together, the framing
//! and the checksum of a source guard what goes out as they guard what comes in. Replies are read off the tree that a
//! source's decoder gives.

mod body;
mod reply;
mod write;

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::command::Fields;
use lockgate_proto::description::{ArgumentError, CommandDescription};
use lockgate_proto::ids::{CommandName, DeviceName, FieldName};
use lockgate_proto::reading::Value;

use crate::mapping::{Pattern, Template};
use crate::profile::Profile;

pub(crate) use body::{Body, Json};
pub use reply::{Reply, Says};
pub(crate) use reply::{ReplyRule, SaysRule};
pub(crate) use write::{Frame, Writing};

/// Names in sight of a command's templates, besides its arguments and the constants.
pub(crate) const IN_SIGHT: [&str; 3] = ["id", "command_id", "device"];

/// One thing that devices can be told to do.
#[derive(Clone, Debug)]
pub(crate) struct CommandRule {
    pub(crate) description: CommandDescription,
    /// Only devices with such a name; `None`: all of the source.
    pub(crate) devices: Option<Pattern>,
    /// Where to publish; only messages have one.
    pub(crate) topic: Option<Template>,
    pub(crate) write: Body,
    /// Arguments whose values are written as others.
    pub(crate) written: Vec<(FieldName, Vec<(String, Value)>)>,
    /// How long the device may take, from its last word.
    pub(crate) timeout: Duration,
    /// Whether the device is to reply; else it is done when it is written.
    pub(crate) expects_reply: bool,
}

/// A command on its way to a device.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Who is told.
    pub device: &'a DeviceName,
    /// What to do.
    pub name: &'a CommandName,
    /// With what, as it was given.
    pub arguments: &'a Fields,
    /// The command's own id.
    pub command_id: &'a str,
    /// A short number for this attempt, by which the reply is known.
    pub id: u16,
}

/// What goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where to publish it; `None` on a line.
    pub topic: Option<String>,
    /// The frame, marks and checksum included, or the payload.
    pub bytes: Vec<u8>,
    /// How long the device may take, from its last word.
    pub timeout: Duration,
    /// Whether the device is to reply.
    pub expects_reply: bool,
}

/// Why a command can't be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The device has no such command.
    #[error("the device has no command {name}; it has {}", listed(.known))]
    NoSuchCommand {
        /// What was asked for.
        name: CommandName,
        /// What there is.
        known: Vec<CommandName>,
    },
    /// Its arguments are not what it takes.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
    /// What an argument says would be taken for another line or frame.
    #[error("{argument} has a control character, which a line can't carry; leave it out")]
    Control {
        /// Which one.
        argument: FieldName,
    },
    /// What is written has the mark that ends a frame in it.
    #[error("what is to be written has the mark in it that ends a frame; give other arguments")]
    EndMark,
    /// Nothing can be published there.
    #[error("the topic {topic:?} can't be published to: it is empty, too long, or has a wildcard")]
    Topic {
        /// As it was put together.
        topic: String,
    },
    /// A template uses a name that is not there.
    #[error("`${0}` stands for nothing here; give the argument")]
    NoName(String),
}

fn listed(names: &[CommandName]) -> String {
    let names: Vec<&str> = names.iter().map(CommandName::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl Profile {
    /// What a device of this source can be told to do; of several rules of one name, the first counts.
    pub fn commands_of(&self, device: &DeviceName) -> Vec<&CommandDescription> {
        let mut found: Vec<&CommandDescription> = Vec::new();
        for rule in self.commands.iter().filter(|rule| rule.is_for(device)) {
            if found.iter().all(|known| known.name != rule.description.name) {
                found.push(&rule.description);
            }
        }
        found
    }

    /// Whether there is anything that a device of this source can be told to do.
    pub fn has_commands(&self) -> bool {
        !self.commands.is_empty()
    }

    /// How many commands one device carries out at once.
    pub fn at_once(&self) -> u32 {
        self.writing.at_once
    }

    /// The bytes of a command.
    pub fn write(&self, order: &Outgoing<'_>) -> Result<Written, WriteError> {
        let is_meant = |rule: &&CommandRule| rule.description.name == *order.name && rule.is_for(order.device);
        let rule = self.commands.iter().find(is_meant).ok_or_else(|| WriteError::NoSuchCommand {
            name: order.name.clone(),
            known: self.commands_of(order.device).into_iter().map(|known| known.name.clone()).collect(),
        })?;
        write::write(self, rule, order)
    }
}

impl CommandRule {
    fn is_for(&self, device: &DeviceName) -> bool {
        self.devices.as_ref().is_none_or(|devices| devices.matches(device.as_str()))
    }
}

/// A value's text, as devices are told it.
pub(crate) fn text_of(value: &Value) -> Arc<str> {
    match value {
        Value::Number(number) => number.to_string().into(),
        Value::Integer(integer) => integer.to_string().into(),
        Value::Flag(flag) => flag.to_string().into(),
        Value::Text(text) => Arc::clone(text),
        // No argument of a description is one.
        Value::Raw(_) => "".into(),
    }
}

#[cfg(test)]
mod tests;
