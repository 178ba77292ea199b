//! Bytes to readings, and commands to bytes, without I/O.
//!
//! A source gives bytes or messages. A [`Profile`] says how bytes are cut into frames and proven
//! (framing, checksum), which frame or message goes which way (routes), how it becomes one tree
//! (decode), and what is taken from that tree (mapping). A [`StreamReader`] or [`MessageReader`] applies
//! it; what a device can be told, and how it replies, `command` says. Nothing here knows a port, a broker, a clock or a file; docs/mapping.md is the language.

mod framing;

mod checksum;

mod topic;

mod decode;
mod tree;

mod mapping;
mod number;
mod time;

mod command;
mod message;
mod profile;
mod reader;

mod output;

pub use command::{Outgoing, Reply, Says, WriteError, Written};
pub use output::{
    Counters, DEAD_LETTER_DETAIL_BYTES_MAX, DEAD_LETTER_INPUT_BYTES_MAX, DeadLetter, DeadLetterReason, Decoded, Output,
};
pub use profile::{Input, Profile};
pub use reader::{Context, MessageReader, StreamReader};
pub use time::{Zone, ZoneError};
