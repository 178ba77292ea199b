//! `lockgate-gateway`: see `lockgate_gateway::cli` for its sub-commands and exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate_gateway::cli::main()
}
