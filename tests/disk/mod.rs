//! Disks that fill up, tear and rot: what is lost is told, and nothing else is lost.

mod damage;
mod full;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::wait;
use lockgate_tests::watch::ask;
use serde_json::Value;

/// Waits until the agent, which is connected, has accounted for all that it was given. Gives what was lost by reason.
pub(crate) fn await_balanced(gateway: &Gateway, token: &str) -> Result<Value> {
    let is_balanced = || {
        let agents = ask(&gateway.url(), token, &["loss", SITE]).ok()?;
        balanced(&agents).ok()
    };
    wait::until("all is accounted for", wait::PATIENCE, is_balanced)
}

/// The one agent's row of the loss ledger: produced = stored + lost, nothing pending. Gives what was lost by reason.
fn balanced(agents: &[Value]) -> Result<Value> {
    let [agent] = agents else { anyhow::bail!("one agent is expected: {agents:?}") };
    let count = |key: &str| agent[key].as_u64().with_context(|| format!("{key} is missing: {agent}"));
    let lost: u64 = agent["lost"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    ensure!(count("pending")? == 0, "records are still to come: {agent}");
    ensure!(count("produced")? == count("stored")? + lost, "the books don't balance: {agent}");
    Ok(agent["lost"].clone())
}
