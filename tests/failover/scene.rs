//! Two gateways behind one Redis, two agents, three clients, and the final reckoning.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::account::{Account, repeated, samples, whole_log};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::cluster::Cluster;
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::loss::await_balanced;
use lockgate_tests::wait;
use lockgate_tests::watch::{Watch, since_another_history};
use serde_json::Value;

const FLEET: Fleet = Fleet { pumps: 4, thermostats: 0, meters: 0, rooms: 0 };

/// Everything that runs; agents and clients know both gateways.
pub(crate) struct Scene {
    pub(crate) cluster: Cluster,
    pub(crate) agents: [Agent; 2],
    pub(crate) watches: Vec<Watch>,
    devices: Option<Devices>,
    pub(crate) token: String,
    folder: PathBuf,
}

/// Which gateway is gone to first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preferred {
    /// Everybody's is the first.
    First,
    /// One agent's and one client's is the second.
    Each,
}

impl Scene {
    pub(crate) fn set(folder: &Path, preferred: Preferred) -> Result<Scene> {
        let cluster = Cluster::start(folder, 0)?;
        let [one, other] = match preferred {
            Preferred::First => [cluster.url(), cluster.url()],
            Preferred::Each => [cluster.url(), cluster.url_from_second()],
        };
        let token = cluster.gateways[0].user_token()?;
        let ports = folder.join("ports");
        let mut watches = Vec::new();
        for url in [&one, &other, &one] {
            watches.push(Watch::start(folder, url, &token, &["--since", "start"])?);
        }
        let devices = Devices::start(&ports, FLEET, "", &["--interval", "50ms"])?;
        let agent = |name: &str, url: &str, pumps: [&str; 2]| -> Result<Agent> {
            let mut plan = AgentPlan::new(name, url, &cluster.gateways[0].agent_token(name)?);
            for pump in pumps {
                plan = plan.serial(pump, &ports.join(pump), "lockgate-pump");
            }
            Agent::start(folder, &plan)
        };
        let agents = [agent("agent-1", &one, ["pump-1", "pump-2"])?, agent("agent-2", &other, ["pump-3", "pump-4"])?];
        let mut scene = Scene { cluster, agents, watches, devices: Some(devices), token, folder: folder.to_owned() };
        scene.goes_on("everybody is there")?;
        Ok(scene)
    }

    /// Waits until every client sees what every device says from now on.
    pub(crate) fn goes_on(&mut self, what: &str) -> Result<()> {
        for watch in &mut self.watches {
            let before = watch.look()?.len();
            let is_heard = |lines: &[Value]| {
                let heard = samples(&lines[before..]);
                ["pump-1", "pump-2", "pump-3", "pump-4"]
                    .iter()
                    .all(|pump| heard.iter().filter(|(device, _)| device == pump).count() >= 5)
            };
            watch.until(what, wait::PATIENCE, is_heard)?;
            ensure!(watch.is_running(), "a client ended by itself");
        }
        Ok(())
    }

    /// Waits until every client has been told that the gateways' store can't be reached, and has not been told that it is back.
    pub(crate) fn is_degraded(&mut self, what: &str) -> Result<()> {
        let is_told = |lines: &[Value]| {
            let mut kinds = lines.iter().rev().filter_map(|line| line["kind"].as_str());
            kinds.find(|kind| ["degraded", "restored"].contains(kind)) == Some("degraded")
        };
        self.watches.iter_mut().try_for_each(|watch| watch.until(what, wait::PATIENCE, is_told))
    }

    /// Waits until every client has been told that the log is another one.
    pub(crate) fn is_told(&mut self, what: &str) -> Result<()> {
        self.watches
            .iter_mut()
            .try_for_each(|watch| watch.until(what, wait::PATIENCE, |lines| since_another_history(lines).is_some()))
    }

    /// Nothing is lost or doubled, the books balance, and every client has seen every offset once. Leaves the rest to look at.
    pub(crate) fn reckon(mut self) -> Result<()> {
        let log = self.settle()?;
        ensure!(samples(&log).len() > 200, "{} samples are too few to show anything", samples(&log).len());
        let logged = offsets(&log);
        for watch in &mut self.watches {
            let all = |lines: &[Value]| offsets(lines).len() >= logged.len();
            watch.until("every client has seen all", wait::PATIENCE, all)?;
            ensure!(offsets(watch.look()?) == logged, "a client missed an entry or saw one twice");
            ensure!(watch.is_running(), "a client ended by itself\n{}", self.folder.display());
        }
        Ok(())
    }

    /// The same after the log has become another one. Since a client was told so, it has seen every offset of the new log
    /// once, and no sample twice.
    pub(crate) fn reckon_anew(mut self) -> Result<()> {
        let log = self.settle()?;
        let last = offsets(&log).last().copied();
        for watch in &mut self.watches {
            watch.until("every client has seen the last", wait::PATIENCE, |lines| {
                since_another_history(lines).is_some_and(|lines| offsets(lines).last().copied() == last)
            })?;
            let anew = since_another_history(watch.look()?).context("it was told")?;
            let (seen, at) = (offsets(anew), anew.first().and_then(|line| line["position"].as_str()));
            let after: u64 = at.and_then(|at| at.split_once('.')?.0.parse().ok()).unwrap_or_default();
            ensure!(seen == (after + 1..=last.unwrap_or_default()).collect::<Vec<_>>(), "after {after}: {seen:?}");
            ensure!(repeated(samples(anew)) == 0, "a client was told a sample twice");
            ensure!(watch.is_running(), "a client ended by itself\n{}", self.folder.display());
        }
        Ok(())
    }

    /// Stops what talks; all that was heard is in the log once, and the books balance. Gives the log.
    fn settle(&mut self) -> Result<Vec<Value>> {
        let (url, token) = (self.cluster.url(), self.token.clone());
        let journal = self.devices.take().context("the devices play")?.stop()?;
        let account = Account::await_arrival(&journal, &url, &token)?;
        let tails = || self.agents.iter().map(Agent::log_tail).collect::<String>();
        ensure!(account.is_clean(), "{}\n{}", account.text, tails());
        let lost = await_balanced(&url, &token)?;
        ensure!(lost.as_object().is_some_and(serde_json::Map::is_empty), "nothing is lost: {lost}");
        for agent in &mut self.agents {
            agent.stop(wait::PATIENCE)?;
        }
        let log = whole_log(&url, &token)?;
        let account = Account::settle(&journal, &samples(&log))?;
        ensure!(account.is_clean() && account.stored > 0, "{}", account.text);
        let logged = offsets(&log);
        ensure!(logged.first() == Some(&1) && repeated(logged.iter()) == 0, "the log is whole: {logged:?}");
        Ok(log)
    }
}

/// Offsets of the entries that the lines are of; an entry with several readings makes several lines.
fn offsets(lines: &[Value]) -> Vec<u64> {
    let mut offsets: Vec<u64> = lines.iter().filter_map(|line| line["offset"].as_u64()).collect();
    offsets.dedup();
    offsets
}
