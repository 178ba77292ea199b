//! `cargo verify`: everything that must hold before a change lands.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use lockgate_tests::python;

use crate::steps::{cargo, has, root, run, say, succeeds};

/// A Debian package that tests need, and how one sees that it is there.
type Package = (&'static str, fn() -> bool);

const PACKAGES: [Package; 3] = [
    ("mosquitto", || has("mosquitto", "-h")),
    ("faketime", || has("faketime", "--version")),
    // Debian's Python comes without what fills a new environment.
    ("python3-venv", || succeeds("python3", &["-c", "import ensurepip, venv"])),
];

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
    install_packages()?;
    install_python()?;
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

/// Installs what is missing, where we may; else says what a person must do.
fn install_packages() -> Result<()> {
    let missing: Vec<&str> = PACKAGES.iter().filter(|(_, is_there)| !is_there()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !is_root {
        bail!("the tests need {0}; install with: sudo apt-get install {0}", missing.join(" "));
    }
    run(Command::new("apt-get").args(["-q", "update"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "install", "-y", "--no-install-recommends"]);
    run(install.args(missing))
}

/// Makes the tests' Python environment, where it is missing or another one is required.
fn install_python() -> Result<()> {
    if python::is_ready() {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(python::folder()))?;
    let mut install = Command::new(python::program());
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    run(install.arg(python::requirements()))?;
    python::set_ready().context("cannot note what was installed")
}
