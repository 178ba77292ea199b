//! What each transition of the book does and refuses.

use super::*;
use crate::command::{Fields, Priority};
use crate::ids::{CommandName, DeviceName, UserName};

pub(crate) fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

pub(crate) fn command(id: &str) -> Command {
    Command {
        id: CommandId::new(id).unwrap(),
        device: device("pump"),
        name: CommandName::new("open").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline: UnixMicros(30_000_000),
        sender: UserName::new("ann").unwrap(),
    }
}
