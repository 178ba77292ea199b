//! What real devices said, through the whole path: port or broker, agent, gateway, `lockgate watch --json`.

mod compare;

use std::path::{Path, PathBuf};

use anyhow::Result;
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::broker::Mosquitto;
use lockgate_tests::devices::Replay;
use lockgate_tests::gateway::Gateway;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;

use compare::{Expected, compare};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../codec/tests/data").join(name)
}

#[test]
fn a_smart_meter_on_a_serial_port_is_seen_as_it_spoke() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let gateway = Gateway::start(folder, 0)?;
    let port = folder.join("p1");
    let expected = Expected::read(&case("dsmr5-p1"))?;
    let replay = Replay::onto_port(folder, &case("dsmr5-p1").join("input.bin"), &port)?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let mut watch = Watch::start(folder, &gateway.url(), &gateway.user_token()?, &["--since", "start"])?;
    let mut agent = Agent::start(folder, &plan.serial_with("p1", &port, "dsmr5-p1", ""))?;
    replay.played(wait::PATIENCE)?;
    watch.until("all readings", wait::PATIENCE, |lines| expected.count_of(lines) >= expected.len())?;
    agent.stop(wait::PATIENCE)?;
    compare(&expected, watch.look()?)
}

#[test]
fn zigbee_devices_behind_mosquitto_are_seen_as_they_spoke() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let gateway = Gateway::start(folder, 0)?;
    let broker = Mosquitto::start(folder)?;
    let expected = Expected::read(&case("zigbee2mqtt"))?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let mut watch = Watch::start(folder, &gateway.url(), &gateway.user_token()?, &["--since", "start"])?;
    let mut agent = Agent::start(folder, &plan.mqtt(&broker.url(), "zigbee2mqtt"))?;
    agent.await_source("zigbee2mqtt")?;
    Replay::to_broker(folder, &case("zigbee2mqtt").join("input.jsonl"), &broker.url())?.played(wait::PATIENCE)?;
    watch.until("all readings", wait::PATIENCE, |lines| expected.count_of(lines) >= expected.len())?;
    agent.stop(wait::PATIENCE)?;
    compare(&expected, watch.look()?)
}
