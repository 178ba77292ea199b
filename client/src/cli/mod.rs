//! The command line: what can be asked, and how a program ends.

mod args;
mod cancel;
mod commands;
mod describe;
mod devices;
mod json;
mod loss;
mod output;
mod presence;
mod send;
mod shadow;
mod text;
mod token;
mod watch;

#[cfg(test)]
mod samples;

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lockgate_client::ClientError;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  the command line is wrong
  3  the token is missing, bad or expired, or does not allow this
  4  the gateway can't be reached
  5  not found; or, with `loss --strict`, something is lost or still to come
  6  `send`: the command failed; of a group, one did, and none has 8
  7  `send`: expired or cancelled, it has had no effect; of a group, one did, and none has 6 or 8
  8  `send`: interrupted or unknown, nobody knows whether it took effect; of a group, one did";

/// Readings of a site's devices, live and from the log, and commands for them.
#[derive(Parser)]
#[command(name = "lockgate", version, about, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a site's devices say, as they say it
    Watch(watch::WatchArgs),
    /// List a site's devices
    Devices(devices::DevicesArgs),
    /// Show what a device measures, and what it can be told to do
    Describe(describe::DescribeArgs),
    /// Show the last known values of a device
    Shadow(shadow::ShadowArgs),
    /// List the agents and people that are connected to a site
    Presence(presence::PresenceArgs),
    /// Show what became of all records of a site: produced, stored, lost, still to come
    Loss(loss::LossArgs),
    /// Send a command to a device, to all of a site, or to those with a tag
    Send(send::SendArgs),
    /// List a site's commands, and what became of them
    Commands(commands::CommandsArgs),
    /// Take a command back, or all of a group
    Cancel(cancel::CancelArgs),
    /// Make a token, with the gateway's key
    Token(token::TokenArgs),
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// What was given contradicts itself or makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The gateway, or the way to it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The key's file, or the token that was to be made.
    #[error("{}", token::key_fault(.0))]
    Key(#[from] lockgate_token::KeyError),
    /// A token can't be made.
    #[error(transparent)]
    Token(#[from] lockgate_token::TokenError),
    /// Something that the command looks for is there: a loss.
    #[error("{0}")]
    Found(String),
    /// A command that was waited for did not succeed.
    #[error("{text}")]
    NotDone {
        /// What a script acts on.
        exit_code: u8,
        /// What became of it.
        text: String,
    },
    /// A command that was to be taken back had ended.
    #[error("{0}")]
    TooLate(String),
    /// Standard output takes nothing.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// The system gives no runtime.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            CliError::Usage(_) => 2,
            CliError::NotDone { exit_code, .. } => *exit_code,
            CliError::Client(ClientError::NotTold { .. }) => send::NOBODY_KNOWS,
            CliError::Client(error) if error.is_unauthorized() => 3,
            CliError::Client(error) if error.is_disconnected() => 4,
            CliError::Client(ClientError::Refused(refusal)) if refusal.code == lockgate_client::ErrorCode::NotFound => {
                5
            }
            CliError::Found(_) => 5,
            CliError::Client(_)
            | CliError::Key(_)
            | CliError::Token(_)
            | CliError::TooLate(_)
            | CliError::Write(_)
            | CliError::Start(_) => 1,
        }
    }
}

/// Runs what the command line asks for.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told where even this can't be written.
            let _unwritten = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads from a pipe may stop reading: `lockgate watch … | head`.
        Err(CliError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            let code = error.exit_code();
            output::complain(&error);
            ExitCode::from(code)
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    if let Command::Token(args) = command {
        return token::run(&args);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Start)?;
    runtime.block_on(async {
        match command {
            Command::Watch(args) => watch::run(args).await,
            Command::Devices(args) => devices::run(args).await,
            Command::Describe(args) => describe::run(args).await,
            Command::Shadow(args) => shadow::run(args).await,
            Command::Presence(args) => presence::run(args).await,
            Command::Loss(args) => loss::run(args).await,
            Command::Send(args) => send::run(args).await,
            Command::Commands(args) => commands::run(args).await,
            Command::Cancel(args) => cancel::run(args).await,
            Command::Token(args) => token::run(&args),
        }
    })
}
