//! `profiles`: the kinds of devices that need no more than their name in a configuration.

use std::io::Write as _;

use clap::Args;

use super::CliError;
use crate::config::ConfigError;
use crate::profiles;

#[derive(Debug, Args)]
pub(super) struct ProfilesArgs {
    /// Shows the text of this profile, to learn from or to make one of your own.
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

pub(super) fn run(args: &ProfilesArgs) -> Result<(), CliError> {
    let mut out = anstream::stdout();
    if let Some(name) = &args.name {
        let unknown = |fix| ConfigError::UnknownProfile { name: name.clone(), fix };
        let text = profiles::find(name).map_err(unknown)?;
        out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let width = profiles::names().map(str::len).max().unwrap_or_default();
    for name in profiles::names() {
        let text = profiles::shipped(name).unwrap_or_default();
        writeln!(out, "{name:width$}  {}", headline(text))?;
    }
    Ok(())
}

/// The first line of comment that a profile begins with.
fn headline(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix('#')).map(str::trim).unwrap_or_default()
}
