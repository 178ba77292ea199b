//! `lockgate send`, `commands` and `cancel`, and what they print.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::gateway::SITE;
use crate::program::{Program, ours};
use crate::wait;

/// Somebody who orders.
#[derive(Clone, Debug)]
pub struct Person {
    /// The gateways, with commas.
    pub url: String,
    /// May send.
    pub token: String,
}

/// What became of an order, as its sender was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// How the program ended.
    pub code: i32,
    /// The lines of JSON that it printed.
    pub lines: Vec<Value>,
    /// What it complained of.
    pub complaint: String,
}

impl Told {
    /// The word of the last state.
    pub fn state(&self) -> &str {
        self.lines.last().and_then(|line| line["state"].as_str()).unwrap_or("none")
    }
}

impl Person {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(ours("lockgate")?);
        command.args(words).args(["--json", "--url", &self.url, "--token", &self.token]);
        Ok(command)
    }

    /// Orders, and gives what it was told until the program ended by itself.
    pub fn send(&self, words: &[&str]) -> Result<Told> {
        let output = self.command(&[&["send", SITE], words].concat())?.output()?;
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().with_context(|| complaint.clone())?;
        Ok(Told { code, lines: lines_of(&output.stdout)?, complaint })
    }

    /// Orders, and goes on at once.
    pub fn begin_to_send(&self, folder: &Path, words: &[&str]) -> Result<Sending> {
        let mut command = self.command(&[&["send", SITE, "--wait"], words].concat())?;
        let (program, lines) = Program::start_reading("send", &mut command, &folder.join("send.log"))?;
        Ok(Sending { program, lines, seen: Vec::new() })
    }

    /// The history of the site, the newest last.
    pub fn commands(&self, words: &[&str]) -> Result<Vec<Value>> {
        let output = self.command(&[&["commands", SITE, "--last", "100000"], words].concat())?.output()?;
        ensure!(output.status.success(), "lockgate commands: {}", String::from_utf8_lossy(&output.stderr));
        lines_of(&output.stdout)
    }

    /// Takes a command back; gives the exit code.
    pub fn cancel(&self, id: &str) -> Result<i32> {
        let output = self.command(&["cancel", SITE, id])?.output()?;
        output.status.code().context("it was killed")
    }
}

fn lines_of(stdout: &[u8]) -> Result<Vec<Value>> {
    let text = std::str::from_utf8(stdout)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// A sender that waits.
#[derive(Debug)]
pub struct Sending {
    program: Program,
    lines: mpsc::Receiver<String>,
    seen: Vec<Value>,
}

impl Sending {
    fn look(&mut self) {
        self.seen.extend(self.lines.try_iter().filter_map(|line| serde_json::from_str(&line).ok()));
    }

    /// Waits until it was told of this state.
    pub fn until(&mut self, state: &str) -> Result<()> {
        wait::until(&format!("the sender is told {state:?}"), wait::PATIENCE, || {
            self.look();
            self.seen.iter().any(|line| line["state"] == state).then_some(())
        })
        .with_context(|| format!("{:#?}\n{}", self.seen, self.program.log_tail()))
    }

    /// Waits until it ends by itself.
    pub fn end(mut self, patience: Duration) -> Result<Told> {
        let status = self.program.exit_within(patience)?;
        // Once the program has ended, its last lines are on their way.
        while let Ok(line) = self.lines.recv() {
            self.seen.push(serde_json::from_str(&line)?);
        }
        let complaint = self.program.log_tail();
        let code = status.code().with_context(|| complaint.clone())?;
        Ok(Told { code, lines: self.seen, complaint })
    }
}
