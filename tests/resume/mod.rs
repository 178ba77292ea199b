//! A client that reconnects misses nothing and sees nothing twice.

use std::time::Duration;

use anyhow::{Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::random::Random;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;

const FLEET: Fleet = Fleet { pumps: 2, thermostats: 1, meters: 0, rooms: 0 };
const CUTS: u32 = 15;

#[test]
fn a_client_that_is_cut_off_at_random_sees_every_offset_exactly_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, ports) = (folder.path(), folder.path().join("ports"));
    let gateway = Gateway::start(folder, 0)?;
    let proxy = Proxy::start(gateway.address())?;
    let url = format!("ws://{}", proxy.address());
    let mut watch = Watch::start(folder, &url, &gateway.user_token()?, &["--since", "start"])?;
    let _devices = Devices::start(&ports, FLEET, "", &["--interval", "30ms"])?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let plan = plan.fleet(FLEET, &ports);
    let mut agent = Agent::start(folder, &plan)?;

    let mut random = Random::seeded(4);
    for cut in 0..CUTS {
        let before = watch.look()?.len();
        watch.until("something is seen after the last cut", wait::PATIENCE, |lines| lines.len() > before)?;
        wait::pass(random.span(Duration::ZERO, Duration::from_millis(400)));
        proxy.cut();
        wait::until("the client comes back", wait::PATIENCE, || (proxy.accepted() > cut as usize + 1).then_some(()))?;
    }
    let before = watch.look()?.len();
    watch.until("it goes on after the last cut", wait::PATIENCE, |lines| lines.len() > before + 50)?;
    agent.stop(wait::PATIENCE)?;

    let mut offsets: Vec<u64> = watch.look()?.iter().filter_map(|line| line["offset"].as_u64()).collect();
    offsets.dedup();
    let expected: Vec<u64> = (1..=offsets.len() as u64).collect();
    ensure!(offsets == expected, "offsets are missing or doubled: {offsets:?}");
    Ok(())
}
