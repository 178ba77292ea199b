//! The commands of the house: `cargo verify`, `cargo demo` and `cargo load` (aliases in .cargo/config.toml).
//!
//! They use only what a person could type; each step is printed before it runs.

mod demo;
mod load;
mod packages;
mod steps;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Lockgate's own commands.
#[derive(Parser)]
#[command(name = "cargo", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what the tests need, check the code, run all tests.
    Verify(verify::Options),
    /// Run gateway, agent and simulated devices with throw-away state, and show live readings.
    Demo(demo::Options),
    /// Load gateways, and hold each figure against its aim and a bare server.
    Load(load::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().task {
        Task::Verify(options) => verify::verify(&options),
        Task::Demo(options) => demo::demo(&options),
        Task::Load(options) => load::load(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            steps::say(&format!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
