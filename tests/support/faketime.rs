//! Clocks that say what a test wants.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::agent::Agent;

/// Gives an agent a clock of the world that the test sets; the one that never jumps stays as it is.
pub fn fake_clock(agent: &mut Agent, file: &Path, clock: &str) -> Result<()> {
    set_clock(file, clock)?;
    agent.set_environment("LD_PRELOAD", &libfaketime()?.display().to_string());
    agent.set_environment("FAKETIME_TIMESTAMP_FILE", &file.display().to_string());
    agent.set_environment("FAKETIME_NO_CACHE", "1");
    agent.set_environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Ok(())
}

/// Sets it: an instant, or so many seconds off.
pub fn set_clock(file: &Path, clock: &str) -> Result<()> {
    // Replaced as a whole: the agent must never read half of it.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{clock}\n"))?;
    Ok(std::fs::rename(new, file)?)
}

fn libfaketime() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let file = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
    file.context("libfaketime is not installed; `cargo verify` installs it")
}
