//! Descriptions of devices.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use super::record::{device_name, value_from_wire, value_to_wire};
use super::{ConvertError, at_most};
use crate::description::{
    ArgumentDescription, ArgumentKind, CommandDescription, Description, MetricDescription, ValueKind,
};
use crate::ids::{CommandName, FieldName, MetricName, NameError, Tag};
use crate::limits::{
    CHOICES_MAX, DESCRIPTION_BYTES_MAX, DESCRIPTION_COMMANDS_MAX, DESCRIPTION_METRICS_MAX, FIELDS_MAX, TAGS_MAX,
};
use crate::wire;
use crate::wire::argument_description::Kind;

/// A description for the wire.
pub fn description_to_wire(description: &Description) -> wire::Description {
    wire::Description {
        device: description.device.as_str().to_owned(),
        metrics: description.metrics.iter().map(metric_to_wire).collect(),
        commands: description.commands.iter().map(command_to_wire).collect(),
        tags: description.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        version: description.version,
    }
}

/// The description that a message stands for, every bound checked.
pub fn description_from_wire(description: wire::Description) -> Result<Description, ConvertError> {
    at_most("description", description.encoded_len(), DESCRIPTION_BYTES_MAX)?;
    at_most("description.metrics", description.metrics.len(), DESCRIPTION_METRICS_MAX)?;
    at_most("description.commands", description.commands.len(), DESCRIPTION_COMMANDS_MAX)?;
    at_most("description.tags", description.tags.len(), TAGS_MAX)?;
    let tag = |tag: &String| named("description.tags", Tag::new(tag));
    let told = Description {
        device: device_name(&description.device)?,
        metrics: description.metrics.into_iter().map(metric_from_wire).collect::<Result<_, _>>()?,
        commands: description.commands.into_iter().map(command_from_wire).collect::<Result<_, _>>()?,
        tags: description.tags.iter().map(tag).collect::<Result<_, _>>()?,
        // As it was told: a later version may hash what this one does not see.
        version: description.version,
    };
    told.check_itself()?;
    Ok(told)
}

/// The description's bytes, as backbones store them and its version is made of.
pub fn description_to_bytes(description: &Description) -> Vec<u8> {
    description_to_wire(description).encode_to_vec()
}

/// The description that stored bytes stand for.
pub fn description_from_bytes(bytes: &[u8]) -> Result<Description, ConvertError> {
    description_from_wire(wire::Description::decode(bytes)?)
}

fn named<N>(field: &'static str, name: Result<N, NameError>) -> Result<N, ConvertError> {
    name.map_err(|source| ConvertError::Name { field, source })
}

fn text_to_wire(text: Option<&Arc<str>>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn text_from_wire(text: String) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn metric_to_wire(metric: &MetricDescription) -> wire::MetricDescription {
    let kind = match metric.kind {
        None => wire::ValueKind::Unspecified,
        Some(ValueKind::Number) => wire::ValueKind::Number,
        Some(ValueKind::Integer) => wire::ValueKind::Integer,
        Some(ValueKind::Flag) => wire::ValueKind::Flag,
        Some(ValueKind::Text) => wire::ValueKind::Text,
        Some(ValueKind::Raw) => wire::ValueKind::Raw,
    };
    wire::MetricDescription {
        name: metric.name.as_str().to_owned(),
        unit: text_to_wire(metric.unit.as_ref()),
        kind: kind.into(),
        label: text_to_wire(metric.label.as_ref()),
    }
}

/// A kind that a later version knows is one that this version does not know.
fn metric_from_wire(metric: wire::MetricDescription) -> Result<MetricDescription, ConvertError> {
    let kind = match metric.kind() {
        wire::ValueKind::Unspecified => None,
        wire::ValueKind::Number => Some(ValueKind::Number),
        wire::ValueKind::Integer => Some(ValueKind::Integer),
        wire::ValueKind::Flag => Some(ValueKind::Flag),
        wire::ValueKind::Text => Some(ValueKind::Text),
        wire::ValueKind::Raw => Some(ValueKind::Raw),
    };
    Ok(MetricDescription {
        name: named("description.metrics.name", MetricName::new(&metric.name))?,
        unit: text_from_wire(metric.unit),
        kind,
        label: text_from_wire(metric.label),
    })
}

fn command_to_wire(command: &CommandDescription) -> wire::CommandDescription {
    let millis = |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    wire::CommandDescription {
        name: command.name.as_str().to_owned(),
        label: text_to_wire(command.label.as_ref()),
        arguments: command.arguments.iter().map(argument_to_wire).collect(),
        confirm: command.confirm,
        idempotent: command.idempotent,
        at_once: command.at_once,
        timeout_ms: command.timeout.map_or(0, millis),
    }
}

fn command_from_wire(command: wire::CommandDescription) -> Result<CommandDescription, ConvertError> {
    at_most("description.commands.arguments", command.arguments.len(), FIELDS_MAX)?;
    Ok(CommandDescription {
        name: named("description.commands.name", CommandName::new(&command.name))?,
        label: text_from_wire(command.label),
        arguments: command.arguments.into_iter().map(argument_from_wire).collect::<Result<_, _>>()?,
        confirm: command.confirm,
        idempotent: command.idempotent,
        at_once: command.at_once,
        timeout: (command.timeout_ms > 0).then(|| Duration::from_millis(command.timeout_ms)),
    })
}

fn argument_to_wire(argument: &ArgumentDescription) -> wire::ArgumentDescription {
    let kind = match &argument.kind {
        ArgumentKind::Flag => Some(Kind::Flag(wire::FlagArgument {})),
        ArgumentKind::Integer { min, max } => Some(Kind::Integer(wire::IntegerArgument { min: *min, max: *max })),
        ArgumentKind::Number { min, max, step } => {
            Some(Kind::Number(wire::NumberArgument { min: *min, max: *max, step: *step }))
        }
        ArgumentKind::Text { bytes_max } => Some(Kind::Text(wire::TextArgument { bytes_max: *bytes_max })),
        ArgumentKind::Choice { of } => {
            Some(Kind::Choice(wire::ChoiceArgument { of: of.iter().map(ToString::to_string).collect() }))
        }
        ArgumentKind::Any => None,
    };
    wire::ArgumentDescription {
        name: argument.name.as_str().to_owned(),
        label: text_to_wire(argument.label.as_ref()),
        unit: text_to_wire(argument.unit.as_ref()),
        required: argument.required,
        default: argument.default.as_ref().map(value_to_wire),
        kind,
    }
}

fn argument_from_wire(argument: wire::ArgumentDescription) -> Result<ArgumentDescription, ConvertError> {
    let kind = match argument.kind {
        Some(Kind::Flag(_)) => ArgumentKind::Flag,
        Some(Kind::Integer(integer)) => ArgumentKind::Integer { min: integer.min, max: integer.max },
        Some(Kind::Number(number)) => ArgumentKind::Number { min: number.min, max: number.max, step: number.step },
        Some(Kind::Text(text)) => ArgumentKind::Text { bytes_max: text.bytes_max },
        Some(Kind::Choice(choice)) => {
            at_most("description.commands.arguments.choice", choice.of.len(), CHOICES_MAX)?;
            ArgumentKind::Choice { of: choice.of.into_iter().map(Into::into).collect() }
        }
        None => ArgumentKind::Any,
    };
    Ok(ArgumentDescription {
        name: named("description.commands.arguments.name", FieldName::new(&argument.name))?,
        label: text_from_wire(argument.label),
        unit: text_from_wire(argument.unit),
        required: argument.required,
        default: argument.default.map(value_from_wire).transpose()?,
        kind,
    })
}
