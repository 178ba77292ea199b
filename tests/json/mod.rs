//! Any tool that speaks WebSocket can read a site: in JSON, live, and on from where it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::program::Program;
use lockgate_tests::watch::Watch;
use lockgate_tests::{python, wait};
use serde_json::{Value, json};

const FLEET: Fleet = Fleet { pumps: 1, thermostats: 1, meters: 0, rooms: 0 };

/// A running `watch.py`, and the frames that it has printed.
struct Tool {
    program: Program,
    lines: mpsc::Receiver<String>,
    frames: Vec<Value>,
}

impl Tool {
    /// `start`: from where on, as it stands in `Subscribe`.
    fn start(folder: &Path, gateway: &Gateway, start: &Value) -> Result<Tool> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("json/watch.py");
        let mut command = Command::new(python::interpreter()?);
        command.arg(script).args([gateway.url(), SITE.to_owned(), start.to_string()]);
        command.env("LOCKGATE_TOKEN", gateway.user_token()?);
        let (program, lines) = Program::start_reading("watch.py", &mut command, &folder.join("watch-py.log"))?;
        Ok(Tool { program, lines, frames: Vec::new() })
    }

    /// Waits until there are so many entries, and gives all that came.
    fn entries(&mut self, count: usize) -> Result<Vec<Value>> {
        let is_met = || {
            self.frames.extend(self.lines.try_iter().map(|line| serde_json::from_str(&line).unwrap_or(Value::Null)));
            let delivered = self.frames.iter().filter_map(|frame| frame["delivery"]["entries"].as_array());
            let entries: Vec<Value> = delivered.flatten().cloned().collect();
            (entries.len() >= count).then_some(entries)
        };
        wait::until(&format!("{count} entries reach the tool"), wait::PATIENCE, is_met)
            .with_context(|| format!("{:#?}\n{}", self.frames, self.program.log_tail()))
    }

    /// The answer to its second request.
    fn subscribed(&self) -> Result<&Value> {
        let answer = self.frames.iter().find(|frame| frame["id"] == 2).context("no answer")?;
        Ok(&answer["subscribed"])
    }
}

fn offset(entry: &Value) -> Option<u64> {
    entry["offset"].as_str()?.parse().ok()
}

/// What entries say of each metric at their offset; columns are put together again.
fn readings(entries: &[Value]) -> Option<BTreeMap<(u64, String), Value>> {
    let mut readings = BTreeMap::new();
    for entry in entries {
        let telemetry = &entry["telemetry"];
        for (at, value) in telemetry["values"].as_array()?.iter().enumerate() {
            let index = telemetry["metricIndex"].get(at).and_then(Value::as_u64).unwrap_or(at as u64);
            let metric = telemetry["metrics"].get(usize::try_from(index).ok()?)?["name"].as_str()?;
            let value = match &value["integer"] {
                Value::String(number) => json!(number.parse::<i64>().ok()?),
                _ => value.as_object()?.values().next()?.clone(),
            };
            readings.insert((offset(entry)?, metric.to_owned()), value);
        }
    }
    Some(readings)
}

/// The same of lines that `lockgate watch --json` has printed.
fn watched(lines: &[Value], from: u64, through: u64) -> Option<BTreeMap<(u64, String), Value>> {
    let reading = |line: &Value| {
        let offset = line["offset"].as_u64()?;
        Some(((offset, line["metric"].as_str()?.to_owned()), line["value"].clone()))
    };
    let readings: Option<BTreeMap<_, _>> = lines.iter().filter(|line| line["kind"] == "reading").map(reading).collect();
    readings.map(|all| all.into_iter().filter(|((offset, _), _)| (from..=through).contains(offset)).collect())
}

#[test]
fn a_tool_that_knows_only_json_reads_what_our_own_client_reads_and_goes_on_where_it_was() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (folder, ports) = (folder.path(), folder.path().join("ports"));
    let gateway = Gateway::start(folder, 0)?;
    let _devices = Devices::start(&ports, FLEET, "", &["--interval", "50ms"])?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let _agent = Agent::start(folder, &plan.fleet(FLEET, &ports))?;
    let mut watch = Watch::start(folder, &gateway.url(), &gateway.user_token()?, &["--since", "start"])?;
    let is_past = |offset: u64| move |lines: &[Value]| lines.iter().any(|line| line["offset"].as_u64() > Some(offset));
    watch.until("there is something to look back on", wait::PATIENCE, is_past(20))?;

    let mut tool = Tool::start(folder, &gateway, &json!({ "last": 5 }))?;
    let first = tool.entries(25).context("live entries follow the last ones")?;
    ensure!(tool.frames[0]["connected"]["subject"] == "tester", "{}", tool.frames[0]);
    let (from, reached) = (offset(&first[0]).context("an offset")?, first.last().context("entries")?);
    let subscribed = tool.subscribed()?;
    ensure!(offset(&subscribed["position"]) == Some(from - 1), "{subscribed}");
    tool.program.kill()?;

    let seen = offset(reached).context("an offset")?;
    watch.until("more is stored while the tool is away", wait::PATIENCE, is_past(seen + 20))?;
    let position = json!({ "offset": reached["offset"], "stamp": reached["stamp"] });
    let mut tool = Tool::start(folder, &gateway, &json!({ "since": position }))?;
    let second = tool.entries(40)?;
    let subscribed = tool.subscribed()?;
    ensure!(subscribed["recovered"] == true && subscribed["position"] == position, "{subscribed}");

    let all = [first, second].concat();
    let linked = all.windows(2).all(|pair| pair[1]["previousStamp"] == pair[0]["stamp"]);
    let offsets: Vec<Option<u64>> = all.iter().map(offset).collect();
    let through = from + all.len() as u64 - 1;
    ensure!(linked && offsets == (from..=through).map(Some).collect::<Vec<_>>(), "missing or doubled: {offsets:?}");
    watch.until("our own client is as far", wait::PATIENCE, is_past(through))?;
    let told = readings(&all).context("each entry has readings")?;
    let devices: Vec<&Value> = all.iter().map(|entry| &entry["telemetry"]["device"]).collect();
    ensure!(["pump-1", "thermostat-1"].iter().all(|name| devices.iter().any(|device| *device == name)), "{devices:?}");
    ensure!(told == watched(&watch.seen, from, through).context("lines of readings")?, "{told:#?}");
    Ok(())
}
