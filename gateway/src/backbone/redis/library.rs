//! The functions that Redis runs for us, under a name that says which text they have: gateways of different
//! releases on one Redis do not take each other's.

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

const CODE: &str = include_str!("functions.lua");

/// The library, ready to be loaded.
#[derive(Clone, Debug)]
pub(super) struct Library {
    name: String,
    pub(super) code: String,
}

/// One of the library's functions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    Open,
    Step,
    Turn,
    Trim,
    ReadBook,
    WriteBook,
    Forget,
}

impl Library {
    pub(super) fn new() -> Library {
        let mut name = "lockgate_".to_owned();
        for byte in digest(&SHA256, CODE.as_bytes()).as_ref().iter().take(8) {
            // Writing to a string does not fail.
            let _infallible = write!(name, "{byte:02x}");
        }
        let code = format!("#!lua name={name}\n{}", CODE.replace("@LIBRARY@", &name));
        Library { name, code }
    }

    /// The name under which a function is called.
    pub(super) fn name_of(&self, function: Function) -> String {
        let word = match function {
            Function::Open => "open",
            Function::Step => "step",
            Function::Turn => "turn",
            Function::Trim => "trim",
            Function::ReadBook => "read_book",
            Function::WriteBook => "write_book",
            Function::Forget => "forget",
        };
        format!("{}_{word}", self.name)
    }
}
