//! One site from end to end: two pumps, an agent, a gateway, and a client that watches.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::account::{Account, repeated, samples};
use crate::agent::{Agent, AgentPlan};
use crate::devices::{Devices, Fleet};
use crate::gateway::Gateway;
use crate::loss::await_balanced;
use crate::wait;
use crate::watch::{Watch, since_another_history};

const FLEET: Fleet = Fleet { pumps: 2, thermostats: 0, meters: 0, rooms: 0 };

/// All of it, running.
#[derive(Debug)]
pub struct Line {
    /// What agent and client are at.
    pub gateway: Gateway,
    /// What reads the pumps.
    pub agent: Agent,
    /// Sees all that is logged.
    pub watch: Watch,
    devices: Devices,
    token: String,
}

impl Line {
    /// Starts everything but the gateway, and waits until readings come through.
    pub fn start(folder: &Path, gateway: Gateway) -> Result<Line> {
        let (url, token, ports) = (gateway.url(), gateway.user_token()?, folder.join("ports"));
        let devices = Devices::start(&ports, FLEET, "", &["--interval", "50ms"])?;
        let plan = AgentPlan::new("agent-1", &url, &gateway.agent_token("agent-1")?).fleet(FLEET, &ports);
        let agent = Agent::start(folder, &plan)?;
        let watch = Watch::start(folder, &url, &token, &["--since", "start"])?;
        let mut line = Line { gateway, agent, watch, devices, token };
        line.goes_on("readings come through")?;
        Ok(line)
    }

    /// Waits until the client sees more of each pump.
    pub fn goes_on(&mut self, what: &str) -> Result<()> {
        let before = self.watch.look()?.len();
        let comes = |lines: &[Value]| {
            let heard = samples(&lines[before..]);
            ["pump-1", "pump-2"].iter().all(|pump| heard.iter().filter(|(device, _)| device == pump).count() >= 5)
        };
        self.watch.until(what, wait::PATIENCE, comes)
    }

    /// Stops the pumps: all that they said is in the log once, the books balance without a loss, and the client has seen
    /// all of it, or was told why not.
    pub fn reckon(mut self) -> Result<()> {
        let (url, journal) = (self.gateway.url(), self.devices.stop()?);
        let account = Account::await_arrival(&journal, &url, &self.token)?;
        let tails = || format!("{}\n{}\n{}", account.text, self.agent.log_tail(), self.gateway.log_tail());
        ensure!(account.is_clean() && account.stored > 0, tails());
        let lost = await_balanced(&url, &self.token)?;
        ensure!(lost.as_object().is_some_and(serde_json::Map::is_empty), "nothing is lost: {lost}\n{}", tails());
        if since_another_history(self.watch.look()?).is_none() {
            let all = |lines: &[Value]| samples(lines).len() as u64 >= account.stored;
            self.watch.until("the client has seen all", wait::PATIENCE, all)?;
        }
        let lines = self.watch.look()?;
        let of_one_log = since_another_history(lines).unwrap_or(lines);
        ensure!(repeated(samples(of_one_log)) == 0, "the client was told a sample twice");
        ensure!(self.watch.is_running(), "the client ended by itself");
        self.agent.stop(wait::PATIENCE)?;
        self.gateway.stop(wait::PATIENCE)
    }
}
