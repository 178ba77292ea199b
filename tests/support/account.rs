//! Holds what devices said against what arrived.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::gateway::SITE;
use crate::program::ours;
use crate::wait;
use crate::watch::ask;

/// What became of all samples of a run; the words are those of `lockgate-sim account`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Samples that devices took.
    pub produced: u64,
    /// Spoken while nobody had the port open, or to a reader who was killed before it could keep them.
    pub unheard: u64,
    /// Found in the store.
    pub stored: u64,
    /// Neither: there is no excuse for one.
    pub lost: u64,
    /// Stored more often than the device said it.
    pub doubled: u64,
    /// Stored, though no device ever said it.
    pub invented: u64,
    /// As printed, with the samples named.
    pub text: String,
}

impl Account {
    /// Settles a journal against the samples of a store, each as often as it stands there.
    pub fn settle(journal: &Path, stored: &[(String, u64)]) -> Result<Account> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.arg("account").arg(journal).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot run lockgate-sim account")?;
        let mut lines = String::new();
        for (device, n) in stored {
            lines.push_str(&serde_json::json!({"device": device, "n": n}).to_string());
            lines.push('\n');
        }
        let mut stdin = child.stdin.take().context("standard input was piped")?;
        stdin.write_all(lines.as_bytes())?;
        drop(stdin);
        let text = String::from_utf8(child.wait_with_output()?.stdout)?;
        let printed: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let count = |key: &str| printed[key].as_u64().or_else(|| printed[key].as_array().map(|list| list.len() as u64));
        let count = |key: &str| count(key).with_context(|| format!("lockgate-sim account does not say {key}: {text}"));
        Ok(Account {
            produced: count("produced")?,
            unheard: count("unheard")?,
            stored: count("stored")?,
            lost: count("lost")?,
            doubled: count("doubled")?,
            invented: count("invented")?,
            text: text.trim().to_owned(),
        })
    }

    /// Settles against a gateway's whole log, until all that was heard has arrived or there is no more patience: what was
    /// queued while the gateway was away takes a moment to drain.
    pub fn await_arrival(journal: &Path, url: &str, token: &str) -> Result<Account> {
        let mut last = None;
        let has_arrived = || match whole_log(url, token).and_then(|log| Account::settle(journal, &samples(&log))) {
            Ok(account) if account.lost == 0 => Some(Ok(account)),
            Ok(account) => {
                last = Some(account);
                None
            }
            Err(error) => Some(Err(error)),
        };
        match wait::until("all that was heard has arrived", wait::PATIENCE, has_arrived) {
            Ok(arrived) => arrived,
            Err(error) => last.ok_or(error),
        }
    }

    /// Nothing lost, doubled or invented.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.invented == 0
    }
}

/// Every line that a room's log has, from its first entry to its last.
pub fn whole_log(url: &str, token: &str) -> Result<Vec<Value>> {
    ask(url, token, &["watch", SITE, "--since", "start", "--until-head"])
}

/// The samples among the lines of a watch: every simulated device tells its sample's number as the metric `n`.
pub fn samples(lines: &[Value]) -> Vec<(String, u64)> {
    let readings = lines.iter().filter(|line| line["kind"] == "reading" && line["metric"] == "n");
    readings.filter_map(|line| Some((line["device"].as_str()?.to_owned(), line["value"].as_u64()?))).collect()
}

/// How many stand more than once.
pub fn repeated<T: Ord>(items: impl IntoIterator<Item = T>) -> u64 {
    let mut counts: BTreeMap<T, u64> = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts.values().map(|count| count - 1).sum()
}
