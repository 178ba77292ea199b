//! The gateway's store is put back to an older copy: the agent fills it again, and clients are told.

use std::path::Path;

use anyhow::{Result, ensure};
use lockgate_tests::account::{Account, samples};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;
use serde_json::Value;

const FLEET: Fleet = Fleet { pumps: 2, thermostats: 0, meters: 0, rooms: 0 };

fn has_samples(lines: &[Value], count: usize) -> bool {
    samples(lines).len() >= count
}

#[test]
fn a_store_that_was_put_back_is_filled_again_and_clients_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, ports) = (folder.path(), folder.path().join("ports"));
    let mut gateway = Gateway::start(folder, 0)?;
    let token = gateway.user_token()?;
    let devices = Devices::start(&ports, FLEET, "", &["--interval", "50ms"])?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let plan = plan.fleet(FLEET, &ports);
    let mut agent = Agent::start(folder, &plan)?;
    let mut connected = Watch::start(folder, &gateway.url(), &token, &["--since", "start"])?;
    connected.until("the first samples", wait::PATIENCE, |lines| has_samples(lines, 20))?;

    gateway.stop(wait::PATIENCE)?;
    let copy = folder.join("older-copy");
    copy_folder(gateway.data(), &copy)?;
    gateway.restart()?;
    let before = connected.look()?.len();
    connected
        .until("samples that the copy does not have", wait::PATIENCE, |lines| has_samples(&lines[before..], 40))?;
    let position = last_position(connected.look()?)?;

    gateway.kill()?;
    std::fs::remove_dir_all(gateway.data())?;
    copy_folder(&copy, gateway.data())?;
    gateway.restart()?;
    let is_told =
        |lines: &[Value]| lines.iter().any(|line| line["kind"] == "not_recovered" && line["reason"] == "diverged");
    connected.until("the connected client is told that history went back", wait::PATIENCE, is_told)?;
    let mut resumed = Watch::start(folder, &gateway.url(), &token, &["--since", &position])?;
    resumed.until("the resuming client is told that history went back", wait::PATIENCE, is_told)?;

    let journal = devices.stop()?;
    let account = Account::await_arrival(&journal, &gateway.url(), &token)?;
    ensure!(account.is_clean(), "{}\n{}", account.text, agent.log_tail());
    agent.stop(wait::PATIENCE)?;
    Ok(())
}

fn last_position(lines: &[Value]) -> Result<String> {
    let position = lines.iter().rev().find_map(|line| line["position"].as_str());
    position.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("no line has a position"))
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
