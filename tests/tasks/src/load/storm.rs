//! A gateway is killed with half of 5,000 readers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use lockgate_tests::fleet::FleetRun;
use lockgate_tests::gateway::Gateway;
use lockgate_tests::wait;
use serde_json::{Value, json};

use super::plan::Setup;
use super::setup::Stage;
use crate::steps::say;

const ROOMS: u32 = 10;
const WORDS: &[&str] = &["--rooms", "10", "--agents", "20", "--readers", "5000", "--rate", "50", "--seconds", "20"];

/// The fleet's figures, and how often the survivor looked into the log for each room.
pub(crate) fn storm(state: &Path, out: &Path, name: &str) -> Result<Value> {
    let mut stage = Stage::set(state, Setup::Redis(2))?;
    let mut fleet = FleetRun::start(out, name, &stage.target(), WORDS)?;
    fleet.until_said("Publishing.")?;
    wait::pass(Duration::from_secs(5));
    let mut lost = stage.gateways.remove(0);
    let survivor = stage.gateways.first().context("there are two gateways")?;
    let before = log_reads(survivor)?;
    lost.kill()?;
    let mut figures = fleet.end()?;
    let reads = log_reads(survivor)? - before;
    figures["log_reads_per_room"] = json!(reads / f64::from(ROOMS));
    for kind in ["lost", "turned_away", "back"] {
        say(&format!("{kind:<12} each {} ms: {}", figures["storm"]["each_ms"], figures["storm"][kind]));
    }
    Ok(figures)
}

fn log_reads(gateway: &Gateway) -> Result<f64> {
    gateway.figure("lockgate_gateway_log_reads_total")
}
