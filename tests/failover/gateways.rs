//! Gateways are restarted one by one, or killed.

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::cluster::DRAIN_TIMEOUT;

use super::scene::{Preferred, Scene};

#[test]
fn a_rolling_restart_under_load_loses_nothing_and_every_client_stays() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), Preferred::Each)?;
    for round in 0..2 {
        for index in 0..scene.cluster.gateways.len() {
            let gateway = &mut scene.cluster.gateways[index];
            gateway.stop(DRAIN_TIMEOUT).with_context(|| format!("round {round}: SIGTERM"))?;
            scene.goes_on("all go on at the other gateway")?;
            scene.cluster.gateways[index].restart()?;
        }
    }
    scene.reckon()
}

#[test]
fn all_go_on_elsewhere_when_the_gateway_that_holds_them_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::set(folder.path(), Preferred::First)?;
    for index in [0, 1, 0] {
        let url = scene.cluster.gateways[index].url();
        let is_there = scene.agents.iter().all(|agent| connected_to(&agent.log_text()) == Some(&url));
        ensure!(is_there, "the agents are at {url}");
        scene.cluster.gateways[index].kill()?;
        scene.goes_on("all go on at the other gateway")?;
        scene.cluster.gateways[index].restart()?;
    }
    scene.reckon()
}

/// The gateway that an agent has connected to last.
fn connected_to(log: &str) -> Option<&str> {
    let line = log.lines().rfind(|line| line.contains("Connected to the gateway"))?;
    line.split("gateway=").nth(1)?.split_whitespace().next()
}
