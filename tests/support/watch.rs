//! `lockgate watch --json`, read line by line.

use std::collections::VecDeque;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::gateway::SITE;
use crate::program::{Program, ours};
use crate::wait;

/// A live client, and all that it has printed.
#[derive(Debug)]
pub struct Watch {
    program: Program,
    lines: mpsc::Receiver<String>,
    /// Everything it printed so far, in order.
    pub seen: Vec<Value>,
}

impl Watch {
    /// Watches the tests' site; `words` are further arguments.
    pub fn start(folder: &Path, url: &str, token: &str, words: &[&str]) -> Result<Watch> {
        let mut command = Command::new(ours("lockgate")?);
        command.args(["watch", SITE, "--json", "--url", url, "--token", token]).args(words);
        let (program, lines) = Program::start_reading("watch", &mut command, &folder.join("watch.log"))?;
        Ok(Watch { program, lines, seen: Vec::new() })
    }

    /// Takes in what has been printed since the last look.
    pub fn look(&mut self) -> Result<&[Value]> {
        while let Ok(line) = self.lines.try_recv() {
            let value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
            self.seen.push(value);
        }
        Ok(&self.seen)
    }

    /// Waits until what was printed satisfies a condition.
    pub fn until(&mut self, what: &str, patience: Duration, is_met: impl Fn(&[Value]) -> bool) -> Result<()> {
        let met = wait::until(what, patience, || match self.look() {
            Ok(seen) => is_met(seen).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        });
        met.with_context(|| {
            let last: VecDeque<String> = self.seen.iter().rev().take(10).map(Value::to_string).collect();
            format!("{} lines seen, the last:\n{last:#?}\n{}", self.seen.len(), self.program.log_tail())
        })?
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.program.is_running()
    }

    /// SIGSTOP: it keeps its connection and takes nothing.
    pub fn pause(&self) -> Result<()> {
        self.program.signal(Signal::STOP)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.program.kill()
    }
}

/// From where a client was told last that the log is another one; `None`: it never was.
pub fn since_another_history(lines: &[Value]) -> Option<&[Value]> {
    let tells = |line: &Value| line["kind"] == "not_recovered" && line["reason"] == "diverged";
    lines.iter().rposition(tells).map(|at| &lines[at..])
}

/// Runs a `lockgate` sub-command that ends by itself, and gives its JSON lines.
pub fn ask(url: &str, token: &str, words: &[&str]) -> Result<Vec<Value>> {
    let mut command = Command::new(ours("lockgate")?);
    command.args(words).args(["--json", "--url", url, "--token", token]);
    let output = command.output().context("cannot run lockgate")?;
    let text = String::from_utf8(output.stdout)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(!text.is_empty() || output.status.success(), "lockgate {words:?}: {}: {stderr}", output.status);
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}
