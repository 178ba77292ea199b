//! The commands of `lockgate-gateway`.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use lockgate_runtime::words::chain;

use crate::config::{Config, RedisConfig};

/// The gateway of Lockgate: takes readings from agents and shows them to people, live.
#[derive(Debug, Parser)]
#[command(name = "lockgate-gateway", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it gets SIGTERM or SIGINT.
    Run(RunArgs),
    /// Check a configuration file: every fault, with its line and how to put it right.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The configuration file; without one, the defaults, which just work.
    #[arg(long, env = "LOCKGATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for all that must outlive the process. Wins over the file.
    #[arg(long, env = "LOCKGATE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where agents and clients connect; port 0: any free one. Wins over the file.
    #[arg(long, env = "LOCKGATE_LISTEN", value_name = "ADDR", value_parser = address)]
    listen: Option<SocketAddr>,
    /// Where /metrics is served; port 0: any free one. Wins over the file.
    #[arg(long, env = "LOCKGATE_METRICS_LISTEN", value_name = "ADDR", value_parser = address)]
    metrics_listen: Option<SocketAddr>,
    /// The Redis that several gateways share, as redis://HOST:PORT. Wins over the file.
    #[arg(long, env = "LOCKGATE_REDIS", value_name = "URL")]
    redis: Option<String>,
    /// Print one line of JSON with the addresses to stdout when the gateway listens.
    #[arg(long)]
    print_listen: bool,
    /// What to log: error, warn, info, debug, trace, or target=level, with commas between.
    #[arg(long, env = "LOCKGATE_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration file.
    #[arg(long, env = "LOCKGATE_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    lockgate_runtime::listen_address(text).map_err(|error| format!("it {error}"))
}

/// A configuration with faults, like wrong arguments: nothing was done.
const EXIT_USAGE: u8 = 2;

const EXIT_CODES: &str = "Exit codes:
  0  done; a running gateway was told to stop, and has finished what was begun
  1  failed
  2  the command line or the configuration is wrong";

/// Runs the program.
pub fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            complain(&*error);
            ExitCode::FAILURE
        }
    }
}

fn complain(error: &(dyn Error + 'static)) {
    // There may be no log yet, and this is its last line anyhow.
    let _unheard = writeln!(anstream::stderr(), "lockgate-gateway: {}", chain(error));
}

impl Cli {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Check(args) => {
                let Some(config) = load(&args.config)? else { return Ok(ExitCode::from(EXIT_USAGE)) };
                if let Err(error) = crate::certificates::load(&config) {
                    complain(&error);
                    return Ok(ExitCode::from(EXIT_USAGE));
                }
                writeln!(anstream::stdout(), "{}: all is well", args.config.display())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Run(args) => {
                let config = match &args.config {
                    Some(path) => load(path)?,
                    None => Some(Config::default()),
                };
                let Some(config) = config else { return Ok(ExitCode::from(EXIT_USAGE)) };
                if let Err(error) = lockgate_runtime::logs::init(&args.log) {
                    complain(&error);
                    return Ok(ExitCode::from(EXIT_USAGE));
                }
                let print_listen = args.print_listen;
                let config = args.over(config);
                tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()
                    .context("cannot start the runtime")?
                    .block_on(crate::run(config, |bound| {
                    if print_listen {
                        writeln!(anstream::stdout(), "{}", bound.to_json()).context("cannot write to stdout")?;
                    }
                    Ok(())
                }))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl RunArgs {
    fn over(self, mut config: Config) -> Config {
        config.data = self.data.unwrap_or(config.data);
        config.server.listen = self.listen.unwrap_or(config.server.listen);
        config.metrics.listen = self.metrics_listen.unwrap_or(config.metrics.listen);
        if let Some(url) = self.redis {
            let redis = config.redis.take().unwrap_or_else(|| RedisConfig::new(String::new()));
            config.redis = Some(RedisConfig { url, ..redis });
        }
        config
    }
}

/// The configuration of a file; `None`: it can't be read or has faults, which has been shown.
fn load(path: &Path) -> anyhow::Result<Option<Config>> {
    let text = match lockgate_config::read(path) {
        Ok(text) => text,
        Err(error) => {
            complain(&error);
            return Ok(None);
        }
    };
    match Config::from_toml(&path.display().to_string(), &text) {
        Ok(config) => Ok(Some(config)),
        Err(problems) => {
            write!(anstream::stderr(), "{}", problems.render(true))?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_win_over_the_file() {
        let line = ["lockgate-gateway", "run", "--data", "d", "--listen", "127.0.0.1:0"];
        let Command::Run(args) = Cli::try_parse_from(line).unwrap().command else { panic!("it is a run") };
        let config = args.over(Config::default());
        assert_eq!(config.data, PathBuf::from("d"));
        assert_eq!(config.server.listen.port(), 0);
        assert_eq!(config.metrics, Config::default().metrics);
    }
}
