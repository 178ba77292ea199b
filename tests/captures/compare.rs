//! Holds what was seen against a capture's `expected.jsonl`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::Value;

/// What a capture must give, dead letters left out: they stay at the agent.
pub(crate) struct Expected {
    lines: Vec<Value>,
    devices: BTreeSet<String>,
}

impl Expected {
    pub(crate) fn read(case: &Path) -> Result<Expected> {
        let path = case.join("expected.jsonl");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let lines = text.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
        let lines: Vec<Value> = lines.into_iter().filter(|line| line["dead_letter"].is_null()).collect();
        let devices = lines.iter().filter_map(|line| line["device"].as_str()).map(str::to_owned).collect();
        Ok(Expected { lines, devices })
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Lines about the capture's devices; the agent's own health is not among them.
    fn relevant<'a>(&self, seen: &'a [Value]) -> Vec<&'a Value> {
        let is_ours = |line: &&Value| {
            matches!(line["kind"].as_str(), Some("reading" | "presence"))
                && line["device"].as_str().is_some_and(|device| self.devices.contains(device))
                // What the agent concludes of a device's silence, the device did not say.
                && line["reason"].is_null()
        };
        seen.iter().filter(is_ours).collect()
    }

    pub(crate) fn count_of(&self, seen: &[Value]) -> usize {
        self.relevant(seen).len()
    }
}

/// The same readings of each device, in the same order; presence is an entry of its own and comes before telemetry.
pub(crate) fn compare(expected: &Expected, seen: &[Value]) -> Result<()> {
    let seen = expected.relevant(seen);
    ensure!(seen.len() == expected.len(), "{} lines instead of {}: {seen:#?}", seen.len(), expected.len());
    for device in &expected.devices {
        for is_presence in [false, true] {
            let ours = |line: &Value| line["device"] == *device && (line["metric"] == "online") == is_presence;
            let theirs = |line: &Value| line["device"] == *device && (line["kind"] == "presence") == is_presence;
            let wanted: Vec<&Value> = expected.lines.iter().filter(|line| ours(line)).collect();
            let got: Vec<&Value> = seen.iter().copied().filter(|line| theirs(line)).collect();
            ensure!(wanted.len() == got.len(), "{device}: {got:#?}\ninstead of {wanted:#?}");
            for (wanted, got) in wanted.into_iter().zip(got) {
                ensure_same(wanted, got, is_presence)?;
            }
        }
    }
    Ok(())
}

fn ensure_same(wanted: &Value, got: &Value, is_presence: bool) -> Result<()> {
    let value = if is_presence { &got["online"] } else { &got["value"] };
    ensure!(is_close(&wanted["value"], value), "{got}\ninstead of {wanted}");
    if !is_presence {
        ensure!(wanted["metric"] == got["metric"] && wanted["unit"] == got["unit"], "{got}\ninstead of {wanted}");
    }
    if let Some(time) = wanted["time"].as_str() {
        let (time, got_time): (Timestamp, Timestamp) =
            (time.parse()?, got["time"].as_str().unwrap_or_default().parse()?);
        ensure!(time == got_time, "{got}\ninstead of {wanted}");
    }
    if wanted["retained"] == true && !is_presence {
        ensure!(got["quality"] != "good", "a retained reading passes for a live one: {got}");
    }
    Ok(())
}

/// Integers exactly, other numbers to a relative 1e-6, all else as it is.
fn is_close(wanted: &Value, got: &Value) -> bool {
    match (wanted.as_f64(), got.as_f64()) {
        (Some(wanted), Some(got)) => (wanted - got).abs() <= 1e-6 * wanted.abs().max(1e-9),
        _ => wanted == got,
    }
}
