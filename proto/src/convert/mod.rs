//! Wire types to domain types and back: the one place that sees both.
//!
//! All that comes from a peer or a disk is bounded and checked here; the errors name the field.

mod attendance;
mod basic;
mod command;
mod command_store;
mod description;
mod edge;
mod entry;
mod ledger;
mod record;

pub(crate) use attendance::{attendance_from_bytes, attendance_to_bytes};
pub use attendance::{attendee_from_wire, attendee_to_wire, encode_alarm_body, encode_attendance_body};
pub use basic::{gap_from_wire, gap_to_wire, instant_from_wire, instant_to_wire, reason_from_wire, reason_to_wire};
pub use command::{
    command_from_wire, command_to_wire, command_update_from_wire, command_update_to_wire, encode_command_body,
    fields_from_wire, fields_to_wire, priority_to_wire,
};
pub use command_store::{
    command_mark_from_bytes, command_mark_to_bytes, journal_record_from_bytes, journal_record_to_bytes,
    kept_command_from_bytes, kept_command_to_bytes,
};
pub use description::{description_from_bytes, description_from_wire, description_to_bytes, description_to_wire};
pub use edge::{decode_agent_frame, decode_gateway_frame, encode_agent_frame, encode_gateway_frame};
pub use entry::{
    decode_entry, encode_entry, encode_entry_header, encode_gap_body, entry_from_wire, kind_from_wire, kind_to_wire,
};
pub(crate) use ledger::{ledger_from_bytes, ledger_to_bytes};
pub use record::{decode_record, encode_record, quality_to_wire, value_to_wire};

use crate::command::{CommandIdError, FieldsError};
use crate::description::DescriptionError;
use crate::ids::NameError;
use crate::limits::TEXT_BYTES_MAX;

/// Why bytes are no valid message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The bytes are no Protobuf message of the expected kind.
    #[error("not decodable: {0}")]
    Decode(#[from] prost::DecodeError),
    /// A field that must be there is missing, or an enum has a value that this version does not know.
    #[error("{field} is missing or unknown")]
    Missing {
        /// The field, as in the `.proto` file.
        field: &'static str,
    },
    /// A name is no name.
    #[error("{field} {source}")]
    Name {
        /// The field, as in the `.proto` file.
        field: &'static str,
        /// What is wrong with it.
        source: NameError,
    },
    /// The id of a command is none.
    #[error("{field} {source}")]
    CommandId {
        /// The field, as in the `.proto` file.
        field: &'static str,
        /// What is wrong with it.
        source: CommandIdError,
    },
    /// Named values are none.
    #[error("{field}: {source}")]
    Fields {
        /// The field, as in the `.proto` file.
        field: &'static str,
        /// What is wrong with them.
        source: FieldsError,
    },
    /// A description contradicts itself, or is too large.
    #[error("description: {0}")]
    Description(#[from] DescriptionError),
    /// A field is larger than its limit.
    #[error("{field} has {got} items or bytes; at most {max} are allowed")]
    TooLarge {
        /// The field, as in the `.proto` file.
        field: &'static str,
        /// What came.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// A value contradicts others or has no meaning.
    #[error("{field} {problem}")]
    Invalid {
        /// The field, as in the `.proto` file.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

fn at_most(field: &'static str, got: usize, max: usize) -> Result<(), ConvertError> {
    if got > max { Err(ConvertError::TooLarge { field, got, max }) } else { Ok(()) }
}

/// Text of our own making, cut where the peer would refuse it.
fn shortened(text: &str) -> String {
    let end =
        text.char_indices().map(|(at, character)| at + character.len_utf8()).take_while(|end| *end <= TEXT_BYTES_MAX);
    text[..end.last().unwrap_or(0)].to_owned()
}

#[cfg(test)]
mod command_tests;
#[cfg(test)]
mod tests;
