//! What plays in the demo: broker, gateway or gateways, agent, devices, and a viewer.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::broker::SimBroker;
use lockgate_tests::cluster::Cluster;
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::program::{Program, ours};
use lockgate_tests::redis::Redis;
use lockgate_tests::tls::Identity;
use lockgate_tests::watch::Watch;

use super::{CERTIFICATE, Options};
use crate::steps::say;

const FLEET: Fleet = Fleet { pumps: 1, thermostats: 1, meters: 1, rooms: 2 };

/// What agent and people connect to: one gateway, or several behind a Redis.
pub(crate) struct Stage {
    pub(crate) gateways: Vec<Gateway>,
    _redis: Option<Redis>,
}

impl Stage {
    fn set(folder: &Path, options: &Options) -> Result<Stage> {
        if options.cluster {
            let Cluster { redis, gateways } = Cluster::start(folder, options.port)?;
            return Ok(Stage { gateways: gateways.into(), _redis: Some(redis) });
        }
        let gateway = match identity(options) {
            Some(identity) => {
                let key = folder.join("token.key");
                Gateway::start_one(folder, "gateway", options.port, &key, &identity.gateway())?
            }
            None => Gateway::start(folder, options.port)?,
        };
        Ok(Stage { gateways: vec![gateway], _redis: None })
    }

    /// The address; of several gateways, all.
    pub(crate) fn url(&self) -> String {
        self.gateways.iter().map(Gateway::url).collect::<Vec<_>>().join(",")
    }

    /// The same; of several gateways, another one is preferred.
    fn other_url(&self) -> String {
        self.gateways.iter().rev().map(Gateway::url).collect::<Vec<_>>().join(",")
    }
}

/// What the gateway shows, where the demo is one over TLS.
fn identity(options: &Options) -> Option<Identity> {
    options.certificate_in.as_ref().map(|folder| Identity::at(folder, CERTIFICATE))
}

/// The whole system, in one folder that is thrown away.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    pub(crate) agent: Agent,
    pub(crate) devices: Devices,
    /// Counts what is seen live.
    pub(crate) watch: Watch,
    pub(crate) token: String,
    pub(crate) folder: PathBuf,
    viewer: Program,
    _broker: SimBroker,
}

impl Scene {
    /// Starts everything, in an order in which nothing is missed.
    pub(crate) fn set(folder: &Path, options: &Options) -> Result<Scene> {
        let stage =
            Stage::set(folder, options).context("the gateway does not start; is the port taken? try --port 0")?;
        let broker = SimBroker::start(folder)?;
        let (url, ports) = (stage.url(), folder.join("ports"));
        let gateway = stage.gateways.first().context("there is no gateway")?;
        let (token, agent_token) = (gateway.user_token()?, gateway.agent_token("agent-1")?);
        let mut plan = AgentPlan::new("agent-1", &url, &agent_token).fleet(FLEET, &ports);
        if let Some(identity) = identity(options) {
            plan.uplink = format!("ca_file = \"{}\"", identity.certificate.display());
        }
        // The simulator's broker does not mark what it sends again; Mosquitto does.
        let plan = plan.mqtt_with(&broker.url(), "lockgate-room", "redelivery = \"unmarked\"");
        let watch = Watch::start(folder, &stage.other_url(), &token, &["--since", "start"])?;
        let mut viewer = Command::new(ours("lockgate")?);
        viewer.args(["watch", SITE, "--url", &url, "--token", &token]).stdout(Stdio::inherit());
        let agent = Agent::start(folder, &plan)?;
        // A message that nobody has subscribed to goes to nobody: the broker must know the agent before the first one.
        agent.await_source("lockgate-room")?;
        let viewer = Program::start("viewer", &mut viewer, &folder.join("viewer.log"))?;
        let seed = options.seed.to_string();
        let devices = Devices::start(&ports, FLEET, &broker.url(), &["--seed", &seed])?;
        Ok(Scene { stage, agent, devices, watch, token, folder: folder.to_owned(), viewer, _broker: broker })
    }

    /// Tells a person what there is to try.
    pub(crate) fn announce(&self) {
        let (url, token) = (self.stage.url(), &self.token);
        let lockgate = ours("lockgate").map_or_else(|_| "lockgate".to_owned(), |path| path.display().to_string());
        say(&format!("\nGateway at {url}; state is in {} and thrown away at the end.", self.folder.display()));
        say("Try in another terminal:\n");
        let trust = std::env::var("LOCKGATE_CA_FILE").map(|file| format!(" LOCKGATE_CA_FILE={file}"));
        let trust = trust.unwrap_or_default();
        say(&format!("  export LOCKGATE_URL={url} LOCKGATE_TOKEN={token}{trust}"));
        say(&format!("  {lockgate} devices {SITE}"));
        say(&format!("  {lockgate} watch {SITE} --device pump-1"));
        say(&format!("  {lockgate} loss {SITE}\n"));
    }

    /// Fails if something ended that should not have.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.watch.look()?;
        if !self.agent.is_running() {
            bail!("the agent ended by itself\n{}", self.agent.log_tail());
        }
        Ok(())
    }

    /// No more lines for people.
    pub(crate) fn close_viewer(&mut self) -> Result<()> {
        self.viewer.kill()
    }
}
