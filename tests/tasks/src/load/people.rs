//! Readers that are played by others' tools: clients of other languages, that share no code with ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::fleet::FleetRun;
use lockgate_tests::locust::{Locust, expected, received, users_for};
use lockgate_tests::program::Program;
use lockgate_tests::wait;
use serde_json::{Value, json};

use super::plan::Setup;
use super::setup::Stage;
use crate::packages::{self, NPM};
use crate::steps::{root, run};

const CONNECTIONS: usize = 5_000;
/// As many as `readers.yml` says.
const READERS: u32 = 5_000;
const ROOMS: u64 = 10;

/// Few records, each to about a thousand readers: these tools take a hundred times the processor time of ours.
const WORDS: &[&str] = &["--rooms", "10", "--agents", "10", "--readers", "0", "--rate", "5", "--seconds", "20"];

/// Between two losses of one user's connections, at the mean.
const LOSE_EVERY: Duration = Duration::from_secs(30);

/// Locust's users at two gateways: what they were owed, what they got, what was wrong with it.
pub(crate) fn locust(state: &Path, out: &Path, name: &str) -> Result<Value> {
    let stage = Stage::set(state, Setup::Redis(2))?;
    let users = users_for(CONNECTIONS);
    let rooms = usize::try_from(ROOMS)?;
    let mut locust = Locust::start(state, &stage.gateways, (users, 100, rooms), LOSE_EVERY)?;
    let up = |report: &Value| report["connects"] == users * 2;
    let before = locust.until("all have connected once", wait::PATIENCE * 3, up)?;
    let mut figures = FleetRun::start(out, name, &stage.target(), WORDS)?.end()?;
    let published = figures["published"].as_u64().context("a number")?;
    let owed = expected(&before, published / ROOMS).context("there are rooms")?;
    // What has not come by then is told as lost.
    let _come = locust.until("all has come", wait::PATIENCE / 2, |report| received(report) >= Some(owed));
    let report = locust.end()?;
    let faults: u64 =
        ["lost", "doubled", "not_recovered", "lagged", "errors"].iter().filter_map(|key| report[key].as_u64()).sum();
    let got = received(&report).unwrap_or_default();
    figures["people"] = json!({
        "connections": report["connects"], "resumes": report["resumes"], "owed": owed, "received": got,
        "wrong": faults + owed.abs_diff(got), "report": report,
    });
    Ok(figures)
}

/// Artillery's readers, as `readers.yml` has them: who came, what they got, what was wrong with it.
pub(crate) fn artillery(state: &Path, out: &Path, name: &str) -> Result<Value> {
    const STAY: Duration = Duration::from_secs(300);
    let program = install_artillery()?;
    let stage = Stage::set(state, Setup::Embedded)?;
    let gateway = stage.gateways.first().context("there is a gateway")?;
    let tokens: Vec<String> =
        (1..=10).map(|number| gateway.token_of(&format!("artillery-{number}"))).collect::<Result<_>>()?;
    let (tokens_file, report) = (state.join("tokens"), state.join("artillery.json"));
    fs::write(&tokens_file, tokens.join("\n"))?;
    let mut command = Command::new(program);
    command.args(["run", "--quiet", "--output"]).arg(&report).arg(folder().join("readers.yml"));
    command.env("GATEWAY", gateway.url()).env("TOKENS", &tokens_file).env("ROOMS", ROOMS.to_string());
    command.env("ARTILLERY_DISABLE_TELEMETRY", "true").stdout(fs::File::create(out.join("artillery.txt"))?);
    let mut readers = Program::start("artillery", &mut command, &out.join("artillery.log"))?;
    wait::until("all have come", wait::PATIENCE * 2, || {
        let opened = gateway.figure("lockgate_gateway_sessions_opened_total").unwrap_or_default();
        (opened >= f64::from(READERS) || !readers.is_running()).then_some(())
    })
    .with_context(|| readers.log_tail())?;
    let mut figures = FleetRun::start(out, name, &stage.target(), WORDS)?.end()?;
    let status = readers.exit_within(STAY)?;
    ensure!(status.success(), "{status}\n{}", readers.log_tail());
    let report: Value = serde_json::from_str(&fs::read_to_string(&report)?)?;
    let counters = &report["aggregate"]["counters"];
    let count = |key: &str| counters[key].as_u64().unwrap_or_default();
    let published = figures["published"].as_u64().context("a number")?;
    // Every room has as many records as any other.
    let owed = count("lockgate.subscribed") * published / ROOMS;
    let got = count("lockgate.telemetry");
    let wrong = count("lockgate.wrong") + count("lockgate.errors") + count("vusers.failed") + owed.abs_diff(got);
    figures["people"] = json!({
        "connections": count("lockgate.subscribed"), "resumes": null, "owed": owed, "received": got, "wrong": wrong,
        "report": counters,
    });
    Ok(figures)
}

/// Where its scenario is.
fn folder() -> PathBuf {
    root().join("tests/load/artillery")
}

/// Installs what the lock file says, below `target`; large, so only who asks for it gets it.
fn install_artillery() -> Result<PathBuf> {
    packages::install("Artillery", &[NPM])?;
    let place = root().join("target/artillery");
    fs::create_dir_all(&place)?;
    let is_there = |file: &str| fs::read(folder().join(file)).ok() == fs::read(place.join(file)).ok();
    let program = place.join("node_modules/.bin/artillery");
    if !(is_there("package-lock.json") && program.exists()) {
        for file in ["package.json", ".npmrc", "package-lock.json"] {
            fs::copy(folder().join(file), place.join(file)).with_context(|| file.to_owned())?;
        }
        run(Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(&place))?;
    }
    Ok(program)
}
