//! Redis servers: started with what a test wants of them, paused, killed, put back to older copies.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::program::Program;
use crate::wait;

/// A Redis that has every write on its disk before it answers, unless a test says otherwise.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    address: SocketAddr,
    settings: Vec<String>,
    program: Option<Program>,
}

impl Redis {
    /// Starts it in a folder of its own, on a free port.
    pub fn start(folder: &Path) -> Result<Redis> {
        Redis::start_with(folder, &["appendonly yes", "appendfsync always"])
    }

    /// Starts it with these lines of configuration.
    pub fn start_with(folder: &Path, settings: &[&str]) -> Result<Redis> {
        std::fs::create_dir_all(folder)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        let mut redis = Redis { folder: folder.to_owned(), address, settings, program: None };
        redis.restart()?;
        Ok(redis)
    }

    /// Starts it again, at the same address and with what is in its folder.
    pub fn restart(&mut self) -> Result<()> {
        self.program = None;
        let config = self.folder.join("redis.conf");
        let mut file = std::fs::File::create(&config)?;
        writeln!(file, "bind 127.0.0.1\nport {}\nsave \"\"\nrepl-diskless-sync-delay 0", self.address.port())?;
        for line in &self.settings {
            writeln!(file, "{line}")?;
        }
        let mut command = Command::new("redis-server");
        command.arg(&config).arg("--dir").arg(&self.folder).stdout(std::fs::File::create(self.log())?);
        let program = Program::start("redis-server", &mut command, &self.log())?;
        wait::until("redis answers", wait::PATIENCE, || self.try_ask("PING").ok().filter(|pong| pong == "+PONG"))
            .with_context(|| program.log_tail())?;
        self.program = Some(program);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("redis is not running")?.kill()
    }

    /// SIGSTOP: it keeps its connections and answers nobody.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.program.as_ref().context("redis is not running")?.signal(signal)
    }

    /// Copies what it has on its disk.
    pub fn copy_to(&self, copy: &Path) -> Result<()> {
        copy_folder(&self.data(), copy)
    }

    /// Ends it, puts a copy in the place of what it had, and starts it with that.
    pub fn put_back(&mut self, copy: &Path) -> Result<()> {
        self.program = None;
        std::fs::remove_dir_all(self.data())?;
        copy_folder(copy, &self.data())?;
        self.restart()
    }

    fn data(&self) -> PathBuf {
        self.folder.join("appendonlydir")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("redis.log")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for gateways.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sends one command of plain words; its answer must be one line, and no error.
    pub fn ask(&self, command: &str) -> Result<String> {
        let answer = self.try_ask(command)?;
        if answer.starts_with('-') {
            bail!("redis refuses {command:?}: {answer}");
        }
        Ok(answer)
    }

    fn try_ask(&self, command: &str) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // One that is paused would not even end; it may not run at all.
        drop(self.go_on());
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
