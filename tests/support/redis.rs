//! Redis servers: started with what a test wants of them, paused, killed, put back to older copies.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::Signal;

use crate::program::{PORTS_TRIED, Program, until_up};
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
        let settings: Vec<String> = settings.iter().map(|line| (*line).to_owned()).collect();
        let mut tried = Err(anyhow!("no port was tried"));
        for _ in 0..PORTS_TRIED {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let mut redis = Redis { folder: folder.to_owned(), address, settings: settings.clone(), program: None };
            tried = redis.restart().map(|()| redis);
            if tried.is_ok() {
                break;
            }
        }
        tried
    }

    /// Starts a replica of this one, and waits until it follows. Through `link`, which leads here, where a test
    /// wants to part the two.
    pub fn start_replica(&self, folder: &Path, link: Option<SocketAddr>) -> Result<Redis> {
        let master = link.unwrap_or(self.address);
        let replica = Redis::start_with(folder, &[&format!("replicaof {} {}", master.ip(), master.port())])?;
        wait::until("the replica follows", wait::PATIENCE, || {
            self.info("replication", "slave0").ok().filter(|replica| replica.contains("state=online"))
        })?;
        Ok(replica)
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
        let mut program = Program::start("redis-server", &mut command, &self.log())?;
        until_up(&mut program, "redis answers", || self.try_ask(&[b"PING"]).is_ok_and(|pong| pong == "+PONG"))?;
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
        self.replace_data(copy)?;
        self.restart()
    }

    /// `kill -9`, and an empty one at the same address.
    pub fn lose_all(&mut self) -> Result<()> {
        self.kill()?;
        std::fs::remove_dir_all(self.data())?;
        self.restart()
    }

    /// Puts a copy in the place of what it had; it must not run.
    pub fn replace_data(&self, copy: &Path) -> Result<()> {
        std::fs::remove_dir_all(self.data())?;
        copy_folder(copy, &self.data())
    }

    fn data(&self) -> PathBuf {
        self.folder.join("appendonlydir")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("redis.log")
    }

    /// What a line of its configuration sets.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL for gateways.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Sends one command of plain words; its answer must be one line or one text, and no error.
    pub fn ask(&self, command: &str) -> Result<String> {
        self.ask_bytes(&command.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    /// As [`Redis::ask`], of words that may have any bytes.
    pub fn ask_bytes(&self, words: &[&[u8]]) -> Result<String> {
        let answer = self.try_ask(words)?;
        if answer.starts_with('-') {
            bail!("redis refuses {:?}: {answer}", String::from_utf8_lossy(words[0]));
        }
        Ok(answer)
    }

    /// One field of a section of `INFO`.
    pub fn info(&self, section: &str, field: &str) -> Result<String> {
        let info = self.ask(&format!("INFO {section}"))?;
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.map(str::to_owned).with_context(|| format!("INFO {section} has no {field}"))
    }

    fn try_ask(&self, words: &[&[u8]]) -> Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut command = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            command.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            command.extend_from_slice(word);
            command.extend_from_slice(b"\r\n");
        }
        stream.write_all(&command)?;
        let mut reader = BufReader::new(stream);
        let mut answer = String::new();
        reader.read_line(&mut answer)?;
        let Some(length) = answer.strip_prefix('$').and_then(|length| length.trim_end().parse().ok()) else {
            return Ok(answer.trim_end().to_owned());
        };
        let mut text = vec![0; length];
        reader.read_exact(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
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
