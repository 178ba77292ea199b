//! Running commands one after the other, each shown before it runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    let tasks = Path::new(env!("CARGO_MANIFEST_DIR"));
    tasks.ancestors().nth(2).expect("the tasks live two folders below the root").to_owned()
}

/// Prints one line to the terminal, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A closed terminal is no reason to stop.
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Shows a command, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    say(&format!("\n> {shown}"));
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if status.success() { Ok(()) } else { bail!("`{shown}` ended with {status}") }
}

/// Whether a program can be found and answers.
pub(crate) fn has(program: &str, flag: &str) -> bool {
    Command::new(program).arg(flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Whether a program can be found and does what it is asked without complaint.
pub(crate) fn succeeds(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
