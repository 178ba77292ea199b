//! Ids of commands, journals and boots.

use std::fmt;
use std::sync::Arc;

use crate::ids::{DeviceName, NameError, is_printable};
use crate::limits::COMMAND_ID_BYTES_MAX;

/// Between a group's id and a device's name.
const MEMBER: char = '/';

/// One command, unique in its site: a sender's own id, or `group/device` for a command of a group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(Arc<str>);

/// Why a text can't be a command's id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandIdError {
    /// The text, or the part of it before the slash, has no characters.
    #[error("is empty; give it at least one character")]
    Empty,
    /// The part that the sender chose is longer than [`COMMAND_ID_BYTES_MAX`].
    #[error("has {bytes} bytes; at most {COMMAND_ID_BYTES_MAX} are allowed")]
    TooLong {
        /// Length of the refused text.
        bytes: usize,
    },
    /// It could not be shown as what it is.
    #[error("has an invisible character; use printable text")]
    NotPrintable,
    /// What follows the slash is no device.
    #[error("names a device that {0}")]
    Device(NameError),
}

impl CommandId {
    /// Checks the text: 1 to [`COMMAND_ID_BYTES_MAX`] printable bytes; a slash and the name of a device may follow.
    pub fn new(text: impl AsRef<str>) -> Result<CommandId, CommandIdError> {
        let text = text.as_ref();
        let own = match text.split_once(MEMBER) {
            Some((group, device)) => {
                DeviceName::new(device).map_err(CommandIdError::Device)?;
                group
            }
            None => text,
        };
        if own.is_empty() {
            return Err(CommandIdError::Empty);
        }
        if own.len() > COMMAND_ID_BYTES_MAX {
            return Err(CommandIdError::TooLong { bytes: own.len() });
        }
        if !is_printable(own) {
            return Err(CommandIdError::NotPrintable);
        }
        Ok(CommandId(text.into()))
    }

    /// The id of a group's command to one device. The same group and device give the same id, so that a group
    /// that is ordered again makes no second command.
    #[must_use]
    pub fn member(&self, device: &DeviceName) -> CommandId {
        CommandId(format!("{self}{MEMBER}{device}").into())
    }

    /// Whether it is one of a group: no sender may choose such an id.
    pub fn is_member(&self) -> bool {
        self.0.contains(MEMBER)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// One journal of an agent. Random, made with the file: a wiped card begins another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JournalId(pub u64);

/// One boot of an agent's machine: the same for all starts of the agent in it, and for no others. A card that
/// was put back is therefore seen in another boot than the one in which it was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_can_not_take_the_id_of_a_groups_command_unseen() {
        let group = CommandId::new("night-mode").unwrap();
        let member = group.member(&DeviceName::new("pump/7").unwrap());
        assert_eq!(member.as_str(), "night-mode/pump/7");
        assert_eq!(CommandId::new(member.as_str()), Ok(member.clone()));
        assert!(member.is_member() && !group.is_member());
    }

    #[test]
    fn what_can_not_be_shown_or_is_too_long_is_no_id() {
        assert_eq!(CommandId::new(""), Err(CommandIdError::Empty));
        assert_eq!(CommandId::new("/pump"), Err(CommandIdError::Empty));
        assert_eq!(CommandId::new("a\nb"), Err(CommandIdError::NotPrintable));
        assert_eq!(CommandId::new("g/"), Err(CommandIdError::Device(NameError::Empty)));
        let long = "x".repeat(COMMAND_ID_BYTES_MAX + 1);
        assert_eq!(CommandId::new(long), Err(CommandIdError::TooLong { bytes: COMMAND_ID_BYTES_MAX + 1 }));
    }
}
