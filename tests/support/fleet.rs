//! Load: runs of `lockgate-sim fleet`, and the bare server that a gateway is held against.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;

use crate::gateway::{Gateway, TENANT};
use crate::program::{Program, ours};
use crate::redis::Redis;
use crate::wait;

/// What a fleet connects to, and whose processor time and memory it watches.
#[derive(Debug, Default)]
pub struct Target {
    urls: Vec<String>,
    /// `None`: the reference asks for no tokens.
    key: Option<PathBuf>,
    processes: Vec<(String, u32)>,
}

impl Target {
    /// Gateways, and the Redis that they share.
    pub fn gateways<'g>(gateways: impl IntoIterator<Item = &'g Gateway>, redis: Option<&Redis>) -> Target {
        let mut target = Target::default();
        for gateway in gateways {
            target.urls.push(gateway.url());
            target.key = Some(gateway.key().to_owned());
            target.processes.extend(gateway.id().map(|id| (gateway.name().to_owned(), id)));
        }
        target.processes.extend(redis.and_then(Redis::id).map(|id| ("redis".to_owned(), id)));
        target
    }

    /// One address more, behind which there is a gateway that is known already.
    #[must_use]
    pub fn and_at(mut self, url: String) -> Target {
        self.urls.push(url);
        self
    }
}

/// A running `lockgate-sim reference`.
#[derive(Debug)]
pub struct Reference {
    program: Program,
    url: String,
    /// Held, so that the program never writes into a closed pipe.
    _lines: mpsc::Receiver<String>,
}

impl Reference {
    /// Starts it on a free port; with a log it acknowledges what is on the disk.
    pub fn start(folder: &Path, log: Option<&Path>) -> Result<Reference> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.arg("reference");
        if let Some(log) = log {
            command.arg("--log-file").arg(log);
        }
        let (mut program, lines) = Program::start_reading("reference", &mut command, &folder.join("reference.log"))?;
        let line = wait::until("the reference prints its address", wait::PATIENCE, || {
            lines.try_recv().ok().map(Some).or_else(|| (!program.is_running()).then_some(None))
        })?;
        let line = line.ok_or_else(|| anyhow!("it ended at once\n{}", program.log_tail()))?;
        let printed: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let url = printed["url"].as_str().with_context(|| line.clone())?.to_owned();
        Ok(Reference { program, url, _lines: lines })
    }

    /// For a fleet.
    pub fn target(&self) -> Target {
        let processes = vec![("reference".to_owned(), self.program.id())];
        Target { urls: vec![self.url.clone()], key: None, processes }
    }
}

/// A run of `lockgate-sim fleet`.
#[derive(Debug)]
pub struct FleetRun {
    program: Program,
    log: PathBuf,
    figures: PathBuf,
}

impl FleetRun {
    /// Starts it; its figures go to `folder/NAME.json`.
    pub fn start(folder: &Path, name: &str, target: &Target, words: &[&str]) -> Result<FleetRun> {
        let mut command = Command::new(ours("lockgate-sim")?);
        command.args(["fleet", "--tenant", TENANT, "--patience", "15s"]).args(words).stdout(Stdio::null());
        for url in &target.urls {
            command.args(["--gateway", url]);
        }
        match &target.key {
            Some(key) => command.arg("--key-file").arg(key),
            None => command.args(["--against", "reference"]),
        };
        for (name, id) in &target.processes {
            command.arg("--pid").arg(format!("{name}={id}"));
        }
        let (log, figures) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.json")));
        let program = Program::start(name, command.arg("--json").arg(&figures), &log)?;
        Ok(FleetRun { program, log, figures })
    }

    /// Waits until it has said something in its log.
    pub fn until_said(&mut self, words: &str) -> Result<()> {
        wait::until(words, wait::PATIENCE, || {
            let said = std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(words));
            (said || !self.program.is_running()).then_some(said)
        })
        .and_then(|said| if said { Ok(()) } else { Err(anyhow!("it ended before it said {words:?}")) })
        .with_context(|| self.program.log_tail())
    }

    /// Its figures, if all was well.
    pub fn end(mut self) -> Result<Value> {
        let status = self.program.exit_within(wait::PATIENCE * 2)?;
        ensure!(status.success(), "{status}\n{}", self.program.log_tail());
        let figures = std::fs::read_to_string(&self.figures)?;
        serde_json::from_str(&figures).with_context(|| figures.clone())
    }
}
