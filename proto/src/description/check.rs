//! Whether a command may be sent as it is given.

use super::{ArgumentKind, CommandDescription, Description};
use crate::command::{Field, Fields, FieldsError};
use crate::ids::{CommandName, FieldName};
use crate::reading::Value;

/// A value that is shown in an error is cut here, in characters.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// Why a command can't be sent as it is given.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ArgumentError {
    /// The device has no such command.
    #[error("the device has no command {command}; it has {}", listed(.known.iter().map(CommandName::as_str)))]
    NoSuchCommand {
        /// What was given.
        command: CommandName,
        /// What there is.
        known: Vec<CommandName>,
    },
    /// The command has no such argument.
    #[error("{argument} is no argument of {command}; it takes {}", listed(.known.iter().map(FieldName::as_str)))]
    NoSuchArgument {
        /// The command.
        command: CommandName,
        /// What was given.
        argument: FieldName,
        /// What there is.
        known: Vec<FieldName>,
    },
    /// An argument that must be given is not.
    #[error("{argument} is missing; give it {allowed}")]
    Missing {
        /// What is not given.
        argument: FieldName,
        /// What it may be.
        allowed: ArgumentKind,
    },
    /// An argument is none of the values that are allowed.
    #[error("{argument} is {}; it may be {allowed}", shown(.value))]
    NotAllowed {
        /// The argument.
        argument: FieldName,
        /// What was given.
        value: Value,
        /// What it may be.
        allowed: ArgumentKind,
    },
    /// With the defaults of what was not given, there is more than a command may have.
    #[error("with the defaults of what is not given, {0}")]
    TooMuch(FieldsError),
}

impl ArgumentError {
    /// The field of the command that is at fault, as a path.
    pub fn field(&self) -> String {
        match self {
            ArgumentError::NoSuchCommand { .. } => "name".to_owned(),
            ArgumentError::NoSuchArgument { argument, .. }
            | ArgumentError::Missing { argument, .. }
            | ArgumentError::NotAllowed { argument, .. } => format!("arguments.{argument}"),
            ArgumentError::TooMuch(_) => "arguments".to_owned(),
        }
    }
}

impl Description {
    /// The arguments as the device shall have them, with the defaults of what is not given; or what is wrong with them.
    pub fn check(&self, name: &CommandName, given: &Fields) -> Result<Fields, ArgumentError> {
        match self.command(name) {
            Some(command) => command.check(given),
            None => Err(ArgumentError::NoSuchCommand {
                command: name.clone(),
                known: self.commands.iter().map(|command| command.name.clone()).collect(),
            }),
        }
    }
}

impl CommandDescription {
    /// The same of one command.
    pub fn check(&self, given: &Fields) -> Result<Fields, ArgumentError> {
        if let Some(field) = given.iter().find(|field| self.argument(&field.name).is_none()) {
            return Err(ArgumentError::NoSuchArgument {
                command: self.name.clone(),
                argument: field.name.clone(),
                known: self.arguments.iter().map(|argument| argument.name.clone()).collect(),
            });
        }
        let mut checked = Vec::with_capacity(self.arguments.len());
        for described in &self.arguments {
            let name = described.name.clone();
            let Some(value) = given.get(name.as_str()).or(described.default.as_ref()) else {
                if described.required {
                    return Err(ArgumentError::Missing { argument: name, allowed: described.kind.clone() });
                }
                continue;
            };
            let Some(value) = described.kind.admit(value) else {
                let (value, allowed) = (value.clone(), described.kind.clone());
                return Err(ArgumentError::NotAllowed { argument: name, value, allowed });
            };
            checked.push(Field { name, value });
        }
        Fields::new(checked).map_err(ArgumentError::TooMuch)
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Integer(integer) => integer.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Text(text) => match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
            Some((end, _)) => format!("{:?}… ({} bytes)", &text[..end], text.len()),
            None => format!("{text:?}"),
        },
        Value::Raw(bytes) => format!("{} raw bytes", bytes.len()),
    }
}
