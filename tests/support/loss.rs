//! The gateway's own books: produced = stored + lost + pending.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::gateway::SITE;
use crate::wait;
use crate::watch::ask;

/// Waits until the one agent, which is connected, has accounted for all that it was given. Gives what was lost by reason.
pub fn await_balanced(url: &str, token: &str) -> Result<Value> {
    let mut last = String::new();
    let is_balanced = || match ask(url, token, &["loss", SITE]).and_then(|agents| balanced(&agents)) {
        Ok(lost) => Some(lost),
        Err(error) => {
            last = error.to_string();
            None
        }
    };
    let lost = wait::until("all is accounted for", wait::PATIENCE, is_balanced);
    lost.with_context(|| last)
}

/// The one agent's row: nothing pending, and the sum is right. Gives what was lost by reason.
fn balanced(agents: &[Value]) -> Result<Value> {
    let [agent] = agents else { bail!("one agent is expected: {agents:?}") };
    let count = |key: &str| agent[key].as_u64().with_context(|| format!("{key} is missing: {agent}"));
    let lost: u64 = agent["lost"].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum();
    ensure!(count("pending")? == 0, "records are still to come: {agent}");
    ensure!(count("produced")? == count("stored")? + lost, "the books don't balance: {agent}");
    Ok(agent["lost"].clone())
}
