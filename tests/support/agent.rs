//! An agent with a config and a data folder of its own.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::gateway::SITE;
use crate::program::{Program, ours};

/// What an agent is to read and where to send it.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    /// The agent's name.
    pub name: String,
    /// The gateway's URL.
    pub url: String,
    /// The agent's token.
    pub token: String,
    /// `[[serial]]` and `[[mqtt]]` blocks, and whatever else the test wants to say.
    pub sources: String,
    /// Keys of the `[queue]` section.
    pub queue: String,
}

impl AgentPlan {
    /// No sources yet.
    pub fn new(name: &str, url: &str, token: &str) -> AgentPlan {
        let [name, url, token] = [name, url, token].map(str::to_owned);
        AgentPlan { name, url, token, sources: String::new(), queue: String::new() }
    }

    /// Adds a serial device that is read by a shipped profile.
    #[must_use]
    pub fn serial(mut self, device: &str, path: &Path, profile: &str) -> AgentPlan {
        let path = path.display();
        let block = format!("\n[[serial]]\nname = {device:?}\npath = \"{path}\"\nprofile = {profile:?}\ndevice = {device:?}\n");
        self.sources.push_str(&block);
        self
    }

    /// Adds a broker whose devices are read by a shipped profile.
    #[must_use]
    pub fn mqtt(mut self, url: &str, profile: &str) -> AgentPlan {
        let block = format!("\n[[mqtt]]\nname = {profile:?}\nurl = {url:?}\nprofile = {profile:?}\n");
        self.sources.push_str(&block);
        self
    }

    fn config(&self, data: &Path) -> String {
        let mut text = String::new();
        let data = data.display();
        // Writing to a String can't fail.
        drop(writeln!(text, "[agent]\nname = {:?}\nsite = {SITE:?}\ndata = \"{data}\"\n", self.name));
        drop(writeln!(text, "[uplink]\nurl = {:?}\ntoken = {:?}\n", self.url, self.token));
        drop(writeln!(text, "[queue]\n{}\n{}", self.queue, self.sources));
        text
    }
}

/// A running agent, or one that was killed and can be started again on the same queue.
#[derive(Debug)]
pub struct Agent {
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
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
        Ok(Agent { config, data, log, program: None, environment: Vec::new() })
    }

    /// An environment variable for every start from now on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Starts it again, with the same config and queue.
    pub fn restart(&mut self) -> Result<()> {
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

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.program.as_mut().is_some_and(Program::is_running)
    }
}
