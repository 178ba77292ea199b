//! `lockgate-agent`: see `lockgate_agent::cli` for its sub-commands and exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate_agent::cli::main()
}
