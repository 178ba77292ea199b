//! An agent with a config and a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::devices::Fleet;
use crate::gateway::SITE;
use crate::program::{Program, ours};
use crate::wait;

/// What an agent is to read and where to send it.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// The agent's name.
    pub name: String,
    /// The gateway's URL; of several, all, with commas.
    pub url: String,
    /// The agent's token.
    pub token: String,
    /// `[[serial]]` and `[[mqtt]]` blocks, and whatever else the test wants to say.
    pub sources: String,
    /// Keys of the `[queue]` section.
    pub queue: String,
    /// Further keys of the `[uplink]` section.
    pub uplink: String,
}

impl AgentPlan {
    /// No sources yet.
    pub fn new(name: &str, url: &str, token: &str) -> AgentPlan {
        let [name, url, token] = [name, url, token].map(str::to_owned);
        AgentPlan { name, url, token, sources: String::new(), queue: String::new(), uplink: String::new() }
    }

    /// Adds a serial device that is read by a shipped profile.
    #[must_use]
    pub fn serial(self, device: &str, path: &Path, profile: &str) -> AgentPlan {
        self.serial_with(device, path, profile, &format!("device = {device:?}"))
    }

    /// Adds a serial port that is read by a shipped profile and by what `keys` say beyond it.
    #[must_use]
    pub fn serial_with(mut self, name: &str, path: &Path, profile: &str, keys: &str) -> AgentPlan {
        let path = path.display();
        let block = format!("\n[[serial]]\nname = {name:?}\npath = \"{path}\"\nprofile = {profile:?}\n{keys}\n");
        self.sources.push_str(&block);
        self
    }

    /// Adds the serial devices of a simulated fleet, whose ports are in `ports`.
    #[must_use]
    pub fn fleet(mut self, fleet: Fleet, ports: &Path) -> AgentPlan {
        for (device, profile) in fleet.serial() {
            let port = ports.join(&device);
            self = if profile == "dsmr5-p1" {
                // The simulated meter counts its telegrams in a line that real ones leave empty.
                let keys = format!(
                    "device = {device:?}\nvalue = [{{ key = \"0-0:96.13.1\", metric = \"n\", type = \"integer\" }}]"
                );
                self.serial_with(&device, &port, profile, &keys)
            } else {
                self.serial(&device, &port, profile)
            };
        }
        self
    }

    /// Adds a broker whose devices are read by a shipped profile.
    #[must_use]
    pub fn mqtt(self, url: &str, profile: &str) -> AgentPlan {
        self.mqtt_with(url, profile, "")
    }

    /// Adds a broker whose devices are read by a shipped profile, and further keys.
    #[must_use]
    pub fn mqtt_with(mut self, url: &str, profile: &str, keys: &str) -> AgentPlan {
        let block = format!("\n[[mqtt]]\nname = {profile:?}\nurl = {url:?}\nprofile = {profile:?}\n{keys}\n");
        self.sources.push_str(&block);
        self
    }

    fn config(&self, data: &Path) -> String {
        let AgentPlan { name, url, token, sources, queue, uplink } = self;
        let data = data.display();
        let urls: Vec<&str> = url.split(',').collect();
        format!(
            "[agent]\nname = {name:?}\nsite = {SITE:?}\ndata = \"{data}\"\n\n[uplink]\nurl = {urls:?}\ntoken = {token:?}\n{uplink}\n\
             [queue]\n{queue}\n{sources}"
        )
    }
}

/// A running agent, or one that was killed and can be started again on the same queue.
#[derive(Debug)]
pub struct Agent {
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// Length of the log at the last start.
    log_before: usize,
    program: Option<Program>,
    environment: Vec<(String, String)>,
}

impl Agent {
    /// Writes the config into `folder` and starts the agent.
    pub fn start(folder: &Path, plan: &AgentPlan) -> Result<Agent> {
        let mut agent = Agent::prepare(folder, plan)?;
        agent.restart()?;
        Ok(agent)
    }

    /// Writes the config, and starts nothing yet.
    pub fn prepare(folder: &Path, plan: &AgentPlan) -> Result<Agent> {
        std::fs::create_dir_all(folder)?;
        let data = folder.join(format!("{}-data", plan.name));
        let config = folder.join(format!("{}.toml", plan.name));
        std::fs::write(&config, plan.config(&data))?;
        let log = folder.join(format!("{}.log", plan.name));
        Ok(Agent { config, data, log, log_before: 0, program: None, environment: Vec::new() })
    }

    /// An environment variable for every start from now on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it again, with the same config and queue.
    pub fn restart(&mut self) -> Result<()> {
        self.log_before = self.log_text().len();
        let mut command = Command::new(ours("lockgate-agent")?);
        command.arg("run").arg("--config").arg(&self.config);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.program = Some(Program::start("agent", &mut command, &self.log)?);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("the agent is not running")?.kill()
    }

    /// SIGTERM, and a clean end within the patience given.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        let mut program = self.program.take().context("the agent is not running")?;
        let status = program.terminate(patience)?;
        if status.success() { Ok(()) } else { bail!("the agent ended with {status}\n{}", program.log_tail()) }
    }

    /// The config file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The folder of its queue.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The end of its log, for a failure's message.
    pub fn log_tail(&self) -> String {
        self.program.as_ref().map(Program::log_tail).unwrap_or_default()
    }

    /// Waits until a source of this name is connected: a message that comes before that is nobody's.
    pub fn await_source(&self, name: &str) -> Result<()> {
        self.await_logged(&format!("{name} is up"), |line| line.contains("The source is up") && line.contains(name))
    }

    /// Waits until the gateway has let it in.
    pub fn await_connected(&self) -> Result<()> {
        self.await_logged("the agent is connected", |line| line.contains("Connected to the gateway"))
    }

    fn await_logged(&self, what: &str, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let is_logged = || self.log_text().get(self.log_before..)?.lines().any(&is_it).then_some(());
        wait::until(what, wait::PATIENCE, is_logged).with_context(|| self.log_tail())
    }

    /// The input that it could not use, oldest first.
    pub fn dead_letters(&self) -> Result<Vec<serde_json::Value>> {
        let mut command = Command::new(ours("lockgate-agent")?);
        let output = command.args(["dead-letters", "--json", "--config"]).arg(&self.config).output()?;
        let lines = String::from_utf8(output.stdout)?;
        lines.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }

    /// All of its log, of all its starts.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.program.as_mut().is_some_and(Program::is_running)
    }
}
