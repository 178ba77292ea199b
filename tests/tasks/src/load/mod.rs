//! `cargo load`: the figures of `docs/performance.md`, each beside its aim and beside a bare server that does the same work.

mod commands;
mod people;
mod plan;
mod setup;
mod storm;
mod table_logic;

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use lockgate_tests::fleet::{FleetRun, Reference};
use serde_json::Value;

use crate::packages::{self, PYTHON_VENV, REDIS};
use crate::steps::{cargo, root, run, say};
use plan::{Beside, RUNS, Run, Work};
use setup::Stage;
use table_logic::{Line, line, markdown};

/// What `cargo load` may be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only the runs whose name contains one of these.
    names: Vec<String>,
    /// Shows the names, and runs nothing.
    #[arg(long)]
    list: bool,
}

pub(crate) fn load(options: &Options) -> Result<()> {
    let is_wanted = |run: &Run| options.names.is_empty() || options.names.iter().any(|name| run.name.contains(&**name));
    let wanted: Vec<&Run> = RUNS.iter().filter(|run| is_wanted(run)).collect();
    if options.list {
        for run in wanted {
            say(&format!("{:<20} {}", run.name, run.what));
        }
        return Ok(());
    }
    ensure!(!wanted.is_empty(), "no run has such a name; `cargo load --list` shows them");
    packages::install("clusters", &[REDIS, PYTHON_VENV])?;
    packages::install_python()?;
    // The profile of benches: what is measured must not cost minutes a build.
    let mut build = cargo();
    build.args(["build", "--profile", "bench", "--package", "lockgate-gateway", "--package", "lockgate-sim"]);
    run(build.args(["--package", "lockgate-client", "--package", "lockgate-agent"]))?;
    let start = Instant::now();
    let out = folder();
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let (mut lines, mut failed) = (Vec::new(), Vec::new());
    for load in wanted {
        say(&format!("\n# {}: {}", load.name, load.what));
        match measure(load) {
            Ok(more) => lines.extend(more),
            Err(error) => {
                say(&format!("failed: {error:#}"));
                failed.push(load.name);
            }
        }
    }
    let table = markdown(&lines);
    fs::write(out.join("table.md"), &table)?;
    let seconds = start.elapsed().as_secs();
    say(&format!("\n{table}\nload took {} min {} s; all figures are in {}", seconds / 60, seconds % 60, out.display()));
    if failed.is_empty() { Ok(()) } else { bail!("these runs failed: {}", failed.join(", ")) }
}

/// Where the figures go.
fn folder() -> PathBuf {
    root().join("target/load")
}

/// One run and what is beside it, with state that is thrown away.
fn measure(load: &Run) -> Result<Vec<Line>> {
    // Below the target folder: what a sync costs is that of the disk, not of a folder in memory.
    let scratch = root().join("target/tmp");
    fs::create_dir_all(&scratch)?;
    let state = tempfile::tempdir_in(scratch)?;
    let figures = match load.work {
        Work::Fleet(words) => {
            let stage = Stage::set(state.path(), load.setup)?;
            FleetRun::start(&folder(), load.name, &stage.target(), words)?.end()?
        }
        Work::Storm => storm::storm(state.path(), &folder(), load.name)?,
        Work::Locust => people::locust(state.path(), &folder(), load.name)?,
        Work::Artillery => people::artillery(state.path(), &folder(), load.name)?,
        Work::Commands(is_busy) => commands::commands(state.path(), &folder(), load.name, load.setup, is_busy)?,
    };
    let reference = match (load.beside, load.work) {
        (Beside::Nothing, _) | (_, Work::Storm | Work::Locust | Work::Artillery | Work::Commands(_)) => None,
        (beside, Work::Fleet(words)) => {
            let log = (beside == Beside::Recorder).then(|| state.path().join("messages"));
            let reference = Reference::start(state.path(), log.as_deref())?;
            let name = format!("{}-reference", load.name);
            Some(FleetRun::start(&folder(), &name, &reference.target(), words)?.end()?)
        }
    };
    let wrong = figures["people"]["wrong"].as_u64().unwrap_or_default();
    let lines: Vec<Line> = load.rows.iter().map(|row| line(load, row, &figures, reference.as_ref())).collect();
    for line in &lines {
        say(&line.to_string());
    }
    ensure!(figures["wrongs"] == Value::Array(Vec::new()) && wrong == 0, "something was lost or doubled: {figures:#}");
    fs::write(folder().join(format!("{}.json", load.name)), format!("{figures:#}\n"))?;
    Ok(lines)
}
