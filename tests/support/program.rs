//! One running program: started, watched, killed, and never left behind.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A child process that ends with this value.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts a program; its standard error goes to `log` (appended), its standard output nowhere.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Program> {
        let stderr = File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        command.stdin(Stdio::null()).stderr(stderr);
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Program { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// As [`Program::start`], and gives the lines that it prints.
    pub fn start_reading(name: &str, command: &mut Command, log: &Path) -> Result<(Program, mpsc::Receiver<String>)> {
        command.stdout(Stdio::piped());
        let mut program = Program::start(name, command, log)?;
        let stdout = program.child.stdout.take().expect("standard output was piped one line above");
        let (lines, received) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        Ok((program, received))
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("cannot kill {}", self.name))?;
        self.child.wait().with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("no process id"))?;
        kill_process(id, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.exit_within(patience)
    }

    /// Waits for it to end by itself.
    pub fn exit_within(&mut self, patience: Duration) -> Result<ExitStatus> {
        let name = self.name.clone();
        wait::until(&format!("{name} ends"), patience, || self.child.try_wait().ok().flatten())
            .with_context(|| self.log_tail())
    }

    /// The last lines of its log, for a failure's message.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("--- the end of {}'s log:\n{tail}\n---", self.name)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may be gone already, which is all that is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that was free a moment ago may be somebody's by the time a server takes it: so many others are tried.
pub const PORTS_TRIED: usize = 5;

/// Waits until a program that has just been started answers; an error at once where it has ended instead.
pub fn until_up(program: &mut Program, what: &str, mut answers: impl FnMut() -> bool) -> Result<()> {
    let up =
        wait::until(
            what,
            wait::PATIENCE,
            || {
                if program.is_running() { answers().then_some(true) } else { Some(false) }
            },
        );
    match up {
        Ok(true) => Ok(()),
        Ok(false) => Err(anyhow!("it has ended").context(program.log_tail())),
        Err(error) => Err(error.context(program.log_tail())),
    }
}

/// A program of ours, from the folder into which cargo built the one that runs now.
pub fn ours(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("a running program has a path")?;
    let folder = this.ancestors().find(|folder| folder.join(name).is_file());
    let folder = folder.with_context(|| format!("{name} is not built; run `cargo build --workspace --bins` first"))?;
    Ok(folder.join(name))
}
