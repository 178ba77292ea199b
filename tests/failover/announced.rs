//! Instances on one Redis know each other by what they say of themselves, and nobody has listed them.

use anyhow::Result;
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::cluster::{Cluster, DRAIN_TIMEOUT};
use lockgate_tests::redis::Redis;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;
use serde_json::Value;

#[test]
fn a_client_that_knows_one_gateway_is_sent_to_the_other_when_that_one_stops() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let mut cluster = Cluster::start(folder, 0)?;
    await_announced(&cluster.redis, 2)?;
    // At its new start, the second one finds the first one there.
    cluster.gateways[1].kill()?;
    cluster.gateways[1].restart()?;
    await_announced(&cluster.redis, 3)?;
    let (url, token) = (cluster.gateways[1].url(), cluster.gateways[1].user_token()?);
    let mut watch = Watch::start(folder, &url, &token, &["--since", "start"])?;
    watch.until("the client is there", wait::PATIENCE, |lines| has_come(lines, "tester"))?;

    cluster.gateways[1].stop(DRAIN_TIMEOUT)?;
    let first = &cluster.gateways[0];
    let _agent = Agent::start(folder, &AgentPlan::new("agent-1", &first.url(), &first.agent_token("agent-1")?))?;
    watch.until("the client hears at the other one who comes", wait::PATIENCE, |lines| has_come(lines, "agent-1"))
}

/// Waits until so many runs of gateways have said where they are.
fn await_announced(redis: &Redis, count: usize) -> Result<()> {
    let is_met = || redis.ask("HLEN lockgate:{instances}:urls").is_ok_and(|answer| answer == format!(":{count}"));
    wait::until("the gateways say where they are", wait::PATIENCE, || is_met().then_some(()))
}

fn has_come(lines: &[Value], name: &str) -> bool {
    lines.iter().any(|line| line["kind"] == "attendance" && line["name"] == name && line["here"] == true)
}
