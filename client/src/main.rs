//! `lockgate`: a site's devices in a terminal.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate_runtime::tls::install();
    cli::main()
}
