//! What we need and what may be missing: Debian packages, the tests' Python environment.

use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use lockgate_tests::python;

use crate::steps::{has, run, succeeds};

/// A package, and how one sees that it is there.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    name: &'static str,
    is_there: fn() -> bool,
}

/// An MQTT broker.
pub(crate) const MOSQUITTO: Package = Package { name: "mosquitto", is_there: || has("mosquitto", "-h") };
/// Starts programs in another year.
pub(crate) const FAKETIME: Package = Package { name: "faketime", is_there: || has("faketime", "--version") };
/// What several gateways share.
pub(crate) const REDIS: Package = Package { name: "redis-server", is_there: || has("redis-server", "--version") };
/// Node's packages, for load of others' making.
pub(crate) const NPM: Package = Package { name: "npm", is_there: || has("npm", "--version") };
/// Debian's Python comes without what fills a new environment.
pub(crate) const PYTHON_VENV: Package =
    Package { name: "python3-venv", is_there: || succeeds("python3", &["-c", "import ensurepip, venv"]) };

/// Installs what is missing, where we may; else says what a person must do.
pub(crate) fn install(who: &str, packages: &[Package]) -> Result<()> {
    let missing = packages.iter().filter(|package| !(package.is_there)());
    let missing: Vec<&str> = missing.map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !is_root {
        bail!("{who} need {0}; install with: sudo apt-get install {0}", missing.join(" "));
    }
    run(Command::new("apt-get").args(["-q", "update"]))?;
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "install", "-y", "--no-install-recommends"]);
    run(install.args(missing))
}

/// Makes the tests' Python environment, where it is missing or another one is required.
pub(crate) fn install_python() -> Result<()> {
    if python::is_ready() {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(python::folder()))?;
    let mut install = Command::new(python::program());
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    run(install.arg(python::requirements()))?;
    python::set_ready().context("cannot note what was installed")
}
