//! Time is right, or says how wrong it may be: boards without a clock battery, and clocks that jump.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use lockgate_tests::account::samples;
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::faketime::{fake_clock, set_clock};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::proxy::Proxy;
use lockgate_tests::wait;
use lockgate_tests::watch::Watch;
use serde_json::Value;

const FLEET: Fleet = Fleet { pumps: 1, thermostats: 0, meters: 0, rooms: 0 };

/// The aim. Who dates wrongly dates all alike; who is held up by a busy machine dates some too late. So of each
/// few samples the best one must be right.
const ERROR_MAX_MS: i64 = 50;

/// Of so many samples in a row.
const SAMPLES: usize = 10;

/// How late any single one may be.
const DELAY_MAX_MS: i64 = 1_000;

const HOUR_MICROS: i64 = 3_600 * 1_000_000;

/// Everything that a clock test needs: the agent's world time is ours to set, through the file at `clock`.
struct World {
    _folder: tempfile::TempDir,
    clock: PathBuf,
    proxy: Proxy,
    devices: Devices,
    agent: Agent,
    watch: Watch,
    _gateway: Gateway,
}

impl World {
    /// Starts all with the agent's clock at `clock`, and the gateway out of reach.
    fn start(clock: &str) -> Result<World> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let gateway = Gateway::start(path, 0)?;
        let proxy = Proxy::start(gateway.address())?;
        proxy.refuse(true);
        let watch = Watch::start(path, &gateway.url(), &gateway.user_token()?, &["--since", "start"])?;
        let devices = Devices::start(&path.join("ports"), FLEET, "", &["--interval", "100ms", "--grace", "200ms"])?;
        let plan = AgentPlan::new("agent-1", &format!("ws://{}", proxy.address()), &gateway.agent_token("agent-1")?);
        let mut plan = plan.serial("pump-1", &devices.port("pump-1"), "lockgate-pump");
        plan.sources.push_str("\n[health]\ninterval = \"1s\"\n");
        let mut agent = Agent::prepare(path, &plan)?;
        let file = path.join("clock");
        fake_clock(&mut agent, &file, clock)?;
        agent.restart()?;
        Ok(World { _folder: folder, clock: file, proxy, devices, agent, watch, _gateway: gateway })
    }

    fn await_heard(&self, count: usize) -> Result<()> {
        let heard = || std::fs::read_to_string(self.devices.journal()).unwrap_or_default().matches("\"heard\"").count();
        wait::until("the agent has heard samples", wait::PATIENCE, || (heard() >= count).then_some(()))
    }

    fn await_seen(&mut self, count: usize) -> Result<()> {
        self.watch.until("samples are stored", wait::PATIENCE, |lines| samples(lines).len() >= count)
    }

    /// Waits until the agent itself says that its system's clock is so far ahead of the gateway's. Without
    /// this a clock that was never faked would pass every test.
    fn await_offset(&mut self, micros: RangeInclusive<i64>) -> Result<()> {
        let is_offset = |line: &Value| line["device"] == "agent-1" && line["metric"] == "clock_offset";
        self.watch.until("the agent sees the clock that we gave it", wait::PATIENCE, |lines| {
            let last = lines.iter().rfind(|line| is_offset(line));
            last.and_then(|line| line["value"].as_i64()).is_some_and(|offset| micros.contains(&offset))
        })
    }

    /// Ends all, and holds every stored time against the time at which the device spoke.
    fn ensure_times_are_right(mut self) -> Result<()> {
        let journal = self.devices.stop()?;
        self.agent.stop(wait::PATIENCE)?;
        let spoken = spoken(&journal)?;
        let lines = self.watch.look()?;
        let numbers = lines.iter().filter(|line| line["device"] == "pump-1" && line["metric"] == "n");
        let mut errors = BTreeMap::new();
        for line in numbers {
            let n = line["value"].as_u64().context("n is a number")?;
            let stored: Timestamp = line["time"].as_str().context("a reading has a time")?.parse()?;
            let error = stored.as_millisecond() - spoken[&n].as_millisecond();
            ensure!((-ERROR_MAX_MS..=DELAY_MAX_MS).contains(&error), "sample {n} is {error} ms off: {line}");
            errors.insert(n, error);
        }
        let errors: Vec<i64> = errors.into_values().collect();
        for some in errors.chunks(SAMPLES) {
            ensure!(some.iter().any(|error| error.abs() <= ERROR_MAX_MS), "all are off: {some:?} ms of {errors:?}");
        }
        Ok(())
    }
}

/// When each sample was taken.
fn spoken(journal: &Path) -> Result<BTreeMap<u64, Timestamp>> {
    let mut times = BTreeMap::new();
    for line in std::fs::read_to_string(journal)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["kind"] == "produced" {
            times.insert(line["n"].as_u64().context("n")?, line["at"].as_str().context("at")?.parse()?);
        }
    }
    Ok(times)
}

#[test]
fn readings_of_a_board_that_woke_in_1970_get_their_true_times() -> Result<()> {
    let mut world = World::start("@1970-01-01 00:00:10")?;
    world.await_heard(15)?;
    world.proxy.refuse(false);
    world.await_seen(20)?;
    let years = 24 * 365 * HOUR_MICROS;
    world.await_offset(i64::MIN..=-50 * years)?;
    world.ensure_times_are_right()
}

#[test]
fn a_clock_that_jumps_an_hour_moves_no_reading() -> Result<()> {
    let mut world = World::start("+0")?;
    world.proxy.refuse(false);
    world.await_seen(10)?;
    set_clock(&world.clock, "+3600")?;
    world.await_offset(HOUR_MICROS / 2..=2 * HOUR_MICROS)?;
    let seen = samples(world.watch.look()?).len();
    world.await_seen(seen + 15)?;
    set_clock(&world.clock, "-3600")?;
    world.await_offset(-2 * HOUR_MICROS..=-HOUR_MICROS / 2)?;
    world.await_seen(seen + 30)?;
    world.ensure_times_are_right()
}
