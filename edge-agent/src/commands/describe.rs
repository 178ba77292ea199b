//! Tells people what the agent's devices are: at the start of those that the configuration names, later of those that
//! are heard.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::description::{CommandDescription, Description};
use lockgate_proto::ids::DeviceName;
use lockgate_runtime::words::chain;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::Roster;
use crate::config::SourceProfile;
use crate::ingest::Ingest;
use crate::source::status::StatusReporter;

/// Where the queue has no room, it is tried again after so long.
const RETRY: Duration = Duration::from_secs(5);

/// The task that describes devices. Its records go the way of all others, and are there after an outage.
pub struct Describer {
    pub(super) sources: Vec<(SourceProfile, Roster)>,
    pub(super) news: Arc<Notify>,
    /// The agent as a device, and what it can be told.
    pub(super) own: Option<(DeviceName, Vec<CommandDescription>)>,
}

impl Describer {
    /// Describes what is known and what is heard, until told to stop.
    pub async fn run(self, ingest: Ingest, status: StatusReporter, stop: CancellationToken) -> anyhow::Result<()> {
        let mut told = BTreeSet::new();
        let mut waiting = self.named();
        loop {
            waiting.extend(self.heard(&told, &waiting));
            while let Some(description) = waiting.first() {
                match ingest.describe(description, &status).await {
                    Ok(()) => {
                        debug!(device = %description.device, "A device is described.");
                        told.insert(waiting.remove(0).device);
                    }
                    Err(error) => {
                        debug!(error = chain(&error), "The queue has no room for a description; it is tried again.");
                        break;
                    }
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // CANCEL-SAFE: what is missed stands in the rosters.
                () = self.news.notified() => {}
                // CANCEL-SAFE: a timer holds nothing.
                () = tokio::time::sleep(RETRY), if !waiting.is_empty() => {}
            }
        }
    }

    /// Those that the configuration names, the agent itself first.
    fn named(&self) -> Vec<Description> {
        let own = self.own.iter().filter_map(|(device, commands)| {
            described(device, || Description::new(device.clone(), Vec::new(), commands.clone(), Vec::new()))
        });
        let named = self.sources.iter().filter_map(|(profile, _)| {
            let device = profile.own_device()?;
            describe(&device, profile, profile.metrics_of(&device))
        });
        own.chain(named).collect()
    }

    /// Those heard since that can be told something. What they measure is seen when they say it.
    fn heard(&self, told: &BTreeSet<DeviceName>, waiting: &[Description]) -> Vec<Description> {
        let mut found: Vec<Description> = Vec::new();
        for (profile, roster) in &self.sources {
            for device in roster.watch().borrow().iter() {
                let is_known = told.contains(device)
                    || waiting.iter().chain(&found).any(|description| description.device == *device);
                if !is_known && !profile.commands_of(device).is_empty() {
                    found.extend(describe(device, profile, Vec::new()));
                }
            }
        }
        found
    }
}

fn describe(
    device: &DeviceName,
    profile: &SourceProfile,
    metrics: Vec<lockgate_proto::description::MetricDescription>,
) -> Option<Description> {
    let commands: Vec<CommandDescription> = profile.commands_of(device).into_iter().cloned().collect();
    described(device, || Description::new(device.clone(), metrics, commands, profile.tags().to_vec()))
}

fn described(
    device: &DeviceName,
    make: impl FnOnce() -> Result<Description, lockgate_proto::description::DescriptionError>,
) -> Option<Description> {
    match make() {
        Ok(description) => Some(description),
        Err(error) => {
            warn!(%device, %error, "The device can't be described; its profile says too much of it.");
            None
        }
    }
}

#[cfg(test)]
#[path = "describe_tests.rs"]
mod tests;
