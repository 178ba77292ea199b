//! The Python environment of the tests, which `cargo verify` makes: tools that know nothing of our code.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live one folder below the root")
}

/// The folder of the environment.
pub fn folder() -> PathBuf {
    root().join("target/python")
}

/// What it must have, with versions.
pub fn requirements() -> PathBuf {
    root().join("tests/requirements.txt")
}

/// Where the requirements are kept that were installed, so that a changed file shows.
fn installed() -> PathBuf {
    folder().join("installed.txt")
}

/// Whether all that is required has been installed.
pub fn is_ready() -> bool {
    let [wanted, installed] = [requirements(), installed()].map(|path| std::fs::read(path).ok());
    wanted.is_some() && wanted == installed && program().exists()
}

/// Notes that all that is required has been installed.
pub fn set_ready() -> std::io::Result<()> {
    std::fs::copy(requirements(), installed()).map(drop)
}

/// Where the environment's interpreter is, or will be.
pub fn program() -> PathBuf {
    folder().join("bin/python")
}

/// The interpreter, if it has what the tests need.
pub fn interpreter() -> Result<PathBuf> {
    ensure!(
        is_ready(),
        "the tests' Python environment in target/python is missing or not that of tests/requirements.txt; \
         `cargo verify` makes it"
    );
    Ok(program())
}
