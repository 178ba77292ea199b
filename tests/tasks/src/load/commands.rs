//! Commands to simulated pumps on pseudo-terminals, through gateway and agent and back.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::fleet::FleetRun;
use lockgate_tests::gateway::{Gateway, SITE, TENANT};
use lockgate_tests::program::ours;
use lockgate_tests::wait;
use serde_json::{Value, json};

use super::plan::Setup;
use super::setup::Stage;

const PUMPS: u32 = 10;

/// So much is published meanwhile in rooms of their own.
const BESIDE: &[&str] = &["--name", "beside", "--rooms", "10", "--agents", "100", "--readers", "100", "--rate", "2000"];

/// One at a time, and as many as a hundred operators: each with its own figures. Together fewer than an agent remembers.
const AT_ONCE: [(&str, &str, &str); 2] = [("one", "1", "200"), ("hundred", "100", "600")];

/// Small writes that are synced one after the other, to see what the disk takes for one.
const SYNCS: usize = 200;

/// What orders take, idle or beside readings.
pub(crate) fn commands(state: &Path, out: &Path, name: &str, setup: Setup, is_busy: bool) -> Result<Value> {
    let sync_us = sync_us(&state.join("syncs"))?;
    let stage = Stage::set(state, setup)?;
    let gateway = stage.gateways.first().context("there is a gateway")?;
    let (ports, fleet) = (state.join("ports"), Fleet { pumps: PUMPS, ..Fleet::default() });
    let devices = Devices::start(&ports, fleet, "", &["--interval", "1s"])?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?).fleet(fleet, &ports);
    let mut agent = Agent::start(state, &plan)?;
    for pump in 1..=PUMPS {
        agent.await_source(&format!("pump-{pump}"))?;
    }
    let beside = is_busy.then(|| {
        let words = [BESIDE, &["--seconds", "40"]].concat();
        let mut run = FleetRun::start(out, &format!("{name}-beside"), &stage.target(), &words)?;
        run.until_said("Publishing.")?;
        Ok::<_, anyhow::Error>(run)
    });
    let beside = beside.transpose()?;
    let mut figures = json!({ "sync_us": sync_us, "wrongs": [] });
    for (key, at_once, count) in AT_ONCE {
        figures["commands"][key] = orders(gateway, at_once, count)?;
    }
    if let Some(beside) = beside {
        beside.end()?;
    }
    agent.stop(wait::PATIENCE)?;
    devices.stop()?;
    Ok(figures)
}

/// Orders of the pumps in turn.
fn orders(gateway: &Gateway, at_once: &str, count: &str) -> Result<Value> {
    let mut command = Command::new(ours("lockgate-sim")?);
    command.args(["orders", "--gateway", &gateway.url(), "--tenant", TENANT, "--site", SITE, "--command", "set-speed"]);
    command.args(["--argument", "rpm=900", "--at-once", at_once, "--commands", count]).arg("--key-file");
    command.arg(gateway.key()).args((1..=PUMPS).flat_map(|pump| ["--device".to_owned(), format!("pump-{pump}")]));
    let output = command.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "orders failed: {said}");
    serde_json::from_str(&said).with_context(|| said.clone())
}

/// Microseconds of a small write and its `fdatasync`, at the median.
fn sync_us(path: &Path) -> Result<u64> {
    let mut file = File::create(path)?;
    let mut taken = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[7; 200])?;
        file.sync_data()?;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    let median: Duration = taken[SYNCS / 2];
    Ok(u64::try_from(median.as_micros())?)
}
