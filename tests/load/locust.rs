//! Locust's users, who lose connections all the time, miss nothing and get nothing twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::fleet::{FleetRun, Target};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::locust::{Locust, expected, received};
use lockgate_tests::wait;

#[test]
fn people_played_by_locust_get_everything_once_though_they_lose_their_connections() -> Result<()> {
    const USERS: usize = 99;
    let folder = tempfile::tempdir()?;
    let config = "[server]\nunauthenticated_per_address_max = 512\n";
    let key = folder.path().join("token.key");
    let gateways = [Gateway::start_one(folder.path(), "gateway", 0, &key, config)?];
    let mut locust = Locust::start(folder.path(), &gateways, (USERS, 50, 10), Duration::from_secs(4))?;
    // For every nine users there are eighteen connections.
    let up = |report: &serde_json::Value| report["connects"] == USERS * 2;
    let before = locust.until("all have connected once", wait::PATIENCE, up)?;
    // Nothing is published before.
    ensure!(received(&before) == Some(0), "{before:#}");
    let words = ["--rooms", "10", "--agents", "10", "--readers", "0", "--rate", "50", "--seconds", "8"];
    let figures = FleetRun::start(folder.path(), "fleet", &Target::gateways(&gateways, None), &words)?.end()?;
    let records = figures["published"].as_u64().context("a number")?;
    ensure!(records == 400 && figures["acknowledged"] == 400, "{figures:#}");
    let owed = expected(&before, records / 10).context("rooms")?;
    ensure!(owed == USERS as u64 * 2 * 2 * records / 10, "two rooms at the mean: {before:#}");
    locust.until("all has come", wait::PATIENCE, |report| received(report) >= Some(owed))?;
    let report = locust.end()?;
    for fault in ["lost", "doubled", "not_recovered", "lagged", "errors"] {
        ensure!(report[fault] == 0, "{fault}: {report:#}");
    }
    ensure!(received(&report) == Some(owed), "{report:#}");
    ensure!(report["resumes"].as_u64() > Some(50), "connections were lost meanwhile: {report:#}");
    Ok(())
}
