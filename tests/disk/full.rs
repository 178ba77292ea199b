//! The queue's budget is used up; the disk itself is full.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet, Replay};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::loss::await_balanced;
use lockgate_tests::program::ours;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;
use serde_json::Value;

/// `lockgate-agent queue --json`, of an agent that runs.
fn queue(agent: &Agent) -> Result<Value> {
    let mut command = Command::new(ours("lockgate-agent")?);
    let output = command.args(["queue", "--json", "--data"]).arg(agent.data()).output()?;
    let text = String::from_utf8(output.stdout)?;
    serde_json::from_str(&text).with_context(|| format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// A capture that is long enough to fill the smallest queue several times.
fn telegrams(folder: &Path) -> Result<PathBuf> {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../codec/tests/data/dsmr5-p1/input.bin");
    let path = folder.join("telegrams.bin");
    std::fs::write(&path, std::fs::read(capture)?.repeat(10_000))?;
    Ok(path)
}

#[test]
fn a_used_up_budget_costs_the_oldest_telemetry_and_says_which() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let gateway = Gateway::start(folder, 0)?;
    let proxy = Proxy::start(gateway.address())?;
    proxy.refuse(true);
    let port = folder.join("p1");
    let replay = Replay::again_and_again(folder, &telegrams(folder)?, &port)?;
    let mut plan = AgentPlan::new("agent-1", &format!("ws://{}", proxy.address()), &gateway.agent_token("agent-1")?);
    plan.queue = "budget = \"4MiB\"".to_owned();
    let mut agent = Agent::start(folder, &plan.serial("p1", &port, "dsmr5-p1"))?;
    let has_evicted = |agent: &Agent| queue(agent).is_ok_and(|queue| queue["gaps"].to_string().contains("evicted"));
    wait::until("the queue evicts", 3 * wait::PATIENCE, || has_evicted(&agent).then_some(()))?;
    replay.stop()?;

    let token = gateway.user_token()?;
    let mut watch = Watch::start(folder, &gateway.url(), &token, &["--since", "start"])?;
    proxy.refuse(false);
    let is_told = |lines: &[Value]| lines.iter().any(|line| line["kind"] == "gap" && line["reason"] == "evicted");
    watch.until("the gap is told", wait::PATIENCE, is_told)?;
    let lost = await_balanced(&gateway.url(), &token)?;
    agent.stop(wait::PATIENCE)?;
    ensure!(lost["evicted"].as_u64() > Some(0), "{lost}");
    Ok(())
}

/// A file system of a few megabytes, for as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: PathBuf) -> Result<SmallDisk> {
        std::fs::create_dir_all(&folder)?;
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8M", "tmpfs"]).arg(&folder).status()?;
        ensure!(status.success(), "mounting a tmpfs ended with {status}; this test needs root");
        Ok(SmallDisk(folder))
    }

    /// Writes a file until nothing more fits.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path)?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the agent may still be ending.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_full_disk_is_told_corrupts_nothing_and_goes_on_when_there_is_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let gateway = Gateway::start(folder, 0)?;
    let proxy = Proxy::start(gateway.address())?;
    proxy.refuse(true);
    let disk = SmallDisk::mount(folder.join("disk"))?;
    let fleet = Fleet { pumps: 1, ..Fleet::default() };
    let devices = Devices::start(&folder.join("ports"), fleet, "", &["--interval", "20ms"])?;
    let mut plan = AgentPlan::new("agent-1", &format!("ws://{}", proxy.address()), &gateway.agent_token("agent-1")?);
    plan.queue = "budget = \"4MiB\"".to_owned();
    let mut agent = Agent::start(&disk.0, &plan.serial("pump-1", &devices.port("pump-1"), "lockgate-pump"))?;
    wait::until("records are queued", wait::PATIENCE, || (records(&agent) > 50).then_some(()))?;

    let filler = disk.fill()?;
    let is_told = |agent: &Agent| agent.log_text().to_lowercase().contains("disk");
    wait::until("the full disk is told", wait::PATIENCE, || is_told(&agent).then_some(()))?;
    ensure!(agent.is_running(), "a full disk is no reason to end");
    let before = records(&agent);
    std::fs::remove_file(filler)?;
    wait::until("it goes on", wait::PATIENCE, || (records(&agent) > before + 20).then_some(()))?;

    proxy.refuse(false);
    let token = gateway.user_token()?;
    devices.stop()?;
    agent.await_connected()?;
    let lost = await_balanced(&gateway.url(), &token)?;
    agent.stop(wait::PATIENCE)?;
    ensure!(lost.as_object().is_none_or(serde_json::Map::is_empty), "what was queued is not lost: {lost}");
    Ok(())
}

/// Numbers given to records, over all lanes and epochs.
fn records(agent: &Agent) -> u64 {
    let lanes = queue(agent).ok().and_then(|queue| queue["lanes"].as_array().cloned()).unwrap_or_default();
    lanes.iter().filter_map(|lane| lane["last"].as_u64()).sum()
}
