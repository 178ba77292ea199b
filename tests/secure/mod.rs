//! Links that others could listen to.

mod gateway;
mod redis;

use anyhow::{Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::broker::Mosquitto;
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::tls::Identity;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;

#[test]
fn a_broker_is_read_over_tls_and_only_if_its_certificate_is_trusted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (own, other) = (Identity::make(folder, "own")?, Identity::make(folder, "other")?);
    let gateway = Gateway::start(folder, 0)?;
    let broker = Mosquitto::start_with(folder, &own.listener())?;
    let url = format!("mqtts://localhost:{}", broker.address().port());
    let trusting = |identity: &Identity| format!("ca_file = \"{}\"", identity.certificate.display());
    let token = gateway.agent_token("agent-1")?;
    let plan = |keys: &str| AgentPlan::new("agent-1", &gateway.url(), &token).mqtt_with(&url, "lockgate-room", keys);

    let mut wary = Agent::start(folder, &plan(&trusting(&other)))?;
    let refusal = || wary.log_text().to_lowercase().contains("certificate").then_some(());
    wait::until("the agent says that it does not trust the broker", wait::PATIENCE, refusal)?;
    ensure!(!wary.log_text().contains("source=lockgate-room is up"), "{}", wary.log_tail());
    wary.stop(wait::PATIENCE)?;

    let mut watch = Watch::start(folder, &gateway.url(), &gateway.user_token()?, &["--since", "start"])?;
    let mut agent = Agent::start(folder, &plan(&trusting(&own)))?;
    agent.await_source("lockgate-room")?;
    let rooms = Fleet { rooms: 1, ..Fleet::default() };
    // The sensor talks to the same broker by a door of its own, without TLS.
    let devices = Devices::start(&folder.join("ports"), rooms, &broker.plain_url(), &["--interval", "100ms"])?;
    let is_seen =
        |lines: &[serde_json::Value]| lines.iter().any(|line| line["device"] == "room-1" && line["metric"] == "n");
    watch.until("a reading that came over TLS", wait::PATIENCE, is_seen)?;
    devices.stop()?;
    agent.stop(wait::PATIENCE)
}
