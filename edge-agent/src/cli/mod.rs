//! The sub-commands, one file each.
//!
//! Results go to standard output, logs and complaints to standard error.

mod check;
mod dead_letters;
mod decode;
mod output;
mod profiles;
mod queue;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use lockgate_runtime::words::chain;

use crate::config::{Config, ConfigError};

const EXIT_CODES: &str = "Exit codes:
  0  done; a running agent was told to stop, and has kept everything
  1  failed
  2  the command line or the configuration is wrong";

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// Carries readings of serial and MQTT devices to a Lockgate gateway, through networks that fail.
#[derive(Debug, Parser)]
#[command(name = "lockgate-agent", version, max_term_width = 100, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reads the devices of a configuration and sends what they say, until SIGTERM or Ctrl-C.
    Run(RunArgs),
    /// Shows what a profile makes of a recorded input, without device and network.
    Decode(decode::DecodeArgs),
    /// Shows every fault of a configuration at once.
    Check(ConfigArg),
    /// Shows what is in the queue of an agent, running or not.
    Queue(queue::QueueArgs),
    /// Shows the input that could not be used, and why.
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Lists the profiles that come with the agent.
    Profiles(profiles::ProfilesArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// What to log: error, warn, info, debug, trace; or by part, such as "info,lockgate_agent::uplink=debug".
    #[arg(long, env = "LOCKGATE_LOG", default_value = "info", value_name = "LEVELS")]
    log: String,
}

#[derive(Debug, Args)]
struct ConfigArg {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "agent.toml")]
    config: PathBuf,
}

impl ConfigArg {
    fn load(&self) -> Result<Config, CliError> {
        Ok(Config::load(&self.config)?)
    }
}

/// Where the data of an agent are: told by its configuration, or named.
#[derive(Debug, Args)]
struct DataArg {
    #[command(flatten)]
    config: ConfigArg,
    /// The data folder of the agent, in place of a configuration.
    #[arg(long, value_name = "FOLDER", conflicts_with = "config")]
    data: Option<PathBuf>,
}

impl DataArg {
    fn folder(&self) -> Result<PathBuf, CliError> {
        match &self.data {
            Some(folder) => Ok(folder.clone()),
            None => Ok(self.config.load()?.agent.data),
        }
    }
}

/// Why a sub-command could not do its work.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// The command line asks for what can't be.
    #[error("{0}")]
    Usage(String),
    /// The configuration can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Anything that went wrong on the way.
    #[error("{}", chain(&**.0))]
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> CliError {
        CliError::Failed(error)
    }
}

/// Writing the results failed: a closed pipe or a full disk behind standard output.
impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> CliError {
        CliError::Failed(anyhow::Error::new(error).context("cannot write the results"))
    }
}

/// Runs the program; returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let code = if error.use_stderr() { EXIT_USAGE } else { 0 };
            return if error.print().is_ok() { ExitCode::from(code) } else { ExitCode::from(EXIT_FAILED) };
        }
    };
    let result = match cli.command {
        Command::Run(args) => run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Queue(args) => queue::run(&args),
        Command::DeadLetters(args) => dead_letters::run(&args),
        Command::Profiles(args) => profiles::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error),
    }
}

fn run(args: &RunArgs) -> Result<(), CliError> {
    lockgate_runtime::logs::init(&args.log).map_err(|error| CliError::Usage(format!("--log {error}")))?;
    let config = args.config.load()?;
    Ok(crate::run::run(config)?)
}

fn complain(error: &CliError) -> ExitCode {
    let mut stderr = anstream::stderr();
    let (text, code) = match error {
        CliError::Usage(text) => (format!("error: {text}\n"), EXIT_USAGE),
        CliError::Config(ConfigError::Faults(problems)) => {
            let colour = std::io::stderr().is_terminal();
            (problems.render(colour), EXIT_USAGE)
        }
        CliError::Config(error @ (ConfigError::Read(_) | ConfigError::UnknownProfile { .. })) => {
            (format!("error: {error}\n"), EXIT_USAGE)
        }
        CliError::Failed(error) if is_broken_pipe(error) => return ExitCode::SUCCESS,
        CliError::Failed(error) => (format!("error: {}\n", chain(&**error)), EXIT_FAILED),
    };
    // Where even that can't be written, the code has to say it all.
    drop(stderr.write_all(text.as_bytes()));
    ExitCode::from(code)
}

/// The reader of our results (`| head`) has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let source = error.downcast_ref::<std::io::Error>();
    source.is_some_and(|source| source.kind() == std::io::ErrorKind::BrokenPipe)
}
