//! `cargo verify`: everything that must hold before a change lands.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;

use crate::packages::{self, FAKETIME, MOSQUITTO, PYTHON_VENV, REDIS};
use crate::steps::{cargo, has, root, run, say};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the tests whose name contains this; skips the other checks.
    #[arg(long)]
    only: Option<String>,
}

pub(crate) fn verify(options: &Options) -> Result<()> {
    let start = Instant::now();
    let outcome = all(options);
    let seconds = start.elapsed().as_secs();
    say(&format!("\nverify took {} min {} s", seconds / 60, seconds % 60));
    outcome
}

fn all(options: &Options) -> Result<()> {
    let nextest = nextest()?;
    packages::install("the tests", &[MOSQUITTO, FAKETIME, REDIS, PYTHON_VENV])?;
    packages::install_python()?;
    if options.only.is_none() {
        run(cargo().args(["fmt", "--all", "--check"]))?;
        run(cargo().args(["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]))?;
    }
    // The tests start the programs themselves, and take them from the same target folder.
    run(cargo().args(["build", "--workspace", "--bins", "--quiet"]))?;
    let mut tests = Command::new(nextest);
    tests.current_dir(root()).args(["nextest", "run", "--workspace"]);
    if let Some(only) = &options.only {
        return run(tests.arg(only));
    }
    let tested = run(&mut tests);
    run(cargo().args(["test", "--workspace", "--doc", "--quiet"]))?;
    let mut docs = cargo();
    docs.args(["doc", "--workspace", "--no-deps", "--quiet"]).env("RUSTDOCFLAGS", "--deny warnings");
    run(&mut docs)?;
    tested
}

/// Where `cargo-nextest` is; built from the registry where it is missing.
fn nextest() -> Result<PathBuf> {
    if has("cargo-nextest", "--version") {
        return Ok("cargo-nextest".into());
    }
    let tools = root().join("target/tools");
    let program = tools.join("bin/cargo-nextest");
    if !program.exists() {
        run(cargo().args(["install", "--locked", "--root"]).arg(&tools).arg("cargo-nextest"))?;
    }
    Ok(program)
}
