//! A gateway dies with hundreds of clients: all go on at the other one, where they cost next to no look into the log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::cluster::Cluster;
use lockgate_tests::fleet::{FleetRun, Target};
use lockgate_tests::wait;

use super::ensure_whole;

const ROOMS: u32 = 5;

/// Ten times what is aimed at.
const AWAY_MAX: Duration = Duration::from_secs(100);

#[test]
fn readers_of_a_gateway_that_was_killed_resume_at_the_other_with_at_most_two_log_reads_a_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut cluster = Cluster::start(folder.path(), 0)?;
    let target = Target::gateways(&cluster.gateways, Some(&cluster.redis));
    let rooms = ROOMS.to_string();
    let words = ["--rooms", &rooms, "--agents", "10", "--readers", "300", "--rate", "100", "--seconds", "6"];
    let words = [&words[..], &["--connecting", "30"]].concat();
    let mut fleet = FleetRun::start(folder.path(), "fleet", &target, &words)?;
    fleet.until_said("Publishing.")?;
    wait::pass(Duration::from_secs(2));
    let [lost, survivor] = &mut cluster.gateways;
    let log_reads = |gateway: &lockgate_tests::gateway::Gateway| gateway.figure("lockgate_gateway_log_reads_total");
    let before = log_reads(survivor)?;
    lost.kill()?;
    let figures = fleet.end()?;
    ensure_whole(&figures, 600)?;
    ensure!(figures["reader_reconnects"].as_u64() >= Some(150), "half of all: {figures:#}");
    let away = &figures["latency_us"]["away"];
    ensure!(away["count"].as_u64() >= Some(150), "{figures:#}");
    let longest = Duration::from_micros(away["max"].as_u64().context("a time")?);
    ensure!(longest < AWAY_MAX, "away for {longest:?}: {figures:#}");
    let reads = log_reads(survivor)? - before;
    ensure!(reads <= f64::from(2 * ROOMS), "{reads} log reads for {ROOMS} rooms: {figures:#}");
    Ok(())
}
