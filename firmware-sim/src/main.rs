//! The simulator's process: log, runtime, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use lockgate_runtime::logs::LogsError;
use lockgate_runtime::words::chain;
use lockgate_sim::cli::{self, Cli, UsageError};
use tokio::runtime::Builder;

/// As clap ends where it can't read the command line.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if even this cannot be written.
            let _unseen = writeln!(anstream::stderr(), "lockgate-sim: {}", chain(&*error));
            let is_usage = error.is::<UsageError>() || error.is::<LogsError>();
            if is_usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    lockgate_runtime::logs::init(cli.log_filter())?;
    let mut runtime = match cli.threads() {
        1 => Builder::new_current_thread(),
        threads => {
            let mut runtime = Builder::new_multi_thread();
            runtime.worker_threads(threads);
            runtime
        }
    };
    runtime.enable_all().build()?.block_on(cli::run(cli))
}
