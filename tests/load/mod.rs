//! Many agents and readers at once: every record comes to every reader of its room exactly once and in order.

mod locust;
mod slow;
mod slow_reader;
mod storm;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::fleet::{FleetRun, Reference, Target};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::wait;
use serde_json::Value;

/// The exit status says so already; this holds the figures themselves against each other.
fn ensure_whole(figures: &Value, published: u64) -> Result<()> {
    let number = |key: &str| figures[key].as_u64().with_context(|| format!("{key}: {figures:#}"));
    for key in ["lost", "doubled", "out_of_order", "strange", "holes", "not_recovered", "gaps_told", "lagged_told"] {
        ensure!(number(key)? == 0, "{key}: {figures:#}");
    }
    ensure!(number("published")? == published && number("acknowledged")? == published, "{figures:#}");
    ensure!(number("received")? == number("expected")? && number("received")? > published, "{figures:#}");
    Ok(())
}

#[test]
fn fifty_agents_reach_two_hundred_readers_without_loss_or_double() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let words = ["--rooms", "5", "--agents", "50", "--readers", "200", "--rate", "200", "--seconds", "4"];
    let target = Target::gateways([&gateway], None);
    let figures = FleetRun::start(folder.path(), "fleet", &target, &words)?.end()?;
    ensure_whole(&figures, 800)?;
    // Forty readers in each of the five rooms.
    ensure!(figures["received"] == 800 * 40, "{figures:#}");
    ensure!(figures["agent_reconnects"] == 0 && figures["reader_reconnects"] == 0, "{figures:#}");
    Ok(())
}

#[test]
fn the_reference_does_the_same_work_and_acknowledges_only_what_is_on_the_disk() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("messages");
    let reference = Reference::start(folder.path(), Some(&log))?;
    let words = ["--rooms", "5", "--agents", "50", "--users", "100", "--seconds", "2"];
    let paced = [&words[..], &["--rate", "200"]].concat();
    let figures = FleetRun::start(folder.path(), "paced", &reference.target(), &paced)?.end()?;
    ensure_whole(&figures, 400)?;
    ensure!(std::fs::metadata(&log)?.len() == 0, "nobody asked for acknowledgements");
    let recorded = [&words[..], &["--in-flight", "2"]].concat();
    let figures = FleetRun::start(folder.path(), "recorded", &reference.target(), &recorded)?.end()?;
    let published = figures["published"].as_u64().context("a number")?;
    ensure_whole(&figures, published)?;
    // Each message has 120 bytes, and its length before it.
    ensure!(std::fs::metadata(&log)?.len() == published * 124, "{figures:#}");
    Ok(())
}

#[test]
fn agents_and_readers_of_several_rooms_resume_after_the_gateway_was_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::start(folder.path(), 0)?;
    let words = ["--rooms", "5", "--agents", "50", "--users", "100", "--rate", "300", "--seconds", "6"];
    let mut fleet = FleetRun::start(folder.path(), "fleet", &Target::gateways([&gateway], None), &words)?;
    fleet.until_said("Publishing.")?;
    wait::pass(Duration::from_millis(1500));
    gateway.kill()?;
    wait::pass(Duration::from_millis(500));
    gateway.restart()?;
    let figures = fleet.end()?;
    ensure_whole(&figures, 1_800)?;
    ensure!(figures["agent_reconnects"].as_u64() >= Some(50), "{figures:#}");
    ensure!(figures["reader_reconnects"].as_u64() >= figures["readers"].as_u64(), "{figures:#}");
    ensure!(figures["latency_us"]["backlog"]["count"].as_u64() > Some(0), "what was taken meanwhile came: {figures:#}");
    Ok(())
}

#[test]
fn who_loses_its_gateway_goes_on_at_another() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    // Two addresses of one gateway: half of the connections are cut, and only they move.
    let proxy = Proxy::start(gateway.address())?;
    let target = Target::gateways([&gateway], None).and_at(format!("ws://{}", proxy.address()));
    let words = ["--agents", "10", "--readers", "40", "--rate", "200", "--seconds", "4"];
    let mut fleet = FleetRun::start(folder.path(), "fleet", &target, &words)?;
    fleet.until_said("Publishing.")?;
    wait::pass(Duration::from_secs(1));
    ensure!(proxy.accepted() == 25, "half of all: {}", proxy.accepted());
    proxy.cut();
    let figures = fleet.end()?;
    ensure_whole(&figures, 800)?;
    ensure!(figures["agent_reconnects"] == 5 && figures["reader_reconnects"] == 20, "{figures:#}");
    ensure!(proxy.accepted() == 25, "nobody came back to the one that was lost: {}", proxy.accepted());
    Ok(())
}

#[test]
fn a_reader_that_takes_next_to_nothing_holds_up_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), 0)?;
    let words = ["--agents", "10", "--readers", "20", "--slow", "5", "--rate", "500", "--seconds", "4"];
    let words = [&words[..], &["--readings-per-record", "20"]].concat();
    let target = Target::gateways([&gateway], None);
    let figures = FleetRun::start(folder.path(), "fleet", &target, &words)?.end()?;
    ensure!(figures["published"] == 2_000 && figures["expected"] == 40_000, "{figures:#}");
    let slow = figures["received"].as_u64().unwrap_or_default() - 40_000;
    ensure!(slow < 5 * 2_000 / 2, "the slow readers were not slow: {figures:#}");
    Ok(())
}
