//! Agent and gateway are killed again and again at random moments; their stores survive.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use lockgate_tests::account::{Account, repeated, samples, whole_log};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::broker::Mosquitto;
use lockgate_tests::chaos::Chaos;
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::loss::await_balanced;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;
use serde_json::Value;

const KILLS: u32 = 20;
const FLEET: Fleet = Fleet { pumps: 3, thermostats: 2, meters: 1, rooms: 4 };

#[test]
fn ten_devices_lose_and_double_nothing_through_twenty_kills() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, ports) = (folder.path(), folder.path().join("ports"));
    let mut gateway = Gateway::start(folder, 0)?;
    let broker = Mosquitto::start(folder)?;
    let token = gateway.user_token()?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let plan = plan.mqtt(&broker.url(), "lockgate-room").fleet(FLEET, &ports);
    let mut watch = Watch::start(folder, &gateway.url(), &token, &["--since", "start"])?;
    let mut agent = Agent::start(folder, &plan)?;
    agent.await_source("lockgate-room")?;
    let devices = Devices::start(&ports, FLEET, &broker.url(), &["--interval", "100ms", "--seed", "7"])?;

    let mut chaos = Chaos::seeded(20_261_125);
    while chaos.kills() < KILLS {
        wait::until("the next kill is due", wait::PATIENCE, || chaos.is_due().then_some(()))?;
        chaos.strike(&mut agent, std::slice::from_mut(&mut gateway))?;
    }
    let journal = devices.stop()?;
    let account = Account::await_arrival(&journal, &gateway.url(), &token)?;
    ensure!(account.is_clean(), "{}\n{}", account.text, agent.log_tail());
    let lost = await_balanced(&gateway.url(), &token)?;
    ensure!(lost.as_object().is_some_and(serde_json::Map::is_empty), "kills lose nothing: {lost}");
    agent.stop(wait::PATIENCE)?;

    let log = whole_log(&gateway.url(), &token)?;
    let account = Account::settle(&journal, &samples(&log))?;
    ensure!(account.is_clean(), "{}", account.text);
    ensure!(account.stored > 500, "too few samples to prove anything: {}", account.text);
    ensure_ordered(&log)?;

    let stored = samples(&log).len();
    watch.until("the live client has seen all", wait::PATIENCE, |lines| samples(lines).len() >= stored)?;
    let offsets = offsets(watch.look()?);
    ensure!(repeated(offsets.iter()) == 0, "the live client saw an entry twice");
    ensure!(offsets == self::offsets(&log), "the live client missed an entry");
    Ok(())
}

/// Offsets of the entries that the lines are of; an entry with several readings makes several lines.
fn offsets(lines: &[Value]) -> Vec<u64> {
    let mut offsets: Vec<u64> = lines.iter().filter_map(|line| line["offset"].as_u64()).collect();
    offsets.dedup();
    offsets
}

/// Within live and within backlog, a device's samples stand in the order in which they were taken.
fn ensure_ordered(log: &[Value]) -> Result<()> {
    let mut last: BTreeMap<(String, bool, String), u64> = BTreeMap::new();
    for line in log.iter().filter(|line| line["kind"] == "reading" && line["metric"] == "n") {
        let device = line["device"].as_str().unwrap_or_default().to_owned();
        let epoch = line["epoch"].as_str().unwrap_or_default().to_owned();
        let n = line["value"].as_u64().unwrap_or_default();
        let before = last.insert((device, line["backlog"] == true, epoch), n);
        ensure!(before.is_none_or(|before| before < n), "after sample {before:?} came {line}");
    }
    Ok(())
}
