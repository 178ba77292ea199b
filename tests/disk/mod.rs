//! Disks that fill up, tear and rot: what is lost is told, and nothing else is lost.

mod damage;
mod full;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The one agent's row of the loss ledger: produced = stored + lost, nothing pending. Gives what was lost by reason.
pub(crate) fn balanced(agents: &[Value]) -> Result<Value> {
    let [agent] = agents else { anyhow::bail!("one agent is expected: {agents:?}") };
    let count = |key: &str| agent[key].as_u64().with_context(|| format!("{key} is missing: {agent}"));
    let lost: u64 = agent["lost"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    ensure!(count("pending")? == 0, "records are still to come: {agent}");
    ensure!(count("produced")? == count("stored")? + lost, "the books don't balance: {agent}");
    Ok(agent["lost"].clone())
}
