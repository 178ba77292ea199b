//! A device falls silent, and speaks again.

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::wait;
use lockgate_tests::watch::{Watch, ask};
use serde_json::Value;

const FLEET: Fleet = Fleet { pumps: 1, thermostats: 0, meters: 0, rooms: 0 };
const PUMP: &str = "pump-1";
/// Fifty times as long as the device waits between two words.
const KEYS: &str = "device = \"pump-1\"\nstale_after = \"5s\"";

#[test]
fn a_device_that_falls_silent_is_stale_until_it_speaks_again_whatever_the_agent_does() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let gateway = Gateway::start(folder, 0)?;
    let (url, token) = (gateway.url(), gateway.user_token()?);
    let mut watch = Watch::start(folder, &url, &token, &["--since", "start"])?;
    let devices = Devices::start(&folder.join("ports"), FLEET, "", &["--interval", "100ms"])?;
    let plan = AgentPlan::new("agent-1", &url, &gateway.agent_token("agent-1")?);
    let plan = plan.serial_with(PUMP, &devices.port(PUMP), "lockgate-pump", KEYS);
    let mut agent = Agent::start(folder, &plan)?;

    await_told(&mut watch, &["heard"])?;
    ensure!(state(&url, &token)? == (Some(true), false), "it is online");
    devices.pause()?;
    await_told(&mut watch, &["heard", "stale"])?;
    ensure!(state(&url, &token)? == (Some(false), true), "it is stale");
    devices.go_on()?;
    await_told(&mut watch, &["heard", "stale", "heard"])?;
    ensure!(state(&url, &token)? == (Some(true), false), "it is online again");

    // It falls silent while no agent runs: the next one tells.
    agent.kill()?;
    devices.pause()?;
    agent.restart()?;
    await_told(&mut watch, &["heard", "stale", "heard", "stale"])?;
    devices.go_on()?;
    await_told(&mut watch, &["heard", "stale", "heard", "stale", "heard"])?;
    ensure!(state(&url, &token)? == (Some(true), false), "it is online at last");
    Ok(())
}

/// Waits until this was told of the device, and ensures that it was nothing else.
fn await_told(watch: &mut Watch, reasons: &[&str]) -> Result<()> {
    let told = |lines: &[Value]| -> Vec<String> {
        let ours = lines.iter().filter(|line| line["kind"] == "presence" && line["device"] == PUMP);
        ours.map(|line| line["reason"].as_str().unwrap_or("said").to_owned()).collect()
    };
    watch.until(&format!("{reasons:?} is told"), wait::PATIENCE, |lines| told(lines).len() >= reasons.len())?;
    let told = told(watch.look()?);
    ensure!(told == reasons, "{told:?} instead of {reasons:?}");
    Ok(())
}

/// Whether the device is online, and whether it is stale, in the list of devices; its shadow must say the same.
fn state(url: &str, token: &str) -> Result<(Option<bool>, bool)> {
    let of = |words: &[&str]| -> Result<(Option<bool>, bool)> {
        let lines = ask(url, token, words)?;
        let is_pump = |line: &&Value| line["kind"] == "device" && line["device"] == PUMP;
        let line = lines.iter().find(is_pump).with_context(|| format!("{words:?}: {lines:?}"))?;
        Ok((line["online"].as_bool(), line["stale"] == true))
    };
    let (listed, shadow) = (of(&["devices", SITE])?, of(&["shadow", SITE, PUMP])?);
    ensure!(listed == shadow, "{listed:?} in the list, {shadow:?} in the shadow");
    Ok(listed)
}
