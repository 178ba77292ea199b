//! What people are told of a device: what it measures, and what it can be told to do.
//!
//! An agent tells it as a record of its own, in the events lane; the latest one holds. Whoever sends a command
//! checks it against the description before it leaves, so that a mistake is told at once and in the sender's own words.
//! Where a device has none, its agent alone decides.

mod argument;
mod check;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::convert;
use crate::ids::{CommandName, DeviceName, FieldName, MetricName, Tag, is_printable};
use crate::limits::{
    COMMAND_TTL_MAX, DESCRIPTION_BYTES_MAX, DESCRIPTION_COMMANDS_MAX, DESCRIPTION_METRICS_MAX, FIELDS_MAX,
    NAME_BYTES_MAX, SYMBOL_BYTES_MAX, TAGS_MAX,
};

pub use argument::{ArgumentDescription, ArgumentKind};
pub use check::ArgumentError;

/// What a device is.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Whose description it is.
    pub device: DeviceName,
    /// What it measures.
    pub metrics: Vec<MetricDescription>,
    /// What it can be told to do.
    pub commands: Vec<CommandDescription>,
    /// By what it can be selected, each once.
    pub tags: Vec<Tag>,
    /// A hash of all the rest: another content, another version.
    pub version: u64,
}

/// One measured quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricDescription {
    /// Its name, unique in the device.
    pub name: MetricName,
    /// UCUM symbol where there is one.
    pub unit: Option<Arc<str>>,
    /// What its values are; `None`: any, or not known.
    pub kind: Option<ValueKind>,
    /// In the words of people; `None`: its name.
    pub label: Option<Arc<str>>,
}

/// One thing that a device can be told to do.
#[derive(Clone, Debug, PartialEq)]
pub struct CommandDescription {
    /// Its name, unique in the device.
    pub name: CommandName,
    /// In the words of people; `None`: its name.
    pub label: Option<Arc<str>>,
    /// With what.
    pub arguments: Vec<ArgumentDescription>,
    /// People should be asked once more before it is sent.
    pub confirm: bool,
    /// Doing it twice does no more than doing it once.
    pub idempotent: bool,
    /// So many may run at once; at least 1.
    pub at_once: u32,
    /// The device answers within so long, in whole milliseconds; `None`: not told.
    pub timeout: Option<Duration>,
}

/// The kinds of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// A finite number.
    Number,
    /// A whole number.
    Integer,
    /// Yes or no.
    Flag,
    /// Text.
    Text,
    /// Bytes.
    Raw,
}

impl ValueKind {
    /// The word in output and configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            ValueKind::Number => "number",
            ValueKind::Integer => "integer",
            ValueKind::Flag => "flag",
            ValueKind::Text => "text",
            ValueKind::Raw => "raw",
        }
    }
}

/// Why something can't be a description. `at` says where: `commands.set_level.arguments.level`, for one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// There are more than fit.
    #[error("{at} has {count} items; at most {max} are allowed")]
    TooMany {
        /// Where.
        at: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// All of it together is too large.
    #[error("it has {bytes} bytes; at most {DESCRIPTION_BYTES_MAX} are allowed: shorten labels, or leave metrics out")]
    TooLarge {
        /// Its size, encoded.
        bytes: usize,
    },
    /// A name stands twice.
    #[error("{at} is described twice; describe it once")]
    Twice {
        /// Where.
        at: String,
    },
    /// A label, unit or choice is too long, empty, or can't be shown as what it is.
    #[error("{at} is no text of 1 to {max} printable bytes")]
    Text {
        /// Where.
        at: String,
        /// How long it may be.
        max: usize,
    },
    /// What is said of it contradicts itself.
    #[error("{at} {problem}")]
    Contradiction {
        /// Where.
        at: String,
        /// What is wrong, and how it is made right.
        problem: &'static str,
    },
}

impl Description {
    /// Checks what is said of a device, and gives it its version.
    pub fn new(
        device: DeviceName,
        metrics: Vec<MetricDescription>,
        commands: Vec<CommandDescription>,
        tags: Vec<Tag>,
    ) -> Result<Description, DescriptionError> {
        let mut description = Description { device, metrics, commands, tags, version: 0 };
        description.check_itself()?;
        description.version = fnv1a(&convert::description_to_bytes(&description));
        Ok(description)
    }

    /// What is said of a command.
    pub fn command(&self, name: &CommandName) -> Option<&CommandDescription> {
        self.commands.iter().find(|command| command.name == *name)
    }

    /// Whether the device has the tag.
    pub fn has_tag(&self, tag: &Tag) -> bool {
        self.tags.contains(tag)
    }

    /// Every bound, and that nothing contradicts anything.
    pub(crate) fn check_itself(&self) -> Result<(), DescriptionError> {
        at_most("metrics", self.metrics.len(), DESCRIPTION_METRICS_MAX)?;
        at_most("commands", self.commands.len(), DESCRIPTION_COMMANDS_MAX)?;
        at_most("tags", self.tags.len(), TAGS_MAX)?;
        once("tags", self.tags.iter().map(Tag::as_str))?;
        once("metrics", self.metrics.iter().map(|metric| metric.name.as_str()))?;
        once("commands", self.commands.iter().map(|command| command.name.as_str()))?;
        for metric in &self.metrics {
            let at = format!("metrics.{}", metric.name);
            shown(metric.label.as_ref(), NAME_BYTES_MAX, || format!("{at}.label"))?;
            shown(metric.unit.as_ref(), SYMBOL_BYTES_MAX, || format!("{at}.unit"))?;
        }
        self.commands.iter().try_for_each(CommandDescription::check_itself)?;
        let bytes = convert::description_to_bytes(self).len();
        if bytes > DESCRIPTION_BYTES_MAX {
            return Err(DescriptionError::TooLarge { bytes });
        }
        Ok(())
    }
}

impl CommandDescription {
    /// What is said of an argument.
    pub fn argument(&self, name: &FieldName) -> Option<&ArgumentDescription> {
        self.arguments.iter().find(|argument| argument.name == *name)
    }

    fn check_itself(&self) -> Result<(), DescriptionError> {
        let at = format!("commands.{}", self.name);
        shown(self.label.as_ref(), NAME_BYTES_MAX, || format!("{at}.label"))?;
        let arguments = format!("{at}.arguments");
        at_most(&arguments, self.arguments.len(), FIELDS_MAX)?;
        once(&arguments, self.arguments.iter().map(|argument| argument.name.as_str()))?;
        if self.at_once == 0 {
            let problem = "is 0, so it could never run; use at least 1";
            return Err(DescriptionError::Contradiction { at: format!("{at}.at_once"), problem });
        }
        if self.timeout.is_some_and(|timeout| timeout < Duration::from_millis(1) || timeout > COMMAND_TTL_MAX) {
            let problem = "is below a millisecond or above 7 days; use a time in between";
            return Err(DescriptionError::Contradiction { at: format!("{at}.timeout"), problem });
        }
        self.arguments.iter().try_for_each(|argument| argument.check_itself(&format!("{arguments}.{}", argument.name)))
    }
}

fn at_most(at: &str, count: usize, max: usize) -> Result<(), DescriptionError> {
    if count > max { Err(DescriptionError::TooMany { at: at.to_owned(), count, max }) } else { Ok(()) }
}

fn once<'t>(at: &str, names: impl Iterator<Item = &'t str>) -> Result<(), DescriptionError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(DescriptionError::Twice { at: format!("{at}.{name}") });
        }
    }
    Ok(())
}

/// What people are shown: some text, not too much, and none that reorders what stands beside it.
fn shown(text: Option<&Arc<str>>, max: usize, at: impl FnOnce() -> String) -> Result<(), DescriptionError> {
    match text {
        Some(text) if text.is_empty() || text.len() > max || !is_printable(text) => {
            Err(DescriptionError::Text { at: at(), max })
        }
        Some(_) | None => Ok(()),
    }
}

/// Says no more than that two contents differ, and is the same in each build.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
