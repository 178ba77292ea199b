//! The gateway's own books: produced = stored + lost + pending.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::gateway::SITE;
use crate::wait;
use crate::watch::ask;

/// Waits until the agents, which are connected, have accounted for all that they were given. Gives what was lost by reason.
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

/// For each agent nothing is pending, and the sum is right. Gives what they lost together, by reason.
fn balanced(agents: &[Value]) -> Result<Value> {
    ensure!(!agents.is_empty(), "no agent has told of itself");
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for agent in agents {
        let count = |key: &str| agent[key].as_u64().with_context(|| format!("{key} is missing: {agent}"));
        let lost = agent["lost"].as_object().into_iter().flatten();
        let lost: Vec<(&str, u64)> =
            lost.filter_map(|(reason, count)| Some((reason.as_str(), count.as_u64()?))).collect();
        let sum: u64 = lost.iter().map(|(_, count)| count).sum();
        ensure!(count("pending")? == 0, "records are still to come: {agent}");
        ensure!(count("produced")? == count("stored")? + sum, "the books don't balance: {agent}");
        for (reason, count) in lost {
            *all.entry(reason).or_default() += count;
        }
    }
    Ok(serde_json::json!(all))
}
