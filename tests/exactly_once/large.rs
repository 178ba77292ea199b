//! One message that is too large costs itself, and none of its neighbours.

use anyhow::{Result, ensure};
use lockgate_tests::account::Account;
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::broker::Mosquitto;
use lockgate_tests::devices::{Devices, Fleet, Replay};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;
use serde_json::json;

const FLEET: Fleet = Fleet { pumps: 0, thermostats: 0, meters: 0, rooms: 2 };

/// The agent takes 256 KiB.
const LARGE_BYTES: usize = 400_000;

#[test]
fn a_message_that_is_too_large_silences_none_of_its_brokers_devices() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, ports) = (folder.path(), folder.path().join("ports"));
    let gateway = Gateway::start(folder, 0)?;
    let broker = Mosquitto::start(folder)?;
    let token = gateway.user_token()?;
    let mut plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    plan = plan.mqtt(&broker.url(), "lockgate-room");
    plan.sources.push_str("\n[health]\ninterval = \"1s\"\n");
    let mut watch = Watch::start(folder, &gateway.url(), &token, &["--since", "start"])?;
    let mut agent = Agent::start(folder, &plan)?;
    agent.await_source("lockgate-room")?;
    let devices = Devices::start(&ports, FLEET, &broker.url(), &["--interval", "50ms", "--seed", "7"])?;

    let capture = folder.join("large.jsonl");
    let message = json!({"topic": "sim/camera", "payload": "x".repeat(LARGE_BYTES)});
    std::fs::write(&capture, format!("{message}\n{message}\n"))?;
    Replay::to_broker(folder, &capture, &broker.url())?.played(wait::PATIENCE)?;
    watch.until("the agent tells of both", wait::PATIENCE, |lines| {
        lines.iter().any(|line| line["metric"] == "dead_letters/too_large" && line["value"] == 2)
    })?;

    let journal = devices.stop()?;
    let account = Account::await_arrival(&journal, &gateway.url(), &token)?;
    ensure!(account.is_clean() && account.stored > 0, "{}\n{}", account.text, agent.log_tail());
    ensure!(!agent.log_text().contains("The source is away"), "the broker stayed connected\n{}", agent.log_tail());
    let letters = agent.dead_letters()?;
    ensure!(letters.len() == 2, "{letters:?}");
    let detail = letters[0]["detail"].as_str().unwrap_or_default();
    ensure!(letters[0]["reason"] == "too_large" && detail.contains("sim/camera"), "{letters:?}");
    agent.stop(wait::PATIENCE)
}
